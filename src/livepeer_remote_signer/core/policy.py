"""The operator's policy as pure decisions: what a verdict changes in a plan, and who may be a ticket's recipient.

Source: section 9 of the protocol. The order within a verdict: status, maxPrice, auth id.
"""

from __future__ import annotations

from typing import NamedTuple

from livepeer_remote_signer.core.errors import AuthBadMaxPrice, AuthFailed, AuthIdChanged, BadMaxPrice, Denied
from livepeer_remote_signer.core.payment import PaymentPlan
from livepeer_remote_signer.core.pricing import MaxPrice, parse_max_price, price_exceeded
from livepeer_remote_signer.core.state import SignerState
from livepeer_remote_signer.core.timestamps import NS_PER_SECOND


class Caller(NamedTuple):
    """Who sent a request, as the server saw it: header names in lower case, the peer's IP address."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    peer: str = ""

    def header(self, name: bytes) -> str:
        """The first value of a header (name in lower case), "" when absent."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return ""


class Identity(NamedTuple):
    """Who the caller proved to be: `auth_id` "" is nobody in particular, `credential` a digest of what was presented."""

    auth_id: str = ""
    credential: bytes = b""


class Verdict(NamedTuple):
    """The authorization webhook's answer, its types checked."""

    status: int
    reason: str = ""
    expiry: int = 0
    auth_id: str = ""
    max_price: MaxPrice | None = None
    code: str = ""


def is_verdict_cached(state: SignerState, now_ns: int) -> bool:
    """Whether the verdict kept in the state still holds, to the whole second."""
    return now_ns // NS_PER_SECOND <= state.auth_expiry


def apply_verdict(plan: PaymentPlan, verdict: Verdict) -> PaymentPlan:
    """The plan as the webhook allows it. Raises Denied, AuthFailed, AuthBadMaxPrice, PriceExceeded or AuthIdChanged."""
    if verdict.status != 200:
        if not 400 <= verdict.status <= 599:
            raise AuthFailed(f"the authorization webhook answered status {verdict.status}, neither 200 nor a refusal")
        raise Denied(
            verdict.reason or f"signer auth rejected request with status {verdict.status}",
            status=verdict.status,
            webhook_code=verdict.code or None,
        )
    if verdict.max_price is not None:
        try:
            ceiling = parse_max_price(verdict.max_price, plan.session.request.type)
        except BadMaxPrice as error:
            raise AuthBadMaxPrice(f"signer auth invalid maxPrice: {error.message}") from None
        if plan.session.info.price > ceiling:
            raise price_exceeded(plan.session.info.price, ceiling, "auth webhook maxPrice")
    return apply_auth_id(plan._replace(state=plan.state._replace(auth_expiry=verdict.expiry)), verdict.auth_id)


def apply_auth_id(plan: PaymentPlan, auth_id: str) -> PaymentPlan:
    """Binds the session to an auth id; an empty one keeps what is there, a different one is refused."""
    if not auth_id or auth_id == plan.state.auth_id:
        return plan
    if plan.state.auth_id:
        raise AuthIdChanged(
            "the session belongs to another auth id",
            hint="start a new session without state",
            state=plan.state.auth_id[:128],
            request=auth_id[:128],
        )
    return plan._replace(state=plan.state._replace(auth_id=auth_id))
