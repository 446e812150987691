"""The JSON API's shapes for its OpenAPI description. Bodies are read by our own strict parsers, not through these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

HexBytes = Annotated[str, Field(pattern="^0x([0-9a-fA-F]{2})*$", description="bytes as 0x hex")]
Integer = Annotated[int | str, Field(description="a decimal string or a JSON integer")]
BigInteger = Annotated[int | str, Field(description="a decimal string, a JSON integer, or 0x hex")]
Wei = Annotated[str, Field(description="wei as a decimal string; three decimals when not whole")]


class Form(BaseModel):
    """A JSON object whose unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(BaseModel):
    """What went wrong. More keys, such as the compared values, may stand beside these."""

    model_config = ConfigDict(extra="allow")

    message: str = Field(description="for people")
    code: str = Field(description="a stable word for machines")
    request_id: str = Field(description="names this request in the signer's log")
    hint: str | None = Field(None, description="what to change")


class ErrorReply(BaseModel):
    """The envelope of every error."""

    error: ErrorDetail


class PriceInfo(Form):
    """A price in wei per unit: pricePerUnit / pixelsPerUnit."""

    pricePerUnit: Integer
    pixelsPerUnit: Integer
    capability: Integer | None = None
    constraint: str | None = None


class ExpirationParams(Form):
    """The round that tickets are created in."""

    creationRound: Integer
    creationRoundBlockHash: HexBytes


class TicketParams(Form):
    """What a ticket must be."""

    recipient: HexBytes
    faceValue: BigInteger
    winProb: BigInteger
    recipientRandHash: HexBytes
    seed: HexBytes
    expirationBlock: BigInteger
    expirationParams: ExpirationParams | None = None


class AuthToken(Form):
    """The orchestrator's token for one session."""

    token: HexBytes
    sessionId: str
    expiration: Integer


class OrchestratorInfo(BaseModel):
    """net.OrchestratorInfo in proto3's JSON names; further fields of the message may stand beside these."""

    model_config = ConfigDict(extra="allow")

    transcoder: str
    address: HexBytes
    priceInfo: PriceInfo
    ticketParams: TicketParams
    authToken: AuthToken


class AnsweredInfo(BaseModel):
    """net.OrchestratorInfo as an orchestrator answered it: what it left out is not there. Further fields may stand beside these."""

    model_config = ConfigDict(extra="allow")

    transcoder: str | None = None
    address: HexBytes | None = None
    priceInfo: PriceInfo | None = None
    ticketParams: TicketParams | None = None
    authToken: AuthToken | None = None


class MaxPrice(Form):
    """The client's own price ceiling."""

    price: float | str
    currency: Literal["wei"]
    unit: Literal["seconds", "720p-pixel-seconds", "fixed"]


class SealedState(BaseModel):
    """A session's state as go-livepeer carries it."""

    State: str = Field(description="base64 of the state")
    Sig: str = Field(description="base64 of its seal")


class LivePaymentRequest(BaseModel):
    """One payment as go-livepeer asks for it. Keys match in any case, unknown ones are ignored."""

    model_config = ConfigDict(extra="allow")

    orchestrator: str = Field(description="base64 of the serialized net.OrchestratorInfo")
    state: SealedState | None = Field(None, description="as the last reply had it; absent or null starts a session")
    ManifestID: str | None = Field(None, description="the session's name at the orchestrator")
    app: str | None = None
    type: Literal["lv2v", "live", "fixed", ""] | None = Field(None, description="how units are counted")
    inPixels: int | None = Field(None, description="units to pay for when type is empty")
    maxPrice: MaxPrice | None = None
    capabilities: str | None = Field(None, description="base64 of the serialized net.Capabilities")
    capability: str | None = Field(None, description="a job's label, its event's `pipeline`: 128 printable characters at most")
    model_id: str | None = Field(None, description="the same for its event's `model_id`")


class LivePaymentReply(BaseModel):
    """The payment, ready to be the two headers, and the new state."""

    payment: str = Field(description="header Livepeer-Payment")
    segCreds: str = Field(description="header Livepeer-Segment")
    state: SealedState


class SignTicketRequest(Form):
    """One payment of a session."""

    signerState: str | None = Field(None, description="as the last reply had it; null, absent or empty starts a session")
    orchestratorInfo: str | OrchestratorInfo = Field(description="base64 of the serialized message, or its JSON form")
    manifestId: str | None = Field(None, description="the session's name at the orchestrator")
    type: Literal["live", "lv2v", "fixed", ""] = Field("", description="how units are counted")
    inPixels: int | None = Field(None, description="units to pay for when type is empty")
    app: str | None = None
    maxPrice: MaxPrice | None = None
    capabilities: str | dict[str, Any] | None = Field(None, description="base64 of net.Capabilities, or its JSON form")


class Ticket(BaseModel):
    """One signed ticket, as TicketBroker takes it."""

    recipient: str
    sender: str
    faceValue: str
    winProb: str
    senderNonce: int
    recipientRandHash: HexBytes
    creationRound: int
    creationRoundBlockHash: HexBytes
    hash: HexBytes
    sig: HexBytes


class SignTicketReply(BaseModel):
    """The payment, ready to be the two headers, the new state, and figures for people."""

    payment: str = Field(description="header Livepeer-Payment")
    segCreds: str = Field(description="header Livepeer-Segment")
    signerState: str
    tickets: list[Ticket]
    manifestId: str
    fee: Wei
    ticketEv: Wei
    totalEv: Wei
    balance: Wei
    units: str
    billedSeconds: float | None
    creditSeconds: float | None = Field(description="how long the paid credit lasts at this price")
    owedSeconds: float | None = Field(description="time that stays unpaid while the session catches up in parts")
    nextPaymentInSeconds: float | None = Field(description="when to call again: in a second while time is owed")


class QuoteTicketRequest(SignTicketRequest):
    """The payment that is asked about."""

    authorize: bool | None = Field(None, description="whether the authorization webhook is asked too")


class Refusal(BaseModel):
    """One rule that refuses, as the payment's error would say it. The compared values stand beside these."""

    model_config = ConfigDict(extra="allow")

    code: str = Field(description="the word of `error.code`")
    status: int = Field(description="the status that the payment would get for it")
    message: str
    hint: str | None = Field(None, description="what to change")
    retryAfterSeconds: int | None = Field(None, description="when it may have passed by itself")


class BudgetOfQuote(BaseModel):
    """A budget that holds for this payment, before it."""

    scope: Literal["auth_id", "app", "orchestrator", "sender", "global"]
    id: str
    window: Literal["total", "minute", "hour", "day"]
    measure: Literal["ev", "face_value"]
    limitWei: str
    spentWei: str
    leftWei: str


class Funds(BaseModel):
    """The sender's, as the chain was last read."""

    depositWei: str
    reserveWei: str


class AdviceFinding(BaseModel):
    """One thing that does not fit."""

    kind: Literal["refused", "lapses", "risky", "costly"]
    code: str
    message: str = Field(description="with both numbers")
    hint: str = Field(description="what to change")


class Advice(BaseModel):
    """What a session on an orchestrator's terms comes to; seconds are null where time does not count."""

    verdict: Literal["good", "costly", "risky", "lapses", "refused"] = Field(description="the worst of the findings")
    ticketSeconds: float | None = Field(description="how long one ticket lasts")
    firstTickets: int = Field(description="tickets of the first payment, or of one job")
    ticketsPerPayment: float | None = Field(description="at the payment interval")
    rightHeadroomSeconds: int | None = Field(description="what to buy ahead; 0 where nothing is needed")
    rightIntervalSeconds: float | None = Field(description="how often to pay at most; 0 where no interval is short enough")
    outageSeconds: float | None = Field(description="how much may be owed before payments no longer fit the limits")
    winnersCovered: int | None = Field(description="by the deposit; null for callers who are not identified")
    reserveShareWei: str | None = Field(description="one orchestrator's share of the reserve; likewise")
    signatureShare: float | None = Field(description="what a signature costs of its ticket's worth; null where signatures cost nothing")
    findings: list[AdviceFinding]


class QuoteReply(BaseModel):
    """What the payment would come to; what is not known is null."""

    wouldBePaid: bool
    isRepeated: bool = Field(description="this very request was paid: it would get that reply again, and nothing new is signed")
    webhook: Literal["none", "kept", "not asked", "granted", "refused"] = Field(description="what is known of the webhook's verdict")
    refusals: list[Refusal] = Field(description="everything that stands against the payment; the first is what it would be refused with")
    orchestrator: str | None
    recipient: str | None
    ticketEv: Wei | None
    faceValue: str | None
    price: str | None = Field(description="wei a unit, exact: `n` or `n/d`")
    unit: Literal["second", "pixel", "job"] | None
    ethPerHour: str | None = Field(description="27,648,000 pixels are a second; null for jobs")
    usdPerHour: str | None = Field(description="null without a price feed")
    ticketSeconds: float | None = Field(description="how long one ticket lasts at this price")
    tickets: int | None
    firstNonce: int | None
    totalEv: Wei | None
    faceValueAtRisk: str | None = Field(description="wei that are lost when every ticket wins")
    fee: Wei | None
    balance: Wei | None = Field(description="the session's credit after the payment")
    units: str | None
    billedSeconds: float | None
    creditSeconds: float | None
    owedSeconds: float | None
    nextPaymentInSeconds: float | None
    budgets: list[BudgetOfQuote] | None = Field(description="null for callers who are not identified, and without a ledger")
    funds: Funds | None = Field(description="null for callers who are not identified")
    advice: Advice | None = Field(description="on sessions with these terms; null for untyped work")


class GetOrchestratorInfoRequest(Form):
    """Without an orchestrator: only the signature that orchestrators ask for."""

    orchestrator: str | None = Field(None, description="https://host:port")
    capabilities: str | dict[str, Any] | None = None


class AddressAndSignature(BaseModel):
    """The signer's address and its signature over that address."""

    address: str
    signature: HexBytes


class OrchestratorInfoReply(AddressAndSignature):
    """The same, with the orchestrator's answer when one was asked."""

    orchestrator: str | None = Field(None, description="base64 of the serialized OrchestratorInfo")
    orchestratorInfo: AnsweredInfo | None = Field(None, description="its JSON form, as /signTicket takes it")


class UsageFigures(BaseModel):
    """What was paid: sums of the figures in the payments' billing events. Amounts and seconds are decimal strings, exact."""

    payments: int
    sessions: int = Field(description="whose first payment is among these")
    tickets: int
    total_ev_wei: str
    fee_wei: str
    seconds: str
    fee_usd: str | None = Field(description="at the price of each payment's moment; null where none had one")
    payments_without_usd: int = Field(description="payments that fee_usd leaves out")


class UsageLine(UsageFigures):
    """The same for a day, for an orchestrator, or for one of both."""

    day: str | None = Field(None, description="of UTC, YYYY-MM-DD")
    orchestrator: str | None = Field(None, description="the address that was paid")


class BudgetLeft(BaseModel):
    """A budget of the caller's auth id."""

    window: Literal["total", "minute", "hour", "day"]
    measure: Literal["ev", "face_value"]
    limit_wei: str
    spent_wei: str
    left_wei: str


class OpenSession(BaseModel):
    """A session that was paid for within the last five minutes."""

    session_id: str = Field(description="as in billing events")
    orchestrator: str
    app: str
    type: str
    started: str
    last_payment: str
    payments: int
    session_balance_wei: str = Field(description="credit at the orchestrator, rounded as in billing events")


class CallerUsage(BaseModel):
    """What a caller may know of itself."""

    auth_id: str
    first_day: str = Field(alias="from")
    last_day: str = Field(alias="to")
    group: list[str]
    total: UsageFigures
    rows: list[UsageLine]
    next_cursor: str | None
    budgets: list[BudgetLeft]
    open_sessions: list[OpenSession] = Field(description="at most 100, the last paid first")
    more_open_sessions: bool


class RunnerPrice(BaseModel):
    """A runner's price in wei per unit."""

    price: float = Field(description="exact in the text; wei per unit")
    currency: Literal["wei"]
    unit: Literal["seconds", "720p-pixel-seconds", "fixed"]
    price_usd: float | None = Field(None, description="the same in USD; left out without a price feed")


class Gpu(BaseModel):
    """A runner's GPU, as far as it says."""

    id: str | None = None
    name: str | None = None
    vram_mb: int | None = None


class Runner(BaseModel):
    """One runner behind an orchestrator."""

    url: str
    app: str
    version: str | None = None
    metadata: str | None = None
    mode: str | None = None
    capacity: int
    capacity_used: int
    capacity_available: int
    gpu: Gpu | None = None
    price_info: RunnerPrice


class DiscoveredOrchestrator(BaseModel):
    """One orchestrator, as go-livepeer lists it, with when it last answered."""

    address: str = Field(description="its service URL")
    score: int
    capabilities: list[str] = Field(description="pipeline/model, and the runners' apps")
    runners: list[Runner]
    last_seen: str = Field(description="time of its last good answer, RFC 3339, UTC")
    advice: dict[Literal["live", "lv2v"], Advice] | None = Field(None, description="by job type; only where the caller asks for it")
    stale: bool | None = Field(None, description="true while nobody has answered for longer than an answer is kept")


class ReadinessCheck(BaseModel):
    """One thing that must hold before payments can be signed."""

    name: str
    ok: bool
    reason: str
    degraded: bool = Field(False, description="needs an operator, and stops no payment: such as a sink that is away")


class Readiness(BaseModel):
    """Whether payments can be signed now."""

    ready: bool
    checks: list[ReadinessCheck]


class ByocJobRequest(BaseModel):
    """One BYOC job, whose fields the signature covers; other keys are ignored."""

    id: str
    capability: str
    request: str = ""
    parameters: str = ""
    timeout_seconds: int = Field(ge=1, le=2**32 - 1)


class ByocJobReply(BaseModel):
    """Credentials of one BYOC job."""

    sender: str
    signature: HexBytes
