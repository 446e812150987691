"""Logs: a line a payment at the level its outcome deserves, nothing lost at the end, nothing secret, nobody waits."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from livepeer_remote_signer.adapters.logs import LogWriter, PaymentLog, Redaction, route_standard_logging
from livepeer_remote_signer.adapters.logs import writer as writer_module
from livepeer_remote_signer.adapters.logs.lines import render_console, render_json
from livepeer_remote_signer.adapters.logs.payments import MAX_TEXT_CHARACTERS, paid_line
from livepeer_remote_signer.adapters.logs.redaction import MIN_SECRET_CHARACTERS, parts_of_url
from livepeer_remote_signer.api.errors import status_of
from livepeer_remote_signer.core import errors
from livepeer_remote_signer.core.protocol.state import encode_state
from livepeer_remote_signer.core.rules.payment import PaymentRequest
from livepeer_remote_signer.core.rules.trail import Trail
from tests.plans import orchestrator_info, plan_payment

REQUEST_ID = "0123456789abcdef0123456789abcdef"
PLAN = plan_payment()


class Output:
    """A pipe's reading end, for lines that a writer wrote."""

    def __init__(self) -> None:
        self.reading, self.descriptor = os.pipe()
        fcntl.fcntl(self.reading, fcntl.F_SETPIPE_SZ, 1024 * 1024)
        self.writers: list[LogWriter] = []

    def writer(self, **options: Any) -> LogWriter:
        """A writer into this pipe."""
        writer = LogWriter(descriptor=self.descriptor, **options)
        self.writers.append(writer)
        return writer

    def text(self) -> str:
        """What was written so far."""
        for writer in self.writers:
            assert writer.drain()
        os.set_blocking(self.reading, False)
        try:
            return os.read(self.reading, 1024 * 1024).decode()
        except BlockingIOError:
            return ""

    def records(self) -> list[dict[str, Any]]:
        """The JSON lines."""
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def output() -> Iterator[Output]:
    made = Output()
    yield made
    for writer in made.writers:
        writer.close()
    os.close(made.reading)
    os.close(made.descriptor)


@pytest.fixture
def standard_logging() -> Iterator[None]:
    """The standard library's logging as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def trail(route: str = "/signTicket") -> Trail:
    """A request of which nothing is known yet."""
    return Trail(route, REQUEST_ID, "client-7", time.perf_counter)


def opened(route: str = "/signTicket") -> Trail:
    """A request whose session was opened."""
    made = trail(route)
    made.session = PLAN.session
    return made


def test_a_payment_is_one_line_with_the_ids_of_its_event(output: Output) -> None:
    PaymentLog(output.writer(), status_of).paid(PLAN, opened("/generate-live-payment"))
    (record,) = output.records()
    assert (record["level"], record["message"], record["status"]) == ("info", "payment", 200)
    assert record["request_id"] == REQUEST_ID
    assert record["client_request_id"] == "client-7"
    assert record["session_id"] == PLAN.state.state_id
    assert record["pm_session_id"] == PLAN.session.info.pm_session_id
    assert record["manifest_id"] == "36b05700"
    assert record["orch_address"].lower() == "0x" + PLAN.session.info.address.hex()
    assert record["num_tickets"] == PLAN.num_tickets
    assert record["fee"] == "1000000000000"
    assert record["ms"] >= 0


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (errors.NoTickets("no tickets"), "debug"),
        (errors.RefreshSession("token", "https://orch"), "info"),
        (errors.PriceExceeded("too dear"), "warning"),
        (errors.BadJson("not JSON"), "warning"),
        (errors.Denied("no", status=402, webhook_code="broke"), "warning"),
        (errors.BudgetExceeded("used up"), "warning"),
        (errors.ChainStale("stale"), "error"),
        (errors.AuthFailed("silence"), "error"),
        (errors.SignerError("internal error"), "error"),
    ],
)
def test_the_level_tells_whether_anybody_must_look(output: Output, error: errors.SignerError, level: str) -> None:
    PaymentLog(output.writer(level="debug"), status_of).refused(error, opened())
    (record,) = output.records()
    assert record["level"] == level
    assert record["code"] == error.code
    assert record["error"] == error.message
    assert record["session_id"] == PLAN.session.state.state_id


def test_lines_below_the_level_are_not_written(output: Output) -> None:
    log = PaymentLog(output.writer(level="warning"), status_of)
    log.paid(PLAN, trail())
    log.refused(errors.NoTickets("no tickets"), trail())
    log.refused(errors.PriceExceeded("x"), trail())
    assert [record["code"] for record in output.records()] == ["price_exceeded"]


def test_a_request_that_was_not_understood_still_has_its_name(output: Output) -> None:
    PaymentLog(output.writer(), status_of).refused(errors.BadJson("not JSON"), trail())
    (record,) = output.records()
    assert (record["request_id"], record["route"]) == (REQUEST_ID, "/signTicket")


async def test_lines_wait_for_each_other_and_not_for_long(output: Output) -> None:
    log = PaymentLog(output.writer(), status_of)
    for _ in range(10):
        log.paid(PLAN, trail())
    assert os.get_blocking(output.reading)
    await asyncio.sleep(writer_module.FLUSH_SECONDS * 20)
    assert len(output.records()) == 10


async def test_many_lines_do_not_wait(output: Output) -> None:
    log = PaymentLog(output.writer(), status_of)
    for _ in range(writer_module.BATCH_LINES):
        log.paid(PLAN, trail())
    assert not output.writers[0]._deferred
    assert len(output.records()) == writer_module.BATCH_LINES


def test_the_standard_librarys_records_take_the_same_way(output: Output, standard_logging: None) -> None:
    route_standard_logging(output.writer())
    logging.getLogger("somewhere").warning("disk %s", "full")
    try:
        raise ValueError("out of range")
    except ValueError:
        logging.getLogger("somewhere").exception("it failed")
    logging.getLogger("httpx").info("HTTP Request: POST https://planted/")
    logging.getLogger("somewhere").debug("too much detail")
    logging.getLogger("somewhere").info("refused", extra={"fields": {"request_id": REQUEST_ID, "status": 404}})
    warning, failure, refusal = output.records()
    assert (refusal["message"], refusal["request_id"], refusal["status"]) == ("refused", REQUEST_ID, 404)
    assert (warning["level"], warning["message"], warning["logger"]) == ("warning", "disk full", "somewhere")
    assert failure["level"] == "error"
    assert failure["exception"].endswith("ValueError: out of range")
    assert "Traceback" in failure["exception"]


def test_a_record_whose_arguments_do_not_fit_is_written_all_the_same(output: Output, standard_logging: None) -> None:
    route_standard_logging(output.writer())
    logging.getLogger("x").warning("%d of %d", 1)
    assert output.records()[0]["message"] == "%d of %d"


def test_a_part_says_what_is_still_unpaid_and_a_whole_payment_nothing_of_it() -> None:
    assert json.loads(paid_line(0.0, replace(PLAN, owed_ns=45_500_000_000), trail(), 0.0))["owed_seconds"] == 45.5
    assert "owed_seconds" not in json.loads(paid_line(0.0, PLAN, trail(), 0.0))


def test_a_callers_text_cannot_forge_a_line() -> None:
    forged = 'x\n2026-01-01 ERROR "all is lost"\x1b[31m\u2028\x85'
    for render in (render_json, render_console):
        line = render(0.0, "info", forged, {"app": forged})
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
    state = replace(PLAN.state, app=forged)
    line = paid_line(0.0, replace(PLAN, state=state), trail(), 0.0)
    assert "\n" not in line
    assert json.loads(line)["app"] == forged


@given(st.text(), st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text()))
def test_any_content_is_one_line(message: str, value: object) -> None:
    record = json.loads(render_json(1.5, "info", message, {"value": value}))
    assert (record["time"], record["message"]) == ("1970-01-01T00:00:01.500Z", message)
    assert len(render_console(1.5, "info", message, {"value": value}).splitlines()) == 1


def test_console_lines_are_for_people(output: Output) -> None:
    PaymentLog(output.writer(form="console"), status_of).paid(PLAN, trail())
    text = output.text()
    assert " INFO    payment status=200 route=/signTicket " in text
    assert "\n" not in text[:-1]


# --- secrets ---

SECRETS = {
    "key": "0x" + "c0ffee" * 10 + "beef",
    "password": "correct horse battery",
    "rpc": "https://arb.example/v2/Planted_Rpc_Key_0123456789?apikey=planted+query",
    "webhook": "planted-webhook-secret",
}


def redaction() -> Redaction:
    """Knows the planted secrets."""
    return Redaction([SECRETS["key"], SECRETS["password"], SECRETS["webhook"], *parts_of_url(SECRETS["rpc"])])


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_that_anybody_prints_does_not_leave(output: Output, standard_logging: None, form: str) -> None:
    route_standard_logging(output.writer(form=form, redaction=redaction()))
    log = logging.getLogger("careless")
    for secret in SECRETS.values():
        log.warning("using %s", secret)
    log.warning("bare key %s and %s", SECRETS["key"][2:], SECRETS["key"][2:].upper())
    log.warning("path %s", "/v2/Planted_Rpc_Key_0123456789")
    try:
        raise ConnectionError(f"cannot connect to {SECRETS['rpc']} with {SECRETS['password']!r}")
    except ConnectionError:
        log.exception("traceback")
    text = output.text()
    assert text.count("[redacted]") >= 8
    for word in ("c0ffee", "C0FFEE", "battery", "Planted", "planted"):
        assert word not in text


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("secret", ['pa"ss\\word', "gehe1mniß-ü", "it's one"])
def test_a_secret_is_found_however_a_line_spells_it(output: Output, standard_logging: None, form: str, secret: str) -> None:
    route_standard_logging(output.writer(form=form, redaction=Redaction([secret])))
    log = logging.getLogger("careless")
    log.warning("using %s", secret)
    log.warning("using %r", secret)
    log.warning("sent %s", json.dumps({"password": secret}))
    log.warning("sent %s", json.dumps({"password": secret}, ensure_ascii=False))
    output.writers[0].log("error", "careless", field=secret, quoted=repr(secret))
    text = output.text()
    assert text.count("[redacted]") == 6, text


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("secret", ['"pass\\', "ßgeheim-ü", "\\in\ntwo", "\x7f-planted-\x01", "\u202esecret\u202e"])
def test_of_a_secret_no_character_is_left_beside_the_mark(output: Output, standard_logging: None, form: str, secret: str) -> None:
    told = []
    for word in ("a plain word", secret):
        route_standard_logging(output.writer(form=form, redaction=Redaction([word])))
        log = logging.getLogger("careless")
        for spelled in (word, repr(word), json.dumps(word), json.dumps(word, ensure_ascii=False)):
            log.warning("using <%s>", spelled)
            output.writers[-1].log("error", "careless", field=f"<{spelled}>")
        told.append([re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "", line) for line in output.text().splitlines()])
    assert told[0] == told[1]


@pytest.mark.parametrize("known", ["pa ss/word", "pa%20ss%2Fword"])
@pytest.mark.parametrize("written", ["pa ss/word", "pa%20ss%2Fword"])
def test_a_secret_is_found_as_it_stands_in_a_url_and_as_it_is_meant(known: str, written: str) -> None:
    assert Redaction([known]).clean(f"POST https://user:{written}@h/ failed") == "POST https://user:[redacted]@h/ failed"


def test_a_key_that_stands_for_the_user_of_a_url_is_a_secret() -> None:
    known = Redaction(parts_of_url("https://Planted_Key_01234:@collector.example/v1"))
    assert known.clean("cannot reach collector.example as Planted_Key_01234") == "cannot reach collector.example as [redacted]"


def test_the_redaction_itself_shows_nothing() -> None:
    assert "planted" not in repr(redaction()).lower()


def test_short_words_are_left_alone() -> None:
    assert Redaction(["", "a", "live"]).clean("a live payment") == "a live payment"


def test_the_host_of_a_url_may_be_said() -> None:
    assert Redaction(parts_of_url("https://arb.example/rpc")).clean("arb.example does not answer") == "arb.example does not answer"


def test_what_only_looks_like_a_url_is_secret_in_all_its_pieces() -> None:
    known = Redaction(parts_of_url("postgresql://signer:planted-password@[::1],[bad/signer"))
    assert "planted-password" not in known.clean("connecting with planted-password")


# --- nothing is lost, nobody waits ---

LOSSLESS = """
import asyncio, signal, sys, time
from livepeer_remote_signer.adapters.logs import LogWriter, PaymentLog
from livepeer_remote_signer.core.errors import PriceExceeded
from livepeer_remote_signer.core.rules.trail import Trail

async def main():
    writer = LogWriter()
    log = PaymentLog(writer, lambda error: 503)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    count = 0
    print("ready", flush=True)
    while not stop.is_set():
        log.refused(PriceExceeded("x"), Trail("/r", str(count), "", time.perf_counter))
        count += 1
        await asyncio.sleep(0)
    print(count, flush=True)
    {end}

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["writer.close()", "sys.exit(0)"])
def test_sigterm_loses_no_line(tmp_path: Path, end: str) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", LOSSLESS.replace("{end}", end)], stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        count = int(process.communicate(timeout=60)[0])
    lines = (tmp_path / "log").read_text().splitlines()
    assert count > 10
    assert [json.loads(line)["request_id"] for line in lines] == [str(n) for n in range(count)]


def test_a_reader_that_does_not_read_holds_nobody_up(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_WAITING_BYTES", 256 * 1024)
    monkeypatch.setattr(writer_module, "CLOSE_SECONDS", 0.1)
    fcntl.fcntl(output.reading, fcntl.F_SETPIPE_SZ, 4096)
    writer = output.writer()
    began = time.monotonic()
    for n in range(5000):
        writer.log("info", "x" * 200, number=n)
    assert time.monotonic() - began < 30
    assert writer._waiting_bytes <= 256 * 1024
    read = bytearray()
    os.set_blocking(output.reading, False)
    deadline = time.monotonic() + 30
    while not writer.drain(0.01) and time.monotonic() < deadline:
        try:
            read += os.read(output.reading, 1 << 20)
        except BlockingIOError:
            time.sleep(0.001)
    fcntl.fcntl(output.reading, fcntl.F_SETPIPE_SZ, 1024 * 1024)
    writer.log("info", "again")
    assert writer.drain(5)
    read += os.read(output.reading, 1 << 20)
    records = [json.loads(line) for line in read.splitlines()]
    numbers = [record["number"] for record in records if "number" in record]
    (told,) = [record for record in records if "dropped" in record["message"]]
    assert len(numbers) + told["lines"] == 5000
    assert records[-1]["message"] == "again"


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_turns_or_breaks_a_text_is_escaped_in_every_line(output: Output, form: str) -> None:
    nasty = "a\x85b\x9bc\u202ed\u2066e\u200ff\u061cg\ufeffh\u2028i"
    writer = output.writer(form=form)
    log = PaymentLog(writer, status_of)
    made = opened()
    session = made.session
    assert session is not None
    made.session = replace(session, request=replace(session.request, type=nasty), manifest_id=nasty)
    made.client_id = nasty
    log.paid(replace(PLAN, session=made.session), made)
    log.refused(errors.PriceExceeded(nasty), made)
    writer.log("info", nasty, field=nasty)
    text = output.text()
    assert not [c for c in text if c != "\n" and not (c.isascii() and c.isprintable())]
    assert text.count("\\u202e") >= 6


STATE = encode_state(replace(PLAN.state, auth_id="alice" * 2000, sequence_number=7))


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [(errors.PriceExceeded("too dear"), True), (errors.InvalidSig("not ours"), False), (errors.InvalidState("torn"), False)],
)
def test_a_request_that_opened_no_session_is_told_by_what_it_says_and_a_state_that_is_not_ours_by_nothing(
    output: Output, error: errors.SignerError, is_ours: bool
) -> None:
    made = trail()
    made.request = PaymentRequest(orchestrator_info(), STATE, manifest_id="m" * 5000, app="studio", type="live")
    PaymentLog(output.writer(), status_of).refused(error, made)
    (record,) = output.records()
    assert (record["app"], record["type"], record["orch_url"]) == ("studio", "live", "https://orch.example:8935")
    assert record["manifest_id"] == "m" * MAX_TEXT_CHARACTERS
    assert record.get("session_id") == (PLAN.state.state_id if is_ours else None)
    assert record.get("sequence_number") == (7 if is_ours else None)
    assert record.get("auth_id") == (("alice" * 2000)[:MAX_TEXT_CHARACTERS] if is_ours else None)


@pytest.mark.parametrize("may_be_recorded", [False, True])
def test_that_a_payment_may_be_recorded_is_told_where_it_may(output: Output, may_be_recorded: bool) -> None:
    PaymentLog(output.writer(), status_of).refused(errors.TimedOut(10, may_be_recorded=may_be_recorded), opened())
    (record,) = output.records()
    assert record.get("may_be_recorded", False) is may_be_recorded


def test_from_its_shortest_length_on_a_secret_is_redacted() -> None:
    shortest = "planted-and-secret"[:MIN_SECRET_CHARACTERS]
    assert Redaction([shortest]).clean(f"as {shortest}") == "as [redacted]"
    assert Redaction([shortest[1:]]).clean(f"as {shortest}") == f"as {shortest}"


def test_a_query_that_is_nothing_but_a_key_is_a_secret() -> None:
    assert Redaction(parts_of_url("https://rpc.example/?Planted_Key_0123")).clean("asked ?Planted_Key_0123") == "asked ?[redacted]"


async def test_a_line_is_written_soon_and_not_at_once(output: Output) -> None:
    log = PaymentLog(output.writer(), status_of)
    os.set_blocking(output.reading, False)
    log.paid(PLAN, trail())
    with pytest.raises(BlockingIOError):
        os.read(output.reading, 1)
    async with asyncio.timeout(20):
        while not select.select([output.reading], [], [], 0)[0]:  # noqa: ASYNC110 - nothing but the pipe tells
            await asyncio.sleep(0.01)
