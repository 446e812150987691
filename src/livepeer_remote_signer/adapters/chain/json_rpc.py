"""JSON-RPC over HTTP: one batch is one request, and every fault has a name that can be printed.

An RPC URL carries its key, so it stays in here: endpoints are named by their place in the list and their host, the
endpoint's own error texts (which may repeat the key) are dropped, and httpx's log of request URLs is turned off.

Some endpoints refuse batches, limit their length, or answer only the first call. Such a one is asked call by call: that
is found out once, when a batch fails in a way that more of the same will not mend, and remembered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx

from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.outbound.bounded import read_bounded
from livepeer_remote_signer.adapters.outbound.reasons import connection_reason
from livepeer_remote_signer.adapters.outbound.retry_after import parse_retry_after
from livepeer_remote_signer.core.protocol.strict_json import is_too_deep

MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_RETRY_AFTER_SECONDS = 300.0
MAX_CALLS_AT_ONCE = 4
"""How many requests one reading has open at an endpoint that takes no batches."""

_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_HOST = re.compile(r"[A-Za-z0-9.:-]+")
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_NO_BATCH_STATUSES = frozenset({400, 404, 405, 411, 413, 415, 422, 501})
"""What servers answer to a body that they do not take. 401, 403, 429 and all else say nothing about batches."""

_REVERTED = frozenset({3, -32000, -32015})
"""What nodes answer to a call that reverts. Any other error within a batch may mean that the batch is too long."""

log = logging.getLogger(__name__)


class RpcFault(Exception):
    """An endpoint did not answer as it must; the message says how, without any part of its URL but the host."""


class TooManyRequests(RpcFault):
    """It wants to be left alone, for `retry_after_seconds` where it says so."""

    def __init__(self, message: str, retry_after_seconds: float | None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class BatchRefused(RpcFault):
    """It answered, but not the batch: the same calls made one by one may be answered."""


class AnswerTooLong(RpcFault):
    """It answered with more than is read: less may be asked for."""


class RpcRequest(NamedTuple):
    """One call of a batch."""

    method: str
    params: list[Any]


class RpcError(NamedTuple):
    """The endpoint's refusal of one call of a batch."""

    code: int | None

    def __str__(self) -> str:
        return "an error" if self.code is None else f"error {self.code}"


def open_client(outbound: Outbound) -> httpx.AsyncClient:
    """A client whose connections outlive the pause between polls."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs every request's URL
    return outbound.open_httpx(timeout=None, limits=httpx.Limits(keepalive_expiry=120))  # bounded as a whole, in `batch`


class JsonRpc:
    """One endpoint."""

    def __init__(self, client: httpx.AsyncClient, url: str, index: int) -> None:
        self._client = client
        self._url = url
        self.name = endpoint_name(url, index)
        self.takes_batches = True
        self._refusals = 0

    def __repr__(self) -> str:
        return f"JsonRpc({self.name})"

    async def batch(self, requests: Sequence[RpcRequest], timeout_seconds: float) -> list[Any]:
        """The results in the order asked, an RpcError in place of each one that was refused. Raises RpcFault."""
        try:
            return await self._ask(requests, asyncio.get_running_loop().time() + timeout_seconds)
        except TimeoutError:
            raise RpcFault(f"no answer within {timeout_seconds:g} s") from None
        except httpx.HTTPError as error:
            raise RpcFault(f"the connection failed: {connection_reason(error)}") from None
        except (httpx.InvalidURL, UnicodeError):
            raise RpcFault("the URL cannot be used") from None

    async def _ask(self, requests: Sequence[RpcRequest], deadline: float) -> list[Any]:
        if not self.takes_batches:
            return await self._one_by_one(requests, deadline)
        bodies = [_body(i, request) for i, request in enumerate(requests)]
        results: list[Any] | None = None
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._post(json.dumps(bodies).encode())
            results = _results(answer, len(requests))
            refused = BatchRefused(f"{next((r for r in results if isinstance(r, RpcError)), '')} within the batch")
        except BatchRefused as fault:
            refused = fault
        if results is not None and not _is_cut_short(results):
            self._refusals = 0
            return results
        better = await self._try_without_batch(requests, refused, len(requests) if results is None else _errors(results), deadline)
        if better is not None:
            return better
        if results is None:
            raise refused
        return results

    async def _try_without_batch(
        self, requests: Sequence[RpcRequest], refused: BatchRefused, errors: int, deadline: float
    ) -> list[Any] | None:
        """What was refused as a batch, call by call; None when that does no better than with so many errors."""
        self._refusals += 1
        if self._refusals & (self._refusals - 1):  # tried at the 1st, 2nd, 4th, 8th ... in a row: it may just be broken
            return None
        try:
            results = await self._one_by_one(requests, deadline)
        except (RpcFault, httpx.HTTPError, TimeoutError):
            return None
        if _errors(results) >= errors:
            return None
        self.takes_batches = False
        log.warning(
            "%s does not answer batches (%s): it is asked call by call from now on, %d requests for each poll instead of one; "
            "to spare them, let it take batches of %d calls, or name another endpoint, and restart",
            self.name,
            refused,
            len(requests),
            len(requests),
        )
        return results

    async def _one_by_one(self, requests: Sequence[RpcRequest], deadline: float) -> list[Any]:
        """The same answers as a batch's. Raises RpcFault when one of them is missing."""
        results: list[Any] = []
        for at in range(0, len(requests), MAX_CALLS_AT_ONCE):
            async with asyncio.timeout_at(deadline):
                results += await asyncio.gather(*map(self._call, requests[at : at + MAX_CALLS_AT_ONCE]), return_exceptions=True)
            for result in results[at:]:
                if isinstance(result, BaseException):
                    raise result
        return results

    async def _call(self, request: RpcRequest) -> Any:
        return _result(await self._post(json.dumps(_body(0, request)).encode()))

    async def _post(self, body: bytes) -> bytes:
        """The answer as it came: compressed answers are not asked for and not inflated, since a few bytes can become gigabytes."""
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            if response.status_code in (429, 503):
                raise _too_many(response.status_code, response.headers.get("retry-after", ""))
            if response.status_code in _NO_BATCH_STATUSES:
                raise BatchRefused(f"HTTP status {response.status_code}")
            if response.status_code != 200:
                raise RpcFault(f"HTTP status {response.status_code}")
            if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise RpcFault("a compressed answer, which was not asked for")
            answer = await read_bounded(response.aiter_raw(), MAX_ANSWER_BYTES)
            if answer is None:
                raise AnswerTooLong(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
            return answer


def _too_many(status: int, retry_after: str) -> RpcFault:
    """429, and 503 where it says when to come again."""
    seconds = parse_retry_after(retry_after, time.time(), MAX_RETRY_AFTER_SECONDS)
    if status == 503 and seconds is None:
        return RpcFault("HTTP status 503")
    said = "" if seconds is None else f", to be asked again after {seconds:.0f} s"
    return TooManyRequests(f"too many requests (429){said}" if status == 429 else f"HTTP status 503{said}", seconds)


def endpoint_name(url: str, index: int) -> str:
    """How an endpoint may be printed: its place in the list and its host."""
    try:
        host = httpx.URL(url).host
    except (httpx.InvalidURL, UnicodeError):
        host = ""
    return f"rpc[{index}] ({host if _HOST.fullmatch(host) else 'no host'})"


def _body(request_id: int, request: RpcRequest) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": request.method, "params": request.params}


def _document(answer: bytes) -> Any:
    try:
        return None if is_too_deep(answer) else json.loads(answer)
    except ValueError:
        raise RpcFault(f"{len(answer)} bytes that are not JSON") from None


def _results(answer: bytes, count: int) -> list[Any]:
    """One result for each id; anything missing, doubled or of another form is a fault of the whole batch."""
    document = _document(answer)
    if isinstance(document, dict) and "error" in document:
        raise BatchRefused(f"{_error(document['error'])} for the whole batch")
    if not isinstance(document, list) or len(document) != count:
        raise BatchRefused(f"not the {count} answers of the batch")
    by_id: dict[int, Any] = {}
    for entry in document:
        number = _id(entry)
        if number is None:
            raise BatchRefused("an answer that is not JSON-RPC")
        if entry.get("error") is not None:
            by_id[number] = _error(entry["error"])
        elif "result" in entry:
            by_id[number] = entry["result"]
    if by_id.keys() != set(range(count)):
        raise BatchRefused("answers to other calls than were made")
    return [by_id[i] for i in range(count)]


def _errors(results: Sequence[Any]) -> int:
    return sum(isinstance(result, RpcError) for result in results)


def _is_cut_short(results: Sequence[Any]) -> bool:
    """Whether the errors within a batch may be about the batch, such as its length, and not about the calls."""
    errors = [result for result in results if isinstance(result, RpcError)]
    return bool(errors) and (len(errors) == len(results) or any(error.code not in _REVERTED for error in errors))


def _result(answer: bytes) -> Any:
    """The result of a call that was made alone, or an RpcError. Whatever id it carries, it answers the one call of its request."""
    document = _document(answer)
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict) or not ("result" in document or document.get("error") is not None):
        raise RpcFault("an answer that is not JSON-RPC")
    return _error(document["error"]) if document.get("error") is not None else document["result"]


def _id(entry: Any) -> int | None:
    """The id of one answer of a batch, also where an endpoint makes text of it."""
    number = entry.get("id") if isinstance(entry, dict) else None
    if isinstance(number, str) and len(number) < 8 and number.isascii() and number.isdigit():
        return int(number)
    return number if type(number) is int else None


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
