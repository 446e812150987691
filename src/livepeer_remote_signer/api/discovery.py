"""`GET /discover-orchestrators`: the list that is kept in memory, filtered, in pieces where it is long.

Source: section 11 of the protocol. A list of a thousand orchestrators with all their runners has tens of megabytes: it is never made in
one piece, and between two pieces payments are served. Nothing is left out unless the caller asks for pages.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from hashlib import sha256
from itertools import chain, islice
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

from fastapi import FastAPI, Query, Request, Response
from starlette.responses import StreamingResponse

from livepeer_remote_signer.api import schemas
from livepeer_remote_signer.core.errors import BadField, NotFound
from livepeer_remote_signer.core.rules.discovery import Entry, Filters

PATH = "/discover-orchestrators"
PIECE_BYTES = 64 * 1024
"""What is sent at once; a shorter list goes out whole, with its length."""

MAX_PAGE = 1000
_GZIP = 16 + zlib.MAX_WBITS
_JSON = "application/json"


class FoundList(Protocol):
    """Entries in their order, and a digest of the whole list that they were taken from."""

    @property
    def digest(self) -> bytes: ...

    @property
    def entries(self) -> Iterable[Entry]: ...


Discover = Callable[[Filters], FoundList]
"""What a caller asks for -> the list. Raises NotReady."""


def add_discovery_route(
    app: FastAPI, identified: Callable[[Request], Awaitable[object]], discover: Discover | None, errors: dict[int | str, dict[str, Any]]
) -> None:
    """Adds the route; without `discover` it answers 404 and says what to configure."""

    told: dict[int | str, dict[str, Any]] = {304: {"description": "the list is still the one that If-None-Match names"}}
    told |= {status: errors[status] for status in (400, 401, 404, 503)}

    @app.get(PATH, response_model=list[schemas.DiscoveredOrchestrator], responses=told)
    async def discover_orchestrators(
        request: Request,
        caps: Annotated[list[str] | None, Query(description="pipeline/model or a runner's app; repeated: any of them")] = None,
        app: Annotated[list[str] | None, Query(description="only runners of this app, and who has them; repeated: any of them")] = None,
        gpu: Annotated[list[str] | None, Query(description="only runners on a GPU of this name, likewise")] = None,
        limit: Annotated[str | None, Query(description=f"entries of a page, 1 to {MAX_PAGE}; the header Link names the next one")] = None,
        after: Annotated[str | None, Query(description="the page begins behind the entry with this address")] = None,
        advice: Annotated[str | None, Query(description="`true`: each entry says what sessions with it come to")] = None,
    ) -> Response:
        """Orchestrators, their capabilities within the price ceilings, and their runners."""
        await identified(request)
        if discover is None:
            raise NotFound("discovery is not enabled", hint="set discovery.enabled: true and a source")
        apps, gpus = (frozenset(filter(None, map(str.strip, names or ()))) for names in (app, gpu))
        filters = Filters(frozenset(filter(None, caps or ())), apps, gpus)
        found = discover(filters)
        is_advised = _is_true(advice)
        headers = {"etag": _etag(found.digest, filters, limit, after, *([advice] if is_advised else [])), "vary": "Accept-Encoding"}
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        entries = found.entries if after is None else _behind(found.entries, after)
        if (count := _page_size(limit)) is not None:
            page = list(islice(entries, count + 1))
            if len(page) > count:
                headers["link"] = f'<{PATH}?{_next_page(filters, count, page[count - 1].address, is_advised=is_advised)}>; rel="next"'
            entries = page[:count]
        return _answer(entries, headers, is_gzip=_takes_gzip(request.headers.get("accept-encoding", "")), is_advised=is_advised)


def _etag(digest: bytes, filters: Filters, *asked_too: str | None) -> str:
    """Weak: the compressed and the plain form of one list have the same."""
    asked = repr((*map(sorted, filters), *asked_too)).encode()
    return f'W/"{sha256(digest + asked).hexdigest()[:32]}"'


def _behind(entries: Iterable[Entry], address: str) -> Iterator[Entry]:
    """What comes after the entry with this address. Raises BadField where there is none: the list is another one by now."""
    rest = iter(entries)
    if not any(entry.address == address for entry in rest):
        raise BadField("after names no entry of the list, which has changed since", hint="begin again without after", after=address[:256])
    return rest


def _page_size(limit: str | None) -> int | None:
    """Raises BadField for what is no number of entries; FastAPI's own answer would be another one than callers of ours know."""
    if limit is None:
        return None
    if not limit.isascii() or not limit.isdecimal() or len(limit) > 4 or not 1 <= int(limit) <= MAX_PAGE:
        raise BadField(f"limit must be a number from 1 to {MAX_PAGE}, not {limit[:16]!r}", limit=MAX_PAGE)
    return int(limit)


def _is_true(advice: str | None) -> bool:
    """Raises BadField for what is neither `true` nor `false`."""
    if advice not in (None, "true", "false"):
        raise BadField(f"advice must be true or false, not {advice[:16]!r}")
    return advice == "true"


def _next_page(filters: Filters, limit: int, address: str, *, is_advised: bool) -> str:
    asked = [(name, value) for name, values in zip(("caps", "app", "gpu"), filters, strict=True) for value in sorted(values)]
    return urlencode([*asked, ("limit", limit), ("after", address), *([("advice", "true")] if is_advised else [])])


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether the caller asks for gzip by name, and does not refuse it by a weight of 0."""
    for offer in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == "gzip":
            return not any(part.startswith("q=") and not part[2:].strip("0.") for part in parameters)
    return False


def _answer(entries: Iterable[Entry], headers: dict[str, str], *, is_gzip: bool, is_advised: bool) -> Response:
    pieces = json_pieces(entries, with_advice=is_advised)
    if is_gzip:
        headers["content-encoding"] = "gzip"
        pieces = _compressed(pieces)
    first = next(pieces)
    second = next(pieces, None)
    if second is None:
        return Response(first, headers=headers, media_type=_JSON)
    return StreamingResponse(_in_turns(chain((first, second), pieces)), headers=headers, media_type=_JSON)


def json_pieces(entries: Iterable[Entry], *, with_advice: bool = False) -> Iterator[bytes]:
    """The JSON list, in pieces of at least PIECE_BYTES but for the last one."""
    parts: list[bytes] = []
    size, opening = 0, b"["
    for entry in entries:
        parts.append(opening + entry.encode(with_advice=with_advice))
        size, opening = size + len(parts[-1]), b","
        if size >= PIECE_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join((*parts, b"[]" if opening == b"[" else b"]"))


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=_GZIP)
    kept = b""
    for piece in pieces:
        kept += packer.compress(piece)
        if len(kept) >= PIECE_BYTES:
            yield kept
            kept = b""
    yield kept + packer.flush()


async def _in_turns(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Each piece is made when the one before is on its way, and others have had their turn."""
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)
