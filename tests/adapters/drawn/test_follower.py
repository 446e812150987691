"""The follower finds each redeemed ticket once, whatever endpoints and chain do, and calls foreign what two of them say."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from livepeer_remote_signer.adapters.chain.endpoints import Pace
from livepeer_remote_signer.adapters.chain.json_rpc import RpcFault
from livepeer_remote_signer.adapters.chain.logs import REDEEMED, TRANSFER, parse_redemptions
from livepeer_remote_signer.adapters.chain.reading import ChainQuestion
from livepeer_remote_signer.adapters.chain.rpc import RpcChain
from livepeer_remote_signer.adapters.drawn.alarm import Teller
from livepeer_remote_signer.adapters.drawn.follower import MAX_STRANGE, Follower, FollowerRules
from livepeer_remote_signer.core.protocol.eip191 import keccak256
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.events import event_id, event_session, event_type
from livepeer_remote_signer.core.rules.redeemed import RedeemedTicket
from tests.fake_chain import CHAIN_ID, CONTRACTS, CONTROLLER, FakeChain
from tests.ledgers import OpenLedger, Session, opened
from tests.plans import CHAIN, PAYER
from tests.rpc_node import RpcNode

Place = Path | str
SENDER = PAYER
PACE = Pace(poll=60, timeout=5, max_age=600, max_head_age=None)
ROUND = CHAIN.last_initialized_round


def word(value: int) -> str:
    return value.to_bytes(32, "big").hex()


def topic_of(address: bytes) -> str:
    return "0x" + address.hex().rjust(64, "0")


class PayingChain(FakeChain):
    """A chain with redeemed tickets: `logs` by block. `most_blocks` is what it takes at once; `hides` its events."""

    def __init__(self) -> None:
        super().__init__(number=1000, round=ROUND)
        self.logs: dict[int, list[dict[str, Any]]] = {}
        self.most_blocks = 10_000
        self.fork: dict[int, str] = {}
        self.hides = False
        self.asked: list[tuple[int, int]] = []
        self.senders: list[str | list[str]] = []

    def redeem(self, ticket: RedeemedTicket, *, paid: int | None = None) -> None:
        """In a block of its own."""
        self.number += 1
        aux = ticket.aux_data.hex().ljust(-(-len(ticket.aux_data) // 32) * 64, "0")
        numbers = (ticket.face_value, ticket.win_prob, ticket.sender_nonce, ticket.recipient_rand, 160, len(ticket.aux_data))
        topics = [topic_of(ticket.sender), "0x" + ticket.recipient.hex().rjust(64, "0")]
        common = {"address": "0x" + CONTRACTS.ticket_broker.hex(), "blockNumber": hex(self.number), "removed": False}
        common |= {"blockHash": self.hash_of(self.number), "transactionHash": "0x" + keccak256(ticket.hash).hex()}
        paid_wei = ticket.face_value if paid is None else paid
        transfer = {**common, "topics": ["0x" + TRANSFER.hex(), *topics], "data": "0x" + word(paid_wei), "logIndex": "0x0"}
        redeemed = {**common, "topics": ["0x" + REDEEMED.hex(), *topics], "data": "0x" + "".join(map(word, numbers)) + aux}
        self.logs[self.number] = [*([transfer] if paid_wei else []), {**redeemed, "logIndex": "0x1"}]

    def hash_of(self, number: int) -> str:
        return self.fork.get(number, "0x" + keccak256(number.to_bytes(32, "big")).hex())

    def reorganize(self, depth: int) -> None:
        """The newest blocks become others, without events."""
        for number in range(self.number - depth + 1, self.number + 1):
            self.fork[number] = "0x" + keccak256(b"fork" + number.to_bytes(32, "big")).hex()
            self.logs.pop(number, None)

    def _answer(self, method: str, params: list[Any]) -> dict[str, Any]:
        if method == "eth_getBlockByNumber" and params[0] != "latest":
            number = int(params[0], 16)
            return {"result": {"number": hex(number), "hash": self.hash_of(number)} if number <= self.number else None}
        if method == "eth_getLogs":
            first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
            if last - first >= self.most_blocks:
                return {"error": {"code": -32005, "message": "too many blocks"}}
            self.asked.append((first, last))
            senders = params[0]["topics"][1]
            self.senders.append(senders)
            found = [log for number in range(first, last + 1) for log in self.logs.get(number, ()) if log["topics"][1] in senders]
            return {"result": [] if self.hides else found}
        answer = super()._answer(method, params)
        if method == "eth_getBlockByNumber":
            answer["result"]["hash"] = self.hash_of(self.number)
        return answer

    def _contract_call(self, target: bytes, data: bytes) -> bytes | None:
        validity = keccak256(b"ticketValidityPeriod()")[:4]
        return bytes.fromhex(word(2)) if data[:4] == validity else super()._contract_call(target, data)


class Rig:
    """A ledger, a chain behind one or two endpoints, and followers of it."""

    def __init__(self, ledger: OpenLedger, chain: RpcChain, chains: list[PayingChain]) -> None:
        self.ledger = ledger
        self.rpc = chain
        self.chains = chains
        self.suspended = 0
        self.senders = [SENDER]
        self.keys: dict[bytes, str] = {}

    def follower(self, *, other_signers: bool = False, suspends: bool = False, holder: str = "one") -> Follower:
        async def suspend() -> None:
            self.suspended += 1

        return Follower(
            senders=self.senders,
            logs=self.rpc.logs,
            contracts=self.rpc,
            view=self.rpc.view,
            store=self.ledger.store,  # type: ignore[arg-type] # both stores are made of it
            rules=FollowerRules(0.1, other_signers, suspends),
            teller=Teller("test", sends_events=True, keys=self.keys),
            suspend=suspend,
            keep_params=self.ledger.engine.keep_params,
            holder=holder,
            clock_ns=lambda: self.ledger.now_ns,
        )

    async def settled(self, follower: Follower) -> Follower:
        """When it has looked for so long that tickets of the round `ROUND` are judged."""
        for chain in self.chains:
            chain.round = ROUND - 1
        await self.poll_chain()
        for _ in range(3):
            await follower.poll()
            self.ledger.now_ns += 60 * NS_PER_SECOND
        await follower.poll()
        for chain in self.chains:
            chain.round = ROUND
        await self.poll_chain()
        return follower

    async def poll_chain(self) -> None:
        await self.rpc.poll()
        await self.rpc.look_around()

    def verdicts(self) -> list[tuple[str, int]]:
        return self.ledger.sql("SELECT verdict, count(*) FROM lrs_redeemed WHERE is_gone = 0 GROUP BY verdict ORDER BY verdict")  # type: ignore[return-value]

    async def signed(self, tickets: int = 1, sender: bytes = SENDER) -> list[RedeemedTicket]:
        """Tickets that the ledger has signed."""
        rand = int.from_bytes(keccak256(str(self.ledger.now_ns).encode()), "big")
        self.ledger.now_ns += NS_PER_SECOND
        payment = Session(rand_hash=keccak256(rand.to_bytes(32, "big")), started_ns=self.ledger.now_ns).next(tickets=tickets)
        payment.plan = replace(payment.plan, sender=sender)
        await self.ledger.pay(payment)
        plan = payment.made[-1]
        params = plan.session.info.ticket_params
        return [
            RedeemedTicket(sender, params.recipient, params.face_value, params.win_prob, nonce, rand, plan.aux_data)
            for _, nonce in payment.nonces
        ]


@asynccontextmanager
async def rigged(place: Place, endpoints: int = 1) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        (ledger,) = await stack.enter_async_context(opened(place))
        chains = [PayingChain() for _ in range(endpoints)]
        nodes = [await stack.enter_async_context(RpcNode(chain.answer)) for chain in chains]
        rpc = RpcChain([node.url for node in nodes], ChainQuestion(CHAIN_ID, CONTROLLER, SENDER), PACE)
        stack.push_async_callback(rpc.stop)
        rig = Rig(ledger, rpc, chains)
        await rig.poll_chain()
        yield rig


async def test_each_redeemed_ticket_is_found_once_with_what_was_paid_for_it(place: Place) -> None:
    async with rigged(place) as rig:
        follower = await rig.settled(rig.follower())
        (chain,) = rig.chains
        first, second = await rig.signed(2)
        chain.redeem(first)
        chain.redeem(second, paid=0)
        for _ in range(3):
            await follower.poll()
        assert rig.verdicts() == [("ours", 2)]
        assert rig.ledger.sql("SELECT paid_wei FROM lrs_redeemed ORDER BY block") == [(str(first.face_value),), ("0",)]
        assert follower.status().counts == {"ours": 2}
        assert (follower.status().judged_from_round, follower.status().behind_blocks) == (ROUND, 0)
        assert rig.ledger.engine.params_kept_seconds >= 3 * 5760 * 12


async def test_an_endpoint_that_takes_one_block_or_three_is_followed_to_the_end(place: Place) -> None:
    for most in (1, 3):
        async with rigged(place) as rig:
            follower = await rig.settled(rig.follower())
            (chain,) = rig.chains
            chain.most_blocks = most
            (ticket,) = await rig.signed()
            chain.redeem(ticket)
            chain.number += 40
            for _ in range(4):
                await follower.poll()
            assert rig.verdicts()[0][0] == "ours"
            assert follower.status().behind_blocks == 0
            assert max(last - first for first, last in chain.asked[-20:]) < most


async def test_a_reorganized_chain_takes_tickets_back_and_finds_them_again_without_another_alarm(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with rigged(place) as rig:
        follower = await rig.settled(rig.follower())
        (chain,) = rig.chains
        ours, *_ = await rig.signed(2)
        stolen = ours._replace(sender_nonce=2**255)
        chain.redeem(ours)
        await follower.poll()
        chain.redeem(stolen)
        await follower.poll()
        assert rig.verdicts() == [("foreign", 1), ("ours", 1)]
        chain.reorganize(2)
        await follower.poll()
        assert rig.verdicts() == []
        chain.redeem(stolen)
        await rig.follower().poll()  # as after a restart
        assert rig.verdicts() == [("foreign", 1)]
        assert caplog.text.count("SOMEBODY ELSE SIGNS") == 1
        events = rig.ledger.sql("SELECT payload FROM lrs_outbox")
        assert [event_type(bytes(payload)) for (payload,) in events] == [b"foreign_ticket_redeemed"]
        data = json.loads(bytes(events[0][0]))
        assert data["data"]["ticket_hash"] == "0x" + stolen.hash.hex()
        assert event_id(bytes(events[0][0])) == data["id"]
        assert event_session(bytes(events[0][0])).decode() == data["data"]["session_id"] != ""


async def test_one_of_two_endpoints_alone_is_no_alarm_until_the_other_one_says_so_too(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with rigged(place, 2) as rig:
        follower = await rig.settled(rig.follower(suspends=True))
        (stolen,) = await rig.signed()
        stolen = stolen._replace(face_value=9 * 10**15)
        for chain in rig.chains:
            chain.redeem(stolen)
            chain.hides = chain is rig.chains[0]
        for _ in range(3):
            await follower.poll()
        assert rig.verdicts() == [("suspected", 1)]
        assert (rig.suspended, caplog.text.count("is no alarm yet")) == (0, 1)
        rig.chains[0].hides = False
        await follower.poll()
        assert rig.verdicts() == [("foreign", 1)]
        await follower.poll()
        assert (rig.suspended, caplog.text.count("SOMEBODY ELSE SIGNS")) == (1, 1)


async def test_the_only_endpoints_word_is_an_alarm_and_suspends_nobody(place: Place) -> None:
    async with rigged(place) as rig:
        follower = await rig.settled(rig.follower(suspends=True))
        (ticket,) = await rig.signed()
        rig.chains[0].redeem(ticket._replace(recipient=b"\x07" * 20))
        await follower.poll()
        assert rig.verdicts() == [("foreign", 1)]
        assert rig.suspended == 0


@pytest.mark.parametrize("case", ["other signers", "an old round", "a new ledger", "the release before", "left alone"])
async def test_where_it_cannot_be_told_nothing_is_called_foreign(place: Place, case: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with rigged(place) as rig:
        follower = rig.follower(other_signers=case == "other signers")
        if case == "a new ledger":
            await follower.poll()
        else:
            await rig.settled(follower)
        (ticket,) = await rig.signed()
        stolen = ticket._replace(sender_nonce=7)
        if case == "an old round":
            stolen = stolen._replace(aux_data=(ROUND - 1).to_bytes(32, "big") + bytes(32))
        if case == "the release before":
            rig.ledger.sql(f"UPDATE lrs_nonces SET signed = NULL, used_ms = {rig.ledger.now_ns // 10**6}")
            stolen = stolen._replace(recipient_rand=5)
        if case == "left alone":
            rig.ledger.now_ns += 3600 * NS_PER_SECOND
        rig.chains[0].redeem(stolen)
        await follower.poll()
        assert rig.verdicts() == [("unjudged", 1)]
        assert caplog.text == ""


async def test_one_process_follows_and_every_one_shows_what_was_found(place: Place) -> None:
    async with rigged(place) as rig:
        leads = await rig.settled(rig.follower())
        other = rig.follower(holder="two")
        (ticket,) = await rig.signed()
        rig.chains[0].redeem(ticket)
        await other.poll()
        assert rig.verdicts() == []
        await leads.poll()
        await other.poll()
        assert other.status().counts == {"ours": 1}
        assert (leads.status().behind_blocks, other.status().behind_blocks) == (0, None)
        await leads.stop()
        await rig.ledger.store.give_lease("drawn", "one")
        (ticket,) = await rig.signed()
        rig.chains[0].redeem(ticket)
        await other.poll()
        assert other.status().counts == {"ours": 2}


async def test_an_endpoint_that_makes_tickets_up_does_not_fill_the_ledger(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with rigged(place) as rig:
        follower = await rig.settled(rig.follower())
        (ticket,) = await rig.signed()
        rig.chains[0].redeem(ticket._replace(sender_nonce=8))
        follower._strange = MAX_STRANGE
        with pytest.raises(RpcFault, match="more than 5000"):
            await follower.poll()
        assert rig.verdicts() == []
        assert caplog.text == ""


@pytest.mark.parametrize(
    "change",
    [
        {"address": "0x" + "11" * 20},
        {"blockNumber": "0x1"},
        {"topics": []},
        {"data": "0x"},
        {"data": "0x" + "ff" * 192},
        {"blockHash": "0x12"},
        {"logIndex": None},
    ],
)
def test_an_event_of_another_form_is_a_fault_of_the_endpoint(change: dict[str, Any]) -> None:
    chain = PayingChain()
    chain.redeem(RedeemedTicket(SENDER, b"\1" * 20, 5, 6, 7, 8, bytes(64)))
    (_, log) = chain.logs[1001]
    assert len(parse_redemptions([log], CONTRACTS.ticket_broker, [SENDER], 1001, 1001)) == 1
    assert parse_redemptions([{**log, "removed": True}], CONTRACTS.ticket_broker, [SENDER], 1001, 1001) == []
    with pytest.raises(RpcFault):
        parse_redemptions([{**log, **change}], CONTRACTS.ticket_broker, [SENDER], 1001, 1001)
