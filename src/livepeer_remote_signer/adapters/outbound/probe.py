"""Whether somebody answers at a URL that the signer posts to, found out without a question that means anything there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import httpx

from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.outbound.reasons import connection_reason

_REFUSES_CREDENTIAL = frozenset((401, 403, 407))
_NOT_THERE = frozenset((404, 410))


class Probed(NamedTuple):
    """`works`: somebody answers there. `doubt`: what his answer says against a later question, "" for nothing."""

    works: bool
    said: str
    doubt: str = ""


async def probe(outbound: Outbound, url: str, headers: Mapping[str, str], timeout_seconds: float) -> Probed:
    """A GET with the headers of a real question and without its body: most receivers answer 405, which is an answer."""
    async with outbound.open_httpx(timeout=timeout_seconds, follow_redirects=False) as client:
        try:
            async with client.stream("GET", url, headers=dict(headers)) as response:
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            return Probed(False, connection_reason(error))
    said = f"answers (HTTP {status} to an empty question)"
    if status in _REFUSES_CREDENTIAL:
        return Probed(True, said, "it refuses the credential, or wants one: compare secrets and headers with what it expects")
    if status in _NOT_THERE:
        return Probed(True, said, "it knows no such path: compare the URL's path; some answer so to anything but a POST")
    if 300 <= status < 400:
        return Probed(True, said, "it sends elsewhere, and redirects are not followed: write the URL it sends to")
    return Probed(True, said, "it is at fault itself" if status >= 500 else "")
