"""Which endpoint is asked and believed, decided without a clock."""

from __future__ import annotations

import httpx
import pytest

from livepeer_remote_signer.adapters.chain.endpoints import Endpoint, Pace, find_standing_head, pick_due, pick_preferred
from livepeer_remote_signer.adapters.chain.json_rpc import JsonRpc, endpoint_name
from livepeer_remote_signer.adapters.chain.reading import Head, Reading
from livepeer_remote_signer.core.rules.chain import ChainView

PACE = Pace(poll=5, timeout=4, max_age=60, max_head_age=300)


def endpoint(index: int = 0) -> Endpoint:
    return Endpoint(JsonRpc(httpx.AsyncClient(), "http://node.example/key", index))


def reading(l1_block: int, number: int = 1, timestamp: int = 1000) -> Reading:
    return Reading(ChainView(l1_block, 1, bytes(32), 0, 0), Head(number, "0x01", timestamp), [])


def test_the_back_off_doubles_up_to_a_bound_that_lets_it_recover_within_ten_seconds() -> None:
    assert [PACE.back_off(n) for n in (1, 2, 3, 1000)] == [5, 10, 10, 10]
    assert Pace(1, 4, 5, None).back_off(9) == 1


def test_one_batch_leaves_time_to_ask_another_endpoint() -> None:
    assert PACE.request_timeout == 4
    assert Pace(1, 4, 5, None).request_timeout < 2


def test_endpoints_are_preferred_in_order_and_failed_ones_rest() -> None:
    first, second = endpoint(0), endpoint(1)
    assert pick_preferred([first, second]) is first
    first.note_failure("down", 100.0, PACE)
    assert pick_preferred([first, second]) is second
    assert pick_due([first, second], second, 104.0) == []
    assert pick_due([first, second], second, 105.0) == [first]
    second.note_failure("down", 105.0, PACE)
    assert pick_preferred([first, second]) is None


def test_a_failed_endpoint_is_got_to_know_anew() -> None:
    one = endpoint()
    one.note_failure("down", 1.0, PACE)
    assert (one.known, one.is_healthy, one.total_failures) == (None, False, 1)
    one.note_success(2.0, PACE)
    assert (one.is_healthy, one.fault, one.total_failures) == (True, "", 1)


def note(one: Endpoint, number: int, at: float, clock_ahead: float = 0.0) -> None:
    one.note_reading(reading(1, number=number), at, at, clock_ahead, is_paced=True)


def test_a_standing_head_is_distrusted_past_its_limit_and_a_moving_one_is_not() -> None:
    one = endpoint()
    note(one, 9, 100.0)
    note(one, 9, 400.0)
    assert find_standing_head(one, 400.0, PACE) is None
    assert "head stands at block 9 for 301 s, the limit is 300 s" in (find_standing_head(one, 401.0, PACE) or "")
    note(one, 10, 401.0)
    assert find_standing_head(one, 401.0, PACE) is None
    assert find_standing_head(one, 9000.0, PACE._replace(max_head_age=None)) is None


def test_the_first_head_counts_from_its_own_time() -> None:
    one = endpoint()
    note(one, 9, 100.0, clock_ahead=301.0)
    assert "for 301 s" in (find_standing_head(one, 100.0, PACE) or "")


def test_a_head_tells_the_time_when_it_was_not_there_a_minute_ago() -> None:
    one = endpoint()
    note(one, 9, 100.0)
    assert not one.is_head_new
    note(one, 10, 160.0)
    assert one.is_head_new
    note(one, 10, 165.0)
    assert not one.is_head_new
    note(one, 11, 226.0)
    assert not one.is_head_new, "it may stand since right after the last look"


def test_an_endpoint_is_steady_since_it_last_went_another_way() -> None:
    one = endpoint()
    for at, block in ((0.0, 1000), (12.0, 1001), (24.0, 1002), (36.0, 1050), (48.0, 1051), (60.0, 1045)):
        one.note_reading(reading(block), at, at, 0.0, is_paced=True)
        if at == 24.0:
            assert one.claim().steady_since == 0.0
        if at == 48.0:
            assert one.claim().steady_since == 36.0
    assert one.claim().steady_since == 60.0


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:pw@arb.example:8443/v2/KEY?k=KEY", "rpc[0] (arb.example)"),
        ("KEY", "rpc[0] (no host)"),
        ("http://[KEY", "rpc[0] (no host)"),
    ],
)
def test_an_endpoint_is_named_by_its_place_and_host_only(url: str, name: str) -> None:
    assert endpoint_name(url, 0) == name
