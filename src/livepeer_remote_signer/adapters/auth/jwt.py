"""Bearer tokens: JSON web tokens of one issuer, checked against its published keys.

RS256 and ES256 only; issuer, audience and expiry are demanded. Keys are fetched from the JWKS, found through OIDC discovery
unless its URL is configured, and kept: an unknown key id asks for them again, but not more often than every half minute, so
that made-up ids cannot make the signer hammer its issuer. Keys older than an hour are not used: unknown is refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.outbound.bounded import read_bounded
from livepeer_remote_signer.adapters.outbound.reasons import connection_reason
from livepeer_remote_signer.core.errors import AuthFailed, Unauthenticated
from livepeer_remote_signer.core.protocol.strict_json import is_too_deep
from livepeer_remote_signer.core.rules.policy import MAX_AUTH_ID_CHARACTERS, Identity

ALGORITHMS = ("RS256", "ES256")
MAX_TOKEN_CHARACTERS = 8192
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_KEYS = 100
MIN_RSA_BITS = 2048
FETCH_TIMEOUT_SECONDS = 5.0
REFRESH_SECONDS = 600.0
"""How old the keys may be before they are fetched again beside the calls that use them."""

MAX_KEYS_AGE_SECONDS = 3600.0
REFETCH_SECONDS = 30.0
"""How soon an unknown key id may cause another fetch."""

RETRY_SECONDS = 5.0
"""How soon a fetch that failed is tried again."""

CACHE_SECONDS = 60.0
"""How long a token that was checked is believed without checking its signature again; never beyond its expiry."""

MAX_CACHED_TOKENS = 10_000
MAX_EXPIRY = 2**53
"""Unix seconds: a time beyond it is none, and what is whole below it is exact as a float."""

_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters and line breaks: an auth id stands in log lines, events and on the console."""

_log = logging.getLogger(__name__)


class _Key(NamedTuple):
    algorithm: str
    key: Any


class _Checked(NamedTuple):
    identity: Identity
    until: float


class JwksKeys:
    """The issuer's keys by id, fetched when they are needed. One fetch is shared by all who wait for it."""

    def __init__(
        self, issuer: str, jwks_url: str | None, *, outbound: Outbound | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._monotonic = monotonic
        self._keys: dict[str, _Key] = {}
        self._fetched_at: float | None = None
        self._has_failed = False
        self._failure = ""
        self._next_fetch_at = monotonic()
        self._fetching: asyncio.Task[None] | None = None
        self._client = (outbound or Outbound()).open_httpx(
            timeout=FETCH_TIMEOUT_SECONDS, follow_redirects=False, headers={"accept-encoding": "identity"}
        )

    async def aclose(self) -> None:
        """Stops a fetch in work and closes the connections."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._client.aclose()

    @property
    def fault(self) -> str:
        """Why no token can be checked, "" when they can. Whoever asks before there are keys has them fetched."""
        age = self._age()
        if age is not None and age <= MAX_KEYS_AGE_SECONDS:
            return ""
        self._start_fetch()
        return self._failure or "the token issuer's keys are being fetched for the first time"

    async def look(self) -> int:
        """Fetches the keys now, and says how many there are; why there are none `fault` says."""
        await self._refetch()
        return len(self._keys)

    async def find(self, kid: str | None, algorithm: str) -> Any:
        """The key for a token's header. Raises Unauthenticated for an unknown one, AuthFailed when no keys can be had."""
        age = self._age()
        if age is None or age > MAX_KEYS_AGE_SECONDS:
            await self._refetch()
        elif age > REFRESH_SECONDS:
            self._start_fetch()
        if (key := self._known(kid, algorithm)) is None and self._may_try():
            await self._refetch()
            key = self._known(kid, algorithm)
        age = self._age()
        if age is None or age > MAX_KEYS_AGE_SECONDS:
            raise AuthFailed("the token issuer's keys could not be fetched")
        if key is None and self._has_failed:
            raise AuthFailed("the token is signed with a key that is not known, and the issuer's keys could not be fetched anew")
        if key is None:
            raise Unauthenticated("the token is signed with a key that its issuer does not publish")
        return key

    def _age(self) -> float | None:
        return None if self._fetched_at is None else self._monotonic() - self._fetched_at

    def _may_try(self) -> bool:
        return self._monotonic() >= self._next_fetch_at

    def _known(self, kid: str | None, algorithm: str) -> Any:
        """The key of this id and algorithm; without an id, the only one of the algorithm."""
        if kid is not None:
            found = self._keys.get(kid)
            return found.key if found and found.algorithm == algorithm else None
        fitting = [key.key for key in self._keys.values() if key.algorithm == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    def _start_fetch(self) -> None:
        if self._fetching is None and self._may_try():
            self._fetching = asyncio.create_task(self._fetch())

    async def _refetch(self) -> None:
        self._start_fetch()
        if self._fetching is not None:
            await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        """Replaces the keys; a fetch that fails leaves the old ones, which age."""
        self._next_fetch_at = self._monotonic() + RETRY_SECONDS
        self._has_failed = True
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                self._keys = _parse_jwks(await self._document(await self._url()))
            self._fetched_at = self._monotonic()
            self._has_failed = False
            self._next_fetch_at = self._fetched_at + REFETCH_SECONDS
            self._failure = ""
        except (httpx.HTTPError, TimeoutError) as error:
            self._failure = f"the token issuer's keys could not be fetched: {connection_reason(error)}"
            _log.warning("%s", self._failure)
        except ValueError as error:
            self._failure = f"the token issuer's keys cannot be used: {error}"
            _log.warning("%s", self._failure)
        finally:
            self._fetching = None

    async def _url(self) -> str:
        if self._jwks_url is not None:
            return self._jwks_url
        document = await self._document(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        url = document.get("jwks_uri")
        if document.get("issuer") != self._issuer or not isinstance(url, str):
            raise ValueError("the OIDC discovery document is not the configured issuer's, or names no jwks_uri")
        if not url.startswith("https://") and not self._issuer.startswith("http://"):
            raise ValueError("the OIDC discovery document's jwks_uri is not https")
        return url

    async def _document(self, url: str) -> dict[str, Any]:
        """A JSON object of bounded size. ValueError or httpx.HTTPError otherwise."""
        try:
            async with self._client.stream("GET", url) as response:
                if response.status_code != 200:
                    raise ValueError(f"HTTP {response.status_code}")
                body = await read_bounded(response.aiter_raw(), MAX_DOCUMENT_BYTES)
            if body is None:
                raise ValueError(f"a document longer than {MAX_DOCUMENT_BYTES} bytes")
            document = None if is_too_deep(body) else json.loads(body)
        except (httpx.InvalidURL, UnicodeDecodeError, json.JSONDecodeError):
            raise ValueError("not a JSON document behind a URL") from None
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 - a fault of the document, like the others
        return document


def _parse_jwks(document: dict[str, Any]) -> dict[str, _Key]:
    """The usable signature keys by id; a key without an id gets a name that no token can spell.

    An empty list is an issuer's word that no token holds any more. Keys of which none can be used are a fault.
    """
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("no list of keys")  # noqa: TRY004 - a fault of the document, like the others
    keys: dict[str, _Key] = {}
    for index, entry in enumerate(entries[:MAX_KEYS]):
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(entry.get("kty")))
        if algorithm is None or entry.get("alg", algorithm) != algorithm:
            continue
        try:
            key = jwt.PyJWK(entry, algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            _log.warning("key %d of the token issuer's keys cannot be read; it is left out", index)
            continue
        if _is_strong(key):
            kid = entry.get("kid")
            keys[kid if isinstance(kid, str) else f"\0{index}"] = _Key(algorithm, key)
    if entries and not keys:
        raise ValueError(f"no key for {' or '.join(ALGORITHMS)}")
    return keys


def _is_auth_id(claim: object) -> bool:
    """Whether a claim can be an auth id: it must be possible to write it, and JSON may spell half of a surrogate pair."""
    if not isinstance(claim, str) or not 0 < len(claim) <= MAX_AUTH_ID_CHARACTERS or _UNSPEAKABLE.search(claim):
        return False
    try:
        claim.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_strong(key: object) -> bool:
    """Public, and of the size or curve that the algorithm needs."""
    if isinstance(key, RSAPublicKey):
        return key.key_size >= MIN_RSA_BITS
    return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)


class JwtVerifier:
    """Checks tokens of one issuer for one audience."""

    def __init__(
        self,
        keys: JwksKeys,
        *,
        issuer: str,
        audience: str,
        auth_id_claim: str = "sub",
        clock_skew_seconds: int = 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._auth_id_claim = auth_id_claim
        self._clock_skew_seconds = clock_skew_seconds
        self._clock = clock
        self._checked: OrderedDict[bytes, _Checked] = OrderedDict()

    async def aclose(self) -> None:
        """Closes what the keys are fetched with."""
        await self._keys.aclose()

    @property
    def fault(self) -> str:
        """Why no token can be checked, "" when they can."""
        return self._keys.fault

    async def verify(self, token: str) -> Identity:
        """Whose token it is. Raises Unauthenticated for one that is not valid here, AuthFailed when it cannot be told."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated(f"the token of {len(token)} characters is longer than {MAX_TOKEN_CHARACTERS}")
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._checked.get(digest)
        if known is not None and self._clock() < known.until:
            return known.identity
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):
            raise Unauthenticated("the bearer token is neither an API key of this signer nor a JSON web token") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise Unauthenticated(f"the token's algorithm is none of {', '.join(ALGORITHMS)}")
        key = await self._keys.find(kid if isinstance(kid, str) else None, algorithm)
        claims = self._claims(token, key, algorithm)
        auth_id = claims.get(self._auth_id_claim, "")
        if not _is_auth_id(auth_id):
            raise Unauthenticated(
                f"the token's claim {self._auth_id_claim!r} is not Unicode text of 1 to {MAX_AUTH_ID_CHARACTERS} characters "
                "without control characters"
            )
        identity = Identity(auth_id, digest)
        self._remember(digest, identity, int(claims["exp"]))
        return identity

    def _claims(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._clock_skew_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
            if int(claims["exp"]) > MAX_EXPIRY:
                raise Unauthenticated(f"the token's exp is beyond {MAX_EXPIRY}: that is no time in seconds")
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired", is_of_time=True, hint="ask its issuer for a fresh one") from None
        except jwt.ImmatureSignatureError as error:
            raise Unauthenticated(f"the token is not valid here: {type(error).__name__}", is_of_time=True) from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:  # a claim may be any JSON
            raise Unauthenticated(f"the token is not valid here: {type(error).__name__}") from None
        return claims

    def _remember(self, digest: bytes, identity: Identity, expires: int) -> None:
        now = self._clock()
        until = min(now + CACHE_SECONDS, expires + self._clock_skew_seconds)
        if until <= now:
            return
        self._checked[digest] = _Checked(identity, until)
        self._checked.move_to_end(digest)
        while len(self._checked) > MAX_CACHED_TOKENS:
            self._checked.popitem(last=False)
