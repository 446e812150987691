"""The events commands against a real receiver and a real ledger file: what was refused is shown, sent again or given up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.adapters.events.forwarder import Forwarder
from livepeer_remote_signer.adapters.events.http import HttpSink
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.core.rules.events import event_id
from tests.adapters.events.making import CountingMeter, make_event
from tests.ledgers import Session, opened
from tests.plans import SECRET


class Receiver(ThreadingHTTPServer):
    """Takes CloudEvents batches, but none with an id among `disliked`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.disliked: set[str] = set()
        self.ids: list[str] = []
        self.away = ""
        """Whoever asks at this path is answered 503."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        ids = [event["id"] for event in json.loads(self.rfile.read(int(self.headers["content-length"])))]
        is_disliked = bool(self.server.disliked & set(ids))
        is_away = self.path == self.server.away
        if not is_disliked and not is_away:
            self.server.ids += ids
        self.send_response(503 if is_away else 400 if is_disliked else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One on a free port."""
    server = Receiver()
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def fill(path: Path, disliked: Sequence[int], receiver: Receiver, *sinks: HttpSink) -> list[str]:
    """Pays ten times, and forwards to each sink; the receiver refuses some. Returns the events' ids."""
    events = [make_event(sequence_number=n) for n in range(10)]
    ids = [event_id(event) for event in events]
    receiver.disliked = {ids[place] for place in disliked}
    async with opened(path, sinks=[sink.name for sink in sinks]) as (ledger,):
        for event in events:
            await ledger.pay(Session().next(event=event))
        forwarder = Forwarder(ledger.outbox, sinks, CountingMeter())
        forwarder.start()
        async with asyncio.timeout(30):
            while await ledger.outbox.unsent(1):  # noqa: ASYNC110 - the table has no event to wait for
                await asyncio.sleep(0.01)
        await forwarder.stop(5)
    return ids


def write_config(folder: Path, *sinks: dict[str, str]) -> str:
    """A configuration with the folder's ledger and these sinks."""
    path = folder / "signer.yaml"
    sections = {
        "key": {"private_key": SECRET.hex()},
        "chain": {"source": "static"},
        "ledger": {"backend": "sqlite", "path": str(folder / "ledger")},
        "events": {"sinks": list(sinks)},
    }
    path.write_text(yaml.safe_dump(sections))
    return str(path)


def test_parked_events_are_shown_sent_again_and_dropped(tmp_path: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    sink = HttpSink(receiver.url)
    ids = asyncio.run(fill(tmp_path / "ledger", [2, 5, 7], receiver, sink))
    assert receiver.ids == [id for place, id in enumerate(ids) if place not in (2, 5, 7)]
    config = write_config(tmp_path, {"type": "http", "url": receiver.url})

    def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        status = main(["events", *arguments, "--config", config])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    status, out, _ = run("parked")
    assert (status, out[-1]) == (0, "3 parked")
    assert sorted(line.split()[0] for line in out[:-1]) == sorted(ids[place] for place in (2, 5, 7))
    assert all(sink.name in line and "answered HTTP 400, not 2xx" in line for line in out[:-1])

    refused = f"{ids[2]}  {sink.name}  refused again: the events receiver 127.0.0.1 answered HTTP 400, not 2xx"
    assert run("retry", ids[2]) == (1, [], [refused])
    receiver.disliked = {ids[7]}
    assert run("retry", ids[2]) == (0, [f"{ids[2]}  {sink.name}  sent"], [])
    assert receiver.ids[-1] == ids[2]
    assert run("retry", ids[2]) == (1, [], [f"{ids[2]}  is not parked"])
    status, out, err = run("retry", "--all")
    assert (status, out) == (1, [f"{ids[5]}  {sink.name}  sent"])
    assert [line.split()[0] for line in err] == [ids[7]]
    assert run("drop", ids[7]) == (0, [f"{ids[7]}  {sink.name}  dropped"], [])
    assert run("drop", ids[7])[0] == 1
    assert run("parked") == (0, ["nothing is parked"], [])
    assert run("retry")[0] == run("retry", ids[0], "--all")[0] == run("parked", "--sink", "1")[0] == 2

    taken = len(receiver.ids)
    status, out, err = run("replay", "--since", "2020-01-01T00:00:00Z")
    assert (status, out) == (1, [f"{sink.name}: 9 events, 1 refused"]), "one of them is refused still"
    assert [line.split()[0] for line in err] == [ids[7]]
    assert receiver.ids[taken:] == [id for id in ids if id != ids[7]]


def test_events_of_a_sink_that_is_gone_can_be_dropped_but_not_sent(
    tmp_path: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = asyncio.run(fill(tmp_path / "ledger", [3], receiver, HttpSink(receiver.url)))
    config = write_config(tmp_path, {"type": "file", "path": str(tmp_path / "events.jsonl")})
    assert main(["events", "retry", "--all", "--config", config]) == 1
    assert "this sink is not configured" in capsys.readouterr().err
    assert main(["events", "drop", ids[3], "--sink", "0", "--config", config]) == 1, "that one has parked nothing"
    assert main(["events", "drop", ids[3], "--config", config]) == 0


def test_a_sink_that_is_away_keeps_no_event_from_another(tmp_path: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    urls = [receiver.url + name for name in ("a", "b")]
    ids = asyncio.run(fill(tmp_path / "ledger", [3, 4], receiver, *map(HttpSink, urls)))
    config = write_config(tmp_path, *({"type": "http", "url": url} for url in urls))
    receiver.disliked, receiver.away = set(), "/a"
    capsys.readouterr()
    assert main(["events", "retry", "--all", "--config", config]) == 1
    out, err = capsys.readouterr()
    names = [HttpSink(url).name for url in urls]
    assert sorted(out.splitlines()) == sorted(f"{id}  {names[1]}  sent" for id in ids[3:5])
    assert err.splitlines() == ["error: the events receiver 127.0.0.1 answered HTTP 503, not 2xx"]
    receiver.ids.clear()
    assert main(["events", "replay", "--since", "2020-01-01T00:00:00Z", "--config", config]) == 1
    assert capsys.readouterr().out.splitlines() == [f"{names[0]}: 0 events, then it failed", f"{names[1]}: 10 events"]
    assert receiver.ids == ids
    receiver.away = ""
    assert main(["events", "retry", "--all", "--config", config]) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(f"{id}  {names[0]}  sent" for id in ids[3:5])


def test_without_a_ledger_there_is_nothing_to_decide_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, {"type": "file", "path": str(tmp_path / "events.jsonl")})
    assert main(["events", "parked", "--config", config]) == 1
    assert "there is no ledger at" in capsys.readouterr().err
    assert not (tmp_path / "ledger").exists()
