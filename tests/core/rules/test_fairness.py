"""Places and turns: who holds much is refused or waits, whoever holds little never notices."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import Overloaded, ShareExceeded
from livepeer_remote_signer.core.rules.fairness import FairQueue, Place, Shares, UnidentifiedBytes, is_dear


def filled(shares: Shares, caller: str, count: int, now: float = 0.0) -> list[Place]:
    return [shares.take(caller, now) for _ in range(count)]


def test_alone_a_caller_may_use_every_place() -> None:
    shares = Shares(8, 0.25)
    filled(shares, "a", 8)
    with pytest.raises(Overloaded) as caught:
        shares.take("a", 0)
    assert (caught.value.values["in_work"], caught.value.values["limit"]) == (8, 8)


def test_beside_others_the_last_places_are_kept_for_those_who_hold_few() -> None:
    shares = Shares(8, 0.25)
    filled(shares, "b", 1)
    filled(shares, "a", 5)
    with pytest.raises(ShareExceeded) as caught:
        shares.take("a", 1)
    assert (caught.value.retry_after_seconds, caught.value.values["held"], caught.value.values["kept_for_others"]) == (1, 5, 2)
    filled(shares, "b", 1, 1)
    with pytest.raises(ShareExceeded):
        shares.take("b", 1)
    filled(shares, "c", 1, 1)
    with pytest.raises(Overloaded):
        shares.take("d", 1)
    assert shares.in_work == 8


def test_who_filled_every_place_while_alone_keeps_nobody_out() -> None:
    shares = Shares(8, 0.25)
    held = filled(shares, "a", 8)
    filled(shares, "b", 2)
    assert shares.in_work == 10
    for caller, error in (("a", ShareExceeded), ("b", ShareExceeded), ("c", Overloaded)):
        with pytest.raises(error):
            shares.take(caller, 0)
    for place in held[:4]:
        place.release()
    filled(shares, "c", 2)


def test_others_count_as_there_for_ten_seconds() -> None:
    shares = Shares(8, 0.25)
    shares.take("b", 0).release()
    filled(shares, "a", 6, 9.9)
    with pytest.raises(ShareExceeded):
        shares.take("a", 9.9)
    filled(shares, "a", 2, 10)


def test_a_place_goes_over_to_the_name_that_its_holder_turns_out_to_have() -> None:
    shares = Shares(8, 0.25)
    places = [shares.take("192.0.2.1", 0, is_known=False) for _ in range(6)]
    for place in places:
        place.move("auth id a", 0)
    assert not any(place.is_shared for place in places), "one caller with one address is alone"
    shares.take("192.0.2.1", 1, is_known=False).move("auth id b", 1)
    late = shares.take("192.0.2.1", 1, is_known=False)
    with pytest.raises(ShareExceeded):
        late.move("auth id a", 1)
    late.release()
    assert shares.in_work == 7
    for place in places:
        place.release()
    assert shares.in_work == 1


@pytest.mark.parametrize(("other_at", "is_shared"), [(0.0, True), (0.1, True), (None, False)])
def test_who_turns_out_to_be_named_as_its_address_keeps_its_place_and_is_told_who_else_is_here(
    other_at: float | None, is_shared: bool
) -> None:
    shares = Shares(1, 0)
    if other_at is not None:
        shares.note("auth id b", other_at)
    place = shares.take("192.0.2.1", 1, is_known=False)
    assert place.is_shared, "nobody knows yet who it is"
    place.move("192.0.2.1", 9.9)
    assert (place.caller, place.is_shared, shares.in_work) == ("192.0.2.1", is_shared, 1), "every place is taken, and it is its own"
    place.move("192.0.2.1", 10.1)
    assert not place.is_shared, "the other one is gone for ten seconds"
    place.release()
    assert (shares.in_work, shares._held) == (0, {})


def test_with_no_share_or_few_places_nothing_is_kept() -> None:
    for shares in (Shares(4, 0), Shares(3, 0.25)):
        places = 4 if shares._kept == 0 and shares._places == 4 else 3
        filled(shares, "b", 1)
        filled(shares, "a", places - 1)
        for caller in ("a", "b", "c"):
            with pytest.raises(Overloaded):
                shares.take(caller, 0)


def test_turns_go_round_by_weight_and_one_callers_own_stay_in_order() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(3):
        queue.push("heavy", 100, f"h{number}")
    for number in range(4):
        queue.push("light", 1, f"l{number}")
    assert [queue.pop() for _ in range(len(queue))] == ["h0", "l0", "l1", "l2", "l3", "h1", "h2"]
    with pytest.raises(IndexError):
        queue.pop()


def test_who_comes_again_at_once_does_not_begin_anew() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("heavy", 100, "h0")
    queue.push("light", 1, "l0")
    assert queue.pop() == "h0"
    queue.push("heavy", 100, "h1")
    queue.push("light", 1, "l1")
    assert [queue.pop() for _ in range(3)] == ["l0", "l1", "h1"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 100)), max_size=200))
def test_everything_comes_out_once_and_nobody_gets_ahead_of_the_others_by_more_than_a_turn(pushed: list[tuple[str, int]]) -> None:
    queue: FairQueue[tuple[str, int, int]] = FairQueue()
    for number, (caller, weight) in enumerate(pushed):
        queue.push(caller, weight, (caller, number, weight))
    left, served, taken = Counter(caller for caller, _ in pushed), Counter[str](), []
    while queue:
        caller, number, weight = queue.pop()
        waiting = [other for other in left if left[other]]
        assert all(served[caller] <= served[other] for other in waiting)
        served[caller] += weight
        left[caller] -= 1
        taken.append((caller, number))
    assert sorted(number for _, number in taken) == list(range(len(pushed)))
    for name in "abc":
        own = [number for caller, number in taken if caller == name]
        assert own == sorted(own)


def test_what_is_remembered_of_those_who_went_is_bounded() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(10_000):
        queue.push(f"c{number}", 5, number)
        assert queue.pop() == number
    assert len(queue._ends) <= 1024
    queue.push("a", 1, 1)
    assert queue.drain() == [1]
    assert not queue


def test_what_is_taken_out_is_not_served_and_the_others_are() -> None:
    queue: FairQueue[str] = FairQueue()
    for caller, item in (("a", "a0"), ("a", "a1"), ("b", "b0"), ("c", "c0")):
        queue.push(caller, 1, item)
    for caller, item in (("a", "a0"), ("b", "b0"), ("b", "b0"), ("c", "x"), ("d", "x")):
        queue.remove(caller, item)
    queue.push("b", 1, "b1")
    assert [queue.pop() for _ in range(len(queue))] == ["a1", "c0", "b1"]
    queue.remove("a", "a1")
    assert len(queue) == 0


def test_of_too_many_unidentified_bytes_the_largest_sender_is_refused_and_the_small_ones_go_on() -> None:
    rate = UnidentifiedBytes(1000)
    assert not rate.note("mallory", bytes(900), 0)
    assert not rate.note("alice", bytes(50), 0.5)
    assert rate.note("mallory", bytes(900), 0.9)
    with pytest.raises(Overloaded, match=r"1850 bytes .* 1800 of them"):
        rate.check("mallory")
    rate.check("alice")
    assert not rate.note("mallory", bytes(900), 1.0), "a new second"
    for number in range(5000):
        rate.note(f"c{number}", b"{", 1.5)
    assert len(rate._sent) <= 1025


def test_values_of_a_long_body_weigh_more_than_its_text() -> None:
    for body, weight in ((b"," * 4096, 4096), (b"x" * 5000, 5000), (b"1," * 5000, 10_000 + 128 * 5000)):
        assert not UnidentifiedBytes(weight).note("a", body, 0)
        assert UnidentifiedBytes(weight - 1).note("a", body, 0)


@pytest.mark.parametrize(
    ("body", "dear"),
    [(b"1," * 1024 + b"1" * 2049, False), (b"1," * 1025 + b"1" * 2047, True), (b"," * 4096, False), (b"1" * 100_000, False)],
    ids=["values at the limit", "a value more", "short", "one value"],
)
def test_dear_is_a_long_body_of_many_values(body: bytes, dear: bool) -> None:
    assert is_dear(body) is dear
