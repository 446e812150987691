"""The process that asks orchestrators: real, over real gRPC and HTTPS, and what comes back of it."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.discovery import AskingCrew, Job
from livepeer_remote_signer.adapters.discovery.asking import ask_all, ask_one, fetch_pool
from livepeer_remote_signer.adapters.discovery.crew import WorkerFailed, _budget
from livepeer_remote_signer.adapters.discovery.messages import (
    Answer,
    Pool,
    encode_answer,
    encode_job,
    encode_pool,
    encode_said,
    parse_job,
    parse_line,
)
from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.core.protocol.eip191 import orchestrator_info_message
from livepeer_remote_signer.core.protocol.wire import MAX_CAPABILITY_MODELS
from livepeer_remote_signer.core.rules.addresses import AddressPolicy
from livepeer_remote_signer.core.rules.advertised import (
    MAX_NODES,
    MAX_ORCHESTRATORS,
    MAX_URL_CHARACTERS,
    Node,
    Offer,
    Runner,
    Terms,
    TicketTerms,
    parse_nodes,
    parse_terms,
)
from livepeer_remote_signer.proto import net_pb2
from tests.adapters.discovery.plain_http import PlainHttp
from tests.signing import PlainKey
from tests.simulators import Chain, Clock, Network, Orchestrator, url_of
from tests.simulators import Offer as Asked

KEY = PlainKey(bytes([7]) * 32)


def job(*urls: str, webhook_url: str | None = None, allow_private: bool = True) -> Job:
    signature = KEY.sign_personal(orchestrator_info_message(KEY.address))
    return Job(KEY.address, signature, urls, webhook_url, 3.0, 8, allow_private, ("127.0.0.2/32",), "tofu")


async def all_of(said: AsyncIterator[Answer | Pool]) -> list[Answer | Pool]:
    return [one async for one in said]


def test_jobs_and_answers_survive_the_wire() -> None:
    there = job("https://a.example:1", webhook_url="http://x")
    assert parse_job(encode_job(there)) == there
    runner = Runner("https://r.example/", "me/app", "4090", Fraction(25, 2), '{"url":"x"}', "fixed")
    terms = Terms((Offer(35, "m", Fraction(7, 3)),), bytes(range(20)), "https://public.example", ("https://more.example",))
    ticket = TicketTerms(Fraction(10**9, 7), Fraction(10**12, 3), 2**255)
    for answer in (
        Answer("https://a.example:1", terms._replace(ticket=ticket), None, ()),
        Answer("https://a.example:1", terms, (Node("https://a.example:1", (runner,)),), ()),
        Answer("https://a.example:1", None, None, ("down", "down too")),
    ):
        assert parse_line(encode_answer(answer)) == answer
    for pool in (Pool(("https://a.example:1",), "", ("'x': no",)), Pool(None, "status 500")):
        assert parse_line(encode_pool(pool)) == pool


def largest_answer() -> Answer:
    """As much as the bounds on what an orchestrator sends let through, in characters of four bytes."""
    info = net_pb2.OrchestratorInfo()
    info.price_info.pricePerUnit, info.price_info.pixelsPerUnit = (1 << 63) - 2, (1 << 63) - 1
    for n in range(MAX_CAPABILITY_MODELS):
        info.capabilities.constraints.PerCapability[35].models["\U0001f600" * 255 + chr(0x1F300 + n)].warm = True
    price = {"price": "1", "currency": "wei", "unit": "seconds"}
    runners = [{"url": "\U0001f600" * 250 + str(n), "app": '"' * 200, "price_info": price} for n in range(4)]
    body = [{"address": f"https://h{n}.example:1/" + "a" * 2000, "runners": runners} for n in range(MAX_NODES)]
    nodes = parse_nodes(json.dumps(body).encode(), AddressPolicy())
    assert sum(len(node.runners) for node in nodes) > 16
    info.address, info.transcoder = bytes(20), "https://t.example/".ljust(MAX_URL_CHARACTERS, "a")
    info.nodes.extend(f"https://n{n}.example/".ljust(MAX_URL_CHARACTERS, "a") for n in range(MAX_NODES))
    return Answer("https://a.example:1", parse_terms(info.SerializeToString()), nodes, ("\udcff" * 300,))


def test_the_largest_answer_that_the_bounds_allow_is_handed_on_whole() -> None:
    answer = largest_answer()
    assert parse_line(encode_said(answer)) == answer
    pool = Pool(tuple(f"https://o{n}.example/".ljust(MAX_URL_CHARACTERS, "a") for n in range(MAX_ORCHESTRATORS)), "")
    assert parse_line(encode_said(pool)) == pool


async def test_a_line_that_is_too_long_is_told_as_a_fault_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer_remote_signer.adapters.discovery.messages.MAX_LINE_BYTES", 200)
    answer, pool = largest_answer(), Pool(("https://a.example/" + "a" * 300,), "")
    said = parse_line(encode_said(answer))
    assert isinstance(said, Answer)
    assert (said.url, said.terms, said.nodes) == (answer.url, None, None)
    assert "too many to hand on, the most is 200" in said.faults[0]
    assert "too many to hand on" in str(parse_line(encode_said(pool)))


async def test_a_process_asks_and_tells_both_halves() -> None:
    async with Network() as network:
        node = Orchestrator(Clock(), Chain(), Asked(1000))
        node.runners = [{"url": "https://r.example/", "app": "me/app", "price_info": {"price": 5, "currency": "wei", "unit": "seconds"}}]
        await network.host_orchestrator(node)
        gone = "https://127.0.0.1:1"
        answers = {said.url: said for said in await all_of(AskingCrew().ask(job(node.url, gone))) if isinstance(said, Answer)}
    good = answers[node.url]
    assert good.terms is not None
    assert good.terms.offers == (Offer(35, "streamdiffusion", Fraction(1000)),)
    assert good.nodes is not None
    assert [runner.app for runner in good.nodes[0].runners] == ["me/app"]
    assert good.faults == ()
    assert (answers[gone].terms, answers[gone].nodes) == (None, None)
    assert len(answers[gone].faults) == 2


async def test_an_answer_that_breaks_the_reader_costs_its_half_and_is_told_in_one_line() -> None:
    class Broken(OrchestratorClient):
        async def fetch_orchestrator_info(self, url: str, *_: Any, **__: Any) -> bytes:
            raise TypeError("/home/somebody/secret.py")

        async def fetch_discovery(self, url: str) -> bytes:
            return b"[]"

    asked = job("https://a.example:1")
    client = Broken(sender=asked.sender, signature=asked.signature, addresses=asked.addresses)
    fault = "GetOrchestrator: an answer that broke the reader (TypeError)"
    assert await ask_one(client, "https://a.example:1", asked) == Answer("https://a.example:1", None, (), (fault,))


async def test_of_a_process_that_breaks_the_last_line_is_told_without_the_traceback() -> None:
    with pytest.raises(WorkerFailed) as caught:
        await all_of(AskingCrew((sys.executable, "-c", "def f():\n  raise TypeError('bad')\nf()")).ask(job("https://a.example:1")))
    assert str(caught.value) == "the asking process exited with 1: TypeError: bad"


async def test_private_addresses_are_not_asked_without_a_grant() -> None:
    async with Network() as network:
        server = await network.host_orchestrator(Orchestrator(Clock(), Chain(), Asked(1000)))
        (answer,) = await all_of(AskingCrew().ask(job(url_of(server), allow_private=False)))
        assert network.connections == 0
    assert isinstance(answer, Answer)
    assert all("may not be dialled" in fault for fault in answer.faults)


@dataclass
class Advertising(Orchestrator):
    """An orchestrator that can be made to say odd things of itself. `named` None: its own URL."""

    named: str | None = None
    nodes: list[str] = field(default_factory=list)
    hides_address: bool = False

    def get_info(self, request: net_pb2.OrchestratorRequest) -> net_pb2.OrchestratorInfo:
        info = super().get_info(request)
        info.nodes.extend(self.nodes)
        if self.named is not None:
            info.transcoder = self.named
        if self.hides_address:
            info.address = b""
        return info


def terms_of(answer: Answer | Pool) -> Terms:
    assert isinstance(answer, Answer)
    assert answer.terms is not None
    return answer.terms


async def test_the_service_url_that_an_orchestrator_names_is_taken_where_it_may_be_dialled() -> None:
    async with Network() as network:
        node = Advertising(Clock(), Chain(), Asked(1000))
        await network.host_orchestrator(node)
        for named, taken in (
            ("https://93.184.216.34:8935", "https://93.184.216.34:8935"),
            (node.url, node.url),
            ("https://10.1.2.3:8935", ""),
            ("https://169.254.169.254", ""),
            ("http://93.184.216.34", ""),
            ("https://no-such-name.invalid", ""),
            ("", ""),
        ):
            node.named = named
            (answer,) = await all_of(ask_all(job(node.url)._replace(networks=("127.0.0.0/8",), allow_private=False)))
            assert terms_of(answer).transcoder == taken, named
            assert isinstance(answer, Answer)
            assert any("is not listed" in fault for fault in answer.faults) is (bool(named) and not taken), answer.faults


async def test_advertised_nodes_are_asked_as_far_as_the_operator_wants_and_theirs_are_not() -> None:
    async with Network() as network:
        first, second, third, fourth = (Advertising(Clock(), Chain(), Asked(1000)) for _ in range(4))
        for node in (first, second, third, fourth):
            await network.host_orchestrator(node)
        first.nodes = [second.url, first.url, third.url]
        second.nodes = [fourth.url]

        async def asked(follow: int) -> set[str]:
            said = await all_of(ask_all(job(first.url)._replace(follow_nodes=follow)))
            return {answer.url for answer in said if isinstance(answer, Answer)}

        assert await asked(0) == {first.url}
        assert await asked(1) == {first.url, second.url}
        assert await asked(3) == {first.url, second.url, third.url}


async def test_an_orchestrator_that_cannot_be_paid_says_so() -> None:
    async with Network() as network:
        node = Advertising(Clock(), Chain(), Asked(1000), hides_address=True)
        await network.host_orchestrator(node)
        (answer,) = await all_of(ask_all(job(node.url)))
    assert terms_of(answer).recipient == b""
    assert isinstance(answer, Answer)
    assert "cannot be paid" in answer.faults[0]


async def test_the_asking_process_imports_nothing_from_the_folder_it_is_started_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uvloop.py").write_text("raise SystemExit('planted')")
    monkeypatch.chdir(tmp_path)
    (answer,) = await all_of(AskingCrew().ask(job("https://127.0.0.1:1")))
    assert isinstance(answer, Answer)


async def test_of_the_webhooks_pool_and_the_configured_ones_the_pool_is_asked_while_it_can_be_had() -> None:
    pooled, configured = "https://127.0.0.1:1", "https://127.0.0.1:2"
    async with PlainHttp() as webhook:
        for status, asked in ((200, pooled), (500, configured)):
            webhook.status, webhook.body = status, json.dumps([{"address": pooled}]).encode()
            said = await all_of(ask_all(job(configured, webhook_url=webhook.url)))
            assert [answer.url for answer in said if isinstance(answer, Answer)] == [asked]


async def test_the_webhooks_pool_is_asked() -> None:
    async with Network() as network, PlainHttp() as webhook:
        node = Orchestrator(Clock(), Chain(), Asked(1000))
        await network.host_orchestrator(node)
        webhook.body = f'[{{"address": "{node.url}/"}}]'.encode()
        pool, answer = await all_of(AskingCrew().ask(job(webhook_url=webhook.url)))
    assert pool == Pool((node.url,), "")
    assert isinstance(answer, Answer)
    assert answer.terms is not None
    assert answer.terms.offers


async def test_a_webhooks_authority_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Network() as network, PlainHttp(network.certificate("localhost")) as webhook:
        webhook.body = b'[{"address": "https://a.example:1"}]'
        url = webhook.url.replace("127.0.0.1", "localhost")
        assert (await fetch_pool(url, Outbound())).urls is None
        port = int(webhook.url.rpartition(":")[2].partition("/")[0])
        authority = tmp_path / "ca.pem"
        authority.write_text(await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)))
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert await fetch_pool(url, Outbound()) == Pool(("https://a.example:1",), "")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        pool = await fetch_pool(url, Outbound())
        assert pool.urls is None
        assert "SSL_CERT_FILE" in pool.fault


async def test_a_webhook_whose_addresses_are_all_left_out_says_so() -> None:
    async with PlainHttp() as webhook:
        webhook.body = b'[{"address": "http://a.example:1"}]'
        pool = await fetch_pool(webhook.url, Outbound())
        assert (pool.urls, pool.fault, len(pool.left_out)) == ((), "the discovery webhook lists nobody who can be asked", 1)
        webhook.body = b"[]"
        assert await fetch_pool(webhook.url, Outbound()) == Pool((), "")
        webhook.body = b'[{"address": "http://a.example:1"}, {"address": "https://b.example:1"}]'
        pool = await fetch_pool(webhook.url, Outbound())
        assert (pool.urls, pool.fault, len(pool.left_out)) == (("https://b.example:1",), "", 1), "some can be asked: nothing is wrong"


async def test_a_webhook_that_fails_says_why_and_never_its_url() -> None:
    async with PlainHttp() as webhook:
        secret = webhook.url + "?token=hunter2"
        for status, body, why in ((500, b"", "status 500"), (200, b"{}", "not a JSON list"), (200, b"[" + b" " * (5 << 20), "more than")):
            webhook.status, webhook.body = status, body
            pool = await fetch_pool(secret, Outbound())
            assert pool.urls is None
            assert why in pool.fault
            assert "hunter2" not in pool.fault
    pool = await fetch_pool(secret, Outbound())
    assert pool.urls is None
    assert "hunter2" not in pool.fault


async def test_a_process_that_fails_or_babbles_is_told() -> None:
    for code, why in (
        ("import sys; sys.exit('out of luck')", "out of luck"),
        ("print('x' * (5 << 20))", "too long"),
    ):
        with pytest.raises(WorkerFailed, match=why):
            await all_of(AskingCrew((sys.executable, "-c", code)).ask(job("https://a.example:1")))


async def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer_remote_signer.adapters.discovery.crew.START_SECONDS", -12.0)
    with pytest.raises(WorkerFailed, match="too long"):
        await all_of(AskingCrew((sys.executable, "-c", "import time; time.sleep(60)")).ask(job("https://a.example:1")))


async def test_a_name_whose_look_up_hangs_does_not_delay_the_end_of_the_process() -> None:
    code = (
        "import socket, sys, time; socket.getaddrinfo = lambda *_, **__: time.sleep(60)\n"
        "from livepeer_remote_signer.adapters.discovery.worker import main; sys.exit(main())"
    )
    asked = job("https://slow1.example:1", "https://slow2.example:1")._replace(timeout_seconds=0.5)
    started = time.monotonic()
    answers = await all_of(AskingCrew((sys.executable, "-c", code)).ask(asked))
    assert time.monotonic() - started < 20
    assert sorted(said.url for said in answers if isinstance(said, Answer)) == ["https://slow1.example:1", "https://slow2.example:1"]


async def test_the_process_inherits_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "hunter2")
    code = "import os, sys; sys.exit(' '.join(sorted(os.environ)))"
    with pytest.raises(WorkerFailed) as caught:
        await all_of(AskingCrew((sys.executable, "-c", code)).ask(job("https://a.example:1")))
    assert "WEBHOOK_SECRET" not in str(caught.value)
    assert "PATH" in str(caught.value)
    assert os.environ["WEBHOOK_SECRET"] == "hunter2"


def test_a_job_may_take_as_long_as_all_its_orchestrators_at_their_slowest() -> None:
    one = job()  # three seconds for an answer, eight at a time
    assert _budget(one, 0) == _budget(one, 8) == 17
    assert _budget(one, 9) == 24
    assert _budget(one._replace(follow_nodes=2), 8) == 31
    assert _budget(one._replace(timeout_seconds=0.5), 8) == 13.5
