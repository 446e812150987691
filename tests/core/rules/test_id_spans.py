"""Ids kept as ranges are the same set as any other, up to their limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.rules.id_spans import IdSpans

IDS = st.lists(st.integers(0, 60), max_size=80)


@given(IDS, st.integers(0, 60))
def test_what_was_taken_in_is_there_and_neighbours_share_a_range(ids: list[int], below: int) -> None:
    spans, plain = IdSpans(1000), set(ids)
    for id in ids:
        spans.add(id)
    assert [id in spans for id in range(-1, 62)] == [id in plain for id in range(-1, 62)]
    assert len(spans) == len({id for id in plain if id - 1 not in plain})
    spans.forget_below(below)
    assert all(id in spans for id in plain if id >= below)
    assert all(id not in spans or id in plain for id in range(62))


def test_a_million_neighbours_are_one_range() -> None:
    spans = IdSpans(2)
    for id in range(1_000_000):
        spans.add(id)
    assert len(spans) == 1
    assert 999_999 in spans
    spans.forget_below(2_000_000)
    assert len(spans) == 0


def test_beyond_its_limit_it_forgets_the_lowest() -> None:
    spans = IdSpans(3)
    for id in (10, 20, 30, 40):
        spans.add(id)
    assert len(spans) == 3
    assert [id in spans for id in (10, 20, 30, 40)] == [False, True, True, True]


def test_the_id_that_two_ranges_lack_makes_them_one_and_leaves_the_others() -> None:
    spans = IdSpans(4)
    for id in (1, 10, 11, 13, 14, 20):
        spans.add(id)
    assert len(spans) == 4
    spans.add(12)
    assert len(spans) == 3
    assert [id for id in range(30) if id in spans] == [1, 10, 11, 12, 13, 14, 20]
    spans.forget_below(14)
    assert [id for id in range(30) if id in spans] == [10, 11, 12, 13, 14, 20], "a range goes as a whole"
    spans.forget_below(15)
    assert [id for id in range(30) if id in spans] == [20]
