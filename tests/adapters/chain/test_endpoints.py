"""Which endpoint is asked and believed, decided without a clock."""

from __future__ import annotations

import httpx
import pytest

from livepeer_remote_signer.adapters.chain.endpoints import Endpoint, Pace, find_distrust, pick_due, pick_preferred
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


@pytest.mark.parametrize(("lag", "other_age", "is_distrusted"), [(3, 0, False), (4, 0, True), (400, 61, False)])
def test_lag_counts_against_what_another_endpoint_lately_said(lag: int, other_age: float, is_distrusted: bool) -> None:
    one, other = endpoint(0), endpoint(1)
    other.note_reading(reading(1000), 100.0 - other_age, 1000.0)
    one.note_reading(reading(1000 - lag), 100.0, 1000.0)
    assert (find_distrust(one, [one, other], 100.0, PACE) is not None) is is_distrusted


def test_an_older_answer_is_not_called_lagging_because_time_went_on() -> None:
    one, other = endpoint(0), endpoint(1)
    one.note_reading(reading(1000), 100.0, 1000.0)
    other.note_reading(reading(1005), 160.0, 1060.0)
    assert find_distrust(one, [one, other], 160.0, PACE) is None


def test_a_standing_head_is_distrusted_past_its_limit_and_a_moving_one_is_not() -> None:
    one = endpoint()
    one.note_reading(reading(1, number=9), 100.0, 1000.0)
    one.note_reading(reading(1, number=9), 400.0, 1300.0)
    assert find_distrust(one, [one], 400.0, PACE) is None
    assert "head stands at block 9 for 301 s, the limit is 300 s" in (find_distrust(one, [one], 401.0, PACE) or "")
    one.note_reading(reading(1, number=10), 401.0, 1301.0)
    assert find_distrust(one, [one], 401.0, PACE) is None


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
