"""One bounded `GET` over a connection that was opened and checked before: no redirects, no compression, no second request."""

from __future__ import annotations

import httptools

from livepeer_remote_signer.adapters.orchestrators.dialing import TlsConnection

_CHUNK = 65536
_HEAD_BYTES = 32 * 1024


class HttpFault(Exception):
    """The answer is not a plain 200 with a body within the bound."""


class _Response:
    """Collects a response as httptools reports it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.is_encoded = False
        self.has_length = False
        self.is_complete = False
        self.fault = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        self.is_encoded |= lower == b"content-encoding" and value.strip().lower() != b"identity"
        self.has_length |= lower in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status != 200:
            self.fault = f"status {status}"
        elif self.is_encoded:
            self.fault = "a compressed body"

    def on_body(self, chunk: bytes) -> None:
        self.body += chunk
        if len(self.body) > self._max_bytes:
            self.fault = self.fault or f"more than {self._max_bytes} bytes"

    def on_message_complete(self) -> None:
        self.is_complete = True


async def get_over(tls: TlsConnection, authority: str, path: str, max_bytes: int) -> bytes:
    """The body. Raises HttpFault, and OSError when the connection breaks; the caller closes it."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: application/json\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )
    tls.writer.write(request.encode("ascii"))
    await tls.writer.drain()
    response = _Response(max_bytes)
    received = 0
    while not response.is_complete:
        chunk = await tls.reader.read(_CHUNK)
        received += len(chunk)
        if not chunk:
            if received == 0 or response.has_length:
                raise HttpFault("it hung up")
            break  # without a length the body ends with the connection
        try:
            response.parser.feed_data(chunk)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise HttpFault(response.fault or "not HTTP") from None
        if response.fault or received > 2 * max_bytes + _HEAD_BYTES:
            raise HttpFault(response.fault or f"more than {max_bytes} bytes")
    return bytes(response.body)
