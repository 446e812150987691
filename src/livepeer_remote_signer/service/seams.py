"""What a payment needs from outside, one small Protocol for each; a stage that is not configured is None and costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from livepeer_remote_signer.core.protocol.byoc import ByocJob
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.custody import Held, Stamp
from livepeer_remote_signer.core.rules.ledger import Found, Newest, Record, RequestKey, Stored
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.policy import Caller, Identity, Verdict
from livepeer_remote_signer.core.rules.pricing import Ceilings
from livepeer_remote_signer.core.rules.reservation import Reservation, Reserved
from livepeer_remote_signer.core.rules.trail import Trail


class ChainSource(Protocol):
    """The last reading of the chain, from memory."""

    def view(self) -> ChainView: ...


class CeilingSource(Protocol):
    """The operator's price ceilings as they stand now, from memory."""

    def current(self) -> Ceilings: ...


class Identifier(Protocol):
    """Who is calling. Raises Unauthenticated."""

    async def identify(self, caller: Caller) -> Identity: ...


class Authorizer(Protocol):
    """Whether this payment may be made: asks the webhook with the proposed state. Raises AuthFailed."""

    def binding(self, caller: Caller, identity: Identity) -> str:
        """What a cached verdict must carry to hold for this caller, "" when verdicts are not bound to credentials."""

    async def authorize(self, caller: Caller, identity: Identity, plan: PaymentPlan, trail: Trail) -> Verdict: ...

    async def authorize_byoc(self, caller: Caller, identity: Identity, job: ByocJob, trail: Trail) -> Verdict:
        """The same for the credentials of a BYOC job, which pays nothing."""


class QueryAuthorizer(Protocol):
    """Whether an orchestrator may be asked for its info on this caller's behalf. Raises AuthFailed."""

    async def authorize_query(self, caller: Caller, identity: Identity, orchestrator_url: str, trail: Trail) -> Verdict: ...


class UsageAuthorizer(Protocol):
    """For whom a caller without a credential of this signer's asks what was spent. Raises AuthFailed."""

    async def authorize_usage(self, caller: Caller, identity: Identity, trail: Trail) -> Verdict: ...


class RecipientPolicy(Protocol):
    """Whether the ticket's recipient may be paid, by whoever asks and by this caller."""

    def check(self, plan: PaymentPlan) -> None:
        """What can be told from memory. Raises RecipientRefused."""

    def check_caller(self, plan: PaymentPlan, *, is_paid: bool = True) -> None:
        """Raises OrchestratorPaused. The caller was authorized: the plan's state names him. `is_paid` False: it is only asked about."""

    async def look_up(self, plan: PaymentPlan) -> None:
        """Asks the chain where that is needed, on behalf of a caller who is authorized. Raises RecipientRefused or
        RecipientUndetermined."""


class KillSwitches(Protocol):
    """Whether the operator suspended this auth id, or everybody: read afresh. Raises Suspended, LedgerUnavailable."""

    async def check(self, auth_id: str) -> None: ...


class Ledger(Protocol):
    """Budgets, replay guard and outbox. Raises BudgetExceeded, RateExceeded, Suspended, StaleState, SessionBusy, BadField,
    LedgerUnavailable and OutboxFull."""

    def turn(self, key: RequestKey) -> AbstractAsyncContextManager[None]:
        """One call at a time for each session: waits a little for the one in work, then raises SessionBusy."""

    async def find(self, key: RequestKey, now_ns: int) -> Found:
        """What is known of this request, before anybody is asked whether it may be paid."""

    async def pay(self, key: RequestKey, plan: PaymentPlan, sign: Callable[[PaymentPlan], Record]) -> Found:
        """Judges, signs and records one payment in one transaction; returns None when it is durable.

        `sign` is called with the plan as the ledger allows it: nonces may be raised, tickets bought ahead may be fewer. It
        may be called again when the transaction has to be repeated; only the last call counts. Nothing is set aside before
        the transaction, so whatever ends it gives all back. Anything but None: another call was faster, nothing was paid.
        Where the caller is cancelled, `sign` is not called any more; a payment that was signed already may be recorded.
        """


class ReservingLedger(Ledger, Protocol):
    """A ledger for a key outside this host: payments are signed between two of its transactions. Its rules: `core.rules.custody`."""

    async def reserve(self, key: RequestKey, plan: PaymentPlan, stamp: Stamp) -> Held | Stored | Newest | Reserved:
        """Takes a payment's budgets and nonces; durable when it returns what is to be signed, else what was found in its place."""

    async def finish(self, held: Held, record: Record, served: str) -> bool:
        """Makes a payment of a reservation; True when it is durable. False: it has ended, and `record` must not be given to anybody."""

    async def release(self, reservation: Reservation, now_ns: int) -> bool:
        """Gives back what was counted for a reservation. False: it has ended already."""

    async def look_up(self, key: RequestKey, now_ns: int) -> Found:
        """What the database knows of a request: `find` without what this process remembers."""

    async def seg_creds(self, message: bytes) -> bytes | None:
        """The signature over a session's segment credentials, where one was kept."""
