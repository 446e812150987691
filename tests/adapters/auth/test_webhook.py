"""The webhook client against real sockets: only a well-formed answer that came in time is a verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.auth.breaker import CircuitBreaker
from livepeer_remote_signer.adapters.auth.webhook import WebhookAuthorizer
from livepeer_remote_signer.core.errors import AuthFailed
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, Caller, Identity, Verdict
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.simulate.serving import make_certificate
from tests.hooks import Answer, Hook, die, drip, flood, hang_up, reply, running_hook, says, silence
from tests.plans import NOW_NS, plan_payment

CALLER = Caller(((b"authorization", b"Bearer abc"), (b"x-custom", b"1")))


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with running_hook() as running:
        yield running


@asynccontextmanager
async def asking(url: str, **options: object) -> AsyncIterator[WebhookAuthorizer]:
    authorizer = WebhookAuthorizer(url, **{"timeout_seconds": 20, **options})  # type: ignore[arg-type]
    try:
        yield authorizer
    finally:
        await authorizer.aclose()


async def ask(authorizer: WebhookAuthorizer, trail: Trail | None = None) -> Verdict:
    return await authorizer.authorize(CALLER, ANONYMOUS, plan_payment(), trail or Trail("/r", "r1", "", time.monotonic))


async def test_a_verdict_is_believed_and_the_connection_is_kept(hook: Hook) -> None:
    hook.answer = says({"status": 200, "auth_id": "u1"})
    async with asking(hook.url, secret="s3cret", headers={"X-Static": "yes"}) as authorizer:
        verdicts = [await ask(authorizer) for _ in range(3)]
    assert verdicts == [Verdict(200, auth_id="u1")] * 3
    assert hook.connections == 1
    assert hook.headers[0]["authorization"] == "Bearer s3cret"
    assert hook.headers[0]["x-static"] == "yes"
    assert hook.headers[0]["content-type"] == "application/json"
    assert hook.questions[0]["headers"] == {"Authorization": ["Bearer abc"], "X-Custom": ["1"]}


@pytest.mark.parametrize(
    "answer",
    [
        silence,
        drip,
        flood,
        die,
        hang_up,
        reply(b'{"status":200}', "500 Internal Server Error"),
        reply(b'{"status":200}', "401 Unauthorized"),
        reply(b'{"status":200}', "201 Created"),
        reply(b"", "204 No Content"),
        reply(b"{}"),
        reply(b"ok"),
        reply(b'{"status":200}' + b" " * 65_536),
        reply(b'{"status":200}', headers="Content-Encoding: gzip\r\n"),
        reply(b'{"status":200}', "not http at all"),
    ],
)
async def test_whatever_else_it_does_is_a_failure_in_time(hook: Hook, answer: Answer) -> None:
    hook.answer = answer
    async with asking(hook.url, timeout_seconds=0.3 if answer in (silence, drip) else 20) as authorizer:
        started = time.monotonic()
        with pytest.raises(AuthFailed):
            await ask(authorizer)
        assert time.monotonic() - started < 10


async def test_a_redirect_is_not_followed(hook: Hook) -> None:
    async with running_hook() as other:
        hook.answer = reply(b"", "307 Temporary Redirect", f"Location: {other.url}\r\n")
        async with asking(hook.url) as authorizer:
            with pytest.raises(AuthFailed, match="HTTP 307"):
                await ask(authorizer)
        assert other.questions == []


async def test_proxies_of_the_environment_are_not_used(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with asking(hook.url) as authorizer:
        assert (await ask(authorizer)).status == 200


async def test_a_webhook_that_is_not_there_is_a_failure() -> None:
    async with asking("http://127.0.0.1:1/") as authorizer:
        with pytest.raises(AuthFailed):
            await ask(authorizer)


async def test_silence_opens_the_breaker_one_probe_closes_it(hook: Hook) -> None:
    now = [0.0]
    breaker = CircuitBreaker(lambda: now[0], failures_to_open=2, open_seconds=10)
    hook.answer = hang_up
    async with asking(hook.url, breaker=breaker) as authorizer:
        for _ in range(4):
            with pytest.raises(AuthFailed):
                await ask(authorizer)
        assert len(hook.questions) == 2
        now[0] = 11
        with pytest.raises(AuthFailed):
            await ask(authorizer)
        assert len(hook.questions) == 3
        assert breaker.is_open
        assert "does not answer" in authorizer.fault
        now[0] = 22
        hook.answer = says({"status": 200})
        assert (await ask(authorizer)).status == 200
        assert not breaker.is_open
        assert authorizer.fault == ""


def words(raw: bytes) -> Answer:
    """Bytes that are no HTTP reply."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    return answer


BAD_ANSWERS = [
    reply(b"nonsense", "500 Internal Server Error"),
    words(b"220 mail.example ready\r\n"),
    words(b'{"status":200}'),
    words(b"\x15\x03\x01\x00\x02\x02F"),
    words(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"),
    words(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
]


@pytest.mark.parametrize("answer", BAD_ANSWERS)
async def test_a_probe_that_is_answered_however_badly_closes_the_breaker(hook: Hook, answer: Answer) -> None:
    now = [0.0]
    breaker = CircuitBreaker(lambda: now[0], failures_to_open=1, open_seconds=1)
    breaker.silent()
    now[0] = 2
    hook.answer = answer
    async with asking(hook.url, breaker=breaker) as authorizer:
        with pytest.raises(AuthFailed):
            await ask(authorizer)
    assert not breaker.is_open


@pytest.mark.parametrize("answer", BAD_ANSWERS)
async def test_answers_however_bad_do_not_open_the_breaker(hook: Hook, answer: Answer) -> None:
    breaker = CircuitBreaker(time.monotonic, failures_to_open=1)
    hook.answer = answer
    async with asking(hook.url, breaker=breaker) as authorizer:
        for _ in range(3):
            with pytest.raises(AuthFailed):
                await ask(authorizer)
    assert len(hook.questions) == 3


async def test_a_caller_that_leaves_during_the_probe_lets_the_next_one_probe(hook: Hook) -> None:
    now = [0.0]
    breaker = CircuitBreaker(lambda: now[0], failures_to_open=1, open_seconds=1)
    breaker.silent()
    now[0] = 2
    hook.answer = silence
    async with asking(hook.url, breaker=breaker, timeout_seconds=30) as authorizer:
        task = asyncio.create_task(ask(authorizer))
        await hook.asked.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        hook.answer = says({"status": 200})
        assert (await ask(authorizer)).status == 200


async def test_what_our_own_time_cuts_off_counts_as_silence(hook: Hook) -> None:
    breaker = CircuitBreaker(time.monotonic, failures_to_open=2, open_seconds=60)
    hook.answer = silence
    async with asking(hook.url, breaker=breaker, timeout_seconds=30) as authorizer:
        for opened in (False, True):
            trail = Trail("/r", "r1", "", time.monotonic, 1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await ask(authorizer, trail)
            assert breaker.is_open is opened
        with pytest.raises(AuthFailed, match="not asked again"):
            await ask(authorizer)
    assert len(hook.questions) == 2


async def test_bound_verdicts_tell_credentials_apart_and_end_in_time(hook: Hook) -> None:
    hook.answer = says({"status": 200, "expiry": 2**40})
    async with asking(hook.url, binding_key=bytes(32), max_expiry_seconds=600) as authorizer:
        verdict = await ask(authorizer)
        assert verdict.expiry == NOW_NS // 10**9 + 600
        assert verdict.binding == authorizer.binding(CALLER, ANONYMOUS) != ""
        others = [
            authorizer.binding(Caller(((b"authorization", b"Bearer abd"),)), ANONYMOUS),
            authorizer.binding(Caller(((b"x-api-key", b"Bearer abc"),)), ANONYMOUS),
            authorizer.binding(CALLER, Identity("a", b"other")),
            authorizer.binding(Caller(), ANONYMOUS),
        ]
        assert len({verdict.binding, *others}) == 5
        assert authorizer.binding(Caller((*CALLER.headers, (b"user-agent", b"x"))), ANONYMOUS) == verdict.binding
    async with asking(hook.url, binding_key=b"\1" * 32) as keyed_otherwise:
        assert keyed_otherwise.binding(CALLER, ANONYMOUS) != verdict.binding


async def test_without_a_key_nothing_is_bound(hook: Hook) -> None:
    hook.answer = says({"status": 200, "expiry": 2**40})
    async with asking(hook.url) as authorizer:
        assert authorizer.binding(CALLER, ANONYMOUS) == ""
        assert await ask(authorizer) == Verdict(200, expiry=2**40)


@pytest.mark.parametrize("url", ["ftp://h/", "gate", "http://", "http://[::1", "file:///etc/passwd"])
def test_a_url_that_cannot_be_asked_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"auth\.webhook\.url") as caught:
        WebhookAuthorizer(url)
    assert url not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://h/", {"secret": "s", "headers": {"Authorization": "x"}}),
        ("http://user:word@h/", {"secret": "s"}),
        ("http://user:word@h/", {"headers": {"authorization": "x"}}),
        ("http://:word@h/", {"secret": "s"}),
    ],
)
def test_two_claims_on_the_authorization_header_are_refused(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Authorization"):
        WebhookAuthorizer(url, **options)


async def test_a_user_in_the_url_is_sent_as_basic_authorization_and_shown_nowhere(hook: Hook) -> None:
    hook.answer = says({"status": 200})
    async with asking(hook.url.replace("://", "://user:word@")) as authorizer:
        assert (await ask(authorizer)).status == 200
        assert "word" not in repr(authorizer)
    assert hook.headers[0]["authorization"] == "Basic dXNlcjp3b3Jk"


@pytest.mark.parametrize(("user", "sent"), [("na%E2%82%ACme:p", "bmHigqxtZTpw"), (":word", "OndvcmQ="), ("user", "dXNlcjo=")])
async def test_a_user_is_sent_as_utf_8_also_without_a_name_or_a_password(hook: Hook, user: str, sent: str) -> None:
    hook.answer = says({"status": 200})
    async with asking(hook.url.replace("://", f"://{user}@")) as authorizer:
        assert (await ask(authorizer)).status == 200
    assert hook.headers[0]["authorization"] == f"Basic {sent}"


async def test_a_webhook_may_send_long_headers(hook: Hook) -> None:
    hook.answer = reply(b'{"status":200}', headers=f"X-Long: {'x' * 20_000}\r\n")
    async with asking(hook.url) as authorizer:
        assert (await ask(authorizer)).status == 200


async def test_what_a_webhook_wants_to_be_remembered_is_not_sent_back(hook: Hook) -> None:
    hook.answer = reply(b'{"status":200}', headers="Set-Cookie: a=b\r\n")
    async with asking(hook.url) as authorizer:
        for _ in range(2):
            assert (await ask(authorizer)).status == 200
    assert "cookie" not in hook.headers[1]


async def test_tls_is_spoken_and_a_certificate_of_its_own_making_is_not_believed(tmp_path: Path) -> None:
    async with running_hook(make_certificate("localhost", tmp_path)) as hook:
        async with asking(hook.url.replace("127.0.0.1", "localhost"), timeout_seconds=5) as authorizer:
            with pytest.raises(AuthFailed, match="could not be reached: its certificate comes from an authority that is not trusted"):
                await ask(authorizer)
        assert hook.questions == []


async def test_secrets_stand_in_no_repr_and_no_error(hook: Hook) -> None:
    hook.answer = reply(b"", "500 Oops")
    async with asking(hook.url + "?key=geheim", secret="s3cret") as authorizer:
        with pytest.raises(AuthFailed) as caught:
            await ask(authorizer)
        for text in (repr(authorizer), str(caught.value), repr(caught.value.__cause__), repr(caught.value.values)):
            assert "geheim" not in text
            assert "s3cret" not in text


@pytest.mark.parametrize("secret", ["", " ", "s3cret ", "\ts3cret", "s3cret\n", "s3\ncret", "s3crét", "s3cret\x00"])
def test_a_secret_that_cannot_be_sent_is_refused_at_start_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match=r"auth\.webhook\.secret cannot be sent") as caught:
        WebhookAuthorizer("https://h", secret=secret)
    assert "cr" not in str(caught.value).replace("secret", "")


@pytest.mark.parametrize("name", ["", "X Y", "X:", "X\n", "É"])
def test_a_header_name_that_cannot_be_sent_is_refused_at_start(name: str) -> None:
    with pytest.raises(ValueError, match=r"auth\.webhook\.headers: a header's name"):
        WebhookAuthorizer("https://h", headers={name: "v"})


@pytest.mark.parametrize("value", [" pl4nted", "pl4nted ", "pl4\nnted", "pl4nted\r\n", "pl4nted€", "pl4ntedé", "pl4nted\x00", "\x7f"])
def test_a_header_value_that_cannot_be_sent_is_refused_at_start_and_not_repeated(value: str) -> None:
    with pytest.raises(ValueError, match=r"auth\.webhook\.headers\.X-Key cannot be sent") as caught:
        WebhookAuthorizer("https://h", headers={"X-Key": value})
    assert "pl4" not in str(caught.value)


async def test_ordinary_header_values_are_sent_as_they_are(hook: Hook) -> None:
    hook.answer = says({"status": 200})
    async with asking(hook.url, secret="a b", headers={"X-Empty": "", "X-Two": "a\t b"}) as authorizer:
        await ask(authorizer)
    assert (hook.headers[0]["authorization"], hook.headers[0]["x-empty"], hook.headers[0]["x-two"]) == ("Bearer a b", "", "a\t b")
