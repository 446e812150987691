"""Ten refusals of one caller a minute are printed, then their count; what is our fault always is."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator

import pytest

from livepeer_remote_signer.adapters.logs import LogWriter, PaymentLog
from livepeer_remote_signer.adapters.logs.quota import FIRST, MAX_CALLERS, MAX_SUMMARIES, OTHERS, RefusalQuota
from livepeer_remote_signer.adapters.logs.writer import _Handler
from livepeer_remote_signer.api.refusals import note_refusal
from livepeer_remote_signer.core.errors import ChainStale, Overloaded, PriceExceeded
from livepeer_remote_signer.core.rules.trail import Trail


class Told:
    """What was said, and when the window ends."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int, str]] = []
        self.ends: list[tuple[float, Callable[[], None]]] = []
        self.quota = RefusalQuota(lambda *line: self.said.append(line), lambda seconds, call: self.ends.append((seconds, call)))

    def end_window(self) -> None:
        (_, call) = self.ends.pop()
        call()


def test_of_one_caller_ten_are_printed_and_the_rest_is_counted() -> None:
    told = Told()
    assert [told.quota.admits("a", f"r{n}") for n in range(25)] == [True] * FIRST + [False] * 15
    assert told.quota.admits("b", "other")
    assert [seconds for seconds, _ in told.ends] == [60.0]
    assert not told.said
    told.end_window()
    assert told.said == [("a", 15, "r24")]
    assert told.quota.admits("a", "again")
    told.end_window()
    assert len(told.said) == 1
    assert not told.ends


def test_callers_without_number_take_a_bounded_room_and_a_bounded_number_of_lines() -> None:
    told = Told()
    printed = sum(told.quota.admits(f"c{n % 6000}", f"r{n}") for n in range(72_000))
    assert printed == (MAX_CALLERS + 1) * FIRST
    assert len(told.quota._printed) <= MAX_CALLERS + 1
    told.end_window()
    assert len(told.said) == MAX_SUMMARIES
    assert sum(count for _, count, _ in told.said) == 72_000 - printed
    assert told.said[0][0] == told.said[-1][0] == OTHERS


@pytest.mark.parametrize("more", [0, 1, 2])
def test_one_caller_more_than_there_are_lines_for_is_counted_with_the_others(more: int) -> None:
    told = Told()
    for caller in range(MAX_SUMMARIES + more):
        for number in range(FIRST + 1 + (caller < MAX_SUMMARIES - 1)):
            told.quota.admits(f"c{caller}", f"r{caller}-{number}")
    told.end_window()
    assert len(told.said) == MAX_SUMMARIES
    last = MAX_SUMMARIES + more - 1
    assert told.said[-1] == (OTHERS, 1 + more, f"r{last}-{FIRST}")


@pytest.fixture
def lines() -> Iterator[Callable[[LogWriter], list[dict[str, object]]]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def read(writer: LogWriter) -> list[dict[str, object]]:
        writer.close()
        return [json.loads(line) for line in os.read(reading, 1 << 20).decode().splitlines()]

    read.descriptor = writing  # type: ignore[attr-defined]
    yield read
    os.close(reading)
    os.close(writing)


def test_refusals_of_payments_and_of_other_requests_share_the_quota(lines: Callable[[LogWriter], list[dict[str, object]]]) -> None:
    writer = LogWriter(descriptor=lines.descriptor)  # type: ignore[attr-defined]
    payments = PaymentLog(writer, lambda error: 503 if isinstance(error, ChainStale | Overloaded) else 481)
    handler = _Handler(writer)
    log = logging.getLogger("livepeer_remote_signer.api.refusals")
    log.addHandler(handler)
    level, log.level = log.level, logging.INFO
    try:
        for n in range(8):
            payments.refused(PriceExceeded("x"), Trail("/r", f"p{n}", "", time.perf_counter, caller="192.0.2.7"))
            note_refusal("other", 404, "not_found", f"n{n}", "192.0.2.7")
            payments.refused(ChainStale("x"), Trail("/r", f"f{n}", "", time.perf_counter, caller="192.0.2.7"))
            payments.refused(Overloaded("x"), Trail("/r", f"o{n}", "", time.perf_counter, caller="192.0.2.7"))
            note_refusal("other", 503, "chain_stale", f"f{n}", "192.0.2.7")
            note_refusal("other", 503, "overloaded", f"l{n}", "192.0.2.7", is_callers_doing=True)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    records = lines(writer)
    ids = [str(record.get("request_id", "")) for record in records]
    assert sorted(i for i in ids if i.startswith("f")) == [f"f{n}" for n in range(8) for _ in range(2)]
    assert len([i for i in ids if i[:1] in ("p", "n", "l", "o")]) == FIRST
    (summary,) = [record for record in records if record["message"] == "more requests refused"]
    assert (summary["caller"], summary["count"], summary["last_request_id"]) == ("192.0.2.7", 32 - FIRST, "l7")
