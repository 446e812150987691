"""What was made last is remembered, within bounds of number and size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.recent import MAX_KEY_BYTES, Recent, remembering

keys = st.integers(0, 20).map(lambda number: bytes([number]))


@given(st.lists(st.tuples(keys, st.integers()), max_size=60), st.integers(1, 5))
def test_the_newest_are_known_and_no_more_than_two_generations(puts: list[tuple[bytes, int]], size: int) -> None:
    recent: Recent[int] = Recent(size)
    latest: dict[bytes, int] = {}
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
    assert Recent[str](1).get(b"x") is None


@pytest.mark.parametrize(("length", "is_kept"), [(MAX_KEY_BYTES, True), (MAX_KEY_BYTES + 1, False)])
def test_what_is_longer_than_any_real_key_is_not_kept(length: int, is_kept: bool) -> None:
    recent: Recent[int] = Recent(2)
    recent.put(b"x" * length, 1)
    assert (recent.get(b"x" * length) == 1) is is_kept
    parsed = []
    parse = remembering(lambda raw: parsed.append(raw) or len(raw), 2)
    assert [parse(b"x" * length) for _ in range(3)] == [length] * 3
    assert len(parsed) == (1 if is_kept else 3)


def test_what_could_not_be_parsed_is_tried_again() -> None:
    asked = []

    def refuse(raw: bytes) -> bytes:
        asked.append(raw)
        raise ValueError(raw)

    parse = remembering(refuse, 2)
    for _ in range(2):
        with pytest.raises(ValueError, match="x"):
            parse(b"x")
    assert len(asked) == 2
