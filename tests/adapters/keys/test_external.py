"""A key outside this host: what its service returns is believed only where it is the key's signature, in its one encoding."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from livepeer_remote_signer.adapters.keys import external
from livepeer_remote_signer.adapters.keys.external import PROBE, CheckedKey, Outcome, checked_address
from livepeer_remote_signer.adapters.keys.gauges import add_key_metrics
from livepeer_remote_signer.adapters.keys.loading import SigningKeyError
from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.core.errors import KeyThrottled, KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import keccak256, personal_digest, recover_address
from tests.outside import OutsideKey

SECRET = bytes.fromhex("51" * 32)
MESSAGES = [keccak256(bytes((number,))) for number in range(20)]


def checked(backend: OutsideKey, *, timeout_seconds: float = 5, max_per_second: int | None = None) -> CheckedKey:
    return CheckedKey(backend, backend.address, timeout_seconds=timeout_seconds, max_per_second=max_per_second)


async def never(_: bytes) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


async def test_every_signature_comes_in_the_order_asked_and_in_the_one_encoding() -> None:
    backend = OutsideKey(SECRET)
    key = checked(backend)
    first, again = await key.sign_personal(MESSAGES), await key.sign_personal(MESSAGES)
    for message, signature in zip(MESSAGES * 2, first + again, strict=True):
        assert recover_address(personal_digest(message), signature) == backend.address == key.address
    assert all(one != other for one, other in zip(first, again, strict=True)), "a random k: the service's signatures differ"
    assert key.fault == ""


async def test_a_backend_is_asked_for_no_more_at_one_time_than_it_takes_however_many_call() -> None:
    backend = OutsideKey(SECRET, max_parallel=3)
    key = checked(backend)
    await asyncio.gather(*(key.sign_personal(MESSAGES) for _ in range(4)))
    assert backend.most_at_work == 3
    assert backend.at_work == 0


@pytest.mark.parametrize("size", [0, 31, 33, 65])
async def test_nothing_but_hashes_is_signed(size: int) -> None:
    backend = OutsideKey(SECRET)
    with pytest.raises(ValueError, match=f"hashes of 32 bytes, not {size} bytes"):
        await checked(backend).sign_personal([PROBE, bytes(size)])
    assert backend.asked == []


async def test_of_nothing_there_are_no_signatures() -> None:
    assert await checked(OutsideKey(SECRET)).sign_personal([]) == []


async def another_keys(message: bytes) -> bytes:
    return await OutsideKey(b"\x52" * 32).make(message)


async def another_messages(_: bytes) -> bytes:
    return await OutsideKey(SECRET).make(keccak256(b"another"))


@pytest.mark.parametrize(
    "answer",
    [
        another_keys,
        another_messages,
        *(lambda _, raw=raw: _return(raw) for raw in (b"", bytes(64), bytes(65), b"\xff" * 64, b"\xff" * 65, b"\x01" * 63, b"\x01" * 66)),
    ],
)
async def test_what_is_not_the_keys_signature_is_an_alarm_and_nothing_of_the_call_is_used(
    answer: Callable[[bytes], Awaitable[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    backend = OutsideKey(SECRET)
    key, metrics = checked(backend), Metrics()
    add_key_metrics(metrics, [key])
    backend.answer = lambda message: answer(message) if message == MESSAGES[7] else backend.make(message)
    with caplog.at_level(logging.ERROR), pytest.raises(KeyUnavailable, match="returned what is no signature of 0x"):
        await key.sign_personal(MESSAGES)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "no signature of 0x" in key.fault
    assert 'livepeer_signer_key_signatures_total{backend="outside",outcome="wrong"} 20' in metrics.render().decode()

    backend.answer = backend.make
    assert len(await key.sign_personal(MESSAGES)) == 20
    assert key.fault == ""


async def _return(raw: bytes) -> bytes:
    return raw


async def test_one_that_fails_ends_its_call_and_the_others_of_it_are_given_up() -> None:
    backend = OutsideKey(SECRET, max_parallel=20)
    key = checked(backend)

    async def answer(message: bytes) -> bytes:
        if message == MESSAGES[3]:
            raise KeyUnavailable("is away")
        return await never(message)

    backend.answer = answer
    with pytest.raises(KeyUnavailable, match=r"the key's service \(outside\) is away") as refused:
        await key.sign_personal(MESSAGES)
    assert refused.value.retry_after_seconds == 1
    assert backend.at_work == 0
    backend.answer = backend.make
    assert len(await key.sign_personal(MESSAGES)) == 20


async def test_who_is_not_done_in_time_gets_nothing_and_holds_no_place() -> None:
    backend = OutsideKey(SECRET, max_parallel=2)
    key = checked(backend, timeout_seconds=1)
    backend.answer = lambda message: never(message) if message == MESSAGES[-1] else backend.make(message)
    with pytest.raises(KeyUnavailable, match=r"did not sign within 1 s"):
        await key.sign_personal(MESSAGES)
    assert backend.at_work == 0
    assert await key.sign_personal(MESSAGES[:1])


async def test_waiting_for_a_place_is_part_of_the_time() -> None:
    backend = OutsideKey(SECRET, max_parallel=1)
    patient, hasty = checked(backend, timeout_seconds=60), checked(backend, timeout_seconds=0.05)
    hasty._places = patient._places
    backend.answer = never
    holding = asyncio.create_task(patient.sign_personal(MESSAGES[:1]))
    with pytest.raises(KeyUnavailable, match="did not sign within"):
        await hasty.sign_personal(MESSAGES[:1])
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert patient.fault != "did not sign", "who left says nothing about the service"


async def test_above_the_quota_the_service_is_not_asked_and_that_is_no_fault() -> None:
    backend = OutsideKey(SECRET)
    now = 100.0
    key = CheckedKey(backend, backend.address, timeout_seconds=5, max_per_second=25, monotonic=lambda: now)
    outcomes: list[tuple[Outcome, int]] = []
    key.watch(lambda outcome, count, _: outcomes.append((outcome, count)))
    await key.sign_personal(MESSAGES)
    with pytest.raises(KeyThrottled, match=r"6 more signatures would be above the 25 a second") as refused:
        await key.sign_personal(MESSAGES[:6])
    assert refused.value.retry_after_seconds == 1
    assert len(await key.sign_personal(MESSAGES[:5])) == 5
    assert len(backend.asked) == 25
    assert key.fault == ""
    now += 1.0
    assert len(await key.sign_personal(MESSAGES)) == 20
    assert outcomes == [("signed", 20), ("throttled", 6), ("signed", 5), ("signed", 20)]


async def test_a_service_that_throttles_is_no_fault_either() -> None:
    backend = OutsideKey(SECRET)
    key = checked(backend)
    await key.sign_personal([PROBE])

    async def throttle(_: bytes) -> bytes:
        raise KeyThrottled("too many", retry_after_seconds=7)

    backend.answer = throttle
    with pytest.raises(KeyThrottled) as refused:
        await key.sign_personal(MESSAGES)
    assert refused.value.retry_after_seconds == 7
    assert key.fault == ""


@asynccontextmanager
async def started(key: CheckedKey) -> AsyncIterator[None]:
    await key.start()
    try:
        yield
    finally:
        await key.stop()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is the key's own word
        await asyncio.sleep(0.001)


async def test_it_is_not_ready_before_it_has_signed_and_comes_back_without_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "PROBE_SECONDS", 0.01)
    backend = OutsideKey(SECRET)
    key = checked(backend)
    assert key.fault == "the key's service (outside) has not been asked yet"

    async def refuse(_: bytes) -> bytes:
        raise KeyUnavailable("is away")

    backend.answer = refuse
    async with started(key):
        await until(lambda: "is away" in key.fault)
        backend.answer = backend.make
        await until(lambda: not key.fault)
        asked = len(backend.asked)
        assert set(backend.asked) == {PROBE}
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(backend.asked) == asked, "a key that signs is not asked again"
        backend.answer = refuse
        with pytest.raises(KeyUnavailable):
            await key.sign_personal(MESSAGES[:1])
        backend.answer = backend.make
        await until(lambda: not key.fault)
    assert backend.is_closed


async def test_a_backend_that_breaks_is_asked_again_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(external, "PROBE_SECONDS", 0.01)
    backend = OutsideKey(SECRET)
    key = checked(backend)

    async def breaks(_: bytes) -> bytes:
        raise ZeroDivisionError

    backend.answer = breaks
    async with started(key):
        await until(lambda: "cannot be asked" in caplog.text)
        backend.answer = backend.make
        await until(lambda: not key.fault)


async def test_a_fault_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    backend = OutsideKey(SECRET)
    key = checked(backend)

    async def refuse(_: bytes) -> bytes:
        raise KeyUnavailable("is away")

    with caplog.at_level(logging.INFO):
        backend.answer = refuse
        for _ in range(5):
            with pytest.raises(KeyUnavailable):
                await key.sign_personal(MESSAGES)
        backend.answer = backend.make
        for _ in range(5):
            await key.sign_personal(MESSAGES)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_whose_key_it_is_must_be_said_by_its_service_or_the_configuration_and_by_both_alike(caplog: pytest.LogCaptureFixture) -> None:
    one, other = bytes([1]) * 20, bytes([2]) * 20

    def away() -> bytes | None:
        raise KeyUnavailable("is away")

    assert checked_address("pkcs11", lambda: one, None) == one
    assert checked_address("pkcs11", lambda: one, one) == one
    assert checked_address("pkcs11", lambda: None, one) == one
    assert not caplog.records
    assert checked_address("pkcs11", away, one) == one
    assert "key.pkcs11: its service is away; key.address says the address" in caplog.text
    for find, configured, words in (
        (lambda: None, None, "key.address must say its address"),
        (away, None, "with key.address the signer starts all the same"),
        (lambda: one, other, f"the key's address is 0x{one.hex()}, but key.address says 0x{other.hex()}"),
    ):
        with pytest.raises(SigningKeyError, match=words):
            checked_address("pkcs11", find, configured)
