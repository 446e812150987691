"""JSON-RPC over HTTP: one batch is one request, and every fault has a name that can be printed.

An RPC URL carries its key, so it stays in here: endpoints are named by their place in the list and their host, the
endpoint's own error texts (which may repeat the key) are dropped, and httpx's log of request URLs is turned off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx

from livepeer_remote_signer.core.protocol.strict_json import is_too_deep

MAX_ANSWER_BYTES = 2 * 1024 * 1024
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_HOST = re.compile(r"[A-Za-z0-9.:-]+")
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")


class RpcFault(Exception):
    """An endpoint did not answer as it must; the message says how, without any part of its URL but the host."""


class RpcRequest(NamedTuple):
    """One call of a batch."""

    method: str
    params: list[Any]


class RpcError(NamedTuple):
    """The endpoint's refusal of one call of a batch."""

    code: int | None

    def __str__(self) -> str:
        return "an error" if self.code is None else f"error {self.code}"


def open_client() -> httpx.AsyncClient:
    """A client whose connections outlive the pause between polls."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs every request's URL
    return httpx.AsyncClient(timeout=None, limits=httpx.Limits(keepalive_expiry=120))  # noqa: S113 - bounded as a whole, in `batch`


class JsonRpc:
    """One endpoint."""

    def __init__(self, client: httpx.AsyncClient, url: str, index: int) -> None:
        self._client = client
        self._url = url
        self.name = endpoint_name(url, index)

    def __repr__(self) -> str:
        return f"JsonRpc({self.name})"

    async def batch(self, requests: Sequence[RpcRequest], timeout_seconds: float) -> list[Any]:
        """The results in the order asked, an RpcError in place of each one that was refused. Raises RpcFault."""
        body = [{"jsonrpc": "2.0", "id": i, "method": r.method, "params": r.params} for i, r in enumerate(requests)]
        try:
            async with asyncio.timeout(timeout_seconds):
                answer = await self._post(json.dumps(body).encode())
        except TimeoutError:
            raise RpcFault(f"no answer within {timeout_seconds:g} s") from None
        except httpx.HTTPError as error:
            raise RpcFault(f"the connection failed ({type(error).__name__})") from None
        except (httpx.InvalidURL, UnicodeError):
            raise RpcFault("the URL cannot be used") from None
        return _results(answer, len(requests))

    async def _post(self, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            if response.status_code == 429:
                raise RpcFault("too many requests (429)")
            if response.status_code != 200:
                raise RpcFault(f"HTTP status {response.status_code}")
            parts, size = [], 0
            async for part in response.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise RpcFault(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
            return b"".join(parts)


def endpoint_name(url: str, index: int) -> str:
    """How an endpoint may be printed: its place in the list and its host."""
    try:
        host = httpx.URL(url).host
    except (httpx.InvalidURL, UnicodeError):
        host = ""
    return f"rpc[{index}] ({host if _HOST.fullmatch(host) else 'no host'})"


def _results(answer: bytes, count: int) -> list[Any]:
    """One result for each id; anything missing, doubled or of another form is a fault of the whole batch."""
    try:
        document = None if is_too_deep(answer) else json.loads(answer)
    except ValueError:
        raise RpcFault(f"{len(answer)} bytes that are not JSON") from None
    if isinstance(document, dict) and "error" in document:
        raise RpcFault(f"{_error(document['error'])} for the whole batch")
    if not isinstance(document, list) or len(document) != count:
        raise RpcFault(f"not the {count} answers of the batch")
    by_id: dict[int, Any] = {}
    for entry in document:
        if not isinstance(entry, dict) or type(entry.get("id")) is not int:
            raise RpcFault("an answer that is not JSON-RPC")
        if entry.get("error") is not None:
            by_id[entry["id"]] = _error(entry["error"])
        elif "result" in entry:
            by_id[entry["id"]] = entry["result"]
    if by_id.keys() != set(range(count)):
        raise RpcFault("answers to other calls than were made")
    return [by_id[i] for i in range(count)]


def _error(error: Any) -> RpcError:
    code = error.get("code") if isinstance(error, dict) else None
    return RpcError(code if type(code) is int else None)


def parse_data(value: Any, what: str) -> bytes:
    """The bytes of a `0x` hex string. Raises RpcFault."""
    if isinstance(value, RpcError):
        raise RpcFault(f"{what}: {value}")
    if not isinstance(value, str) or _DATA.fullmatch(value) is None:
        raise RpcFault(f"{what} is not hex data")
    return bytes.fromhex(value[2:])


def parse_quantity(value: Any, what: str) -> int:
    """An unsigned number, spelled as `0x` hex or as a JSON number. Raises RpcFault."""
    if isinstance(value, RpcError):
        raise RpcFault(f"{what}: {value}")
    if type(value) is int and 0 <= value < 1 << 256:
        return value
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None:
        raise RpcFault(f"{what} is not a number")
    return int(value, 16)
