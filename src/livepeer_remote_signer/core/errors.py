"""Every way a request can end without a signature, one class a cause. The tree:

SignerError: a fault of ours
    Refused: a rule of the protocol or of the operator's policy said no
        what the caller sent (section 6 of the protocol, steps 1 to 15)
            BadJson BadField MissingOrchestrator BadOrchestrator BadPrice MissingTicketParams BadTicketParams InvalidSig
            InvalidState StateMismatch MissingManifestId BadCapabilities MissingAuthToken RefreshSession BadJobType
            NoBillableUnits BadMaxPrice PriceExceeded NoTickets TooManyTickets TicketEvTooLow TicketEvExceeded TotalEvExceeded
            FaceValueTooLow CreditExceeded StaleState SessionBusy SenderChanged
        who calls and what the operator allows
            Unauthenticated Denied AuthIdChanged Suspended NoSender RecipientRefused OrchestratorPaused AddressRefused
            OriginRefused BudgetExceeded ShareExceeded RateExceeded
        what the service stands on
            NoDeposit NoReserve DepositUnlocking DepositTooSmall ProtocolPaused
        HTTP
            BadRequest HeadTooLarge BodyTooLarge BodyTimeout NotFound MethodNotAllowed CallerLeft
    Failed: it could not be decided whether a payment may be made, which refuses as well
        what the service stands on
            RoundUnknown ChainStale ClockWrong PriceFeedStale AuthFailed AuthBadMaxPrice RecipientUndetermined
            OrchestratorUnreachable LedgerUnavailable OutboxFull KeyUnavailable KeyThrottled TimedOut Overloaded NotReady

The machine word of a cause is `code`: the class's name in snake case. The compared values stand in `values`, `hint` says
what to change. HTTP statuses are not decided here: `api.errors` holds the one table.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

IN_DOUBT_HINT = (
    "send the identical request again: where the payment was recorded it gets the same bytes, but a new session without an "
    "Idempotency-Key is then paid twice"
)
"""What to do where a payment may be recorded."""

_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")


class SignerError(Exception):
    """Root of the tree. `message` is safe to show to a caller: it never holds a secret."""

    code: ClassVar[str] = "internal"

    def __init_subclass__(cls) -> None:
        """A cause's word is its name, unless it shares another one's; what is derived from a cause has that cause's word."""
        is_cause = cls.__mro__[2] is SignerError
        if is_cause and "code" not in vars(cls):
            cls.code = _WORD_START.sub("_", cls.__name__).lower()

    def __init__(self, message: str, *, hint: str | None = None, retry_after_seconds: int | None = None, **values: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after_seconds = retry_after_seconds
        self.values = values

    @property
    def hidden_failure(self) -> Failed | None:
        """What could not be decided while this answer, which is right all the same, was found: the operator must see it."""
        return self.__cause__ if isinstance(self.__cause__, Failed) else None


class Refused(SignerError):
    """A rule of the protocol or of the operator's policy said no."""


class Failed(SignerError):
    """It could not be decided whether the payment may be made; nothing was signed, unless `may_be_recorded`."""

    @property
    def may_be_recorded(self) -> bool:
        """Whether a ledger may have recorded the payment without our knowing: it was told to, and did not answer."""
        return self.values.get("may_be_recorded") is True


# --- what the caller sent (section 6 of the protocol, steps 1 to 15) ---


class BadJson(Refused):
    """The body is not one JSON object."""


class BadField(Refused):
    """A field has the wrong type, spelling or range."""


class MissingOrchestrator(Refused):
    """No OrchestratorInfo was sent."""


class BadOrchestrator(Refused):
    """OrchestratorInfo is not protobuf, or an address or URL in it is malformed."""


class BadPrice(Refused):
    """The orchestrator's price is missing, zero or negative."""


class MissingTicketParams(Refused):
    """OrchestratorInfo carries no ticket params."""


class BadTicketParams(Refused):
    """A length or value in the ticket params is outside the contract's range."""


class InvalidSig(Refused):
    """The signer state is not sealed by this signer."""


class SenderChanged(Refused):
    """The session was paid by another address than this signer's: its credit and its terms are that one's, and stay there."""


class InvalidState(Refused):
    """The signer state is sealed but not of the state's form. The message is go-livepeer's whole one; `fault` says what is wrong."""

    def __init__(self, fault: str) -> None:
        super().__init__("invalid state", hint="start a new session without state", fault=fault)


class StateMismatch(Refused):
    """The request names another orchestrator, app or type than its state."""


class MissingManifestId(Refused):
    """A continuing session must name its manifest."""


class BadCapabilities(Refused):
    """Capabilities are not protobuf, or larger than any real message."""


class MissingAuthToken(Refused):
    """OrchestratorInfo carries no auth token."""


class RefreshSession(Refused):
    """Token, ticket params or nonces are used up: fetch a fresh OrchestratorInfo and call again."""

    def __init__(self, reason: str, orchestrator_url: str, **values: Any) -> None:
        super().__init__(
            f"refresh session for remote signer: {reason}",
            hint="fetch a fresh OrchestratorInfo from the orchestrator and call again with the same state",
            **values,
        )
        self.orchestrator_url = orchestrator_url


class BadJobType(Refused):
    """The job type is none of lv2v, live, fixed and empty."""


class NoBillableUnits(Refused):
    """Nothing to bill: no type, or no units."""


class BadMaxPrice(Refused):
    """The request's maxPrice cannot be applied."""


class PriceExceeded(Refused):
    """The orchestrator asks more than a ceiling allows."""


class NoTickets(Refused):
    """The credit still covers the session: nothing is due."""


class TooManyTickets(Refused):
    """The fee needs more tickets than one call may carry."""


class TicketEvTooLow(Refused):
    """A ticket is worth less than the operator will have a signature made for."""


class TicketEvExceeded(Refused):
    """A ticket's expected value is above the limit, or not below its face value."""


class TotalEvExceeded(Refused):
    """The expected value of the batch is above the limit."""


class FaceValueTooLow(Refused):
    """The face value is too small for what is to be paid."""


class CreditExceeded(Refused):
    """The payment would buy more seconds ahead than the limit."""


class StaleState(Refused):
    """This sequence number of the session was used by another request."""


class SessionBusy(Refused):
    """Another call of this session is being served."""


# --- who calls and what the operator allows ---


class Unauthenticated(Refused):
    """No credential, or none that is known. `is_of_time`: its time is over, or has not come, by this host's clock."""

    def __init__(self, message: str, *, is_of_time: bool = False, **values: Any) -> None:
        super().__init__(message, **values)
        self.is_of_time = is_of_time


class Denied(Refused):
    """The authorization webhook refused; `status` is the HTTP status it asked for (400 to 599)."""

    def __init__(self, message: str, *, status: int = 403, webhook_code: str | None = None, **values: Any) -> None:
        super().__init__(message, **values)
        self.status = status
        self.webhook_code = webhook_code


class AuthIdChanged(Refused):
    """The session belongs to another auth id."""


class Suspended(Refused):
    """A kill switch is set for this auth id, or for all."""


class NoSender(Refused):
    """No key pays for this auth id: senders name others."""


class RecipientRefused(Refused):
    """The ticket's recipient may not be paid."""


class OrchestratorPaused(Refused):
    """Paying this orchestrator is paused for a while by the guard."""


class AddressRefused(Refused):
    """The orchestrator's address may not be dialled."""


class OriginRefused(Refused):
    """A web page may be behind the request, where nobody is asked for a credential."""


class BudgetExceeded(Refused):
    """A total budget is used up."""


class ShareExceeded(Refused):
    """This caller has more requests in work than its share, and others are there."""


class RateExceeded(Refused):
    """A budget's rolling window is used up."""


# --- what the service stands on ---


class NoDeposit(Refused):
    """The sender has no deposit in TicketBroker."""


class NoReserve(Refused):
    """The sender has no reserve in TicketBroker."""


class DepositUnlocking(Refused):
    """The sender's funds are unlocked, or will be before a ticket could be redeemed."""


class DepositTooSmall(Refused):
    """The deposit does not cover one ticket's face value."""


class ProtocolPaused(Refused):
    """Livepeer's Controller is paused: no ticket can be redeemed."""


class RoundUnknown(Failed):
    """No creation round is known for the tickets."""


class ChainStale(Failed):
    """The last good chain reading is older than its limit."""


class ClockWrong(Failed):
    """This host's clock does not agree with the chain's block times: what is due cannot be told."""


class PriceFeedStale(Failed):
    """A ceiling is given in a currency whose feed has no fresh answer."""


class AuthFailed(Failed):
    """The authorization webhook could not be asked, or answered nonsense."""


class AuthBadMaxPrice(Failed):
    """The authorization webhook's maxPrice cannot be applied."""


class RecipientUndetermined(Failed):
    """It could not be found out in time whether the recipient is registered."""

    code = "chain_stale"


class OrchestratorUnreachable(Failed):
    """The orchestrator did not answer, or not with an OrchestratorInfo."""


class LedgerUnavailable(Failed):
    """The ledger could not record the payment, or did not say whether it did."""


class OutboxFull(Failed):
    """Billing events cannot be stored: the backlog is at its limit."""


class KeyUnavailable(Failed):
    """The key outside this host did not sign: its service is away or slow, refuses, or what came back is not the key's signature."""


class KeyThrottled(Failed):
    """The key outside this host signs no more just now: its quota, or its service's own one, is used up."""


class TimedOut(Failed):
    """No answer could be given in the time that clients wait: somebody who had to be asked did not answer."""

    def __init__(self, seconds: float, waited_for: str = "", *, may_be_recorded: bool = False) -> None:
        """`seconds`: the limit; `waited_for`: the phase of the payment that did not end, "" where it has no name."""
        super().__init__(
            f"the request could not be answered within {seconds:g} s" + (f": {waited_for} did not end in time" if waited_for else ""),
            hint=IN_DOUBT_HINT if may_be_recorded else "the same request may be sent again",
            retry_after_seconds=1,
            limit_seconds=seconds,
            may_be_recorded=may_be_recorded or None,
        )


class Overloaded(Failed):
    """More requests are in work than allowed."""


class NotReady(Failed):
    """The service has nothing to answer with yet."""


# --- HTTP ---


class BadRequest(Refused):
    """What arrived is not an HTTP request."""


class HeadTooLarge(Refused):
    """Request line and headers are above the limit."""


class BodyTooLarge(Refused):
    """The body is above the limit."""


class BodyTimeout(Refused):
    """The body did not arrive in time."""


class CallerLeft(Refused):
    """The caller's connection was reset before anything was signed: nobody would read the payment."""


class NotFound(Refused):
    """No such route."""


class MethodNotAllowed(Refused):
    """The route has other methods."""

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


def let_go_of_frames(error: BaseException) -> None:
    """Forgets where an error was raised, once it has been told.

    A call that raised an error it had in a variable holds the error, which holds the call and whatever that worked on: a circle that
    only the garbage collector finds, long after bodies of strangers have filled the memory.
    """
    following: BaseException | None = error
    while following is not None:
        following.__traceback__ = None
        following = following.__cause__ or following.__context__
