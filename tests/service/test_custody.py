"""A key outside this host behind the whole service: what is paid, what is not, and that of each ticket one signature goes out."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from livepeer_remote_signer.adapters.keys.external import CheckedKey
from livepeer_remote_signer.core.errors import CallerLeft, KeyThrottled, KeyUnavailable, SessionBusy
from livepeer_remote_signer.core.protocol.eip191 import checksum_address, orchestrator_info_message, personal_digest, recover_address
from livepeer_remote_signer.core.protocol.ticket import seg_creds_message
from livepeer_remote_signer.core.rules.custody import Held
from livepeer_remote_signer.core.rules.reservation import HELD_MS, SWEPT_MS, Reserved
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.proto import net_pb2
from livepeer_remote_signer.service import custody
from livepeer_remote_signer.wiring import keys
from tests.ledgers import run_sql
from tests.outside import NEEDED_BY_OUTSIDE_KEYS, OutsideKey
from tests.plans import orchestrator_info
from tests.signer import RunningSigner, running_signer

SECRET = bytes.fromhex("55" * 32)
PRICE = 3 * 10**12 - 3
"""Three tickets a job: one is worth a hair less than 10^12 wei."""

TICKET_WEI = 10**12
BUDGET = [{"scope": "global", "match": "*", "window": "total", "measure": "ev", "limit_wei": str(100 * TICKET_WEI)}]


@pytest.fixture
def key() -> OutsideKey:
    return OutsideKey(SECRET)


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Where several signers write down what they sign."""
    if request.param == "sqlite":
        return {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}
    return {"backend": "postgres", "url": request.getfixturevalue("postgres_url")()}


class Signer:
    """A running signer and its client; `payments` are the bodies of its good answers."""

    def __init__(self, running: RunningSigner, clock: list[int]) -> None:
        self.running = running
        self.clock = clock

    async def pay(self, info: bytes, **fields: Any) -> httpx.Response:
        headers = {"Idempotency-Key": fields.pop("key")} if "key" in fields else None
        return await self.running.pay(headers, info=info, type="fixed", **fields)

    def later(self, milliseconds: int) -> None:
        """Moves this signer's clock."""
        self.clock[0] += milliseconds


@asynccontextmanager
async def signer_with(
    backend: OutsideKey, ledger: dict[str, Any], *, timeout_seconds: float = 30, **sections: Any
) -> AsyncIterator[Signer]:
    """The signer, with its key in `backend`."""
    ahead_ms = [0]
    form = {"eth_sign": {"url": "http://127.0.0.1:9", "address": checksum_address(backend.address)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "open_external_key", lambda *_: CheckedKey(backend, backend.address, timeout_seconds=timeout_seconds))
        sections = {**NEEDED_BY_OUTSIDE_KEYS, "ledger": ledger, "budgets": BUDGET, **sections}
        async with running_signer(key=form, clock_ns=lambda: time.time_ns() + ahead_ms[0] * 10**6, **sections) as running:
            yield Signer(running, ahead_ms)


def info_of(rand: int = 9) -> bytes:
    return orchestrator_info(now_ns=time.time_ns(), price_per_unit=PRICE, rand_hash=bytes([rand]) * 32)


def tickets_of(answer: httpx.Response) -> dict[tuple[bytes, int], bytes]:
    """Signature by rand hash and nonce."""
    assert answer.status_code == 200, answer.text
    payment = net_pb2.Payment.FromString(b64decode(answer.json()["payment"]))
    rand_hash = payment.ticket_params.recipient_rand_hash
    return {(rand_hash, params.sender_nonce): params.sig for params in payment.ticket_sender_params}


def nonces_of(answer: httpx.Response) -> list[int]:
    return sorted(nonce for _, nonce in tickets_of(answer))


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


def spent_wei(ledger: dict[str, Any]) -> int:
    place = Path(ledger["path"]) if "path" in ledger else ledger["url"]
    amounts = run_sql(place, "SELECT amounts FROM lrs_usage")
    return sum(int(text[0].removeprefix("[[0,").removesuffix("]]")) for text in amounts if text[0] != "[]")


def rows(ledger: dict[str, Any], table: str) -> int:
    place = Path(ledger["path"]) if "path" in ledger else ledger["url"]
    count: int = run_sql(place, f"SELECT count(*) FROM {table}")[0][0]
    return count


async def until(holds: Any, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


class Gate:
    """The key's service takes its time: it signs when it is let."""

    def __init__(self, key: OutsideKey) -> None:
        self.opened = asyncio.Event()
        self.waiting: list[bytes] = []
        self._key = key
        key.answer = self._answer

    async def _answer(self, message: bytes) -> bytes:
        self.waiting.append(message)
        await self.opened.wait()
        return await self._key.make(message)


async def test_a_session_pays_and_each_repeated_call_gets_the_same_signatures(key: OutsideKey, ledger: dict[str, Any]) -> None:
    async with signer_with(key, ledger) as signer:
        first = await signer.pay(info_of())
        info = info_of()
        second = await signer.pay(info, state=first.json()["state"])
        assert (nonces_of(first), nonces_of(second)) == ([1, 2, 3], [4, 5, 6])
        for answer in (first, second):
            assert net_pb2.Payment.FromString(b64decode(answer.json()["payment"])).sender == key.address
        asked = len(key.asked)
        again = await signer.pay(info, state=first.json()["state"])
        assert again.content == second.content
        assert len(key.asked) == asked
        assert len(set(key.asked)) == asked, "no hash is signed twice"
        assert spent_wei(ledger) == 6 * TICKET_WEI
        assert (rows(ledger, "lrs_payments"), rows(ledger, "lrs_reservations")) == (2, 0)


async def test_what_is_signed_recovers_to_the_sender_and_is_what_was_asked_for(key: OutsideKey, ledger: dict[str, Any]) -> None:
    async with signer_with(key, ledger) as signer:
        answer = await signer.running.client.post("/signTicket", json={"orchestratorInfo": b64encode(info_of()).decode(), "type": "fixed"})
        tickets = answer.json()["tickets"]
        assert len(tickets) == 3
        for ticket in tickets:
            digest, sig = bytes.fromhex(ticket["hash"][2:]), bytes.fromhex(ticket["sig"][2:])
            assert recover_address(personal_digest(digest), sig) == key.address
            assert digest in key.asked


async def test_segment_credentials_are_signed_once_a_session_by_all_signers_together(key: OutsideKey, ledger: dict[str, Any]) -> None:
    creds = seg_creds_message("m1")
    async with signer_with(key, ledger) as one, signer_with(key, ledger) as other:
        first = await one.pay(info_of())
        second = await other.pay(info_of(), state=first.json()["state"])
        third = await one.pay(info_of(), state=second.json()["state"])
        made = [net_pb2.SegData.FromString(b64decode(answer.json()["segCreds"])) for answer in (first, second, third)]
        assert len({credentials.sig for credentials in made}) == 1
        assert recover_address(personal_digest(creds), made[0].sig) == key.address
        assert key.asked.count(creds) == 1


async def test_segment_credentials_are_of_the_sender_that_pays(key: OutsideKey, ledger: dict[str, Any]) -> None:
    """A gateway that is moved to another sender may go on with the stream's name."""
    other = OutsideKey(bytes.fromhex("56" * 32))
    ledger = {**ledger, "senders": [checksum_address(key.address), checksum_address(other.address)]}
    for sender in (key, other):
        async with signer_with(sender, ledger) as signer:
            answer = await signer.pay(info_of())
            assert answer.status_code == 200, answer.text
            made = net_pb2.SegData.FromString(b64decode(answer.json()["segCreds"]))
            assert recover_address(personal_digest(seg_creds_message("m1")), made.sig) == sender.address


async def fails_with(error: Exception) -> bytes:
    raise error


@pytest.mark.parametrize("way", ["away", "throttled", "garbage", "another key's", "slow"])
async def test_what_does_not_sign_pays_nothing_and_the_session_goes_on(key: OutsideKey, ledger: dict[str, Any], way: str) -> None:
    async with signer_with(key, ledger, timeout_seconds=2 if way == "slow" else 30) as signer:
        first = await signer.pay(info_of())
        stranger = OutsideKey(bytes.fromhex("66" * 32))
        key.answer = {
            "away": lambda _: fails_with(KeyUnavailable("is away")),
            "throttled": lambda _: fails_with(KeyThrottled("too many", retry_after_seconds=1)),
            "garbage": lambda _: asyncio.sleep(0, b"\1" * 65),
            "another key's": stranger.make,
            "slow": lambda _: asyncio.sleep(60, b""),
        }[way]
        refused = await signer.pay(info_of(), state=first.json()["state"])
        status, code = (429, "key_throttled") if way == "throttled" else (503, "key_unavailable")
        assert (refused.status_code, error_of(refused)["code"]) == (status, code)
        assert refused.headers["retry-after"] == "1"
        assert (rows(ledger, "lrs_payments"), rows(ledger, "lrs_reservations")) == (1, 0)
        assert spent_wei(ledger) == 3 * TICKET_WEI
        key.answer = key.make
        second = await signer.pay(info_of(), state=first.json()["state"])
        assert nonces_of(second) == [7, 8, 9], "those that may have been signed are burnt"
        assert spent_wei(ledger) == 6 * TICKET_WEI
        tickets_of(await signer.pay(info_of(), state=second.json()["state"]))


async def test_who_gives_up_while_it_is_signed_gets_the_same_signatures_with_the_same_request(
    key: OutsideKey, ledger: dict[str, Any]
) -> None:
    async with signer_with(key, ledger, limits={"answer_seconds": 2}) as signer:
        gate = Gate(key)
        info = info_of()
        late = await signer.pay(info, key="k1")
        assert (late.status_code, error_of(late)["code"]) == (503, "timed_out")
        assert error_of(late)["may_be_recorded"] is True
        assert "sign did not end in time" in error_of(late)["message"]
        asked = len(gate.waiting)
        gate.opened.set()
        await until(lambda: rows(ledger, "lrs_payments") == 1)
        again = await signer.pay(info, key="k1")
        assert nonces_of(again) == [1, 2, 3]
        assert len(gate.waiting) == asked, "nothing is signed for it again"
        assert spent_wei(ledger) == 3 * TICKET_WEI


async def test_the_same_request_joins_the_signatures_that_this_process_is_making(key: OutsideKey, ledger: dict[str, Any]) -> None:
    async with signer_with(key, ledger, limits={"answer_seconds": 2}) as signer:
        gate = Gate(key)
        info = info_of()
        assert (await signer.pay(info, key="k1")).status_code == 503
        joining = asyncio.create_task(signer.pay(info, key="k1"))
        await asyncio.sleep(0.05)
        gate.opened.set()
        assert nonces_of(await joining) == [1, 2, 3]
        assert len(set(gate.waiting)) == len(gate.waiting)


async def test_of_two_that_finish_the_same_payment_both_answer_with_one_set_of_signatures(key: OutsideKey, ledger: dict[str, Any]) -> None:
    other_key = OutsideKey(SECRET)
    async with signer_with(key, ledger) as one, signer_with(other_key, ledger) as other:
        first = await one.pay(info_of())
        gate = Gate(key)
        info, state = info_of(), first.json()["state"]
        slow = asyncio.create_task(one.pay(info, state=state))
        await until(lambda: len(gate.waiting) == 3)
        fast = await other.pay(info, state=state)
        assert nonces_of(fast) == [4, 5, 6], "finished with the nonces that were reserved"
        gate.opened.set()
        assert (await slow).content == fast.content, "the loser gives what was recorded"
        assert set(gate.waiting) <= set(other_key.asked), "both have signed"
        assert (rows(ledger, "lrs_payments"), rows(ledger, "lrs_reservations")) == (2, 0)
        assert spent_wei(ledger) == 6 * TICKET_WEI


async def test_a_new_session_is_finished_elsewhere_by_its_idempotency_key(key: OutsideKey, ledger: dict[str, Any]) -> None:
    other_key = OutsideKey(SECRET)
    async with signer_with(key, ledger) as one, signer_with(other_key, ledger) as other:
        gate = Gate(key)
        info = info_of()
        slow = asyncio.create_task(one.pay(info, key="k1"))
        await until(lambda: len(gate.waiting) >= 3)
        fast = await other.pay(info, key="k1")
        assert nonces_of(fast) == [1, 2, 3]
        gate.opened.set()
        assert (await slow).content == fast.content
        assert rows(ledger, "lrs_payments") == 1


async def test_a_different_call_waits_for_one_in_work_and_heals_once_nobody_signs_it(
    key: OutsideKey, ledger: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custody, "WAIT_SECONDS", 0.3)
    async with signer_with(key, ledger) as one, signer_with(OutsideKey(SECRET), ledger) as other:
        first = await one.pay(info_of())
        gate = Gate(key)
        state = first.json()["state"]
        slow = asyncio.create_task(one.pay(info_of(), state=state))
        await until(lambda: len(gate.waiting) == 3)
        different = info_of(8)
        busy = await other.pay(different, state=state)
        assert (busy.status_code, error_of(busy)["code"]) == (429, "session_busy")
        other.later(HELD_MS)
        healed = await other.pay(different, state=state)
        assert nonces_of(healed) == [1, 2, 3]
        gate.opened.set()
        late = await slow
        assert nonces_of(late) == [7, 8, 9], "its signatures were thrown away, and it goes on from the newest state"
        signed = tickets_of(first) | tickets_of(healed) | tickets_of(late)
        assert len(signed) == 9
        assert spent_wei(ledger) == 9 * TICKET_WEI
        assert rows(ledger, "lrs_reservations") == 0


async def test_a_signer_slower_than_the_sweeper_throws_its_signatures_away(
    key: OutsideKey, ledger: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custody, "SIGN_SECONDS", 60)
    async with signer_with(key, ledger, limits={"answer_seconds": 60}) as one, signer_with(OutsideKey(SECRET), ledger) as other:
        gate = Gate(key)
        info = info_of()
        slow = asyncio.create_task(one.pay(info, key="k1"))
        await until(lambda: len(gate.waiting) >= 3)
        other.later(SWEPT_MS + 1)
        await until(lambda: rows(ledger, "lrs_reservations") == 0)
        assert spent_wei(ledger) == 0
        gate.opened.set()
        refused = await slow
        assert (refused.status_code, error_of(refused)["code"]) == (429, "session_busy")
        again = await other.pay(info, key="k1")
        assert nonces_of(again) == [4, 5, 6]
        assert spent_wei(ledger) == 3 * TICKET_WEI


async def test_a_kill_switch_that_is_set_while_it_is_signed_pays_nothing(key: OutsideKey, ledger: dict[str, Any], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 32)
    async with signer_with(key, ledger, admin_token_file=token) as signer:
        gate = Gate(key)
        info = info_of()
        slow = asyncio.create_task(signer.pay(info, key="k1"))
        await until(lambda: len(gate.waiting) >= 3)
        assert signer.running.admin is not None
        headers = {"Authorization": "Bearer " + token.read_text()}
        assert (await signer.running.admin.post("/admin/suspend", headers=headers, json={"all": True})).status_code == 200
        gate.opened.set()
        refused = await slow
        assert (refused.status_code, error_of(refused)["code"]) == (403, "suspended")
        assert (rows(ledger, "lrs_payments"), rows(ledger, "lrs_reservations"), spent_wei(ledger)) == (0, 0, 0)


async def test_headroom_is_not_the_cause_of_a_throttle(key: OutsideKey, ledger: dict[str, Any]) -> None:
    """Six tickets, of which five are bought ahead, are more than the key's quota: the one that is due is paid."""
    asked: list[int] = []
    form = {"eth_sign": {"url": "http://127.0.0.1:9", "address": checksum_address(key.address)}}

    class Quota(CheckedKey):
        async def sign_personal(self, messages: Sequence[bytes]) -> list[bytes]:
            asked.append(len(messages))
            if len(messages) > 3:
                raise KeyThrottled("too many", retry_after_seconds=1)
            return await super().sign_personal(messages)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "open_external_key", lambda *_: Quota(key, key.address, timeout_seconds=30))
        sections = {**NEEDED_BY_OUTSIDE_KEYS, "ledger": ledger, "budgets": BUDGET}
        async with running_signer(key=form, headroom_seconds={"generate_live_payment": 50}, **sections) as running:
            answer = await running.pay(None, info=orchestrator_info(now_ns=time.time_ns(), price_per_unit=10**11 - 1))
            assert nonces_of(answer) == [7]
            assert asked[-2:] == [7, 2], "six tickets and the segment credentials, then one"
            assert spent_wei(ledger) == TICKET_WEI


async def test_where_nothing_is_due_a_key_that_is_away_is_no_refusal(key: OutsideKey, ledger: dict[str, Any]) -> None:
    async with signer_with(key, ledger, headroom_seconds={"generate_live_payment": 30}) as signer:
        first = await signer.running.pay(None, info=orchestrator_info(now_ns=time.time_ns()), type="live")
        key.answer = lambda _: fails_with(KeyUnavailable("is away"))
        signer.later(5000)
        skipped = await signer.running.pay(None, info=orchestrator_info(now_ns=time.time_ns()), type="live", state=first.json()["state"])
        assert (skipped.status_code, error_of(skipped)["code"]) == (482, "no_tickets")
        assert rows(ledger, "lrs_reservations") == 0


async def test_the_orchestrator_info_is_signed_once_a_process_and_waits_for_its_key(key: OutsideKey, ledger: dict[str, Any]) -> None:
    message = orchestrator_info_message(key.address)
    key.answer = lambda _: fails_with(KeyUnavailable("is away"))
    async with signer_with(key, ledger) as signer:
        for path in ("/sign-orchestrator-info", "/getOrchestratorInfo"):
            away = await signer.running.client.post(path)
            assert (away.status_code, error_of(away)["code"]) == (503, "key_unavailable")
        key.answer = key.make
        key.asked.clear()
        answers = await asyncio.gather(
            *(signer.running.client.post(path) for path in ("/sign-orchestrator-info", "/getOrchestratorInfo") for _ in range(3))
        )
        assert len({(answer.json()["address"], answer.json()["signature"]) for answer in answers}) == 1
        signature = bytes.fromhex(answers[0].json()["signature"][2:])
        assert recover_address(personal_digest(message), signature) == key.address
        assert key.asked.count(message) == 1


async def test_byoc_jobs_are_signed_outside_too(key: OutsideKey, ledger: dict[str, Any]) -> None:
    async with signer_with(key, ledger, byoc_jobs=True, auth={"allow_unauthenticated": True}) as signer:
        job = {"id": "1", "capability": "c", "request": "{}", "parameters": "{}", "timeout_seconds": 5}
        answer = await signer.running.client.post("/sign-byoc-job", json=job)
        assert answer.status_code == 200
        assert answer.json()["sender"] == checksum_address(key.address)
        sig = bytes.fromhex(answer.json()["signature"][2:])
        assert any(recover_address(personal_digest(message), sig) == key.address for message in key.asked)
        key.answer = lambda _: fails_with(KeyUnavailable("is away"))
        assert (await signer.running.client.post("/sign-byoc-job", json=job)).status_code == 503


class LookedUp:
    """A ledger in which another process's reservation stands for so many looks."""

    def __init__(self, looks: int) -> None:
        self.reservation: Any = SimpleNamespace(token=b"theirs")
        self.left = looks
        self.released = 0

    async def look_up(self, key: Any, now_ns: int) -> Any:
        self.left -= 1
        return Reserved(self.reservation) if self.left > 0 else None

    async def release(self, reservation: Any, now_ns: int) -> None:
        self.released += 1


@pytest.mark.parametrize("is_kept", [True, False])
async def test_another_ones_reservation_is_waited_for_while_it_is_held_and_ended_when_it_is_not(
    monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    monkeypatch.setattr(custody, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(custody, "is_held", lambda *_: is_kept)
    for looks, seconds in ((3, 60.0), (10, 0.0)):
        monkeypatch.setattr(custody, "WAIT_SECONDS", seconds)
        books: Any = LookedUp(looks)
        waiting = custody.Custody(cast(Any, None), cast(Any, None), books, time.time_ns, lambda *_: None)
        if seconds:
            assert await waiting.wait_for(books.reservation, cast(Any, None)) is None
        else:
            with pytest.raises(SessionBusy):
                await waiting.wait_for(books.reservation, cast(Any, None))
        assert books.released == (0 if is_kept else looks if seconds else 1)


class Reserving:
    """A ledger that reserves when it is let, and counts what is given back."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self.released = 0

    async def reserve(self, key: Any, plan: Any, stamp: Any) -> Held:
        self.reached.set()
        await self.opened.wait()
        return Held(cast(Any, SimpleNamespace(token=stamp.token)), plan)

    async def release(self, reservation: Any, now_ns: int) -> None:
        self.released += 1


@pytest.mark.parametrize("way", ["gives up", "leaves"])
async def test_nothing_is_signed_for_who_gives_up_or_leaves_while_it_is_reserved(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    signed: list[object] = []

    async def sign(*asked: object) -> None:
        signed.append(asked)
        raise KeyUnavailable("is away")

    monkeypatch.setattr(custody.Custody, "_sign", sign)
    books, outside = Reserving(), SimpleNamespace(address=bytes(20))
    keeper = custody.Custody(cast(Any, outside), cast(Any, None), cast(Any, books), time.time_ns, lambda *_: None)
    trail = Trail("/r", "r1", "", time.monotonic)
    paying = asyncio.create_task(keeper.pay(cast(Any, None), cast(Any, None), custody.Order(cast(Any, None), "", trail)))
    await books.reached.wait()
    if way == "gives up":
        paying.cancel()
        await asyncio.wait([paying])
    else:
        trail.has_left = lambda: True
    books.opened.set()
    await asyncio.wait([paying, *keeper._in_work.values()])
    assert (signed, books.released) == ([], 1)
    if way == "leaves":
        with pytest.raises(CallerLeft):
            await paying


@pytest.mark.parametrize("is_kept", [True, False])
async def test_what_another_process_may_be_signing_is_not_given_back_by_who_fails_to_finish_it(
    monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    async def sign(*_: object) -> None:
        raise KeyUnavailable("is away")

    monkeypatch.setattr(custody.Custody, "_sign", sign)
    monkeypatch.setattr(custody, "is_held", lambda _, now_ms: abs(now_ms - time.time() * 1000) < 600_000 and is_kept)
    books, outside = Reserving(), SimpleNamespace(address=bytes(20))
    keeper = custody.Custody(cast(Any, outside), cast(Any, None), cast(Any, books), time.time_ns, lambda *_: None)
    order = custody.Order(cast(Any, None), "", Trail("/r", "r1", "", time.monotonic))
    with pytest.raises(KeyUnavailable):
        await keeper.finish(Held(cast(Any, SimpleNamespace(token=b"theirs")), cast(Any, None)), order)
    assert books.released == (0 if is_kept else 1)
