"""What payments add to the sums is what they were, however it waited and in whatever pieces it is added."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from livepeer_remote_signer.core.rules.budgets import spend_of
from livepeer_remote_signer.core.rules.figures import Figures, figures_of
from livepeer_remote_signer.core.rules.ledger import SpendKey, SpendSum
from livepeer_remote_signer.core.rules.signed import DrawKey, DrawSum, sender_mark, terms_class
from livepeer_remote_signer.core.rules.sums import OpenSums, Sums, tally_of
from livepeer_remote_signer.core.rules.tally import Tally, encode_tallies, in_63_bits, merge_tallies, parse_tallies
from livepeer_remote_signer.core.rules.usage import DayKey, UsageSum
from tests.plans import NOW_NS, ORCHESTRATOR, costing, plan_payment

MINUTE = NOW_NS // (60 * 10**9)
AMOUNTS = st.integers(0, 2**130).map(lambda value: in_63_bits((value,))[0])
TALLIES = st.builds(
    Tally,
    st.sampled_from([MINUTE - 1441, MINUTE, MINUTE + 11]),
    st.sampled_from([b"", b"alice", b"\xed\xa0\x80"]),
    *(st.sampled_from([bytes(20), ORCHESTRATOR]) for _ in range(2)),
    *(st.integers(0, 2) for _ in range(2)),
    *(st.integers(0, 9) for _ in range(3)),
    *(AMOUNTS for _ in range(8)),
    st.integers(0, 9),
)
SUMS = [name for name in Tally.__struct_fields__ if name not in Tally.__struct_fields__[:6]]


def total(tallies: list[Tally], name: str) -> int:
    return sum(int(getattr(tally, name)) for tally in tallies)


@given(st.lists(TALLIES, max_size=20))
def test_what_waits_comes_back_as_it_was(tallies: list[Tally]) -> None:
    assert parse_tallies(encode_tallies(tallies)) == tallies


@given(st.lists(TALLIES, max_size=20))
def test_those_that_are_alike_are_one_and_nothing_is_lost_or_changed(tallies: list[Tally]) -> None:
    before = encode_tallies(tallies)
    merged = merge_tallies(tallies)
    assert encode_tallies(tallies) == before
    assert len({tuple(getattr(one, name) for name in Tally.__struct_fields__[:6]) for one in tallies}) == len(merged)
    assert [total(merged, name) for name in SUMS] == [total(tallies, name) for name in SUMS]


@given(st.lists(st.tuples(st.lists(TALLIES, max_size=6), st.sampled_from(["kept", "unknown", "undone"])), max_size=8))
def test_lines_of_all_parts_hold_each_payment_once_whatever_becomes_of_a_step(steps: list[tuple[list[Tally], str]]) -> None:
    """A step is written and heard of, written without a word, or not written and without a word."""
    lines, database, counted = OpenSums(), Sums({}, {}, {}), list[Tally]()
    for tallies, fate in steps:
        sums = lines.add(tallies)
        if fate != "undone":
            counted += tallies
            for table, written in zip(database, sums, strict=True):
                table.update(written)  # type: ignore[arg-type] # each of its own kind
        if fate == "kept":
            lines.keep(sums)
        else:
            lines.begin_parts()
    spend, draws, days = (list(table.values()) for table in database)
    for name, of in (("payments", 0), ("tickets", 1), ("spent_ev_wei", 2), ("face_value_wei", 3), ("spent_fee_wei", 4)):
        assert sum(line[of] for line in spend) == total(counted, name)
    for name, of in (("tickets", 0), ("winners", 1), ("face_value_wei", 2)):
        assert sum(line[of] for line in draws) == total(counted, name)
    names = ("payments", "sessions", "tickets", "ev_wei", "fee_wei", "billed_ns", "fee_usd", "priced")
    for of, name in enumerate(names):
        assert sum(line[of] for line in days) == total(counted, name)


def test_a_payment_adds_what_it_was_to_each_of_the_three_sums() -> None:
    first = costing(replace(plan_payment(), num_tickets=3, due_tickets=0), Fraction(7, 2))
    later = replace(first, state=replace(first.state, sequence_number=4))
    mark, params = sender_mark(first.sender), first.session.info.ticket_params
    figures = figures_of(first, Fraction(2))
    tallies = [tally_of(first, figures, b"alice", mark), tally_of(later, figures._replace(fee_usd=None), b"alice", mark)]
    sums = OpenSums().add(tallies)
    ev, face_value = spend_of(first, "ev"), 3 * params.face_value
    assert sums.spend == {SpendKey(MINUTE, "alice", ORCHESTRATOR): SpendSum(2, 6, 2 * ev, 2 * face_value, 2 * 4)}
    terms = terms_class(params.face_value, params.win_prob) + mark
    winners = 2 * (3 * params.win_prob >> 192)
    assert sums.draws == {DrawKey(MINUTE // 10 * 10, params.recipient, first.creation_round, terms): DrawSum(6, winners, 2 * face_value)}
    billed, fee_usd = 2 * figures.billed_ns, figures.fee_usd
    assert sums.days == {
        DayKey(MINUTE // 1440 * 1440, "alice", ORCHESTRATOR): UsageSum(2, 1, 6, 2 * figures.ev_wei, 2 * 4, billed, fee_usd or 0, 1)
    }


def test_amounts_beyond_63_bits_are_digits() -> None:
    assert list(in_63_bits((2**63 - 1, 2**63))) == [2**63 - 1, str(2**63)]
    huge = tally_of(plan_payment(), Figures(2**200, 2**64, 2**90, 2**70), b"\xed\xa0\x80")
    (back,) = parse_tallies(encode_tallies([huge]))
    ((key, line),) = OpenSums().add([back]).days.items()
    assert (key.auth_id, line.ev_wei, line.fee_wei, line.billed_ns, line.fee_usd) == ("\ud800", 2**200, 2**64, 2**90, 2**70)
