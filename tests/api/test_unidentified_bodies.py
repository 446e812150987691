"""Bodies of callers whom nobody knows yet: who sends most of them waits, where they make others wait; where a credential is demanded
none is read."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.api.front import MAX_DEAR_BODIES, Front
from livepeer_remote_signer.api.paying import LATE_SECONDS, UnidentifiedBodies
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.errors import Overloaded
from tests.api_keys import create_key
from tests.asgi import call
from tests.signer import PAY, configuration

WEBHOOK = {"url": "http://127.0.0.1:9/authorize"}
MUCH = b'{"a":"' + b"x" * 70_000 + b'"'
"""No JSON: it costs next to nothing here."""


def front(**auth: Any) -> Front:
    limits = {"max_unidentified_bytes_per_second": 64 * 1024}
    return create_app(parse_config(yaml.safe_dump(configuration(auth=auth, limits=limits)), {}))


def keep_everybody_waiting() -> None:
    """As a slow request does, within the turn of the event loop that is under way."""
    end = time.monotonic() + 2 * LATE_SECONDS
    while time.monotonic() < end:
        pass


async def statuses(signer: Front, forwarded: bytes = b"192.0.2.66") -> list[int]:
    """Of two large bodies in one turn of the event loop, the first of which takes long."""
    found = []
    for _ in range(2):
        answer = signer.paying.respond(PAY, [(b"x-forwarded-for", forwarded)], MUCH, "127.0.0.1")
        found.append((answer if isinstance(answer, Reply) else await answer).status)
        keep_everybody_waiting()
    return found


async def test_within_one_turn_whoever_sends_most_is_refused_once_others_wait() -> None:
    bodies = UnidentifiedBodies(1000)
    bodies.check("alice", bytes(100), 0.0)
    bodies.check("mallory", bytes(2000), 0.0)
    bodies.check("mallory", bytes(2000), 0.0)
    keep_everybody_waiting()
    with pytest.raises(Overloaded, match="not known yet"):
        bodies.check("mallory", bytes(2000), 0.0)
    bodies.check("alice", bytes(100), 0.0)


@pytest.mark.parametrize(
    "auth",
    [{}, {"webhook": WEBHOOK}, {"webhook": WEBHOOK, "trusted_proxies": ["127.0.0.1/32"]}, {"webhook": WEBHOOK, "namespaces": True}],
    ids=["nobody", "webhook", "webhook behind a proxy", "webhook with namespaces"],
)
async def test_the_limit_holds_wherever_no_credential_is_demanded(auth: dict[str, Any]) -> None:
    assert await statuses(front(**auth)) == [400, 503]


async def test_behind_a_proxy_it_holds_by_whom_the_proxy_speaks_for() -> None:
    signer = front(webhook=WEBHOOK, trusted_proxies=["127.0.0.1/32"])
    assert await statuses(signer) == [400, 503]
    small = signer.paying.respond(PAY, [(b"x-forwarded-for", b"192.0.2.7")], b"[]", "127.0.0.1")
    assert (small if isinstance(small, Reply) else await small).status == 400


async def test_where_a_key_is_demanded_no_body_is_read(tmp_path: Path) -> None:
    create_key(tmp_path / "keys.json", name="alice", auth_id="alice", now=5)
    assert await statuses(front(api_keys_file=str(tmp_path / "keys.json"))) == [401, 401]


@pytest.mark.parametrize("path", ["/quoteTicket", "/getOrchestratorInfo"])
async def test_other_routes_that_read_a_body_count_too(path: str) -> None:
    signer = front(webhook=WEBHOOK)
    assert await statuses(signer) == [400, 503]
    assert (await call(signer, "POST", path, {}, MUCH)).status == 503


DEAR = b'{"a":[' + b"1," * 8000 + b"1]}"


@pytest.mark.parametrize("path", [PAY, "/quoteTicket"])
async def test_dear_bodies_of_a_tenant_are_read_one_in_a_turn_of_the_event_loop(tmp_path: Path, path: str) -> None:
    key, _ = create_key(tmp_path / "keys.json", name="mallory", auth_id="mallory", now=5)
    signer = front(api_keys_file=str(tmp_path / "keys.json"))
    turns: list[int] = []

    async def ask() -> None:
        answer = await call(signer, "POST", path, {"X-Api-Key": key}, DEAR)
        assert answer.status in (200, 400), answer
        turns.append(turn)

    tasks = [asyncio.create_task(ask()) for _ in range(10)]
    turn = 0
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    await asyncio.gather(*tasks)
    assert len(set(turns)) == len(tasks), "two were read in one turn"


async def test_dear_bodies_of_a_tenant_wait_in_its_own_name(tmp_path: Path) -> None:
    """Not in that of the address, which it may share with others."""
    file = tmp_path / "keys.json"
    keys = [create_key(file, name=name, auth_id=name, now=5)[0] for name in ("mallory", "alice")]
    signer = front(api_keys_file=str(file))
    crowd = [asyncio.create_task(call(signer, "POST", PAY, {"X-Api-Key": keys[0]}, DEAR)) for _ in range(250)]
    await asyncio.sleep(0)
    assert (await call(signer, "POST", PAY, {"X-Api-Key": keys[1]}, b"[]")).status == 400
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_on_other_routes_few_dear_bodies_wait(tmp_path: Path) -> None:
    key, _ = create_key(tmp_path / "keys.json", name="mallory", auth_id="mallory", now=5)
    signer = front(api_keys_file=str(tmp_path / "keys.json"))
    answers = await asyncio.gather(*(call(signer, "POST", "/quoteTicket", {"X-Api-Key": key}, DEAR) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [400] * (MAX_DEAR_BODIES + 1) + [503] * (19 - MAX_DEAR_BODIES)
