"""The chain's word on recipients: asked once for all who wait, remembered as long as it holds, never guessed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from livepeer_remote_signer.adapters.recipients import RecipientRegistry
from livepeer_remote_signer.core.errors import RecipientRefused, RecipientUndetermined
from livepeer_remote_signer.core.rules.recipients import RecipientRules
from tests.plans import CHAIN, ORCHESTRATOR, plan_payment


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
        await policy.check(plan_payment())
    assert chain.calls == [(ORCHESTRATOR, False)]
    chain.round = 2
    await policy.check(plan_payment())
    assert len(chain.calls) == 2


async def test_a_refusal_is_kept_for_a_minute() -> None:
    chain, clock = Chain(), Seconds()
    chain.good.clear()
    policy = registry(chain, clock)
    for _ in range(3):
        with pytest.raises(RecipientRefused, match="registered"):
            await policy.check(plan_payment())
    assert len(chain.calls) == 1
    chain.good.add(ORCHESTRATOR)
    clock.now = 60
    await policy.check(plan_payment())


async def test_all_who_wait_share_one_call() -> None:
    chain = Chain()
    chain.gate.clear()
    policy = registry(chain)
    waiting = [asyncio.create_task(policy.check(plan_payment())) for _ in range(20)]
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
        await policy.check(plan_payment())
    assert 0.9 < loop.time() - started < 2
    chain.gate.set()
    chain.fault = ConnectionError("http://user:geheim@rpc")
    with pytest.raises(RecipientUndetermined) as caught:
        await policy.check(plan_payment())
    assert "geheim" not in str(caught.value)
    assert caught.value.retry_after_seconds == 2
    chain.fault = None
    await policy.check(plan_payment())


async def test_who_is_on_the_allow_list_is_not_looked_up() -> None:
    chain = Chain()
    chain.good.clear()
    await registry(chain, rules=RecipientRules(allow=frozenset((ORCHESTRATOR,)))).check(plan_payment())
    assert chain.calls == []


async def test_who_is_on_the_deny_list_is_refused_without_a_call() -> None:
    chain = Chain()
    with pytest.raises(RecipientRefused):
        await registry(chain, rules=RecipientRules(deny=frozenset((ORCHESTRATOR,)))).check(plan_payment())
    assert chain.calls == []


async def test_active_asks_for_this_rounds_pool() -> None:
    chain = Chain()
    policy = RecipientRegistry(RecipientRules(), require="active", reader=chain)
    await policy.check(plan_payment())
    assert chain.calls == [(ORCHESTRATOR, True)]


def test_without_a_live_chain_nobody_can_be_required_to_be_registered() -> None:
    with pytest.raises(ValueError, match="live chain"):
        RecipientRegistry(RecipientRules(), require="registered")


async def test_a_call_in_work_is_ended_at_shutdown() -> None:
    chain = Chain()
    chain.gate.clear()
    policy = registry(chain)
    waiting = asyncio.create_task(policy.check(plan_payment()))
    await asyncio.sleep(0.01)
    await policy.aclose()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
