"""The operator's policy as pure decisions: who a caller is to a session, and what a verdict changes in a plan.

Source: section 9 of the protocol. The order within a verdict: status, maxPrice, auth id.
"""

from __future__ import annotations

import hmac
import re
from fractions import Fraction
from typing import NamedTuple

from msgspec.structs import replace

from livepeer_remote_signer.core.errors import AuthBadMaxPrice, AuthFailed, AuthIdChanged, BadMaxPrice, Denied
from livepeer_remote_signer.core.protocol.amounts import rat_string
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.protocol.state import SignerState
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.pricing import parse_max_price, price_exceeded

CREDENTIAL_HEADERS = frozenset((b"authorization", b"x-api-key", b"cookie", b"signer-auth-id"))
"""By which a webhook may tell callers apart, names in lower case."""

_RATIONAL = re.compile(r"[0-9]{1,200}(?:/[1-9][0-9]{0,199})?")

MAX_AUTH_ID_CHARACTERS = 1024
"""Of an auth id, whoever names it: a key's file, a token or the webhook."""


class Caller(NamedTuple):
    """Who sent a request, as the server saw it: header names in lower case, the peer's IP address, the path asked for."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    peer: str = ""
    path: str = ""

    def header(self, name: bytes) -> str:
        """The first value of a header (name in lower case), "" when absent."""
        return header_text(self.raw_header(name))

    def raw_header(self, name: bytes) -> bytes:
        """The same as it was sent: two values that differ never become one."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""

    def credentials(self) -> tuple[tuple[bytes, bytes], ...]:
        """Names and values of all headers that may say who this is, in the order in which they were sent."""
        return tuple(header for header in self.headers if header[0] in CREDENTIAL_HEADERS)


def header_text(value: bytes) -> str:
    """A header's value as UTF-8, what is none replaced: as go-livepeer shows it to webhooks, whose answers it is compared with."""
    return value.decode("utf-8", "replace")


class Identity(NamedTuple):
    """Who the caller is.

    `auth_id` is what a credential proved ("": nobody in particular) and `credential` a digest of that credential;
    `claimed_auth_id` is what a trusted proxy said in `Signer-Auth-Id`, which stands when nothing better is known.
    `withheld` are the names of headers that hold a secret of this signer's own, which is nobody else's to see.
    `is_namespaced`: auth ids begin with who vouches for them, one of NAMESPACES.
    """

    auth_id: str = ""
    credential: bytes = b""
    claimed_auth_id: str = ""
    withheld: frozenset[bytes] = frozenset()
    is_namespaced: bool = False


ANONYMOUS = Identity()
NAMESPACES = ("key:", "jwt:", "webhook:", "proxy:")


def without_namespace(auth_id: str) -> str:
    """The auth id as it was before namespaces were turned on."""
    for namespace in NAMESPACES:
        if auth_id.startswith(namespace):
            return auth_id[len(namespace) :]
    return auth_id


def is_same_payer(kept: str, known: str, identity: Identity) -> bool:
    """Whether a session's auth id is the caller's: also one that was kept before namespaces were turned on.

    What is spelled with a namespace was kept since, and belongs to that one alone: a token's subject may be spelled `key:...`.
    """
    return kept == known or (identity.is_namespaced and not kept.startswith(NAMESPACES) and kept == without_namespace(known))


class Verdict(NamedTuple):
    """The authorization webhook's answer, its types checked. `binding` "" keeps nothing but expiry and auth id."""

    status: int
    reason: str = ""
    expiry: int = 0
    auth_id: str = ""
    max_price: MaxPrice | BadMaxPrice | None = None
    """As it was spelled, or what is wrong with its form: that is told when the price is looked at."""

    code: str = ""
    binding: str = ""


def bind_verdict(verdict: Verdict, binding: str, now_ns: int, max_expiry_seconds: int) -> Verdict:
    """The verdict tied to the credential it was given for, its expiry at most `max_expiry_seconds` ahead."""
    latest = now_ns // NS_PER_SECOND + max_expiry_seconds
    return verdict._replace(binding=binding, expiry=min(verdict.expiry, latest))


def is_verdict_cached(state: SignerState, now_ns: int, binding: str = "") -> bool:
    """Whether the verdict kept in the state still holds, to the whole second, for the credential behind `binding`."""
    if now_ns // NS_PER_SECOND > state.auth_expiry or not hmac.compare_digest(state.auth_binding.encode(), binding.encode()):
        return False
    return not state.auth_max_price or _RATIONAL.fullmatch(state.auth_max_price) is not None


def apply_cached_verdict(plan: PaymentPlan, identity: Identity) -> PaymentPlan:
    """The plan under a verdict that `is_verdict_cached`. Raises PriceExceeded or AuthIdChanged."""
    if plan.state.auth_max_price:
        _check_price(plan, Fraction(plan.state.auth_max_price))
    return apply_auth_id(plan, identity.auth_id or identity.claimed_auth_id, identity)


def _check_price(plan: PaymentPlan, ceiling: Fraction) -> None:
    if plan.session.info.price > ceiling:
        raise price_exceeded(plan.session.info.price, ceiling, "auth webhook maxPrice")


def _check_status(verdict: Verdict) -> None:
    if verdict.status == 200:
        return
    if not 400 <= verdict.status <= 599:
        raise AuthFailed(f"the authorization webhook answered status {verdict.status}, neither 200 nor a refusal")
    raise Denied(
        verdict.reason or f"signer auth rejected request with status {verdict.status}",
        status=verdict.status,
        webhook_code=verdict.code or None,
    )


def apply_verdict(plan: PaymentPlan, verdict: Verdict, identity: Identity = ANONYMOUS) -> PaymentPlan:
    """The plan as the webhook allows it. Raises Denied, AuthFailed, AuthBadMaxPrice, PriceExceeded or AuthIdChanged."""
    _check_status(verdict)
    kept_price = ""
    if verdict.max_price is not None:
        try:
            if isinstance(verdict.max_price, BadMaxPrice):
                raise verdict.max_price
            ceiling = parse_max_price(verdict.max_price, plan.session.request.type)
        except BadMaxPrice as error:
            raise AuthBadMaxPrice(f"signer auth invalid maxPrice: {error.message}") from None
        _check_price(plan, ceiling)
        kept_price = rat_string(ceiling) if verdict.binding else ""
    state = replace(plan.state, auth_expiry=verdict.expiry, auth_max_price=kept_price, auth_binding=verdict.binding)
    plan = replace(plan, state=state)
    return apply_auth_id(plan, _named_by(verdict, plan.state.auth_id, identity) or identity.auth_id or identity.claimed_auth_id, identity)


def unpaid_auth_id(verdict: Verdict, identity: Identity) -> str:
    """For whom the webhook allows what pays nothing. Raises Denied, AuthFailed or AuthIdChanged.

    It has no session and no price here: `expiry` and `maxPrice` say nothing about it.
    """
    _check_status(verdict)
    named = _named_by(verdict, identity.auth_id, identity)
    if named and identity.auth_id and named != identity.auth_id:
        raise AuthIdChanged("the authorization webhook names another auth id than the caller's credential")
    return named or identity.auth_id or identity.claimed_auth_id


def _named_by(verdict: Verdict, asked_with: str, identity: Identity) -> str:
    """The auth id that the webhook names, as ids are told apart here: it may repeat the one it was asked with, or its own part."""
    auth_id = verdict.auth_id
    if not auth_id or not identity.is_namespaced or auth_id == asked_with:
        return auth_id
    if identity.auth_id and is_same_payer(auth_id, identity.auth_id, identity):
        return identity.auth_id
    return f"webhook:{auth_id}"


def check_named(auth_id: str) -> None:
    """For operators who bill by auth id (`auth.require_auth_id`). Raises Denied where nobody has said whose a payment is."""
    if not auth_id:
        raise Denied(
            "nobody has said whose payment this is, and auth.require_auth_id lets no payment pass without an auth id",
            hint="the authorization webhook must answer with auth_id, or the caller needs a credential that carries one",
        )


def apply_auth_id(plan: PaymentPlan, auth_id: str, identity: Identity = ANONYMOUS) -> PaymentPlan:
    """Binds the session to an auth id; an empty one keeps what is there, a different one is refused."""
    kept = plan.state.auth_id
    if not auth_id or auth_id == kept:
        return plan
    if kept and not is_same_payer(kept, auth_id, identity):
        raise auth_id_changed(kept, auth_id)
    return replace(plan, state=replace(plan.state, auth_id=auth_id))


def check_owner(auth_id: str, identity: Identity, *, has_webhook: bool) -> None:
    """Raises AuthIdChanged: a session answers to nobody but its own auth id; one without any is whoever's holds its state, as it is
    in order. With a webhook a claimed auth id proves nothing."""
    known = identity.auth_id or ("" if has_webhook else identity.claimed_auth_id)
    if known and auth_id and not is_same_payer(auth_id, known, identity):
        raise AuthIdChanged("the session belongs to another auth id", hint="start a new session without state")


def auth_id_changed(kept: str, auth_id: str) -> AuthIdChanged:
    """The refusal of a caller to whom the session does not belong."""
    return AuthIdChanged(
        "the session belongs to another auth id",
        hint="start a new session without state",
        state=kept[:128],
        request=auth_id[:128],
    )
