"""What operators see of a running signer: events, metrics, logs and traces of real payments, and no secret in any of them."""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64decode
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from livepeer_remote_signer.core.protocol.amounts import float_string
from tests.plans import SECRET, orchestrator_info
from tests.prometheus_text import Metric, parse_metrics
from tests.served import Answer, Served, live_body, post, served
from tests.signer import PAY

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "event.schema.json").read_text("utf-8"))
SLOW = pytest.mark.operate
"""A process is started for each: the default run has one of each kind, `make test-operate` all."""

JSON_LOGS = {"log": {"format": "json", "level": "debug"}}


def events_of(path: Path) -> list[dict[str, Any]]:
    """The records of an events file; each is valid."""
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    for record in records:
        jsonschema.Draft202012Validator(SCHEMA).validate(record)
    return records


def wait_for_events(path: Path, count: int, seconds: float = 60) -> list[dict[str, Any]]:
    """At least so many records."""
    give_up = time.monotonic() + seconds
    while len(found := events_of(path)) < count:
        assert time.monotonic() < give_up, f"{len(found)} of {count} events"
        time.sleep(0.05)
    return found


def scrape(signer: Served) -> dict[str, Metric]:
    """What Prometheus reads."""
    return parse_metrics(signer.get("/metrics").body)


def lines_of(signer: Served) -> list[dict[str, Any]]:
    """The log, which is JSON throughout."""
    return [json.loads(line) for line in signer.log.splitlines()]


def lines_for(signer: Served, answer: Answer) -> list[dict[str, Any]]:
    """The log lines of one request."""
    return [line for line in lines_of(signer) if line.get("request_id") == answer.headers["x-request-id"]]


@pytest.mark.parametrize("backend", [pytest.param("none", marks=SLOW), "sqlite"])
def test_a_payment_leaves_an_event_a_line_and_its_numbers(tmp_path: Path, backend: str) -> None:
    ledger = {"ledger": {"backend": "sqlite", "path": str(tmp_path / "ledger")}} if backend == "sqlite" else {}
    sinks = {"events": {"sinks": [{"type": "file", "path": str(tmp_path / "events.jsonl")}]}}
    with served(tmp_path, **ledger, **sinks, **JSON_LOGS) as signer:
        paid = signer.exchange(post(live_body(app="my-app"), headers="X-Request-Id: theirs-1\r\n"))
        assert paid.status == 200
        state = json.loads(paid.body)["state"]
        again = signer.pay(state=state, app="my-app", info=orchestrator_info(now_ns=time.time_ns(), rand_hash=secrets.token_bytes(32)))
        assert again.status in (200, 482)
        refused = signer.exchange(post(b"{"))
        event = wait_for_events(tmp_path / "events.jsonl", 1)[0]
        give_up = time.monotonic() + 60
        while not (read := scrape(signer))["livepeer_signer_events_sent_total"].value(sink="file"):  # it is counted after it was written
            assert time.monotonic() < give_up
            time.sleep(0.02)
        assert signer.end() == 0
    session = json.loads(b64decode(state["State"]))
    data = event["data"]
    assert data["request_id"] == paid.headers["x-request-id"]
    assert data["client_request_id"] == "theirs-1"
    assert (data["session_id"], data["app"], data["manifest_id"]) == (session["StateID"], "my-app", "m1")
    assert data["pm_session_id"] == session["PMSessionID"]
    assert data["session_balance"] == float_string(Fraction(session["Balance"]), 0)
    (line,) = lines_for(signer, paid)
    assert (line["level"], line["message"], line["client_request_id"]) == ("info", "payment", "theirs-1")
    for name in (
        "session_id",
        "pm_session_id",
        "manifest_id",
        "orch_address",
        "orch_url",
        "app",
        "num_tickets",
        "total_ev",
        "sequence_number",
    ):
        assert line[name] == data[name], name
    assert line["fee"] == data["computed_fee"]
    (line,) = lines_for(signer, refused)
    assert (line["level"], line["code"], line["status"]) == ("warning", "bad_json", 400)
    count = len([a for a in (paid, again) if a.status == 200])
    assert read["livepeer_signer_payments_total"].value(type="live") == count
    assert read["livepeer_signer_requests_total"].value(route=PAY, status="400", code="bad_json", type="unknown") == 1
    assert read["livepeer_signer_outbox_pending"].value() >= 0
    assert read["livepeer_signer_signatures_total"].value() == read["livepeer_tickets_sent"].value()
    phases = {dict(labels)["phase"] for suffix, labels in read["livepeer_signer_phase_seconds"].samples if suffix == "_count"}
    assert phases >= {"parse", "open", "policy", "sign", "event"} | ({"lookup", "ledger"} if backend == "sqlite" else set())
    for phase in ("parse", "open", "policy", "sign", "event"):
        assert read["livepeer_signer_phase_seconds"].value("_count", phase=phase) >= 1


@SLOW
def test_480_and_482_are_not_errors(tmp_path: Path) -> None:
    with served(tmp_path, **JSON_LOGS) as signer:
        expired = signer.pay(info=orchestrator_info(now_ns=time.time_ns() - 3600 * 10**9))
        worthless = signer.pay(type="", inPixels=0)
        signer.end()
    assert expired.status == 480
    (line,) = lines_for(signer, expired)
    assert (line["level"], line["code"]) == ("info", "refresh_session")
    assert lines_for(signer, worthless)[0]["level"] == "warning"


@SLOW
def test_every_worker_answers_for_all(tmp_path: Path) -> None:
    with served(tmp_path, workers=2) as signer:
        for _ in range(30):
            assert signer.pay().status == 200
        for _ in range(6):
            read = scrape(signer)
            assert read["livepeer_signer_payments_total"].value(type="live") == 30
            assert read["livepeer_signer_requests_total"].value(route=PAY, status="200", code="ok", type="live") == 30


def test_no_line_of_the_log_is_lost_at_the_end(tmp_path: Path) -> None:
    with served(tmp_path, **JSON_LOGS) as signer:
        answers = [signer.pay() for _ in range(25)]
        signer.end()
    logged = [line["request_id"] for line in lines_of(signer) if line["message"] == "payment"]
    assert logged == [answer.headers["x-request-id"] for answer in answers]


@SLOW
def test_kept_events_can_be_sent_again(tmp_path: Path) -> None:
    from livepeer_remote_signer.cli import main

    path = tmp_path / "events.jsonl"
    ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger")}
    with served(tmp_path, ledger=ledger, events={"sinks": [{"type": "file", "path": str(path)}]}) as signer:
        for _ in range(3):
            assert signer.pay().status == 200
        first = wait_for_events(path, 3)
        assert main(["events", "replay", "--config", str(signer.config), "--since", "10m"]) == 0
        assert events_of(path) == first + first, "the same ids in the same order"
        assert main(["events", "replay", "--config", str(signer.config), "--since", "2100-01-01T00:00:00Z"]) == 0
        assert main(["events", "replay", "--config", str(signer.config), "--since", "10m", "--sink", "0"]) == 0
        assert len(events_of(path)) == 9
        assert main(["events", "replay", "--config", str(signer.config), "--since", "10m", "--sink", "1"]) == 2
        assert main(["events", "replay", "--config", str(signer.config), "--since", "yesterday"]) == 2


@SLOW
def test_an_events_file_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    sinks = {"events": {"sinks": [{"type": "file", "path": str(tmp_path / "no" / "events.jsonl")}]}}
    with served(tmp_path, wait=False, **sinks) as signer:
        assert signer.process.wait(60) == 1
        assert f"events.jsonl cannot be made: the folder {tmp_path / 'no'} is not there (mkdir -p {tmp_path / 'no'})" in signer.log


# --- secrets ---

PLANTED = {
    "key": SECRET.hex(),
    "mac key": "c0ffee" * 10 + "beef",
    "webhook secret": "planted-webhook-secret",
    "webhook url key": "planted-webhook-url-key",
    "webhook header": "planted-webhook-header",
    "sink secret": "planted-sink-secret",
    "sink url key": "planted-sink-url-key",
    "rpc url key": "PlantedRpcKey0123456789",
    "ledger password": "planted-ledger-password",
    "admin token": "planted-admin-token-0123456789",
    "bearer": "planted-callers-bearer",
    "api key": "planted-callers-api-key",
}


def planted_sections(folder: Path) -> dict[str, Any]:
    """A configuration full of secrets, in which everything outside fails: failures are when secrets come out."""
    (folder / "sink-secret").write_text(PLANTED["sink secret"] + "\n")
    (folder / "token").write_text(PLANTED["admin token"])
    return {
        "state": {"mac_key": PLANTED["mac key"]},
        "auth": {
            "webhook": {
                "url": f"http://127.0.0.1:1/authorize?key={PLANTED['webhook url key']}",
                "secret": PLANTED["webhook secret"],
                "headers": {"X-Extra": PLANTED["webhook header"]},
            }
        },
        "events": {
            "sinks": [
                {"type": "file", "path": str(folder / "events.jsonl")},
                {
                    "type": "http",
                    "url": f"http://127.0.0.1:1/{PLANTED['sink url key']}",
                    "secret_file": str(folder / "sink-secret"),
                },
                {"type": "kafka", "brokers": ["127.0.0.1:1"], "topic": "t"},
            ]
        },
        "ledger": {"backend": "sqlite", "path": str(folder / "ledger")},
        "admin": {"listen": "127.0.0.1:0", "token_file": str(folder / "token")},
        **JSON_LOGS,
    }


def assert_clean(text: str, where: str) -> None:
    """None of the planted secrets stands in it, in whatever case."""
    for name, secret in PLANTED.items():
        assert secret.lower() not in text.lower(), f"the {name} stands in {where}"


@pytest.mark.parametrize("is_asked", [True, pytest.param(False, marks=SLOW)], ids=["webhook fails", "sinks fail"])
def test_no_planted_secret_comes_out_anywhere(tmp_path: Path, is_asked: bool) -> None:
    sections = planted_sections(tmp_path)
    if not is_asked:
        del sections["auth"]
    headers = f"Authorization: Bearer {PLANTED['bearer']}\r\nX-Api-Key: {PLANTED['api key']}\r\nCookie: s={PLANTED['bearer']}\r\n"
    with served(tmp_path, **sections) as signer:
        answers = [
            signer.exchange(post(live_body(), headers=headers)),
            signer.exchange(post(b"{", headers=headers)),
            signer.exchange(post(live_body(state={"State": "AAAA", "Sig": "AAAA"}), headers=headers)),
            signer.exchange(post(live_body(), path="/signTicket", headers=headers)),
            signer.get("/nope"),
            signer.get("/readyz"),
            signer.get("/metrics"),
        ]
        assert answers[0].status == (500 if is_asked else 200)
        if not is_asked:
            signer.wait_for_log("Kafka topic t did not take a batch")
            signer.wait_for_log("events receiver 127.0.0.1 could not be reached")
            answers.append(signer.get("/metrics"))
        signer.end(seconds=60)
    for answer in answers:
        assert_clean(answer.body.decode() + str(answer.headers), "a reply")
    assert ("auth_failed" in signer.log) == is_asked
    assert_clean(signer.log, "the log")
    events = (tmp_path / "events.jsonl").read_text()
    assert bool(events) != is_asked
    assert_clean(events, "the events")


@SLOW
def test_a_live_chain_that_cannot_be_reached_does_not_tell_its_url(tmp_path: Path) -> None:
    urls = [f"http://127.0.0.1:1/v2/{PLANTED['rpc url key']}", f"http://user:{PLANTED['ledger password']}@127.0.0.1:1/"]
    chain = {"source": "rpc", "rpc": {"urls": urls, "poll_seconds": 0.2, "timeout_seconds": 0.5}}
    with served(tmp_path, chain=chain, recipients={"require": "any"}, **JSON_LOGS) as signer:
        answers = [signer.pay(), signer.get("/readyz"), signer.get("/metrics")]
        time.sleep(0.7)
        signer.end()
    assert answers[0].status == 503
    for answer in answers:
        assert_clean(answer.body.decode(), "a reply")
    assert_clean(signer.log, "the log")


def test_a_check_that_is_excluded_is_told_and_does_not_count(tmp_path: Path) -> None:
    chain = {"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:1/"], "poll_seconds": 0.2, "timeout_seconds": 0.5}}
    with served(tmp_path, chain=chain, recipients={"require": "any"}) as signer:
        failing = [check["name"] for check in json.loads(signer.get("/readyz").body)["checks"] if not check["ok"]]
        assert failing
        query = "&".join(f"exclude={name}" for name in failing)
        answer = signer.get(f"/readyz?{query}")
        assert (answer.status, json.loads(answer.body)["ready"]) == (200, True)
        assert [check["name"] for check in json.loads(answer.body)["checks"] if not check["ok"]] == failing
        assert signer.get("/readyz?exclude=another").status == 503
        assert signer.get("/readyz?exclude=").status == 503


@SLOW
def test_a_start_that_fails_does_not_tell_a_secret(tmp_path: Path) -> None:
    broken = {"key": {"private_key": "0x" + PLANTED["mac key"][:-1] + "z"}}
    with served(tmp_path, wait=False, **broken) as signer:
        assert signer.process.wait(60) != 0
    assert_clean(signer.log, "the log")
    assert PLANTED["mac key"][:-1] not in signer.log
