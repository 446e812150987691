"""Which redeemed tickets this ledger has signed, and from which round on a ticket that it does not know is an alarm. Pure.

A ticket that TicketBroker has paid carries a signature of its sender's key. The ledger knows every ticket that its signers
made, and for which sender; one that it does not know was made by somebody else who has the key. That is said only where it must
be true: the ticket's creation round began after every signer of this ledger kept what it signed, and what is kept of the round is
not forgotten yet. A ledger that is new, was restored, was left alone for a while, or shared with a release that keeps none of it,
starts anew with the next round. Sources: sections 3 and 10 of the protocol, TicketBroker's events.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple, TypeAlias

from livepeer_remote_signer.core.protocol.eip191 import keccak256
from livepeer_remote_signer.core.protocol.ticket import TicketParams, ticket_hash
from livepeer_remote_signer.core.rules.signed import UNKNOWN_TERMS, digest_terms, find_run

SETTLE_MS = 120_000
"""Longer than a reading of the chain may be old: only then is it sure which round it was when something began."""

MAX_GAP_MS = 120_000
"""A ledger that nobody followed for longer may have been restored from a backup."""

UNSIGNED_SETTLE_MS = 1_200_000
"""Params live for 40 L1 blocks, eight minutes: so long after the last fresh ones a release that keeps nothing may go on signing."""

AUX_BYTES = 64
KEPT_CHECKPOINTS = 24

Verdict: TypeAlias = Literal["ours", "foreign", "suspected", "unjudged"]
"""`suspected`: not signed here, by the word of one endpoint where there are two."""


class RedeemedTicket(NamedTuple):
    """A ticket as TicketBroker's `WinningTicketRedeemed` names it. Amounts in wei, `sender` is whose events were asked for."""

    sender: bytes
    recipient: bytes
    face_value: int
    win_prob: int
    sender_nonce: int
    recipient_rand: int
    aux_data: bytes

    @property
    def rand_hash(self) -> bytes:
        """What stood in the ticket params that it was signed for."""
        return keccak256(self.recipient_rand.to_bytes(32, "big"))

    @property
    def hash(self) -> bytes:
        """TicketBroker's `getTicketHash`: a ticket is paid once."""
        params = TicketParams(self.recipient, self.face_value, self.win_prob, self.rand_hash, b"", 0, 0, b"")
        return ticket_hash(params, self.sender, self.sender_nonce, self.aux_data)

    @property
    def creation_round(self) -> int:
        """0 for what no ticket of ours can be."""
        return int.from_bytes(self.aux_data[:32], "big") if len(self.aux_data) == AUX_BYTES else 0


class KnownParams(NamedTuple):
    """What a ledger keeps of ticket params; `signed` None: a release wrote it that keeps no more than the newest nonce."""

    last_nonce: int
    signed: bytes | None


class Judged(NamedTuple):
    """A verdict, and the payer's digest where the ticket is ours."""

    verdict: Verdict
    payer: bytes = b""


class Watch(NamedTuple):
    """Since when tickets are judged. Times in unix milliseconds; `ledger` is what tells this database from a copy of it."""

    first_round: int
    settles_ms: int
    seen_ms: int
    unsigned_ms: int
    ledger: str

    @property
    def is_settled(self) -> bool:
        """Whether `first_round` is final."""
        return self.seen_ms >= self.settles_ms


def keep_watch(watch: Watch | None, *, now_ms: int, round_: int | None, ledger: str, unsigned_ms: int) -> Watch:
    """The watch as it stands now, to be kept at each look. `round_` is the chain's, None while it is not known; `unsigned_ms` when
    params were last used first by a release that keeps nothing, 0: never."""
    is_new = watch is None or watch.ledger != ledger or not -MAX_GAP_MS <= now_ms - watch.seen_ms <= MAX_GAP_MS
    first_round, settles_ms = (0, now_ms + SETTLE_MS) if watch is None or is_new else (watch.first_round, watch.settles_ms)
    if watch is None or is_new or unsigned_ms > watch.unsigned_ms:
        settles_ms = max(settles_ms, min(unsigned_ms, now_ms) + UNSIGNED_SETTLE_MS if unsigned_ms else 0)
    if now_ms < settles_ms:
        first_round = max(first_round, round_ + 1) if round_ is not None else first_round
        settles_ms = max(settles_ms, now_ms + SETTLE_MS) if round_ is None else settles_ms
    return Watch(first_round, settles_ms, now_ms, max(unsigned_ms, watch.unsigned_ms if watch is not None else 0), ledger)


def judge_redeemed(ticket: RedeemedTicket, known: KnownParams | None, watch: Watch, *, round_: int, validity_rounds: int) -> Judged:
    """Whether the ledger has signed a ticket. `validity_rounds` is TicketBroker's ticketValidityPeriod."""
    if known is not None and known.signed is None:
        return Judged("unjudged")
    if known is not None and known.signed is not None:
        rest = (ticket.recipient, ticket.face_value, ticket.win_prob, ticket.rand_hash, ticket.aux_data)
        run = find_run(known.signed, digest_terms(ticket.sender, *rest), ticket.sender_nonce)
        if run is None:  # as was noted before there were several senders
            run = find_run(known.signed, digest_terms(b"", *rest), ticket.sender_nonce)
        if run is not None:
            return Judged("unjudged") if run.terms == UNKNOWN_TERMS else Judged("ours", run.payer)
    is_watched = watch.is_settled and watch.first_round <= ticket.creation_round
    return Judged("foreign" if is_watched and round_ - ticket.creation_round <= validity_rounds else "unjudged")


class Checkpoint(NamedTuple):
    """A block up to which the chain was followed."""

    number: int
    hash: str


class Followed(NamedTuple):
    """How far the chain was followed: the newest block last, older ones with ever larger gaps."""

    watch: Watch
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def cursor(self) -> Checkpoint | None:
        """The newest block that was looked at."""
        return self.checkpoints[-1] if self.checkpoints else None

    def up_to(self, block: Checkpoint) -> Followed:
        """Followed up to this block. Of many checkpoints every other old one goes."""
        kept = [c for c in self.checkpoints if c.number < block.number]
        if len(kept) >= KEPT_CHECKPOINTS:
            del kept[1 : KEPT_CHECKPOINTS * 2 // 3 : 2]
        return self._replace(checkpoints=(*kept, block))

    def back_to(self, number: int) -> Followed:
        """The same without what was followed after a block."""
        return self._replace(checkpoints=tuple(c for c in self.checkpoints if c.number <= number))


def encode_followed(followed: Followed) -> str:
    """As it is kept in the ledger."""
    return json.dumps({"watch": list(followed.watch), "checkpoints": [list(c) for c in followed.checkpoints]}, separators=(",", ":"))


def parse_followed(text: str) -> Followed:
    """The reverse of `encode_followed`."""
    document: Any = json.loads(text)
    return Followed(Watch(*document["watch"]), tuple(Checkpoint(*one) for one in document["checkpoints"]))
