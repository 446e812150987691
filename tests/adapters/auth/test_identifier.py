"""Which credential counts, and whose word does."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from livepeer_remote_signer.adapters.auth.identifier import CallerIdentifier
from livepeer_remote_signer.core.errors import ClockWrong, Unauthenticated
from livepeer_remote_signer.core.rules.chain import ClockFault
from livepeer_remote_signer.core.rules.policy import Caller, Identity
from tests.strategies import CHAIN

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


class Keys:
    def verify(self, key: str, path: str) -> Identity:
        return Identity(f"key {key} {path}", b"k")


class Tokens:
    async def verify(self, token: str) -> Identity:
        return Identity(f"token {token}", b"t")


def caller(*headers: tuple[bytes, bytes], peer: str = "192.0.2.1") -> Caller:
    return Caller(headers, peer, "/signTicket")


BEARER_KEY = (b"authorization", b"Bearer lrs_1")
BEARER_TOKEN = (b"authorization", b"bearer  ey.J.x ")
API_KEY = (b"x-api-key", b"lrs_2")
CLAIM = (b"signer-auth-id", b"alice")


@pytest.mark.parametrize(
    ("headers", "auth_id"),
    [
        ((BEARER_KEY,), "key lrs_1 /signTicket"),
        ((API_KEY,), "key lrs_2 /signTicket"),
        ((API_KEY, BEARER_TOKEN), "key lrs_2 /signTicket"),
        ((BEARER_TOKEN,), "token ey.J.x"),
    ],
)
async def test_a_key_or_a_token_is_enough(headers: tuple[tuple[bytes, bytes], ...], auth_id: str) -> None:
    identifier = CallerIdentifier(keys=Keys(), tokens=Tokens())
    assert (await identifier.identify(caller(*headers))).auth_id == auth_id


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (CLAIM,),
        ((b"authorization", b"Basic lrs_1"),),
        ((b"authorization", b"Bearer"),),
        ((b"authorization", b"Bearer "),),
        ((b"authorization", b"lrs_1"),),
        ((b"x-api-key", b" "),),
        (BEARER_KEY, BEARER_TOKEN),
        (API_KEY, API_KEY),
    ],
)
async def test_nothing_or_two_of_a_kind_is_not_enough(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    identifier = CallerIdentifier(keys=Keys(), tokens=Tokens(), trusted_proxies=PROXIES)
    with pytest.raises(Unauthenticated):
        await identifier.identify(caller(*headers, peer="10.0.0.1"))


class Expired:
    def verify(self, key: str, path: str) -> Identity:
        raise Unauthenticated("its time is over", is_of_time=True)


class TooEarly:
    async def verify(self, token: str) -> Identity:
        raise Unauthenticated("its time has not come", is_of_time=True)


@pytest.mark.parametrize("header", [API_KEY, BEARER_TOKEN])
async def test_while_this_hosts_clock_is_wrong_nobodys_time_is_over(header: tuple[bytes, bytes]) -> None:
    """A 401 ends a session of the published SDK for good, and a clock is set right again."""
    views = [replace(CHAIN, clock_fault=ClockFault("an hour ahead", 3600.0, 30.0)), CHAIN]
    identifier = CallerIdentifier(keys=Expired(), tokens=TooEarly(), view=lambda: views[0])
    with pytest.raises(ClockWrong, match="an hour ahead"):
        await identifier.identify(caller(header))
    del views[0]
    with pytest.raises(Unauthenticated, match="its time"):
        await identifier.identify(caller(header))
    with pytest.raises(Unauthenticated, match="its time"):
        await CallerIdentifier(keys=Expired(), tokens=TooEarly()).identify(caller(header))


async def test_what_no_clock_mends_is_refused_at_once_also_by_a_wrong_one() -> None:
    view = replace(CHAIN, clock_fault=ClockFault("an hour ahead", 3600.0, 30.0))
    with pytest.raises(Unauthenticated, match="an API key is needed"):
        await CallerIdentifier(keys=Keys(), view=lambda: view).identify(caller())


async def test_what_is_not_configured_opens_nothing() -> None:
    with pytest.raises(Unauthenticated):
        await CallerIdentifier(keys=Keys()).identify(caller(BEARER_TOKEN))
    with pytest.raises(Unauthenticated):
        await CallerIdentifier(tokens=Tokens()).identify(caller(API_KEY))


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "fd00::1%eth0"])
async def test_a_trusted_proxys_word_is_taken_beside_a_credential(peer: str) -> None:
    alone = CallerIdentifier(trusted_proxies=PROXIES)
    assert await alone.identify(caller(CLAIM, peer=peer)) == Identity(claimed_auth_id="alice")
    identity = await CallerIdentifier(keys=Keys(), trusted_proxies=PROXIES).identify(caller(CLAIM, API_KEY, peer=peer))
    assert identity == Identity("key lrs_2 /signTicket", b"k", "alice", frozenset((b"x-api-key",)))


@pytest.mark.parametrize("peer", ["192.0.2.1", "", "unix", "::1", "11.0.0.1"])
async def test_nobody_elses_is(peer: str) -> None:
    assert await CallerIdentifier(trusted_proxies=PROXIES).identify(caller(CLAIM, peer=peer)) == Identity()
    assert await CallerIdentifier().identify(caller(CLAIM, peer=peer)) == Identity()


async def test_a_proxy_that_says_two_names_says_none() -> None:
    with pytest.raises(Unauthenticated):
        await CallerIdentifier(trusted_proxies=PROXIES).identify(caller(CLAIM, (b"signer-auth-id", b"bob"), peer="10.0.0.1"))


@pytest.mark.parametrize("auth_id", ["é", "名", "a\u00a0", "\u2003b"])
async def test_an_auth_id_beyond_ascii_is_the_one_that_the_webhook_sees_and_answers(auth_id: str) -> None:
    identifier = CallerIdentifier(trusted_proxies=PROXIES)
    claimed = caller((b"signer-auth-id", b" " + auth_id.encode() + b"\t"), peer="10.1.2.3")
    assert (await identifier.identify(claimed)).claimed_auth_id == auth_id


@pytest.mark.parametrize("raw", [b"jos\xe9", b"jos\xe8", b"\xff"])
async def test_an_auth_id_that_is_not_utf_8_is_nobodys(raw: bytes) -> None:
    """Replaced, two of them would become one."""
    with pytest.raises(Unauthenticated, match="not UTF-8"):
        await CallerIdentifier(trusted_proxies=PROXIES).identify(caller((b"signer-auth-id", raw), peer="10.1.2.3"))


@pytest.mark.parametrize(
    ("headers", "withheld"),
    [
        ((API_KEY,), {b"x-api-key"}),
        ((BEARER_KEY,), {b"authorization"}),
        (
            (API_KEY, (b"authorization", b"Bearer lrs_2"), (b"cookie", b"key=lrs_2; a=b"), (b"x-other", b"1")),
            {b"x-api-key", b"authorization", b"cookie"},
        ),
        ((API_KEY, (b"authorization", b"Bearer theirs")), {b"x-api-key"}),
        ((BEARER_TOKEN,), set()),
    ],
)
async def test_every_header_that_holds_the_key_is_withheld_and_a_token_of_another_issuer_is_not(
    headers: tuple[tuple[bytes, bytes], ...], withheld: set[bytes]
) -> None:
    identifier = CallerIdentifier(keys=Keys(), tokens=Tokens())
    assert (await identifier.identify(caller(*headers))).withheld == withheld


class Named:
    """Keys and tokens of one name."""

    def __init__(self, name: str) -> None:
        self._identity = Identity(name, b"k")

    def verify(self, key: str, path: str) -> Identity:
        return self._identity


class NamedTokens:
    def __init__(self, name: str) -> None:
        self._identity = Identity(name, b"t")

    async def verify(self, token: str) -> Identity:
        return self._identity


@pytest.mark.parametrize(("name", "as_key", "as_token"), [("alice", "key:alice", "jwt:alice"), ("key:0f", "key:0f", "jwt:key:0f")])
async def test_in_namespaces_an_auth_id_knows_who_vouches_for_it(name: str, as_key: str, as_token: str) -> None:
    identifier = CallerIdentifier(keys=Named(name), tokens=NamedTokens(name), trusted_proxies=PROXIES, namespaces=True)
    assert (await identifier.identify(caller(API_KEY, peer="10.0.0.1"))).auth_id == as_key
    token = await identifier.identify(caller(BEARER_TOKEN, CLAIM, peer="10.0.0.1"))
    assert (token.auth_id, token.claimed_auth_id, token.is_namespaced) == (as_token, "proxy:alice", True)
    nobody = await CallerIdentifier(namespaces=True).identify(caller())
    assert nobody == Identity(is_namespaced=True)
