"""What was made last is remembered, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.recent import Recent


@given(st.lists(st.tuples(st.integers(0, 20), st.integers()), max_size=60), st.integers(1, 5))
def test_the_newest_are_known_and_no_more_than_two_generations(puts: list[tuple[int, int]], size: int) -> None:
    recent: Recent[int, int] = Recent(size)
    latest: dict[int, int] = {}
    for key, value in puts:
        recent.put(key, value)
        latest[key] = value
        assert recent.get(key) == value
        found = {known: recent.get(known) for known in latest}
        assert {known: got for known, got in found.items() if got is not None}.items() <= latest.items()
        assert sum(got is not None for got in found.values()) <= 2 * size
    newest = list(dict.fromkeys(key for key, _ in reversed(puts)))[:size]
    assert [recent.get(key) for key in newest] == [latest[key] for key in newest]


def test_what_was_never_put_is_not_known() -> None:
    assert Recent[str, int](1).get("x") is None
