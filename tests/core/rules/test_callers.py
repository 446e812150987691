"""Whose address counts: nobody chooses his own."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.rules.callers import caller_group, client_address, is_within

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def behind(*forwarded: bytes, peer: str = "10.0.0.1") -> str:
    return client_address(peer, [(b"host", b"h"), *((b"x-forwarded-for", value) for value in forwarded)], TRUSTED)


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ((), "10.0.0.1"),
        ((b"192.0.2.7",), "192.0.2.7"),
        ((b"1.1.1.1, 192.0.2.7",), "192.0.2.7"),
        ((b"1.1.1.1", b"192.0.2.7, 10.2.3.4"), "192.0.2.7"),
        ((b"192.0.2.7,10.2.3.4 , ::ffff:10.9.9.9",), "192.0.2.7"),
        ((b"10.2.3.4",), "10.2.3.4"),
        ((b"192.0.2.7:4711",), "192.0.2.7"),
        ((b"[2001:db8::7]:4711",), "2001:db8::7"),
        ((b"2001:db8::7",), "2001:db8::7"),
        ((b"192.0.2.7, nonsense",), "10.0.0.1"),
        ((b"192.0.2.7, unknown, 10.2.3.4",), "10.2.3.4"),
        ((b"",), "10.0.0.1"),
        ((b"\xff",), "10.0.0.1"),
    ],
)
def test_behind_trusted_proxies_the_right_most_that_is_none_of_theirs_counts(forwarded: tuple[bytes, ...], address: str) -> None:
    assert behind(*forwarded) == address


def test_who_is_no_trusted_proxy_speaks_for_nobody() -> None:
    assert behind(b"1.1.1.1", peer="192.0.2.1") == "192.0.2.1"
    assert client_address("10.0.0.1", [(b"x-forwarded-for", b"1.1.1.1")], ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "unix", False),
    ],
)
def test_a_subscribers_ipv6_addresses_are_one_caller(one: str, other: str, is_same: bool) -> None:
    assert (caller_group(one) == caller_group(other)) is is_same


@given(st.binary(max_size=60))
def test_no_header_breaks_it(value: bytes) -> None:
    address = behind(value)
    assert address == "10.0.0.1" or is_within(address, (ip_network("0.0.0.0/0"), ip_network("::/0")))
