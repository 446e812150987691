"""Why a connection failed, in words that tell an operator what to change, and that hold no URL, address or secret."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

_NOT_TRUSTED = frozenset((2, 18, 19, 20, 21, 27))
_NOT_YET_VALID, _EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 9, 10, 62, 64
"""OpenSSL's X509_V_ERR codes."""

_NO_TLS = frozenset(
    ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")
)
_WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "UNEXPECTED_EOF_WHILE_READING", "ALERT_BAD_CERTIFICATE", "ALERT_HANDSHAKE_FAILURE")
_HANDSHAKE_ENDED = "it ended the TLS handshake: it may demand a client certificate"
_ERRNO_WORDS = {
    errno.ENETUNREACH: "there is no route to it",
    errno.EHOSTUNREACH: "there is no route to it",
    errno.ECONNREFUSED: "nobody listens there: the connection was refused",
    errno.ECONNRESET: "it ended the connection",
    errno.EPIPE: "it ended the connection",
    errno.ETIMEDOUT: "it did not answer in time",
    errno.EMFILE: "this process has no file descriptor left",
}


def connection_reason(error: BaseException) -> str:
    """The most telling cause of a failed exchange; the error's class name where nothing is known of it."""
    chain = list(_causes(error))
    for cause in chain:
        if words := _of_tls(cause):
            return words
    for cause in chain:
        if words := _of_network(cause):
            return words
    return _of_client(error)


def _causes(error: BaseException, depth: int = 0) -> Iterator[BaseException]:
    """An error, what it came from, and the members of groups."""
    yield error
    if depth > 8:
        return
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _causes(member, depth + 1)
    if (cause := error.__cause__ or error.__context__) is not None:
        yield from _causes(cause, depth + 1)


def _of_tls(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if not hasattr(error, "verify_code"):  # aiohttp's: what it came from has one
            return ""
        if error.verify_code == _EXPIRED:
            return "its certificate has expired"
        if error.verify_code == _NOT_YET_VALID:
            return "its certificate is not valid yet: is this host's clock right?"
        if error.verify_code in (_WRONG_NAME, _WRONG_ADDRESS):
            return "its certificate is for another name"
        if error.verify_code in _NOT_TRUSTED:
            return "its certificate comes from an authority that is not trusted: outbound.ca_file may name it"
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and getattr(error, "reason", None):
        if error.reason in _NO_TLS:
            return "it does not speak TLS: should the URL begin with http://?"
        if any(error.reason.endswith(words) for words in _WANTS_CERTIFICATE):
            return _HANDSHAKE_ENDED
        return f"the TLS handshake failed: {error.reason.lower().replace('_', ' ')}"
    if isinstance(error, ConnectionResetError) and not error.args:  # asyncio's word for a handshake that was cut off
        return _HANDSHAKE_ENDED
    return ""


def _of_network(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known to the resolver"
    if isinstance(error, OSError) and error.errno in _ERRNO_WORDS:
        return _ERRNO_WORDS[error.errno]
    return "it ended the connection" if isinstance(error, ConnectionError) else ""


def _of_client(error: BaseException) -> str:
    """By the names of the clients' own errors: neither of the libraries is imported here."""
    name, said = type(error).__name__, str(error).lower()
    if name == "ProxyError" or name == "ClientHttpProxyError":
        return "the proxy refuses to connect to it (outbound.proxy)"
    if "disconnected" in said or name in ("ServerDisconnectedError", "ReadError", "WriteError", "ClientPayloadError"):
        return "it ended the connection before its answer was whole"
    if name in ("RemoteProtocolError", "ClientResponseError", "InvalidURL", "BadHttpMessage"):
        return "its answer is not HTTP: should the URL begin with https://?"
    if isinstance(error, TimeoutError) or "timeout" in name.lower():
        return "it did not answer in time"
    return name
