"""The operator console on the admin listener: one page, a login, and the figures it polls.

The page loads nothing from elsewhere: its style and script stand in it, and the content security policy allows exactly
those two by their hashes. The cookie holds no token but a signed expiry, which any worker can check; it lets its holder
look, never change: the page sends the admin token, typed again, with every change.
"""

from __future__ import annotations

import hmac
import os
import re
import time
from base64 import b64encode
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response

from livepeer_remote_signer.api.errors import json_reply
from livepeer_remote_signer.api.origins import check_own_page, is_over_tls
from livepeer_remote_signer.api.paying import new_request_id
from livepeer_remote_signer.api.refusals import caller_of
from livepeer_remote_signer.api.responses import to_response
from livepeer_remote_signer.core.errors import BadField, BodyTooLarge, RateExceeded, Unauthenticated

CONSOLE = "/console"
COOKIE = "lrs_console"
SESSION_SECONDS = 12 * 3600
MAX_LOGIN_BYTES = 4096
MAX_FAILED_LOGINS_A_MINUTE = 10
MAX_WATCHED_ADDRESSES = 256

_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


MAX_SEARCH_CHARACTERS = 1024
MAX_PLACE_DIGITS = 7


class ConsoleParts(NamedTuple):
    """What the console shows: `overview` gives the figures as JSON values; `hours` is how far back spending goes.

    `budgets` a page of budgets by what their ids hold and the first's place.
    `public_url` is its address as browsers know it, where a proxy stands before it.
    """

    overview: Callable[[int], Awaitable[Mapping[str, Any]]]
    budgets: Callable[[str, int], Awaitable[Mapping[str, Any]]]
    public_url: str | None = None


class Sessions:
    """Who has logged in: cookies that say until when, sealed with a key derived from the admin token."""

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"console sessions", "sha256")
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}

    def open(self, token: str, peer: str) -> str | None:
        """A new session's cookie; None for a wrong token. Raises RateExceeded after too many wrong ones from this address.

        By address, because whoever reaches the listener could otherwise keep everybody out.
        """
        now = self._clock()
        failures = self._failures.get(peer)
        if failures is not None and len(failures) == MAX_FAILED_LOGINS_A_MINUTE and now - failures[0] < 60:
            raise RateExceeded(
                "too many wrong admin tokens from this address",
                hint="wait a minute; behind a proxy admin.trusted_proxies tells callers apart",
                retry_after_seconds=60,
            )
        if not hmac.compare_digest(token.strip().encode(), self._token):
            self._note_failure(peer, now)
            return None
        body = f"{int(now) + SESSION_SECONDS}.{os.urandom(16).hex()}"
        return f"{body}.{self._mac(body)}"

    def _note_failure(self, peer: str, now: float) -> None:
        if peer not in self._failures and len(self._failures) >= MAX_WATCHED_ADDRESSES:
            del self._failures[next(iter(self._failures))]
        self._failures.setdefault(peer, deque(maxlen=MAX_FAILED_LOGINS_A_MINUTE)).append(now)

    def is_open(self, cookie: str) -> bool:
        """Whether a cookie is one of ours and has not run out."""
        body, _, mac = cookie.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(body).encode()):
            return False
        return int(body.partition(".")[0]) > self._clock()

    def _mac(self, body: str) -> str:
        return hmac.digest(self._key, body.encode(), "sha256").hex()


@lru_cache(1)
def load_page() -> tuple[bytes, str]:
    """The page and the content security policy that allows its own style and script and nothing else."""
    text = files("livepeer_remote_signer.api").joinpath("console.html").read_text("utf-8")
    sources = {kind: f"'sha256-{b64encode(sha256(body.encode()).digest()).decode()}'" for kind, body in _INLINE.findall(text)}
    policy = (
        f"default-src 'none'; style-src {sources['style']}; script-src {sources['script']}; connect-src 'self'; "
        "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return text.encode(), policy


def is_console_path(path: str) -> bool:
    """Whether the console itself checks who asks for this path."""
    return path in ("/", CONSOLE) or path.startswith(CONSOLE + "/")


def add_console_routes(app: FastAPI, token: str, parts: ConsoleParts) -> None:
    """The console's routes."""
    sessions = Sessions(token)

    @app.get(CONSOLE, include_in_schema=False)
    async def page() -> Response:
        """The page; it shows nothing but a login until `/console/data` answers."""
        body, policy = load_page()
        headers = {
            "content-security-policy": policy,
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",  # with no-referrer browsers name no origin for the login form
            "cross-origin-opener-policy": "same-origin",
        }
        return Response(body, headers=headers, media_type="text/html; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def door() -> Response:
        """Whoever types the bare address is shown in."""
        return Response(status_code=307, headers={"location": CONSOLE.lstrip("/")})

    @app.get(CONSOLE + "/budgets", include_in_schema=False)
    async def budgets(request: Request) -> Response:
        """A page of budgets, for whoever has logged in."""
        if not sessions.is_open(request.cookies.get(COOKIE, "")):
            raise Unauthenticated("log in first", hint="open /console")
        search, first = request.query_params.get("search", ""), request.query_params.get("first", "0")
        if len(search) > MAX_SEARCH_CHARACTERS or not (first.isascii() and first.isdecimal() and len(first) <= MAX_PLACE_DIGITS):
            raise BadField(f"search is at most {MAX_SEARCH_CHARACTERS} characters, first a whole number")
        return to_response(json_reply(200, await parts.budgets(search, int(first)), new_request_id(), ((b"cache-control", b"no-store"),)))

    @app.get(CONSOLE + "/data", include_in_schema=False)
    async def data(request: Request) -> Response:
        """The figures, for whoever has logged in."""
        if not sessions.is_open(request.cookies.get(COOKIE, "")):
            raise Unauthenticated("log in first", hint="open /console")
        hours = request.query_params.get("hours", "1")
        if hours not in ("1", "24"):
            raise BadField("hours is 1 or 24")
        reply = json_reply(200, await parts.overview(int(hours)), new_request_id(), ((b"cache-control", b"no-store"),))
        return to_response(reply)

    @app.post(CONSOLE + "/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        """Takes the token from a form. Back to the page, with a cookie when it was right."""
        check_own_page(request, parts.public_url)
        cookie = sessions.open(await _read_token(request), caller_of(request.scope))
        if cookie is None:
            return _back("?refused")
        response = _back()
        _set_cookie(response, cookie, SESSION_SECONDS, is_secure=is_over_tls(request, parts.public_url))
        return response

    @app.post(CONSOLE + "/logout", include_in_schema=False)
    async def logout(request: Request) -> Response:
        """Forgets the cookie."""
        check_own_page(request, parts.public_url)
        response = _back()
        _set_cookie(response, "", 0, is_secure=is_over_tls(request, parts.public_url))
        return response


async def _read_token(request: Request) -> str:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_LOGIN_BYTES:
            raise BodyTooLarge(f"the form is larger than {MAX_LOGIN_BYTES} bytes", limit=MAX_LOGIN_BYTES)
    try:
        return parse_qs(body.decode(), max_num_fields=8)["token"][0]
    except (ValueError, KeyError):
        raise BadField("a form with the field `token` is expected") from None


def _back(query: str = "") -> Response:
    """To the page, from the path below it that was asked: what stands before both is the proxy's."""
    return Response(status_code=303, headers={"location": f"..{CONSOLE}{query}", "cache-control": "no-store"})


def _set_cookie(response: Response, value: str, max_age: int, *, is_secure: bool) -> None:
    """Sent to the console's own paths only, never by another site's page, and out of scripts' reach. Without a path of its own it
    is for the folder that was asked, with a proxy's prefix as the browser knows it."""
    response.set_cookie(COOKIE, value, max_age=max_age, path=None, secure=is_secure, httponly=True, samesite="strict")
