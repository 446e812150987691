"""The last guard of secrets: whatever is about to be written is searched for those that the process knows.

No module prints a secret. But libraries of others print URLs and error texts, and a URL may carry a key; so the values
themselves are looked for, in every line, before it leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from livepeer_remote_signer.adapters.logs.lines import spellings_in_lines

REDACTED = "[redacted]"
MIN_SECRET_CHARACTERS = 6
"""Shorter values would blot out ordinary words, and protect nothing that anybody could not guess."""

_MIN_SEGMENT_CHARACTERS = 12


class Redaction:
    """Replaces known secrets in text."""

    def __init__(self, secrets: Iterable[str] = (), urls: Iterable[str] = ()) -> None:
        """Of a secret that is a URL its parts are secret too; `urls` may be printed but for what is secret in them."""
        words = [part for secret in secrets for part in (parts_of_url(secret.strip()) if "://" in secret else [secret.strip()])]
        words += [part for url in urls for part in parts_of_url(url)[1:]]
        spellings = {spelling for word in words for spelling in _spellings(word)}
        self._secrets = sorted((s for s in spellings if len(s) >= MIN_SECRET_CHARACTERS), key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Redaction({len(self._secrets)} values)"

    def clean(self, text: str) -> str:
        """The text without them; as it is in nearly every case."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return text


def parts_of_url(url: str) -> list[str]:
    """What of a URL must not be printed: all of it, its password, long pieces of its path, and its query's values.

    What only looks like a URL is a secret too: of it all of its pieces.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url, *re.split(r"[/?&=@:#]+", url)]
    found = [url]
    if parts.password:
        found.append(parts.password)
    found += [piece for piece in (parts.username or "", *parts.path.split("/")) if len(piece) >= _MIN_SEGMENT_CHARACTERS]
    found += [value for _, value in parse_qsl(parts.query)]
    if parts.query:
        found.append(parts.query)
    return found


def _spellings(secret: str) -> set[str]:
    """A secret as it may appear: plain, as a URL escapes it, a hex key with and without 0x and in any one case; as lines spell these."""
    found = {secret, quote(secret, safe=""), unquote(secret)}
    bare = secret[2:] if secret[:2].lower() == "0x" else secret
    if len(bare) == 64 and all(c in "0123456789abcdefABCDEF" for c in bare):
        found |= {bare.lower(), bare.upper()}
    return {written for spelling in found for written in spellings_in_lines(spelling)}
