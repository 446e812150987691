"""Addresses of listeners: one spelling each, and a port that changes leaves the host alone."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.config.listening import ListenAddress, parse_listen, with_port

SPELLED = [("127.0.0.1:8936", "127.0.0.1", 8936), ("[::1]:1", "::1", 1), ("localhost:0", "localhost", 0), (":80", "0.0.0.0", 80)]


@pytest.mark.parametrize(("text", "host", "port"), SPELLED)
def test_an_address_is_read_and_can_be_read_back(text: str, host: str, port: int) -> None:
    address = parse_listen(text)
    assert address == (host, port)
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize("text", ["", "8936", "h", "h:", "h:65536", "h:123456", "::1:5", "[::1]", "h:1:2", "h:x", "None", "h:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("listen", "changed"),
    [("h:1", "h:9000"), ("[::1]:1", "[::1]:9000"), (":1", "0.0.0.0:9000"), ("8936", "8936"), ("", ""), ("None", "None")],
)
def test_another_port_keeps_the_host_and_makes_no_address_of_what_is_none(listen: str, changed: str) -> None:
    assert with_port(listen, "9000") == changed


@pytest.mark.parametrize("port", ["", "x", "-1", "80 ", "٣"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match="SIGNER_PORT is not a port number"):
        with_port("h:1", port)


@pytest.mark.parametrize(
    ("host", "is_loopback"), [("127.0.0.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("h", False)]
)
def test_loopback_is_what_only_this_host_reaches(host: str, is_loopback: bool) -> None:
    assert ListenAddress(host, 1).is_loopback == is_loopback


@pytest.mark.parametrize(("host", "asked"), [("0.0.0.0", ["127.0.0.1", "::1"]), ("::", ["::1", "127.0.0.1"]), ("10.0.0.1", ["10.0.0.1"])])
def test_a_listener_on_all_addresses_is_asked_on_loopback(host: str, asked: list[str]) -> None:
    assert ListenAddress(host, 1).from_this_host == tuple((one, 1) for one in asked)
