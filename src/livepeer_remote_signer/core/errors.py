"""Every way a request can end without a signature, one class a cause.

`Refused` means that a rule said no; `Failed` means that the rule could not be decided, which refuses as well. The
machine word of a cause is `code`; the compared values stand in `values`, `hint` says what to change. HTTP statuses are
not decided here: `api.errors` holds the one table.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SignerError(Exception):
    """Root of the tree. `message` is safe to show to a caller: it never holds a secret."""

    code: ClassVar[str] = "internal"

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
    """It could not be decided whether the payment may be made; nothing was signed."""


# --- what the caller sent (section 6 of the protocol, steps 1 to 15) ---


class BadJson(Refused):
    """The body is not one JSON object."""

    code = "bad_json"


class BadField(Refused):
    """A field has the wrong type, spelling or range."""

    code = "bad_field"


class MissingOrchestrator(Refused):
    """No OrchestratorInfo was sent."""

    code = "missing_orchestrator"


class BadOrchestrator(Refused):
    """OrchestratorInfo is not protobuf, or an address or URL in it is malformed."""

    code = "bad_orchestrator"


class BadPrice(Refused):
    """The orchestrator's price is missing, zero or negative."""

    code = "bad_price"


class MissingTicketParams(Refused):
    """OrchestratorInfo carries no ticket params."""

    code = "missing_ticket_params"


class BadTicketParams(Refused):
    """A length or value in the ticket params is outside the contract's range."""

    code = "bad_ticket_params"


class InvalidSig(Refused):
    """The signer state is not sealed by this signer."""

    code = "invalid_sig"


class InvalidState(Refused):
    """The signer state is sealed but not of the state's form. The message is go-livepeer's whole one; `fault` says what is wrong."""

    code = "invalid_state"

    def __init__(self, fault: str) -> None:
        super().__init__("invalid state", hint="start a new session without state", fault=fault)


class StateMismatch(Refused):
    """The request names another orchestrator, app or type than its state."""

    code = "state_mismatch"


class MissingManifestId(Refused):
    """A continuing session must name its manifest."""

    code = "missing_manifest_id"


class BadCapabilities(Refused):
    """Capabilities are not protobuf, or larger than any real message."""

    code = "bad_capabilities"


class MissingAuthToken(Refused):
    """OrchestratorInfo carries no auth token."""

    code = "missing_auth_token"


class RefreshSession(Refused):
    """Token, ticket params or nonces are used up: fetch a fresh OrchestratorInfo and call again."""

    code = "refresh_session"

    def __init__(self, reason: str, orchestrator_url: str, **values: Any) -> None:
        super().__init__(
            f"refresh session for remote signer: {reason}",
            hint="fetch a fresh OrchestratorInfo from the orchestrator and call again with the same state",
            **values,
        )
        self.orchestrator_url = orchestrator_url


class BadJobType(Refused):
    """The job type is none of lv2v, live, fixed and empty."""

    code = "bad_job_type"


class NoBillableUnits(Refused):
    """Nothing to bill: no type, or no units."""

    code = "no_billable_units"


class BadMaxPrice(Refused):
    """The request's maxPrice cannot be applied."""

    code = "bad_max_price"


class PriceExceeded(Refused):
    """The orchestrator asks more than a ceiling allows."""

    code = "price_exceeded"


class NoTickets(Refused):
    """The credit still covers the session: nothing is due."""

    code = "no_tickets"


class TooManyTickets(Refused):
    """The fee needs more tickets than one call may carry."""

    code = "too_many_tickets"


class TicketEvExceeded(Refused):
    """A ticket's expected value is above the limit, or not below its face value."""

    code = "ticket_ev_exceeded"


class TotalEvExceeded(Refused):
    """The expected value of the batch is above the limit."""

    code = "total_ev_exceeded"


class FaceValueTooLow(Refused):
    """The face value is too small for what is to be paid."""

    code = "face_value_too_low"


class StaleState(Refused):
    """This sequence number of the session was used by another request."""

    code = "stale_state"


class SessionBusy(Refused):
    """Another call of this session is being served."""

    code = "session_busy"


# --- who calls and what the operator allows ---


class Unauthenticated(Refused):
    """No credential, or none that is known."""

    code = "unauthenticated"


class Denied(Refused):
    """The authorization webhook refused; `status` is the HTTP status it asked for (400 to 599)."""

    code = "denied"

    def __init__(self, message: str, *, status: int = 403, webhook_code: str | None = None, **values: Any) -> None:
        super().__init__(message, **values)
        self.status = status
        self.webhook_code = webhook_code


class AuthIdChanged(Refused):
    """The session belongs to another auth id."""

    code = "auth_id_changed"


class Suspended(Refused):
    """A kill switch is set for this auth id, or for all."""

    code = "suspended"


class RecipientRefused(Refused):
    """The ticket's recipient may not be paid."""

    code = "recipient_refused"


class OrchestratorPaused(Refused):
    """Paying this orchestrator is paused for a while by the guard."""

    code = "orchestrator_paused"


class AddressRefused(Refused):
    """The orchestrator's address may not be dialled."""

    code = "address_refused"


class BudgetExceeded(Refused):
    """A total budget is used up."""

    code = "budget_exceeded"


class RateExceeded(Refused):
    """A budget's rolling window is used up."""

    code = "rate_exceeded"


# --- what the service stands on ---


class NoDeposit(Refused):
    """The sender has no deposit in TicketBroker."""

    code = "no_deposit"


class NoReserve(Refused):
    """The sender has no reserve in TicketBroker."""

    code = "no_reserve"


class DepositUnlocking(Refused):
    """The sender's funds are unlocked, or will be before a ticket could be redeemed."""

    code = "deposit_unlocking"


class DepositTooSmall(Refused):
    """The deposit does not cover one ticket's face value."""

    code = "deposit_too_small"


class ProtocolPaused(Refused):
    """Livepeer's Controller is paused: no ticket can be redeemed."""

    code = "protocol_paused"


class RoundUnknown(Failed):
    """No creation round is known for the tickets."""

    code = "round_unknown"


class ChainStale(Failed):
    """The last good chain reading is older than its limit."""

    code = "chain_stale"


class ClockWrong(Failed):
    """This host's clock does not agree with the chain's block times: what is due cannot be told."""

    code = "clock_wrong"


class PriceFeedStale(Failed):
    """A ceiling is given in a currency whose feed has no fresh answer."""

    code = "price_feed_stale"


class AuthFailed(Failed):
    """The authorization webhook could not be asked, or answered nonsense."""

    code = "auth_failed"


class AuthBadMaxPrice(Failed):
    """The authorization webhook's maxPrice cannot be applied."""

    code = "auth_bad_max_price"


class RecipientUndetermined(Failed):
    """It could not be found out in time whether the recipient is registered."""

    code = "chain_stale"


class OrchestratorUnreachable(Failed):
    """The orchestrator did not answer, or not with an OrchestratorInfo."""

    code = "orchestrator_unreachable"


class LedgerUnavailable(Failed):
    """The ledger could not record the payment."""

    code = "ledger_unavailable"


class OutboxFull(Failed):
    """Billing events cannot be stored: the backlog is at its limit."""

    code = "outbox_full"


class Overloaded(Failed):
    """More requests are in work than allowed."""

    code = "overloaded"


class NotReady(Failed):
    """The service has nothing to answer with yet."""

    code = "not_ready"


# --- HTTP ---


class BadRequest(Refused):
    """What arrived is not an HTTP request."""

    code = "bad_request"


class HeadTooLarge(Refused):
    """Request line and headers are above the limit."""

    code = "head_too_large"


class BodyTooLarge(Refused):
    """The body is above the limit."""

    code = "body_too_large"


class BodyTimeout(Refused):
    """The body did not arrive in time."""

    code = "body_timeout"


class NotFound(Refused):
    """No such route."""

    code = "not_found"


class MethodNotAllowed(Refused):
    """The route has other methods."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow
