"""What is kept of signed tickets tells one that was signed here from every other one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from livepeer_remote_signer.core.rules.figures import figures_of
from livepeer_remote_signer.core.rules.ledger import Books, Lines
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.signed import (
    DRAW_MINUTES,
    ENTRY_BYTES,
    UNKNOWN_TERMS,
    WINNER_BITS,
    DrawKey,
    DrawSum,
    add_draws,
    digest_payer,
    digest_terms,
    find_run,
    mark_of,
    note_signed,
    note_tickets,
    open_draws,
    sender_mark,
    signed_runs,
    terms_class,
)
from livepeer_remote_signer.core.rules.sums import tally_of
from livepeer_remote_signer.core.rules.tally import Tally
from tests.plans import NOW_NS, orchestrator_info, plan_payment

RAND_HASH = b"\x09" * 32
MINUTE_NS = 60 * 10**9


def plan(first_nonce: int = 1, tickets: int = 1, *, auth_id: str = "alice", recipient: bytes = b"\x11" * 20) -> PaymentPlan:
    made = plan_payment(orchestrator_info(address=recipient))
    state = replace(made.state, auth_id=auth_id)
    return replace(made, state=state, first_nonce=first_nonce, num_tickets=tickets)


def tally(made: PaymentPlan) -> Tally:
    return tally_of(made, figures_of(made, None), b"")


def terms_of(made: PaymentPlan) -> bytes:
    params = made.session.info.ticket_params
    return digest_terms(made.sender, params.recipient, params.face_value, params.win_prob, params.recipient_rand_hash, made.aux_data)


def test_a_run_goes_on_while_terms_and_payer_stay_and_nonces_follow_each_other() -> None:
    signed = note_signed(b"", 0, plan(1, 3))
    signed = note_signed(signed, 3, plan(4, 2))
    assert [(run.first, run.last, run.payer) for run in signed_runs(signed)] == [(1, 5, digest_payer("alice"))]
    assert len(signed) == ENTRY_BYTES
    signed = note_signed(signed, 5, plan(9, 1))
    signed = note_signed(signed, 9, plan(10, 1, auth_id="bob"))
    signed = note_signed(signed, 10, plan(11, 1, recipient=b"\x22" * 20))
    assert [(run.first, run.last) for run in signed_runs(signed)] == [(1, 5), (9, 9), (10, 10), (11, 11)]


def test_tickets_are_noted_beside_the_nonces_that_were_given_out_before() -> None:
    books = Books()
    made = plan(1, 3)
    rand_hash = made.session.info.ticket_params.recipient_rand_hash
    note_tickets(made, books)
    assert [(run.first, run.last) for run in signed_runs(books.signed[rand_hash])] == [(1, 3)]
    books.nonces[rand_hash] = 5  # a release that keeps no terms has signed two more
    note_tickets(plan(6, 2), books)
    assert [(run.terms == UNKNOWN_TERMS, run.first, run.last) for run in signed_runs(books.signed[rand_hash])] == [
        (False, 1, 3),
        (True, 4, 5),
        (False, 6, 7),
    ]


def test_a_ticket_is_found_by_nonce_and_terms_together_and_not_by_one_of_them() -> None:
    ours, other = plan(1, 5), plan(1, 5, recipient=b"\x22" * 20)
    signed = note_signed(note_signed(b"", 0, ours), 5, replace(ours, first_nonce=8))
    assert [nonce for nonce in range(12) if find_run(signed, terms_of(ours), nonce)] == [1, 2, 3, 4, 5, *range(8, 13)][:9]
    assert not any(find_run(signed, terms_of(other), nonce) for nonce in range(12))


@given(st.sampled_from(["sender", "recipient", "face_value", "win_prob", "rand_hash", "aux_data"]), st.integers(1, 2**64))
def test_every_part_of_the_terms_counts(name: str, change: int) -> None:
    addresses = {"sender": b"\3" * 20, "recipient": b"\1" * 20}
    terms = {**addresses, "face_value": 10**15, "win_prob": 2**250, "rand_hash": RAND_HASH, "aux_data": b"\2" * 64}
    before = terms[name]
    terms[name] = before + change if isinstance(before, int) else (int.from_bytes(before, "big") ^ change).to_bytes(len(before), "big")
    unchanged = {**terms, name: before}
    assert digest_terms(**terms) != digest_terms(**unchanged)  # type: ignore[arg-type] # each has its own type


def test_what_a_release_signed_that_kept_no_terms_is_told_apart_from_what_nobody_signed() -> None:
    signed = note_signed(b"", 41, plan(42, 2))
    old, ours = signed_runs(signed)
    assert (old.terms, old.first, old.last) == (UNKNOWN_TERMS, 1, 41)
    assert (ours.first, ours.last) == (42, 43)
    found = find_run(signed, terms_of(plan()), 7)
    assert found is not None
    assert found.terms == UNKNOWN_TERMS
    assert find_run(signed, terms_of(plan()), 44) is None
    between = note_signed(signed, 50, plan(51, 1))  # the release before has signed on the same params meanwhile
    assert [(run.terms == UNKNOWN_TERMS, run.first, run.last) for run in signed_runs(between)][2:] == [(True, 44, 50), (False, 51, 51)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 20), st.sampled_from(["alice", "bob"])), max_size=20))
def test_runs_hold_exactly_the_nonces_that_were_signed(payments: list[tuple[int, int, str]]) -> None:
    signed, last, nonces = b"", 0, {}
    for skipped, tickets, auth_id in payments:
        made = plan(last + 1 + skipped, tickets, auth_id=auth_id)
        signed = note_signed(signed, last, made)
        nonces |= dict.fromkeys(range(made.first_nonce, made.first_nonce + tickets), digest_payer(auth_id))
        last = made.first_nonce + tickets - 1
    terms = terms_of(plan())
    for nonce in range(last + 3):
        run = find_run(signed, terms, nonce)
        assert (run.payer if run else None) == nonces.get(nonce)


def test_tickets_are_counted_by_recipient_round_and_terms() -> None:
    lines = open_draws()
    draws: dict[DrawKey, DrawSum] = {}
    add_draws(draws, tally(plan(1, 3)), lines)
    add_draws(draws, tally(plan(4, 2, auth_id="bob")), lines)
    params = plan().session.info.ticket_params
    ((key, line),) = draws.items()
    minute = NOW_NS // MINUTE_NS // DRAW_MINUTES * DRAW_MINUTES
    assert key == DrawKey(minute, params.recipient, 4012, terms_class(params.face_value, params.win_prob))
    assert (line.tickets, line.face_value_wei) == (5, 5 * params.face_value)
    assert line.winners == 2 * params.win_prob >> 192 or abs(line.winners - (5 * params.win_prob >> (256 - WINNER_BITS))) <= 2
    lines.keep(draws)
    more: dict[DrawKey, DrawSum] = {}
    add_draws(more, tally(plan(6, 1)), lines)
    assert more[key].tickets == 6, "a line is written whole"


def test_a_clock_that_went_back_begins_lines_of_another_part() -> None:
    lines: Lines[DrawKey, DrawSum] = open_draws()
    for minute in (0, 10, 20):
        lines.keep({DrawKey(minute, b"", 1, 1): DrawSum(1, 1, 1)})
    assert lines.part(0) == 1
    assert lines.get(DrawKey(0, b"", 1, 1, 1)) == DrawSum()


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1))
def test_terms_of_one_class_differ_by_at_most_an_eighth(one: int, other: int) -> None:
    if terms_class(one, 1) == terms_class(other, 1):
        assert 8 * abs(one - other) <= min(one, other)
    assert (terms_class(one, 1) == terms_class(other, 1)) == (terms_class(1, one) == terms_class(1, other))
    assert terms_class(one, other) < 2**31


def test_terms_near_each_other_share_a_class() -> None:
    assert terms_class(10**15, 2**240) == terms_class(10**15 + 10**9, 2**240 + 2**200)
    assert len({terms_class(value, 1) for value in range(17)}) == 17


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1), st.binary(min_size=20, max_size=20))
def test_a_senders_mark_stands_above_every_class_of_terms_and_fits_both_databases(face_value: int, win_prob: int, sender: bytes) -> None:
    terms, mark = terms_class(face_value, win_prob), sender_mark(sender)
    assert mark_of(terms) == 0
    assert mark_of(terms + mark) == mark > 0
    assert terms + mark - mark_of(terms + mark) == terms
    assert terms + mark < 2**63


def test_lines_of_several_senders_are_told_apart_by_their_marks_alone() -> None:
    lines = open_draws()
    draws: dict[DrawKey, DrawSum] = {}
    for mark in (0, sender_mark(b"\x01" * 20), sender_mark(b"\x02" * 20)):
        paid = tally(plan(1, 3))
        add_draws(draws, replace(paid, terms=paid.terms + mark), lines)
    assert [line.tickets for line in draws.values()] == [3, 3, 3]
    assert len({key._replace(terms=key.terms - mark_of(key.terms)) for key in draws}) == 1
