"""Follows the chain's redeemed tickets of the senders, and finds each in the ledger.

One of all processes that share the ledger follows: the one that holds the lease. A poll goes on from the block that the
ledger has noted, a few steps at most, so that it never takes more than its own share of an endpoint's quota. The hash of that
block is looked at first: where it is another one, the chain was reorganized, and what was found after the newest block that
is still there is taken back and looked for again. A ticket is kept by its hash, so none counts twice. The last few blocks are
looked at again with each poll: behind one URL there may be nodes of which one is a moment late.

Of several senders each is watched for itself: since when its tickets are judged, and how far it was followed. Those that were
followed equally far, which are all but a new one, go on together: a look at the chain takes as many questions as for one.

Everything here runs beside payments; a fault is logged once and tried again with the next poll.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from livepeer_remote_signer.adapters.chain.abi import AnswerFault, Call, call_data, read_word
from livepeer_remote_signer.adapters.chain.endpoints import Endpoint
from livepeer_remote_signer.adapters.chain.json_rpc import RpcFault
from livepeer_remote_signer.adapters.chain.logs import LogReads, Redemption
from livepeer_remote_signer.adapters.chain.reading import ChainUnavailable, ContractReader, without_figures
from livepeer_remote_signer.adapters.drawn.alarm import Teller
from livepeer_remote_signer.adapters.ledger.redeemed import RedeemedChange, RedeemedRow, RedeemedStore
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.funding import SECONDS_PER_L1_BLOCK
from livepeer_remote_signer.core.rules.redeemed import (
    Checkpoint,
    Followed,
    encode_followed,
    judge_redeemed,
    keep_watch,
    parse_followed,
)
from livepeer_remote_signer.core.rules.signed import REDEEMABLE_SECONDS, terms_class

MAX_LOOKUPS = 30
"""In one poll. At ten blocks a look-up and 15 s a poll that is five times as fast as Arbitrum One makes blocks."""

OVERLAP_BLOCKS = 8
MOST_SENDERS = 100
"""In one question."""

LEASE = "drawn"
LEASE_MS = 60_000
MAX_SUSPECTED = 20
"""Asked for again in a poll."""

MAX_STRANGE = 5000
"""No endpoint can fill the ledger with what it makes up."""

_MAX_WHOLE = (1 << 63) - 1

log = logging.getLogger(__name__)


class FollowerRules(NamedTuple):
    """What the operator configured."""

    poll_seconds: float
    other_signers: bool
    suspends: bool


class FollowedStatus(NamedTuple):
    """What is shown: of the whole ledger, whoever follows. `blocks` are those not looked at yet, as this process last saw it;
    `judged_from_round` is None while it is not settled yet, or where nobody judges."""

    counts: Mapping[str, int]
    judged_from_round: int | None
    block: int | None
    behind_blocks: int | None
    fault: str


_Party: TypeAlias = dict[bytes, Followed]
"""Senders that were followed equally far, each with its own watch."""


class Follower:
    """A part of the application: started and stopped with it."""

    def __init__(
        self,
        *,
        senders: Sequence[bytes],
        logs: LogReads,
        contracts: ContractReader,
        view: Callable[[], ChainView],
        store: RedeemedStore,
        rules: FollowerRules,
        teller: Teller,
        suspend: Callable[[], Awaitable[None]],
        keep_params: Callable[[int], None],
        holder: str,
        clock_ns: Callable[[], int],
    ) -> None:
        """`suspend` sets the kill switch for all; `keep_params` is told for how many seconds tickets can be redeemed."""
        self._names = {sender: "0x" + sender.hex() for sender in senders}
        self._logs = logs
        self._contracts = contracts
        self._view = view
        self._store = store
        self._rules = rules
        self._teller = teller
        self._suspend = suspend
        self._keep_params = keep_params
        self._holder = holder
        self._clock_ns = clock_ns
        self._validity_rounds: int | None = None
        self._counts: dict[bytes, Mapping[str, int]] = {}
        self._followed: _Party = {}
        self._behind: dict[bytes, int] = {}
        self._strange = 0
        self._warned: set[bytes] = set()
        self._task: asyncio.Task[None] | None = None
        self.fault = ""
        """Why the last poll did not come to its end; "" when it did."""

    async def start(self) -> None:
        """Begins to follow."""
        self._task = asyncio.create_task(self._keep_polling(), name="drawn")

    async def stop(self) -> None:
        """Ends after the statement in work; another process may follow at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            try:
                await self._store.give_lease(LEASE, self._holder)
            except LedgerUnavailable as error:
                log.info("the lease of the chain's follower ends by itself: %s", error.message)

    def status(self, sender: bytes | None = None) -> FollowedStatus:
        """From memory; None: of all senders together, judged and followed as far as each of them."""
        senders = list(self._names) if sender is None else [sender]
        followed = [self._followed.get(one) for one in senders]
        judged = [one.watch.first_round if one is not None and one.watch.is_settled else None for one in followed]
        blocks = [one.cursor.number if one is not None and one.cursor is not None else None for one in followed]
        counts: Counter[str] = Counter()
        for one in senders:
            counts.update(self._counts.get(one, {}))
        return FollowedStatus(
            counts,
            None if self._rules.other_signers else _of_each(judged, max),
            _of_each(blocks, min),
            max((self._behind[one] for one in senders if one in self._behind), default=None),
            self.fault,
        )

    async def _keep_polling(self) -> None:
        while True:
            try:
                await self.poll()
                self._note("")
            except (LedgerUnavailable, RpcFault, AnswerFault, ChainUnavailable) as error:
                self._note(str(error))
            except Exception as error:
                self._note(f"a fault of ours ({type(error).__name__})")
                log.exception("the chain's follower goes on after a fault of ours")
            await asyncio.sleep(self._rules.poll_seconds)

    def _note(self, fault: str) -> None:
        if fault and without_figures(fault) != without_figures(self.fault):
            log.warning("redeemed tickets are not followed: %s", fault)
        self.fault = fault

    async def poll(self) -> None:
        """One look. Raises LedgerUnavailable, RpcFault, AnswerFault or ChainUnavailable."""
        view = self._view()
        round_ = view.last_initialized_round if view.stale is None else None
        followed: _Party = {}
        self._behind = {}
        if await self._store.take_lease(LEASE, self._holder, max(LEASE_MS, int(3000 * self._rules.poll_seconds))):
            followed = await self._keep_watch(round_)  # whatever the chain says: that somebody looks must not be missed
        if self._validity_rounds is None and self._contracts.contracts is not None:
            self._validity_rounds = await self._read_validity()
        if round_ is not None and self._validity_rounds is not None:
            parties = _parties(followed)
            for party in parties:
                await self._follow(party, round_, max(1, MAX_LOOKUPS // len(parties)))
        self._followed = await self._load(self._names)
        self._counts = {sender: await self._store.count_redeemed(sender) for sender in self._names}
        self._strange = sum(counts.get("suspected", 0) + counts.get("foreign", 0) for counts in self._counts.values())

    async def _load(self, senders: Iterable[bytes]) -> _Party:
        """How far the chain was followed, of those that were."""
        kept = [(sender, await self._store.followed(self._names[sender])) for sender in senders]
        return {sender: parse_followed(text) for sender, text in kept if text is not None}

    async def _read_validity(self) -> int:
        """TicketBroker's ticketValidityPeriod, in rounds; tells for how long what is signed must be kept."""
        known = self._contracts.contracts
        assert known is not None  # noqa: S101 - the caller has asked
        broker, rounds, _ = known
        answers = await self._contracts.read_contracts(
            [Call(broker, call_data("ticketValidityPeriod()")), Call(rounds, call_data("roundLength()"))]
        )
        validity = read_word(answers[0], "TicketBroker.ticketValidityPeriod")
        length = read_word(answers[1], "RoundsManager.roundLength")
        self._keep_params(max(REDEEMABLE_SECONDS, (validity + 1) * length * SECONDS_PER_L1_BLOCK))
        return validity

    async def _keep_watch(self, round_: int | None) -> _Party:
        """How far the chain was followed, and since when tickets are judged, as it is kept now."""
        before = await self._load(self._names)
        now_ms, ledger, unsigned_ms = self._clock_ns() // NS_PER_MS, await self._store.identity(), await self._store.unsigned_ms()
        followed = {}
        for sender in self._names:
            was = before.get(sender)
            watch, checkpoints = (was.watch, was.checkpoints) if was is not None else (None, ())
            watch = keep_watch(watch, now_ms=now_ms, round_=round_, ledger=ledger, unsigned_ms=unsigned_ms)
            followed[sender] = Followed(watch, checkpoints)
        await self._keep(followed)
        return followed

    async def _follow(self, party: _Party, round_: int, most: int) -> None:
        """Goes along the chain with the first endpoint that lets it."""
        faults = []
        for endpoint in self._logs.order():
            try:
                await self._walk(endpoint, party, round_, most)
            except RpcFault as fault:
                faults.append(f"{endpoint.rpc.name}: {fault}")
                party = party | await self._load(party)
            else:
                return
        raise RpcFault("; ".join(faults) or "no endpoint can be asked now")

    async def _keep(self, party: _Party) -> None:
        await self._store.change_redeemed(RedeemedChange(self._written(party)))

    def _written(self, party: _Party) -> dict[str, str]:
        return {self._names[sender]: encode_followed(followed) for sender, followed in party.items()}

    async def _walk(self, endpoint: Endpoint, party: _Party, round_: int, most: int) -> None:
        """Up to the endpoint's newest block, or `most` steps."""
        cursor = next(iter(party.values())).cursor
        if cursor is None:
            (newest,) = await self._logs.blocks(endpoint, [None])
            if newest is None:
                raise RpcFault("it names no newest block")
            await self._keep(_up_to(party, newest))
            return
        newest, standing = await self._logs.blocks(endpoint, [None, cursor.number])
        if newest is None:
            raise RpcFault("it names no newest block")
        if standing is None and newest.number < cursor.number:
            self._behind.update(dict.fromkeys(party, 0))  # it is late, or its chain is shorter now: the next blocks tell which
            return
        gone_from, first = None, max(0, cursor.number + 1 - OVERLAP_BLOCKS)
        if standing != cursor:
            party, first = await self._rewind(endpoint, party)
            gone_from = first
        await self._confirm_suspected(endpoint, party)
        for _ in range(most):
            step = await self._logs.step(endpoint, list(party), first, newest.number) if first <= newest.number else None
            if step is not None:
                party = _up_to(party, step.end)
                await self._record(endpoint, party, step.redemptions, round_, gone_from)
                first, gone_from = step.end.number + 1, None
            behind = max(0, newest.number + 1 - first)
            self._behind.update(dict.fromkeys(party, behind))
            if not behind:
                return

    async def _rewind(self, endpoint: Endpoint, party: _Party) -> tuple[_Party, int]:
        """Back to the newest block that is still on the chain, and the block from which on all is looked for again."""
        known = sorted({checkpoint for followed in party.values() for checkpoint in followed.checkpoints}, reverse=True)
        was = known[0].number
        for checkpoint in known[1:]:
            (standing,) = await self._logs.blocks(endpoint, [checkpoint.number])
            if standing == checkpoint:
                log.warning("the chain was reorganized: blocks after %d, up to %d, are looked at again", checkpoint.number, was)
                return _back_to(party, checkpoint.number), checkpoint.number + 1
        oldest = known[-1].number
        log.warning("the chain was reorganized: all blocks from %d, up to %d, are looked at again", oldest, was)
        return _back_to(party, -1), oldest

    async def _record(
        self, endpoint: Endpoint, party: _Party, redemptions: Sequence[Redemption], round_: int, gone_from: int | None
    ) -> None:
        """Judges what a step has found, tells what must be told, and keeps it together with how far the chain was followed."""
        known = await self._store.redeemed([redemption.ticket.hash for redemption in redemptions]) if redemptions else {}
        params = await self._store.known_params([redemption.ticket.rand_hash for redemption in redemptions]) if redemptions else {}
        rows, events = [], []
        for redemption in redemptions:
            ticket, before = redemption.ticket, known.get(redemption.ticket.hash)
            if before is not None:  # its verdict stands: what it was judged by may be forgotten
                rows.append(_placed(before, redemption))
                continue
            assert self._validity_rounds is not None  # noqa: S101 - nothing is walked before
            watch = party[ticket.sender].watch
            judged = judge_redeemed(ticket, params.get(ticket.rand_hash), watch, round_=round_, validity_rounds=self._validity_rounds)
            row = self._row(redemption)._replace(verdict=judged.verdict, payer=judged.payer)
            if row.verdict == "foreign":
                row = await self._judge_foreign(endpoint, redemption, row)
            if row.verdict == "foreign" and self._teller.sends_events:
                events.append((row.found_ms, self._teller.event(row)))
            rows.append(row)
        await self._store.change_redeemed(RedeemedChange(self._written(party), rows, gone_from, list(party), events))

    async def _judge_foreign(self, endpoint: Endpoint, redemption: Redemption, row: RedeemedRow) -> RedeemedRow:
        """Where there are two endpoints it takes both. The switch is set before anything is recorded: a crash between sets it again."""
        if self._rules.other_signers:
            return row._replace(verdict="unjudged")
        self._strange += 1
        if self._strange > MAX_STRANGE:
            raise RpcFault(f"it names more than {MAX_STRANGE} redeemed tickets that were not signed here")
        said = await self._logs.confirms(redemption, endpoint) if self._logs.count > 1 else None
        if self._logs.count > 1 and not said:
            if row.ticket not in self._warned:
                self._warned.add(row.ticket)
                self._teller.warn_suspected(row, said)
            return row._replace(verdict="suspected")
        self._teller.alarm(row)
        if said and self._rules.suspends:
            await self._suspend()
            log.error("all payments are suspended (drawn.on_foreign_ticket: suspend); the resume command ends it")
        return row._replace(verdict="foreign")

    async def _confirm_suspected(self, endpoint: Endpoint, senders: Iterable[bytes]) -> None:
        """Asks again for those that one endpoint alone has named."""
        for row in [row for sender in senders for row in await self._store.with_verdict(sender, "suspected", MAX_SUSPECTED)]:
            step = await self._logs.step(endpoint, [row.sender], row.block, row.block)
            for redemption in step.redemptions if step is not None else ():
                if redemption.ticket.hash != row.ticket:
                    continue
                now = await self._judge_foreign(endpoint, redemption, row._replace(verdict="foreign"))
                if now.verdict == "foreign":
                    events = [(now.found_ms, self._teller.event(now))] if self._teller.sends_events else []
                    await self._store.change_redeemed(RedeemedChange({}, [now], events=events))

    def _row(self, redemption: Redemption) -> RedeemedRow:
        """A row as far as it does not depend on what the ledger knows. Figures of a stranger's ticket may be of any size."""
        ticket = redemption.ticket
        return RedeemedRow(
            ticket=ticket.hash,
            sender=ticket.sender,
            recipient=ticket.recipient,
            round=min(ticket.creation_round, _MAX_WHOLE),
            terms=terms_class(ticket.face_value, ticket.win_prob),
            nonce=min(ticket.sender_nonce, _MAX_WHOLE),
            rand_hash=ticket.rand_hash,
            face_value_wei=ticket.face_value,
            win_prob=ticket.win_prob,
            payer=b"",
            verdict="unjudged",
            found_ms=self._clock_ns() // NS_PER_MS,
            block=redemption.block,
            block_hash=redemption.block_hash,
            transaction=redemption.transaction,
            log_index=redemption.log_index,
            paid_wei=redemption.paid_wei,
        )


def _placed(row: RedeemedRow, redemption: Redemption) -> RedeemedRow:
    """A ticket that was known before, where it stands now."""
    return row._replace(
        block=redemption.block,
        block_hash=redemption.block_hash,
        transaction=redemption.transaction,
        log_index=redemption.log_index,
        paid_wei=redemption.paid_wei,
    )


def _parties(followed: _Party) -> list[_Party]:
    """Those that go on together."""
    parties: dict[tuple[Checkpoint | None, int], _Party] = {}
    for place, (sender, one) in enumerate(followed.items()):
        parties.setdefault((one.cursor, place // MOST_SENDERS), {})[sender] = one
    return list(parties.values())


def _up_to(party: _Party, block: Checkpoint) -> _Party:
    return {sender: followed.up_to(block) for sender, followed in party.items()}


def _back_to(party: _Party, number: int) -> _Party:
    return {sender: followed.back_to(number) for sender, followed in party.items()}


def _of_each(found: Sequence[int | None], choose: Callable[[Iterable[int]], int]) -> int | None:
    known = [one for one in found if one is not None]
    return choose(known) if known and len(known) == len(found) else None
