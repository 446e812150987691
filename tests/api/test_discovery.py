"""The list of orchestrators over HTTP: whole for whoever asks plainly, in pages, compressed or not at all for whoever asks for that."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple
from urllib.parse import urljoin

import httpx
import pytest
from fastapi import FastAPI, Request

from livepeer_remote_signer.api.discovery import PIECE_BYTES, add_discovery_route, json_pieces
from livepeer_remote_signer.api.responses import add_error_handlers
from livepeer_remote_signer.core.rules.discovery import Entry, Filters

ASKED = "/discover-orchestrators"


class Found(NamedTuple):
    digest: bytes
    entries: Iterable[Entry]


def entries(count: int, padding: int = 0) -> list[Entry]:
    addresses = (f"https://o{number}.example" for number in range(count))
    filler = "x" * padding
    return [Entry(address, frozenset(), f'{{"address":"{address}"', (), f'"last_seen":"{filler}"}}') for address in addresses]


class Listed:
    """What discovery knows, and what it was asked."""

    def __init__(self) -> None:
        self.entries = entries(5)
        self.digest = b"one"
        self.asked: list[Filters] = []

    def find(self, filters: Filters) -> Found:
        self.asked.append(filters)
        return Found(self.digest, iter(self.entries))


@pytest.fixture
def known() -> Listed:
    return Listed()


@pytest.fixture
async def client(known: Listed) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    add_error_handlers(app)

    async def identified(request: Request) -> None: ...

    add_discovery_route(app, identified, known.find, {status: {} for status in (400, 401, 404, 503)})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://signer", headers={"accept-encoding": "identity"}) as client:
        yield client


def addresses(listed: list[dict[str, Any]]) -> list[str]:
    return [entry["address"] for entry in listed]


async def test_who_asks_plainly_is_told_everything(client: httpx.AsyncClient, known: Listed) -> None:
    reply = await client.get(ASKED)
    assert addresses(reply.json()) == [entry.address for entry in known.entries]
    assert reply.headers["content-length"] == str(len(reply.content))
    assert "link" not in reply.headers
    known.entries = []
    assert (await client.get(ASKED, params={"caps": "nobody"})).content == b"[]"


async def test_filters_are_handed_on_without_blanks_and_empty_values(client: httpx.AsyncClient, known: Listed) -> None:
    await client.get(ASKED + "?caps=a&caps=b&caps=&app=%20me/app%20&app=&gpu=H100&gpu=%20")
    assert known.asked == [Filters(frozenset("ab"), frozenset(["me/app"]), frozenset(["H100"]))]


async def test_pages_follow_each_other_until_all_is_told(client: httpx.AsyncClient, known: Listed) -> None:
    url, found, pages = ASKED + "?limit=2&app=b&app=a%26c&caps=x/y", [], 0
    while True:
        reply = await client.get(url)
        found += addresses(reply.json())
        pages += 1
        assert known.asked[-1] == Filters(frozenset(["x/y"]), frozenset(["b", "a&c"]), frozenset())
        if "link" not in reply.headers:
            break
        target, relation = reply.headers["link"].split(";")
        assert relation.strip() == 'rel="next"'
        url = urljoin("http://signer", target.strip("<>"))
    assert found == [entry.address for entry in known.entries]
    assert pages == 3
    assert "link" not in (await client.get(ASKED + "?limit=5")).headers, "the last page may be full"


async def test_a_page_behind_nobody_is_refused_and_says_what_to_do(client: httpx.AsyncClient, known: Listed) -> None:
    reply = await client.get(ASKED, params={"after": "https://gone.example"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_field")
    assert "without after" in reply.json()["error"]["hint"]
    assert (await client.get(ASKED, params={"after": known.entries[-1].address})).json() == []


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "1.5", "", "٣", "9" * 5000])
async def test_a_limit_is_a_small_number(client: httpx.AsyncClient, limit: str) -> None:
    assert (await client.get(ASKED, params={"limit": limit})).status_code == 400


async def test_a_list_that_has_not_changed_is_not_sent_again(client: httpx.AsyncClient, known: Listed) -> None:
    tag = (await client.get(ASKED)).headers["etag"]
    again = await client.get(ASKED, headers={"if-none-match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for other in ("?caps=a", "?app=a", "?gpu=a", "?limit=2", "?after=https://o1.example"):
        assert (await client.get(ASKED + other, headers={"if-none-match": tag})).status_code == 200, other
    known.digest = b"two"
    assert (await client.get(ASKED, headers={"if-none-match": tag})).status_code == 200


@pytest.mark.parametrize(
    ("asked", "is_packed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("gzip;q=0.000", False), ("br", False), ("", False), ("*", False)],
)
async def test_it_is_compressed_for_whoever_asks_for_gzip(client: httpx.AsyncClient, asked: str, is_packed: bool) -> None:
    async with client.stream("GET", ASKED, headers={"accept-encoding": asked}) as reply:
        raw = b"".join([piece async for piece in reply.aiter_raw()])
    assert reply.headers.get("content-encoding") == ("gzip" if is_packed else None)
    assert reply.headers["vary"] == "Accept-Encoding"
    assert len(json.loads(gzip.decompress(raw) if is_packed else raw)) == 5


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_long_list_goes_out_in_pieces_and_is_whole(client: httpx.AsyncClient, known: Listed, encoding: str) -> None:
    known.entries = entries(1000, 500)
    reply = await client.get(ASKED, headers={"accept-encoding": encoding})
    assert addresses(reply.json()) == [entry.address for entry in known.entries]
    assert ("content-length" in reply.headers) is (encoding == "gzip"), "compressed it is one piece"


def test_the_pieces_of_a_list_are_made_as_they_are_sent() -> None:
    made = 0

    class Counted(Entry):
        def encode(self, *, with_advice: bool = False) -> bytes:
            nonlocal made
            made += 1
            return super().encode(with_advice=with_advice)

    pieces = json_pieces(Counted(*entry) for entry in entries(1000, 10_000))
    first = next(pieces)
    assert PIECE_BYTES <= len(first) < PIECE_BYTES + 11_000
    assert made == 7


async def test_advice_is_told_to_whoever_asks_for_it_and_to_nobody_else(client: httpx.AsyncClient, known: Listed) -> None:
    plain = await client.get(ASKED)
    known.entries = [entry._replace(advice='{"live":{"verdict":"good"}}') for entry in known.entries]
    again = await client.get(ASKED, params={"advice": "false"})
    assert again.content == plain.content, "go-livepeer's list, to the byte"
    assert again.headers["etag"] == plain.headers["etag"]
    advised = await client.get(ASKED, params={"advice": "true", "limit": "2"})
    assert [entry["advice"] for entry in advised.json()] == [{"live": {"verdict": "good"}}] * 2
    assert "advice=true" in advised.headers["link"]
    assert advised.headers["etag"] != (await client.get(ASKED, params={"limit": "2"})).headers["etag"]
    refused = await client.get(ASKED, params={"advice": "maybe"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_field")
