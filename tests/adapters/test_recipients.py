"""The chain's word on recipients: asked once for all who wait, remembered as long as it holds, never guessed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from livepeer_remote_signer.adapters.recipients import LOOKUPS_AT_ONCE, RecipientRegistry
from livepeer_remote_signer.core.errors import OrchestratorPaused, RecipientRefused, RecipientUndetermined
from livepeer_remote_signer.core.rules.guard import OrchestratorGuard
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.recipients import RecipientRules
from livepeer_remote_signer.core.rules.trail import Trail
from tests.plans import CHAIN, NOW_NS, ORCHESTRATOR, orchestrator_info, plan_payment


class Chain:
    """A BondingManager that can be slow or broken, and counts its calls."""

    def __init__(self) -> None:
        self.good: set[bytes] = {ORCHESTRATOR}
        self.calls: list[tuple[bytes, bool]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.round = 1

    async def is_transcoder(self, address: bytes, *, active: bool) -> bool:
        self.calls.append((address, active))
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return address in self.good


async def both(policy: RecipientRegistry) -> None:
    """Both halves, as a payment goes through them."""
    policy.check(plan_payment())
    await policy.look_up(plan_payment())


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def registry(chain: Chain, clock: Seconds | None = None, rules: RecipientRules = RecipientRules()) -> RecipientRegistry:  # noqa: B008 - immutable
    return RecipientRegistry(
        rules,
        require="registered",
        reader=chain,
        view=lambda: replace(CHAIN, last_initialized_round=chain.round),
        monotonic=clock or Seconds(),
    )


async def test_a_good_recipient_is_asked_for_once_a_round() -> None:
    chain = Chain()
    policy = registry(chain)
    for _ in range(3):
        await both(policy)
    assert chain.calls == [(ORCHESTRATOR, False)]
    chain.round = 2
    await both(policy)
    assert len(chain.calls) == 2


async def test_a_refusal_is_kept_for_a_minute() -> None:
    chain, clock = Chain(), Seconds()
    chain.good.clear()
    policy = registry(chain, clock)
    for _ in range(3):
        with pytest.raises(RecipientRefused, match="registered"):
            await both(policy)
    assert len(chain.calls) == 1
    chain.good.add(ORCHESTRATOR)
    clock.now = 60
    await both(policy)


async def test_all_who_wait_share_one_call() -> None:
    chain = Chain()
    chain.gate.clear()
    policy = registry(chain)
    waiting = [asyncio.create_task(both(policy)) for _ in range(20)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    chain.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [None] * 19
    assert len(chain.calls) == 1


async def test_what_is_not_known_within_a_second_is_not_paid_and_not_remembered() -> None:
    chain = Chain()
    chain.gate.clear()
    policy = registry(chain)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(RecipientUndetermined):
        await both(policy)
    assert 0.9 < loop.time() - started < 10
    chain.gate.set()
    chain.fault = ConnectionError("http://user:geheim@rpc")
    with pytest.raises(RecipientUndetermined) as caught:
        await both(policy)
    assert "geheim" not in str(caught.value)
    assert caught.value.retry_after_seconds == 2
    chain.fault = None
    await both(policy)


async def test_who_is_on_the_allow_list_is_not_looked_up() -> None:
    chain = Chain()
    chain.good.clear()
    await both(registry(chain, rules=RecipientRules(allow=frozenset((ORCHESTRATOR,)))))
    assert chain.calls == []


async def test_who_is_on_the_deny_list_is_refused_without_a_call() -> None:
    chain = Chain()
    with pytest.raises(RecipientRefused):
        await both(registry(chain, rules=RecipientRules(deny=frozenset((ORCHESTRATOR,)))))
    assert chain.calls == []


async def test_active_asks_for_this_rounds_pool() -> None:
    chain = Chain()
    policy = RecipientRegistry(RecipientRules(), require="active", reader=chain)
    await both(policy)
    assert chain.calls == [(ORCHESTRATOR, True)]


def test_without_a_live_chain_nobody_can_be_required_to_be_registered() -> None:
    with pytest.raises(ValueError, match="live chain"):
        RecipientRegistry(RecipientRules(), require="registered")


async def test_a_call_in_work_is_ended_at_shutdown() -> None:
    chain = Chain()
    chain.gate.clear()
    policy = registry(chain)
    waiting = asyncio.create_task(both(policy))
    await asyncio.sleep(0.01)
    await policy.aclose()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)


def payment_to(number: int) -> PaymentPlan:
    address = number.to_bytes(20, "big")
    return plan_payment(info=orchestrator_info(address=address, recipient=address))


async def test_a_refusal_that_is_remembered_is_told_without_a_look_up() -> None:
    chain, clock = Chain(), Seconds()
    chain.good.clear()
    policy = registry(chain, clock)
    policy.check(plan_payment())
    with pytest.raises(RecipientRefused):
        await policy.look_up(plan_payment())
    with pytest.raises(RecipientRefused, match="registered"):
        policy.check(plan_payment())
    clock.now = 60
    policy.check(plan_payment())
    assert len(chain.calls) == 1


async def test_strangers_are_looked_up_a_hundred_at_once_and_then_ten_a_second() -> None:
    chain, clock = Chain(), Seconds()
    policy = registry(chain, clock)
    for number in range(LOOKUPS_AT_ONCE):
        with pytest.raises(RecipientRefused):
            await policy.look_up(payment_to(number))
    for number in (1000, 1001):
        with pytest.raises(RecipientUndetermined, match="more than 10 recipients a second are being looked up") as refusal:
            await policy.look_up(payment_to(number))
        assert refusal.value.retry_after_seconds == 1
    assert len(chain.calls) == LOOKUPS_AT_ONCE
    clock.now = 0.1
    await policy.look_up(plan_payment())
    with pytest.raises(RecipientUndetermined):
        await policy.look_up(payment_to(1000))
    await policy.look_up(plan_payment())  # who is known costs no look-up
    clock.now = 1000
    for number in range(2000, 2000 + LOOKUPS_AT_ONCE):
        with pytest.raises(RecipientRefused):
            await policy.look_up(payment_to(number))
    with pytest.raises(RecipientUndetermined):
        await policy.look_up(payment_to(3000))


async def test_all_who_wait_for_one_look_up_count_once() -> None:
    chain = Chain()
    chain.gate.clear()
    policy = registry(chain)
    waiting = [asyncio.create_task(policy.look_up(plan_payment())) for _ in range(2 * LOOKUPS_AT_ONCE)]
    await asyncio.sleep(0)
    chain.gate.set()
    assert await asyncio.gather(*waiting) == [None] * (2 * LOOKUPS_AT_ONCE)


def test_an_orchestrator_that_the_guard_pauses_is_refused_and_who_only_asks_begins_no_pause() -> None:
    def after(seconds: int) -> PaymentPlan:
        now_ns = NOW_NS + seconds * 10**9
        return plan_payment(orchestrator_info(now_ns=now_ns), now_ns=now_ns)

    guard = OrchestratorGuard(window_seconds=100, pause_seconds=300, max_abandoned_sessions=0)
    policy = RecipientRegistry(RecipientRules(), guard=guard)
    policy.check_caller(after(0))
    policy.paid(after(0), Trail("/r", "r1", "", time.monotonic))
    with pytest.raises(OrchestratorPaused):
        policy.check_caller(after(95), is_paid=False)
    policy.check_caller(after(201), is_paid=False)
    policy.paid(after(201), Trail("/r", "r1", "", time.monotonic))
    with pytest.raises(OrchestratorPaused):
        policy.check_caller(after(296))
    with pytest.raises(OrchestratorPaused):
        policy.check_caller(after(402))
    RecipientRegistry(RecipientRules()).check_caller(after(296))
