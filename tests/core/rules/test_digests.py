"""The chain over the payments: what is altered, added, left out or moved shows; an export proves what a statement says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.rules.digests import (
    MS_PER_MINUTE,
    NO_DIGEST,
    Account,
    Closing,
    Line,
    LineHead,
    LineName,
    PaymentName,
    add_payment,
    chain_payment,
    close_minute,
    line_tag,
    open_heads,
    parse_account,
)
from livepeer_remote_signer.core.rules.figures import Figures
from livepeer_remote_signer.core.rules.ledger_proof import (
    MAX_FAULTS,
    MAX_RECORD_BYTES,
    Exported,
    NotAnExport,
    Proof,
    broken_links,
    encode_closing,
    encode_exported,
    encode_line,
)

NOW_MS = 1_775_592_000_123
MINUTE = NOW_MS // MS_PER_MINUTE

figures = st.builds(Figures, st.integers(0, 10**30), st.integers(0, 10**30), st.integers(0, 10**25), st.none() | st.integers(0, 10**30))
names = st.builds(
    PaymentName,
    st.text(max_size=8).map(str.encode),
    st.integers(0, 2**62),
    st.binary(min_size=32, max_size=32),
    st.text(max_size=8).map(str.encode),
    st.binary(min_size=20, max_size=20),
    st.integers(0, NOW_MS),
)


def test_an_account_is_small_and_reads_back() -> None:
    account = Account(b"tagtag", 99, NOW_MS, 3, Figures(3 * 10**12, 3 * 10**12, 5 * 10**9, 9 * 10**15))
    raw = account.encode(NOW_MS)
    assert len(raw) <= 40
    assert parse_account(raw, NOW_MS) == account
    assert account.minute == MINUTE
    for wrong in (raw + b"\0", raw[:-1], raw[:6], b""):
        with pytest.raises(ValueError, match=r".*"):
            parse_account(wrong, NOW_MS)


@given(st.binary(min_size=6, max_size=6), st.integers(0, 10**9), st.integers(0, 10**8), st.integers(1, 100), figures)
def test_every_account_reads_back(tag: bytes, place: int, owed_ms: int, tickets: int, paid: Figures) -> None:
    account = Account(tag, place, NOW_MS + owed_ms, tickets, paid)
    assert parse_account(account.encode(NOW_MS), NOW_MS) == account


@given(names, names, figures, figures)
def test_two_payments_have_one_digest_only_where_they_are_the_same(
    one: PaymentName, other: PaymentName, figures_one: Figures, figures_other: Figures
) -> None:
    def digest(name: PaymentName, paid: Figures) -> bytes:
        return chain_payment(NO_DIGEST, name, Account(b"tagtag", 0, NOW_MS, 1, paid).encode(name.updated_ms))

    assert (digest(one, figures_one) == digest(other, figures_other)) == ((one, figures_one) == (other, figures_other))


def payment(number: int, *, auth_id: str = "a", ms: int = NOW_MS) -> tuple[PaymentName, tuple[int, int, Figures]]:
    name = PaymentName(f"s{number}".encode(), number % 2, bytes([number]) * 32, auth_id.encode(), b"o" * 20, ms - 7)
    return name, (ms, 2, Figures(10 + number, 20 + number, 30 + number, None if number % 3 else 40 + number))


def written(count: int, writers: str = "xy") -> tuple[list[Closing], list[tuple[Line, list[Exported]]]]:
    """Two minutes of some processes, closed, with their payments."""
    closings: list[Closing] = []
    kept: list[tuple[Line, list[Exported]]] = []
    for minute in range(2):
        lines = []
        for writer in writers:
            before, heads, exported = open_heads(), dict[LineName, LineHead](), []
            for number in range(count):
                name, paid = payment(number, auth_id="ab"[number % 2], ms=NOW_MS + minute * MS_PER_MINUTE)
                account = add_payment(heads, before, writer, name, paid)
                exported.append(Exported(name, parse_account(account, name.updated_ms)))
            ((line_name, head),) = heads.items()
            line = Line(line_name.minute, line_tag(writer, 0), head.payments, head.digest)
            lines.append(line)
            kept.append((line, exported))
        closings.append(close_minute(closings[-1] if closings else None, lines, NOW_MS + 10**6))
    return closings, kept


def lines_of_export(count: int = 4) -> list[str]:
    closings, kept = written(count)
    texts = []
    for closing in closings:
        texts.append(encode_closing(closing))
        for line, exported in kept:
            if line.minute == closing.minute:
                texts += [encode_line(line, is_whole=True), *map(encode_exported, exported)]
    return texts


def proof_of(*exports: list[str]) -> Proof:
    proof = Proof()
    for export in exports:
        for text in export:
            proof.take(text)
    proof.end()
    return proof


def test_an_export_proves_its_payments_once_however_often_it_is_given() -> None:
    export = lines_of_export()
    proof = proof_of(export, export)
    assert proof.faults == []
    assert (proof.payments, proof.forgotten, sorted(proof.closings)) == (16, 0, [1, 2])
    (row,) = proof.of("a", (0, 10**6))
    assert (row.sums.payments, row.sums.tickets, row.sums.sessions) == (8, 16, 8)
    assert row.sums.ev_wei == 4 * (10 + 12)
    assert row.sums.fee_wei == 4 * (20 + 22)
    assert (row.sums.fee_usd, row.sums.priced) == (4 * 40, 4)
    assert proof.of("c", (0, 10**6)) == proof.of("a", (0, 1)) == []


@pytest.mark.parametrize(
    "key",
    [
        "session_id",
        "sequence_number",
        "request",
        "auth_id",
        "orchestrator",
        "paid_ms",
        "updated_ms",
        "tickets",
        "total_ev_wei",
        "fee_wei",
        "billed_ns",
        "fee_usd_e18",
    ],
)
def test_a_payment_that_was_altered_shows(key: str) -> None:
    others: dict[str, Any] = {"session_id": "x", "request": "11" * 32, "auth_id": "b", "orchestrator": "0x" + "11" * 20}
    export = lines_of_export()
    altered = json.loads(export[2])
    altered[key] = others.get(key, "7" if isinstance(altered[key], str | None) else altered[key] + 1)
    assert proof_of([*export[:2], json.dumps(altered), *export[3:]]).faults


@pytest.mark.parametrize("at", range(len(lines_of_export())))
def test_a_line_that_is_left_out_shows(at: int) -> None:
    export = lines_of_export()
    proof = proof_of(export[:at] + export[at + 1 :])
    assert proof.faults


@pytest.mark.parametrize("at", [n for n, text in enumerate(lines_of_export()) if "payment" in json.loads(text)])
def test_a_payment_that_is_doubled_or_changes_places_shows(at: int) -> None:
    export = lines_of_export()
    assert proof_of(export[: at + 1] + export[at:]).faults
    following = (at + 1) % len(export)
    export[at], export[following] = export[following], export[at]
    assert proof_of(export).faults


def test_a_payment_alone_or_out_of_its_minute_is_not_in_its_place() -> None:
    export = lines_of_export()
    assert "not in its place" in proof_of([export[2]]).faults[0]
    assert "not in its place" in proof_of([*export[:2], export[3]]).faults[0]
    assert len(proof_of([export[2]] * (MAX_FAULTS + 5)).faults) == MAX_FAULTS


def test_a_closing_with_other_lines_or_another_digest_shows() -> None:
    closings, kept = written(1)
    lines = [encode_line(line, is_whole=False) for line, _ in kept]
    other = encode_closing(closings[0]._replace(payments=7))
    assert "lines of closing 1" in proof_of([other, *lines[:2]]).faults[0]
    twice = proof_of([encode_closing(closings[0]), *lines[:2]], [encode_closing(closings[0]._replace(digest=bytes(32))), *lines[:2]])
    assert "there twice" in twice.faults[0]


def test_lines_whose_payments_are_forgotten_are_counted_until_an_export_has_them() -> None:
    export = lines_of_export()
    closings, kept = written(4)
    bare = [encode_closing(closings[0]), *(encode_line(line, is_whole=False) for line, _ in kept[:2])]
    proof = proof_of(bare)
    assert (proof.payments, proof.forgotten, proof.faults) == (0, 8, [])
    for both in ((bare, export), (export, bare)):
        proof = proof_of(*both)
        assert (proof.payments, proof.forgotten, proof.faults) == (16, 0, [])


def test_closings_follow_from_each_other() -> None:
    closings, _ = written(1)
    assert broken_links(closings, None) == []
    assert broken_links(closings[1:], closings[0]) == []
    assert broken_links(closings[1:], None) == [], "what is before the first is forgotten"
    assert broken_links([closings[0]._replace(minute=1), closings[1]], None) == [1]
    assert broken_links(closings[1:], closings[0]._replace(digest=bytes(32))) == [2]
    assert broken_links([closings[0], closings[1]._replace(lines=bytes(32))], None) == [2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "5",
        "{",
        '{"closing": 1}',
        '{"closing": "1", "minute": 1, "closed_ms": 1, "payments": 1, "lines": "", "digest": ""}',
        '{"line": 5, "minute": 1, "payments": 1, "digest": "", "whole": true}',
        '{"line": "", "minute": -1, "payments": 1, "digest": "", "whole": true}',
        "x" * (MAX_RECORD_BYTES + 1),
        b"\xff",
        lines_of_export()[2].replace('"total_ev_wei": "', '"total_ev_wei": "-'),
        lines_of_export()[2].replace('"total_ev_wei": "', '"total_ev_wei": "' + "0" * 80),
    ],
)
def test_what_is_no_line_of_an_export_is_refused(text: str | bytes) -> None:
    with pytest.raises(NotAnExport):
        Proof().take(text)


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else_happens(raw: bytes) -> None:
    try:
        Proof().take(raw)
    except NotAnExport:
        return
    raise AssertionError(raw)
