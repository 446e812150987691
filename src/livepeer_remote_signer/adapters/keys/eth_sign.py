"""A key behind JSON-RPC `eth_sign`: Web3Signer, Clef and what is like them. The service adds the EIP-191 prefix and hashes itself.

One signature a request, since some of these services take no JSON-RPC arrays. No redirect is followed and no proxy of the
environment is used. What an error says is not repeated: it may hold what was sent.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from yarl import URL

from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.outbound.bounded import read_bounded
from livepeer_remote_signer.adapters.outbound.headers import checked_headers
from livepeer_remote_signer.adapters.outbound.posting import Posting
from livepeer_remote_signer.adapters.outbound.reasons import connection_reason
from livepeer_remote_signer.adapters.outbound.retry_after import parse_retry_after
from livepeer_remote_signer.core.errors import KeyThrottled, KeyUnavailable
from livepeer_remote_signer.core.protocol.eip191 import checksum_address

MAX_ANSWER_BYTES = 16 * 1024
MAX_RETRY_AFTER_SECONDS = 60.0
TOO_MANY_REQUESTS = -32005
"""The code by which JSON-RPC services say that a limit is reached (EIP-1474)."""

_SIGNATURE = re.compile(r"0x([0-9a-fA-F]{128}(?:[0-9a-fA-F]{2})?)")


class EthSign:
    """The account `address` of one JSON-RPC service."""

    name = "eth_sign"

    def __init__(
        self, url: str, address: bytes, outbound: Outbound, *, headers: Mapping[str, str] | None = None, max_parallel: int = 16
    ) -> None:
        """`headers` go with every request; they and the URL may be secret. ValueError for headers that cannot be sent."""
        own = checked_headers(headers or {}, "headers")
        self.max_parallel = max_parallel
        self._url = URL(url)
        self._account = checksum_address(address)
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "livepeer-remote-signer",
            **own,
        }
        if self._url.user is not None and "authorization" in own:
            raise ValueError("a user in the URL and a header both claim the Authorization header; give one")
        self._posting = Posting(self._url, self._headers, outbound, max_connections=max_parallel, max_line_bytes=MAX_ANSWER_BYTES)

    def __repr__(self) -> str:
        return f"EthSign(host={self._url.host})"

    async def sign(self, message: bytes) -> bytes:
        """The service's 64 or 65 bytes over a message of any length. Raises KeyUnavailable, KeyThrottled."""
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_sign", "params": [self._account, "0x" + message.hex()]}
        body = json.dumps(call).encode()
        try:
            answer = await self._posting.post(body, _read_answer)
        except aiohttp.ClientHttpProxyError as error:
            raise KeyUnavailable(f"could not be reached: outbound.proxy answered HTTP {error.status}") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise KeyUnavailable(f"could not be reached: {connection_reason(error)}") from None
        except aiohttp.ClientResponseError:
            raise KeyUnavailable("gave an answer that is not HTTP") from None
        except aiohttp.ClientError as error:
            raise KeyUnavailable(f"could not be asked: {connection_reason(error)}") from None
        return _signature(answer)

    async def aclose(self) -> None:
        """Closes the kept connections."""
        await self._posting.aclose()


async def _read_answer(response: aiohttp.ClientResponse) -> bytes:
    """Raises KeyThrottled, and KeyUnavailable for what is no plain answer within the bound."""
    if response.status == 429:
        wait = parse_retry_after(response.headers.get("retry-after", ""), time.time(), MAX_RETRY_AFTER_SECONDS)
        raise KeyThrottled("the key's service takes no more requests now (429)", retry_after_seconds=max(1, round(wait or 1)))
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise KeyUnavailable("sent a compressed answer, which was not asked for")
    answer = await read_bounded(response.content.iter_any(), MAX_ANSWER_BYTES)
    if answer is None:
        raise KeyUnavailable(f"sent an answer of more than {MAX_ANSWER_BYTES} bytes")
    if response.status != 200 and not _is_error(answer):
        raise KeyUnavailable(f"answered HTTP {response.status}, not 200")
    return answer


def _document(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def _is_error(answer: bytes) -> bool:
    """Some services send their JSON-RPC errors with a status of 4xx or 5xx."""
    document = _document(answer)
    return isinstance(document, dict) and isinstance(document.get("error"), dict)


def _signature(answer: bytes) -> bytes:
    document = _document(answer)
    if not isinstance(document, dict):
        raise KeyUnavailable("gave an answer that is not JSON-RPC")
    error = document.get("error")
    if error is not None:
        code = error.get("code") if isinstance(error, dict) else None
        if code == TOO_MANY_REQUESTS:
            raise KeyThrottled("the key's service takes no more requests now (-32005)", retry_after_seconds=1)
        said = f"error {code}" if type(code) is int else "an error"
        raise KeyUnavailable(f"answered eth_sign with {said}: is key.eth_sign.address one of its accounts, and unlocked?")
    result = document.get("result")
    match = _SIGNATURE.fullmatch(result) if isinstance(result, str) else None
    if match is None:
        raise KeyUnavailable("returned what is no signature: 64 or 65 bytes as 0x hex are expected")
    return bytes.fromhex(match[1])
