"""Whom to believe on the L1 block, and when this host's clock is wrong: decided without a clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.adapters.chain.clock import HostClock
from livepeer_remote_signer.adapters.chain.trust import (
    BlockTime,
    Claim,
    ExpectedBlock,
    do_agree,
    find_clock_offset,
    judge,
)


def claims(*blocks: int, at: float = 100.0, distrusted: Sequence[int] = (), steady_since: float = 100.0) -> list[Claim]:
    return [Claim(i, f"rpc[{i}]", block, at, 0.0, i in distrusted, steady_since) for i, block in enumerate(blocks)]


def expected(block: int = 1000, at: float = 100.0) -> ExpectedBlock:
    line = ExpectedBlock()
    line.note(block, at, may_lift=False)
    return line


def places(believed: Sequence[Claim]) -> list[int]:
    return [claim.place for claim in believed]


@pytest.mark.parametrize("line", [None, expected()], ids=["a chain that may jump", "Arbitrum One"])
@pytest.mark.parametrize("lie", [-5_000_000, -60, -4, 4, 5, 60, 5_000_000])
@pytest.mark.parametrize("liar", [0, 1, 2])
def test_of_three_one_does_not_speak_for_all(line: ExpectedBlock | None, lie: int, liar: int) -> None:
    blocks = [5_001_000] * 3
    blocks[liar] += lie
    line = line and expected(5_001_000)
    judgement = judge(claims(*blocks), line)
    assert places(judgement.believed) == [i for i in range(3) if i != liar]
    side = "ahead of" if lie > 0 else "behind"
    honest = (liar + 1) % 3 if liar == 2 else (0 if liar else 1)
    assert judgement.distrusted == {
        liar: f"its L1 block {5_001_000 + lie} is more than 3 {side} 5001000 of rpc[{honest}], as 2 of 3 endpoints have it"
    }


@pytest.mark.parametrize(("blocks", "believed"), [((1000, 1003), [0, 1]), ((1003, 1000), [0, 1]), ((1000, 1003, 998), [0, 1, 2])])
def test_three_blocks_are_no_contradiction(blocks: tuple[int, ...], believed: list[int]) -> None:
    assert places(judge(claims(*blocks), None).believed) == believed
    assert places(judge(claims(*blocks), expected()).believed) == believed


@pytest.mark.parametrize(("blocks", "believed"), [((1000, 1005), [0]), ((1005, 1000), [1]), ((996, 1000), [1]), ((1000, 5_001_000), [0])])
def test_of_two_the_one_nearer_to_what_the_clock_expects_is_believed(blocks: tuple[int, int], believed: list[int]) -> None:
    judgement = judge(claims(*blocks), expected())
    assert places(judgement.believed) == believed
    assert "which is nearer to the 1000 that the clock expects" in judgement.distrusted[1 - believed[0]]


def test_of_two_that_are_both_against_the_clock_none_is_believed() -> None:
    judgement = judge(claims(2000, 9000), expected())
    assert judgement.believed == ()
    assert "more than 10 ahead of 1000" in judgement.distrusted[0]
    assert "ahead of 2000" in judgement.distrusted[1]


def test_two_that_agree_are_believed_against_the_clock() -> None:
    judgement = judge(claims(2000, 2001), expected())
    assert (places(judgement.believed), judgement.is_against_the_clock) == ([0, 1], True)


def test_without_a_clock_the_one_behind_lags_unless_the_one_ahead_was_not_believed_before() -> None:
    assert places(judge(claims(996, 1000), None).believed) == [1]
    assert places(judge(claims(996, 1000, distrusted=[1]), None).believed) == [0]


def test_two_against_two_are_decided_by_the_clock() -> None:
    assert places(judge(claims(1060, 1060, 1000, 1001), expected()).believed) == [2, 3]


def test_at_the_beginning_the_one_whose_head_lags_is_not_believed_and_else_the_preferred_one_is() -> None:
    late = [Claim(0, "rpc[0]", 990, 100.0, 120.0), Claim(1, "rpc[1]", 1000, 100.0, 1.0)]
    assert places(judge(late, ExpectedBlock()).believed) == [1]
    assert places(judge(claims(1000, 5_001_000), ExpectedBlock()).believed) == [0]


@pytest.mark.parametrize(
    ("block", "fault"), [(1010, None), (1011, "more than 10 ahead of 1000"), (997, None), (996, "went back from 1000 to 996")]
)
def test_one_alone_is_held_against_the_clock(block: int, fault: str | None) -> None:
    judgement = judge(claims(block), expected())
    assert (places(judgement.believed) == [0]) is (fault is None)
    assert fault is None or fault in judgement.distrusted[0]
    assert places(judge(claims(block), None).believed) == [0], "other chains may jump"


def test_time_that_passes_makes_higher_blocks_possible() -> None:
    line = expected()
    assert places(judge(claims(1110, at=1300.0, steady_since=1300.0), line).believed) == [0]
    assert places(judge(claims(1111, at=1300.0, steady_since=1300.0), line).believed) == []


def test_one_alone_is_believed_against_the_clock_when_it_has_been_steady_for_five_minutes() -> None:
    late = claims(5_001_000, at=400.0, steady_since=100.1)
    assert judge(late, expected()).believed == ()
    steady = judge([late[0]._replace(steady_since=100.0)], expected())
    assert (places(steady.believed), steady.is_against_the_clock) == ([0], True)


def test_one_alone_cannot_creep_upwards_within_the_slack() -> None:
    line, block = expected(), 1000
    for step in range(1, 50):
        at = 100.0 + step * 5
        if judge(claims(block + 4, at=at, steady_since=at), line).believed:
            block += 4
            line.note(block, at, may_lift=False)
    assert block <= 1000 + 250 // 12 + 1 + 10


def test_a_block_that_stood_still_may_catch_up() -> None:
    line = expected()
    for step in range(1, 60):
        line.note(1000, 100.0 + step * 5, may_lift=False)
    assert places(judge(claims(1025, at=400.0), line).believed) == [0]


def test_the_first_block_of_an_endpoint_that_lags_does_not_bar_its_catching_up() -> None:
    line = ExpectedBlock()
    line.note(980, 100.0, may_lift=False, lag_seconds=240.0)
    assert places(judge(claims(1000, at=105.0), line).believed) == [0]


def test_the_line_holds_what_was_believed_within_ten_minutes_and_always_the_last() -> None:
    line = expected()
    line.note(1010, 1300.0, may_lift=False)  # 90 blocks did not come
    assert line.at(1300.0) == pytest.approx(1010)
    assert line.at(90_000.0) == pytest.approx(1010 + (90_000 - 1300) / 12)
    line.lift(3600.0)
    assert line.at(1300.0) == pytest.approx(1310)
    line.forget()
    assert line.at(1300.0) is None


@given(st.lists(st.integers(0, 30), min_size=3, max_size=9), st.integers(0, 3), st.booleans())
def test_a_majority_that_agrees_is_always_believed(others: list[int], spread: int, is_paced: bool) -> None:
    honest = len(others) + 1
    blocks = [5000 + (i % (spread + 1)) for i in range(honest)] + [7000 + 100 * lie for lie in others]
    judgement = judge(claims(*blocks), expected(5000) if is_paced else None)
    assert places(judgement.believed) == list(range(honest))
    assert set(judgement.distrusted) == set(range(honest, len(blocks)))


ANY_CLAIM = st.builds(
    Claim,
    st.integers(0, 9),
    st.just("rpc"),
    st.integers(0, 2**256 - 1) | st.integers(990, 1010),
    st.floats(0, 10_000),
    st.floats(-1e80, 1e80),
    st.booleans(),
    st.none() | st.floats(0, 10_000),
)


@given(st.lists(ANY_CLAIM, max_size=6, unique_by=lambda claim: claim.place), st.booleans())
def test_whatever_is_claimed_each_one_is_either_believed_or_not_with_a_reason(given_: list[Claim], is_paced: bool) -> None:
    line = expected() if is_paced else None
    judgement = judge(given_, line)
    assert sorted([claim.place for claim in judgement.believed] + list(judgement.distrusted)) == sorted(claim.place for claim in given_)
    assert all(judgement.distrusted.values())
    for claim in judgement.believed:
        if line is not None:
            line.note(claim.l1_block, claim.at, may_lift=False)


def test_of_two_words_within_twelve_seconds_the_higher_one_stays_the_line() -> None:
    line = expected(1000, at=100.0)
    line.note(997, 105.0, may_lift=False)
    assert line.at(100.0) == pytest.approx(1000)
    line.note(1008, 106.0, may_lift=True)
    assert line.at(106.0) == pytest.approx(1008)


def test_words_of_different_age_are_judged_by_the_time_between_where_the_clock_can_tell() -> None:
    spoken = [Claim(0, "a", 1000, 100.0), Claim(1, "b", 1007, 160.0)]
    assert places(judge(spoken, expected()).believed) == [0, 1]
    assert len(judge(spoken, None).believed) == 1


def test_younger_words_may_be_higher_by_the_time_between() -> None:
    old, new = Claim(0, "a", 1000, 100.0), Claim(1, "b", 1005, 115.0)
    assert do_agree(old, new, is_paced=True)
    assert do_agree(new, old, is_paced=True)
    assert not do_agree(old, new._replace(l1_block=1006), is_paced=True)
    assert not do_agree(old, new, is_paced=False)


@pytest.mark.parametrize(
    ("times", "offset"),
    [
        ([], None),
        ([(0, False)], 0.0),
        ([(30, False)], 0.0),
        ([(31, False)], None),
        ([(31, True)], 31),
        ([(-30, False)], 0.0),
        ([(-31, False)], -31),
        ([(3600, True), (3601, True), (3599, True)], 3599),
        ([(3600, True), (3601, False)], None),
        ([(-3600, False), (2, True)], 0.0),
        ([(-3600, False), (-3605, False)], -3600),
        ([(-3600, False), (3600, True)], None),
    ],
)
def test_the_clock_is_wrong_when_all_endpoints_say_so(times: list[tuple[float, bool]], offset: float | None) -> None:
    assert find_clock_offset([BlockTime(ahead, is_new) for ahead, is_new in times]) == offset


class Clocks:
    """A wall clock and a monotonic one."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1_800_000_000.0, 50.0

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def host(self, *, may_stop_payments: bool = True) -> HostClock:
        return HostClock(lambda: self.monotonic, lambda: self.wall, may_stop_payments=may_stop_payments)


def fault_of(host: HostClock, clocks: Clocks) -> str:
    agrees, fault = host.judgement(clocks.monotonic)
    assert fault is None or agrees is not True
    return "" if fault is None else fault.reason


def test_a_clock_that_agreed_is_right_for_as_long_as_it_does_not_jump() -> None:
    clocks = Clocks()
    host = clocks.host()
    assert host.judgement(clocks.monotonic) == (None, None)
    host.note([BlockTime(2, True)])
    clocks.go(86_400)
    assert host.judgement(clocks.monotonic) == (True, None)
    clocks.wall += 30
    assert host.judgement(clocks.monotonic) == (True, None)
    clocks.wall += 1
    assert "has jumped by 31 s since it agreed with the chain" in fault_of(host, clocks)
    host.note([BlockTime(0, True)])
    assert host.judgement(clocks.monotonic) == (True, None)


@pytest.mark.parametrize(("ahead", "said"), [(-3600.0, "3600 s behind the newest blocks"), (3600.0, "3600 s ahead of the newest blocks")])
def test_a_wrong_clock_is_named_until_it_agrees(ahead: float, said: str) -> None:
    clocks = Clocks()
    host = clocks.host()
    host.note([BlockTime(ahead, True)])
    assert said in fault_of(host, clocks)
    assert host.judgement(clocks.monotonic)[0] is False
    host.note([BlockTime(ahead, False)])
    assert fault_of(host, clocks)
    host.note([BlockTime(0, True)])
    assert host.judgement(clocks.monotonic) == (True, None)


def test_endpoints_that_lag_behind_a_clock_that_agreed_and_did_not_jump_are_no_fault_of_the_clock() -> None:
    clocks = Clocks()
    host = clocks.host()
    host.note([BlockTime(0, True)])
    clocks.go(10)
    host.note([BlockTime(300, True)])
    assert host.judgement(clocks.monotonic) == (True, None)
    host.note([BlockTime(301, True)])
    assert "301 s ahead" in fault_of(host, clocks)


def test_endpoints_that_lag_from_the_beginning_cannot_be_told_from_a_clock_that_is_ahead() -> None:
    clocks = Clocks()
    host = clocks.host()
    host.note([BlockTime(60, True)])
    assert "60 s ahead of the newest blocks of all RPC endpoints" in fault_of(host, clocks)


def test_on_other_chains_the_clock_stops_nothing_and_is_right_only_when_it_agrees() -> None:
    clocks = Clocks()
    host = clocks.host(may_stop_payments=False)
    host.note([BlockTime(3600, True)])
    assert host.judgement(clocks.monotonic) == (None, None)
    host.note([BlockTime(0, True)])
    assert host.judgement(clocks.monotonic) == (True, None)
    clocks.wall -= 60
    assert host.judgement(clocks.monotonic) == (None, None)


def test_a_block_is_compared_with_the_moment_at_which_it_was_the_newest() -> None:
    clocks = Clocks()
    host = clocks.host()
    assert host.seconds_ahead(1_800_000_000 - 4, 46.0, 50.0) == 0
    assert host.seconds_ahead(1_800_000_000 - 5, 46.0, 50.0) == 1
    assert host.seconds_ahead(1_800_000_000 + 7, 46.0, 50.0) == -7
    clocks.wall += 100  # a jump counts for what was read before it as well
    assert host.seconds_ahead(1_800_000_000 + 7, 46.0, 50.0) == 89


def test_a_machine_that_slept_is_noticed_once() -> None:
    clocks = Clocks()
    host = clocks.host()
    assert host.take_jump() == 0
    clocks.go(100)
    assert host.take_jump() == 0
    clocks.wall += 3600
    assert host.take_jump() == 3600
    clocks.wall -= 3600
    assert host.take_jump() == 0
