"""How a log line looks: JSON for machines, aligned words for people. A line never holds a line break of its content."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, TypeAlias

Fields: TypeAlias = dict[str, object]
Render: TypeAlias = Callable[[float, str, str, Fields], str]
"""(unix seconds, level, message, fields) -> a line without its line break."""

_COLOURLESS_WIDTH = 7
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""What speaks to a terminal, breaks a line, or turns the direction in which a text is read."""
_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@+-]+")


def renderer(form: Literal["json", "console"]) -> Render:
    """The renderer of a form."""
    return render_json if form == "json" else render_console


def render_json(seconds: float, level: str, message: str, fields: Fields) -> str:
    """`{"time": ..., "level": ..., "message": ..., fields...}`; empty fields are left out."""
    document = {"time": time_text(seconds), "level": level, "message": message}
    document.update({name: value for name, value in fields.items() if value not in ("", None)})  # type: ignore[misc]
    return json.dumps(document, ensure_ascii=True, separators=(",", ":"), default=str)


def render_console(seconds: float, level: str, message: str, fields: Fields) -> str:
    """`time level message name=value ...`; a traceback follows, one mark for each of its line breaks."""
    words = [time_text(seconds), level.upper().ljust(_COLOURLESS_WIDTH), _visible(message)]
    words += [f"{name}={_word(value)}" for name, value in fields.items() if value not in ("", None)]
    return " ".join(words)


def time_text(seconds: float) -> str:
    """RFC 3339, UTC, to the millisecond."""
    return _millisecond_text(int(seconds * 1000))


@lru_cache(8)
def _millisecond_text(since_epoch: int) -> str:
    seconds, milliseconds = divmod(since_epoch, 1000)
    return f"{_second_text(seconds)}.{milliseconds:03d}Z"


@lru_cache(8)
def _second_text(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _visible(text: str) -> str:
    """Control characters as escapes: a caller's text cannot begin a line of its own, nor speak to the terminal."""
    if _CONTROL.search(text) is None:
        return text
    return _CONTROL.sub(lambda match: json.dumps(match[0])[1:-1] if match[0] < "\x80" else f"\\u{ord(match[0]):04x}", text)


def _word(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(_visible(text), ensure_ascii=False).replace("\\\\", "\\")


def spellings_in_lines(text: str) -> set[str]:
    """How a text may stand within a line of either form: as it was, or as Python's repr or somebody's JSON had spelled it before."""
    said = {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return {written for each in said for written in (json.dumps(each)[1:-1], _visible(each), _quoted(each)[1:-1])}
