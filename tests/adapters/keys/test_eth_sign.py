"""`eth_sign` over real sockets: one signature a request, and every other answer is a fault that names what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from livepeer_remote_signer.adapters.keys.eth_sign import EthSign
from livepeer_remote_signer.adapters.keys.external import CheckedKey
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.core.errors import KeyThrottled, KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import checksum_address, keccak256, personal_digest, recover_address
from tests.hooks import Answer, Hook, flood, hang_up, reply, running_hook, silence
from tests.outside import OutsideKey

KEY = OutsideKey(b"\x53" * 32)
MESSAGES = [keccak256(bytes((number,))) for number in range(8)]


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with running_hook() as running:
        running.answer = signing(running)
        yield running


def signing(hook: Hook, ending: bytes = b"\x1b", **extra: Any) -> Answer:
    """What a service answers to the last question; its v says nothing."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        method, (account, data) = hook.questions[-1]["method"], hook.questions[-1]["params"]
        assert (method, account) == ("eth_sign", checksum_address(KEY.address))
        raw = await KEY.make(bytes.fromhex(data[2:]))
        await says(result="0x" + (raw + ending).hex(), **extra)(writer)

    return answer


def says(status: str = "200 OK", **document: Any) -> Answer:
    return reply(json.dumps({"jsonrpc": "2.0", "id": 1, **document}).encode(), status)


@asynccontextmanager
async def asking(url: str, timeout_seconds: float = 5, **options: Any) -> AsyncIterator[CheckedKey]:
    key = CheckedKey(EthSign(url, KEY.address, Outbound(), **options), KEY.address, timeout_seconds=timeout_seconds)
    try:
        yield key
    finally:
        await key.stop()


@pytest.mark.parametrize("ending", [b"", b"\x00", b"\x01", b"\x1b", b"\x1c", b"\xff"])
async def test_its_signatures_are_taken_whatever_v_they_carry(hook: Hook, ending: bytes) -> None:
    hook.answer = signing(hook, ending)
    async with asking(hook.url, headers={"X-Api-Key": "s3cret"}) as key:
        signatures = await key.sign_personal(MESSAGES)
        await key.sign_personal(MESSAGES[:1])
    for message, signature in zip(MESSAGES, signatures, strict=True):
        assert recover_address(personal_digest(message), signature) == KEY.address
    assert [type(question) for question in hook.questions] == [dict] * 9, "no arrays"
    assert sorted(question["params"][1] for question in hook.questions[:8]) == sorted("0x" + message.hex() for message in MESSAGES)
    assert all(headers["x-api-key"] == "s3cret" for headers in hook.headers)
    assert hook.connections == 8, "they are kept"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(error={"code": -32000, "message": "s3cret"}), "answered eth_sign with error -32000: is key.eth_sign.address one"),
        (says("500 Internal Server Error", error={"code": -32603, "message": "s3cret"}), "error -32603"),
        (says(error="s3cret"), "answered eth_sign with an error"),
        (says(error={"code": "s3cret"}), "answered eth_sign with an error"),
        (says(), "returned what is no signature"),
        (says(result=None), "returned what is no signature"),
        (says(result=7), "returned what is no signature"),
        (says(result="0x" + "zz" * 65), "returned what is no signature"),
        (says(result="ab" * 65), "returned what is no signature"),
        (says(result="0x" + "ab" * 66), "returned what is no signature"),
        (says(result="0x" + "ab" * 65), "returned what is no signature of 0x"),
        (reply(b"[1]"), "an answer that is not JSON-RPC"),
        (reply(b"{"), "an answer that is not JSON-RPC"),
        (reply(b"[" * 10_000), "an answer that is not JSON-RPC"),
        (reply(b"\xff"), "an answer that is not JSON-RPC"),
        (reply(b"{}", "401 Unauthorized"), "answered HTTP 401, not 200"),
        (reply(b"{}", "302 Found", "Location: http://127.0.0.1:1/\r\n"), "answered HTTP 302, not 200"),
        (reply(b"{}", headers="Content-Encoding: gzip\r\n"), "a compressed answer"),
        (reply(b" " * 20_000), "more than 16384 bytes"),
        (flood, "more than 16384 bytes"),
        (hang_up, "could not be reached"),
        (silence, "did not sign within 2 s"),
    ],
)
async def test_everything_else_is_a_fault_that_repeats_nothing(hook: Hook, answer: Answer, said: str) -> None:
    hook.answer = answer
    async with asking(hook.url, timeout_seconds=2) as key:
        with pytest.raises(KeyUnavailable) as refused:
            await key.sign_personal(MESSAGES[:1])
        assert said in refused.value.message
        assert "s3cret" not in refused.value.message
        hook.answer = signing(hook)
        assert await key.sign_personal(MESSAGES[:1])


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (reply(b"", "429 Too Many Requests", "Retry-After: 9\r\n"), 9),
        (reply(b"", "429 Too Many Requests", "Retry-After: 99999\r\n"), 60),
        (reply(b"", "429 Too Many Requests"), 1),
        (says(error={"code": -32005, "message": "limit"}), 1),
    ],
)
async def test_a_service_that_has_enough_is_left_alone(hook: Hook, answer: Answer, seconds: int) -> None:
    hook.answer = answer
    async with asking(hook.url) as key:
        with pytest.raises(KeyThrottled) as refused:
            await key.sign_personal(MESSAGES[:1])
    assert refused.value.retry_after_seconds == seconds


async def test_a_kept_connection_that_ended_meanwhile_costs_nothing(hook: Hook) -> None:
    async def once(writer: asyncio.StreamWriter) -> None:
        await signing(hook)(writer)
        hook.answer = hang_up_once

    async def hang_up_once(writer: asyncio.StreamWriter) -> None:
        hook.answer = signing(hook)
        writer.close()

    hook.answer = once
    async with asking(hook.url) as key:
        for _ in range(2):
            assert await key.sign_personal(MESSAGES[:1])
    assert len(hook.questions) == 3


async def test_nobody_there_is_said_in_words() -> None:
    async with asking("http://127.0.0.1:1/") as key:
        with pytest.raises(KeyUnavailable, match="nobody listens there"):
            await key.sign_personal(MESSAGES[:1])


@pytest.mark.parametrize(
    ("url", "headers", "said"),
    [
        ("http://h/", {"a b": "s3cret"}, "a header's name"),
        ("http://h/", {"X-Key": "s3cret\n"}, "headers.X-Key cannot be sent"),
        ("http://s3cret:s3cret@h/", {"Authorization": "s3cret"}, "both claim the Authorization header"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_at_start(url: str, headers: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        EthSign(url, KEY.address, Outbound(), headers=headers)
    assert "s3cret" not in str(refused.value)


def test_what_it_shows_of_itself_is_the_host() -> None:
    assert repr(EthSign("http://user:pass@host.example/s3cret?k=s3cret", KEY.address, Outbound())) == "EthSign(host=host.example)"


async def test_an_answer_of_another_form_with_an_error_status_is_told_by_its_status(hook: Hook) -> None:
    for body in (b"[]", b'"error"', b"nothing", b'{"error": "busy"}'):
        hook.answer = reply(body, "502 Bad Gateway")
        async with asking(hook.url) as key:
            with pytest.raises(KeyUnavailable, match="answered HTTP 502"):
                await key.sign_personal(MESSAGES[:1])
