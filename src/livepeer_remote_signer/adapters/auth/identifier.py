"""Who is calling: an API key, a bearer token, or whom a trusted proxy names.

Where both keys and tokens are configured a caller needs one of them. `Signer-Auth-Id` counts only from the configured
proxies, and stands only where neither a credential nor the webhook names the caller (section 9 of the protocol).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from livepeer_remote_signer.core.errors import Unauthenticated
from livepeer_remote_signer.core.rules.callers import Network, is_within
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.limits import find_clock_fault
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller, Identity, header_text

KEY_PREFIX = "lrs_"
MAX_CLAIMED_CHARACTERS = 1024


class KeyVerifier(Protocol):
    """Knows the API keys."""

    def verify(self, key: str, path: str) -> Identity:
        """Whose key it is. Raises Unauthenticated, Denied, RateExceeded, AuthFailed or LedgerUnavailable."""


class TokenVerifier(Protocol):
    """Checks bearer tokens."""

    async def verify(self, token: str) -> Identity:
        """Whose token it is. Raises Unauthenticated or AuthFailed."""


class CallerIdentifier:
    """Identifies callers by what is configured."""

    def __init__(
        self,
        *,
        keys: KeyVerifier | None = None,
        tokens: TokenVerifier | None = None,
        trusted_proxies: Sequence[Network] = (),
        namespaces: bool = False,
        view: Callable[[], ChainView] | None = None,
    ) -> None:
        """`namespaces`: an auth id begins with who vouches for it, so that a token's subject is never a key's owner.
        The chain's `view` tells whether this host's clock may be used: by a wrong one good credentials look expired."""
        self._view = view
        self._namespaces = namespaces
        self._keys = keys
        self._tokens = tokens
        self._trusted_proxies = tuple(trusted_proxies)

    async def identify(self, caller: Caller) -> Identity:
        """The caller's identity. Raises Unauthenticated where a credential is demanded and none that is known was sent, ClockWrong
        where its time cannot be told."""
        claimed = self._claimed(caller)
        try:
            identity = await self._proved(caller)
        except Unauthenticated as refusal:
            fault = find_clock_fault(self._view()) if refusal.is_of_time and self._view is not None else None
            raise fault or refusal from None
        if not self._namespaces:
            return identity._replace(claimed_auth_id=claimed)
        return identity._replace(claimed_auth_id=claimed and f"proxy:{claimed}", is_namespaced=True)

    async def _proved(self, caller: Caller) -> Identity:
        """What a credential proves; nobody in particular where none is demanded."""
        if self._keys is None and self._tokens is None:
            return ANONYMOUS
        if self._keys is not None and (key := _only(caller, b"x-api-key")):
            return self._named(self._keys.verify(key, caller.path), "key", caller, key)
        token = _bearer(caller)
        if self._keys is not None and token.startswith(KEY_PREFIX):
            return self._named(self._keys.verify(token, caller.path), "key", caller, token)
        if self._tokens is not None and token:
            return self._named(await self._tokens.verify(token), "jwt", caller, "")
        raise Unauthenticated(self._what_is_missing(), hint="ask the operator of this signer for a credential")

    def _named(self, identity: Identity, namespace: str, caller: Caller, key: str) -> Identity:
        """The identity in its namespace. `key`: a secret of ours, whichever headers it stands in."""
        if self._namespaces and not (namespace == "key" and identity.auth_id.startswith("key:")):  # as `keys create` names them
            identity = identity._replace(auth_id=f"{namespace}:{identity.auth_id}")
        if key:
            secret = key.encode()
            identity = identity._replace(withheld=frozenset(name for name, value in caller.headers if secret in value))
        return identity

    def _what_is_missing(self) -> str:
        if self._tokens is None:
            return "an API key is needed: send it as Authorization: Bearer lrs_... or as X-Api-Key"
        if self._keys is None:
            return "a bearer token is needed: send it as Authorization: Bearer TOKEN"
        return "an API key or a bearer token is needed: send it as Authorization: Bearer ..., a key also as X-Api-Key"

    def _claimed(self, caller: Caller) -> str:
        """`Signer-Auth-Id`, when a trusted proxy sent it."""
        claimed = caller.header(b"signer-auth-id") if self._trusted_proxies else ""
        if not claimed or not is_within(caller.peer, self._trusted_proxies):
            return ""
        raw = _only_raw(caller, b"signer-auth-id")
        try:
            return raw.decode("utf-8")[:MAX_CLAIMED_CHARACTERS]
        except UnicodeDecodeError:  # replaced, different ids could become one
            raise Unauthenticated("Signer-Auth-Id is not UTF-8", hint="the proxy in front must send it so") from None


def _only(caller: Caller, name: bytes) -> str:
    """The text of a header that may stand once."""
    return header_text(_only_raw(caller, name))


def _only_raw(caller: Caller, name: bytes) -> bytes:
    """The value of a header that may stand once. Raises Unauthenticated for two: which one counts would be a guess."""
    values = [value for key, value in caller.headers if key == name]
    if len(values) > 1:
        raise Unauthenticated(f"the header {name.decode()} was sent {len(values)} times", hint="send it once")
    return values[0].strip(b" \t") if values else b""


def _bearer(caller: Caller) -> str:
    """The token of `Authorization: Bearer TOKEN`, "" when there is none."""
    scheme, _, token = _only(caller, b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
