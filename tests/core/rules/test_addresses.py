"""Which orchestrators may be dialled."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.core.errors import AddressRefused, BadField
from livepeer_remote_signer.core.rules.addresses import AddressPolicy, parse_ip, parse_orchestrator_url


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("https://orch.example:8935", "orch.example", 8935, ""),
        ("https://ORCH.example:8935/", "orch.example", 8935, ""),
        ("https://orch.example", "orch.example", 443, ""),
        ("https://203.0.113.9:8935/ai", "203.0.113.9", 8935, "/ai"),
        ("https://[2001:db8::1]:8935", "2001:db8::1", 8935, ""),
        ("https://orch_1.example.:8935", "orch_1.example.", 8935, ""),
    ],
)
def test_a_service_url_is_host_port_and_path(text: str, host: str, port: int, path: str) -> None:
    url = parse_orchestrator_url(text)
    assert (url.host, url.port, url.path) == (host, port, path)
    assert parse_orchestrator_url(str(url)) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orch.example:8935",
        "http://orch.example:8935",
        "file:///etc/passwd",
        "https://",
        "https://:8935",
        "https://orch.example:0",
        "https://orch.example:99999",
        "https://orch.example:x",
        "https://user@orch.example:8935",
        "https://:secret@orch.example:8935",
        "https://orch.example:8935?x=1",
        "https://orch.example:8935#x",
        "https://orch.example:8935/../admin",
        "https://orch.example:8935/a%2fb",
        "https://orch.example:8935//x",
        "https://orch example:8935",
        "https://orch.example:8935\r\nHost: x",
        "https://örch.example:8935",
        "https://-orch.example",
        "https://[fe80::1%25eth0]:8935",
        "https://[::1",
        "https://a..b",
        "https://" + "a" * 3000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadField):
        parse_orchestrator_url(text)


PUBLIC = ["1.1.1.1", "203.0.114.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::101:101"]
PRIVATE = [
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "fd12::1",
    "::ffff:10.0.0.1",
    "192.0.2.1",
]
NEVER = [
    "169.254.169.254",
    "169.254.1.1",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "fe80::1",
    "192.0.0.9",
    "192.0.0.170",
    "192.88.99.1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "64:ff9b:1::808:808",
    "2001:db8:0:1:0:5efe:808:808",
    "2606:4700::200:5efe:808:808",
    "fec0::1",
    "feff:ffff::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::7f00:1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert AddressPolicy().check("orch.example", [address]) == [address]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_a_grant(address: str) -> None:
    with pytest.raises(AddressRefused, match=r"orch\.example"):
        AddressPolicy().check("orch.example", [address])
    assert AddressPolicy(allow_private=True).check("orch.example", [address]) == [address]


@pytest.mark.parametrize("address", NEVER)
def test_metadata_link_local_and_multicast_are_refused_even_where_private_is_granted(address: str) -> None:
    with pytest.raises(AddressRefused):
        AddressPolicy(allow_private=True).check("orch.example", [address])


def test_a_granted_network_is_allowed_and_nothing_beside_it() -> None:
    policy = AddressPolicy(networks=(ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd12::/64")))
    assert policy.check("o", ["10.1.2.3", "fd12::5", "::ffff:10.1.2.3"])
    for refused in ("10.2.0.1", "fd12:0:0:1::1"):
        with pytest.raises(AddressRefused):
            policy.check("o", [refused])


def test_one_refused_address_refuses_the_name() -> None:
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1"):
        AddressPolicy().check("orch.example", ["1.1.1.1", "127.0.0.1"])


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(AddressRefused, match="not an IP address"):
        AddressPolicy().check("orch.example", ["fe80::1%eth0"])


@given(st.text(max_size=60) | st.from_regex(r"https://[a-z0-9.:\[\]/@?#-]{0,40}", fullmatch=True))
def test_any_text_is_a_url_or_an_error_of_the_tree(text: str) -> None:
    try:
        url = parse_orchestrator_url(text)
    except BadField:
        return
    assert url.host
    assert 0 < url.port < 65536
    assert parse_orchestrator_url(str(url)) == url


@given(st.ip_addresses())
def test_without_a_grant_only_global_addresses_pass(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if not AddressPolicy().reason_against(address):
        carried = None if address.version == 4 else address.sixtofour  # newer versions of Python take all of 2002::/16 for private
        judged = carried or address
        assert judged.is_global
        assert not any((judged.is_multicast, judged.is_loopback, judged.is_link_local))
    assert parse_ip(str(address)) == address
