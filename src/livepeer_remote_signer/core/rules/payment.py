"""One payment as values: what is asked, the session that it belongs to, and the plan of everything to sign.

Source: section 6 of the protocol. What makes them is `core.rules.sender`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from livepeer_remote_signer.core.errors import RefreshSession
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.protocol.state import SignerState
from livepeer_remote_signer.core.protocol.ticket import REFRESH_AT_NONCE
from livepeer_remote_signer.core.protocol.wire import AuthToken, Capabilities, OrchestratorInfo
from livepeer_remote_signer.core.rules.billing import Billed, Ratio, bill_credit, tickets_due, units_per_second


class PaymentRequest(Struct, frozen=True, gc=False):
    """What a gateway asks, with the JSON already read and base64 decoded (step 1)."""

    orchestrator: bytes
    state: bytes = b""
    state_sig: bytes = b""
    manifest_id: str = ""
    app: str = ""
    type: str = ""
    in_pixels: int = 0
    max_price: MaxPrice | None = None
    capabilities: bytes = b""
    pipeline_label: str = ""
    model_label: str = ""
    """How a BYOC job's client names what it pays for (section 14): shown in the event, and judged by nobody."""


class SessionIds(NamedTuple):
    """Makers of random names, called only where a new name is needed: no randomness in here."""

    state_id: Callable[[], str]
    manifest_id: Callable[[], str]


class OpenedSession(Struct, frozen=True, gc=False):
    """A request that is well formed and belongs to its session; nothing of the chain or the price is known yet.

    `state` already has this call's type and sequence number; its nonce is the first one's predecessor.
    """

    request: PaymentRequest
    info: OrchestratorInfo
    auth_token: AuthToken
    capabilities: Capabilities | None
    state: SignerState
    manifest_id: str
    is_new: bool


class PaymentPlan(Struct, frozen=True, gc=False):
    """Everything a payment consists of but its signatures. Amounts in wei; `state` is the session's state afterwards.

    `due_tickets` cover all that is due. `may_be_part`: the session may catch up, and be paid fewer. `owed_ns` is the time that
    stays unpaid. `is_clock_right`: `now_ns` is known to be so. `sender` is whose deposit pays.
    """

    session: OpenedSession
    state: SignerState
    now_ns: int
    previous_update_ns: int | None
    creation_round: int
    creation_round_block_hash: bytes
    aux_data: bytes
    first_nonce: int
    num_tickets: int
    due_tickets: int
    price: Fraction
    billed: Billed
    balance_before: Fraction
    may_be_part: bool = False
    owed_ns: int = 0
    is_clock_right: bool = False
    sender: bytes = b""

    @property
    def updated_ns(self) -> int:
        """The session's LastUpdate after the payment."""
        return self.now_ns - self.owed_ns

    @property
    def fee(self) -> Fraction:
        """What the billed units cost, wei."""
        return self.billed.units * self.price

    @property
    def fee_ratio(self) -> Ratio:
        """`fee`, for whoever goes on with whole numbers."""
        price_n, price_d = self.price.as_integer_ratio()
        return self.billed.units * price_n, price_d

    @property
    def min_tickets(self) -> int:
        """The fewest tickets that may be paid: all that are due, or of a part what one second takes."""
        if not self.may_be_part:
            return self.due_tickets
        session = self.session
        return tickets_of_a_second(session.request.type, session.state.balance, self.price, session.info.ev, self.due_tickets)

    @property
    def total_ev(self) -> Fraction:
        """Expected value of all tickets, wei."""
        return self.session.info.ev * self.num_tickets

    @property
    def total_face_value(self) -> int:
        """What is lost when every ticket wins, wei."""
        return self.session.info.ticket_params.face_value * self.num_tickets

    def with_tickets(self, num_tickets: int) -> PaymentPlan:
        """The same payment with another number of tickets, at least `min_tickets`; a part of it with fewer than are due."""
        if num_tickets < self.min_tickets:
            raise ValueError(f"{num_tickets} tickets do not cover what is due: {self.min_tickets} do")
        if num_tickets < self.due_tickets:
            return self._in_part(num_tickets)
        more = num_tickets - self.num_tickets
        state = replace(self.state, sender_nonce=self.state.sender_nonce + more, balance=self.state.balance + more * self.session.info.ev)
        return replace(self, num_tickets=num_tickets, state=state)

    def _in_part(self, num_tickets: int) -> PaymentPlan:
        """Bills the time that so many tickets and the credit cover, and dates the session forward by exactly that time."""
        owed_since_ns = self.session.state.last_update_ns
        if owed_since_ns is None:
            raise ValueError("a first payment has no parts")
        credit = self.balance_before + num_tickets * self.session.info.ev
        billed = bill_credit(self.session.request.type, credit, self.price)
        fee = billed.units * self.price
        updated_ns = owed_since_ns + billed.elapsed_ns
        state = replace(self.state, last_update_ns=updated_ns, sender_nonce=self.first_nonce - 1 + num_tickets, balance=credit - fee)
        return replace(self, state=state, num_tickets=num_tickets, billed=billed, owed_ns=self.now_ns - updated_ns)

    def with_first_nonce(self, first_nonce: int) -> PaymentPlan:
        """The same payment with higher nonces; RefreshSession when the recipient's nonces run out."""
        check_nonce(self.session.info, first_nonce - 1)
        return replace(self, first_nonce=first_nonce, state=replace(self.state, sender_nonce=first_nonce - 1 + self.num_tickets))


def check_nonce(info: OrchestratorInfo, last_nonce: int) -> None:
    """Step 8: fresh params are asked for before the recipient's 600 nonces run out."""
    if last_nonce >= REFRESH_AT_NONCE:
        raise RefreshSession(
            f"sender nonce {last_nonce} of these ticket params has reached {REFRESH_AT_NONCE}",
            info.transcoder,
            sender_nonce=last_nonce,
            limit=REFRESH_AT_NONCE,
        )


def tickets_of_a_second(job_type: str, balance: Fraction, price: Fraction, ev: Fraction, due_tickets: int) -> int:
    """How many tickets the smallest part takes, which is one second, and at most all that are due."""
    second = price * units_per_second(job_type)
    return min(due_tickets, tickets_due(balance, second.as_integer_ratio(), ev.as_integer_ratio(), least=1).tickets)
