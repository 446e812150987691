"""JSON as go-livepeer's routes take it, but strict: one value, every key once, exact numbers.

Source: section 5.1 of the protocol. Keys match in any case; numbers stay the text they were, so nothing is rounded and
a number of a million digits costs no arithmetic; a lone surrogate escape reads as U+FFFD, as in Go.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from livepeer_remote_signer.core.errors import BadField, BadJson

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

MAX_DEPTH = 128
"""Objects and arrays within each other: far more than any request has. Checked before parsing: the C parser recurses, and
Python's own limit is no help where a library raised it for the whole process (py_ecc, which eth-account needs, does)."""


MAX_VALUES = 8192
"""In one text, counted by its commas and opening brackets: the longest lists of prices and models have some thousands. Reading a value
takes a microsecond, and nobody else is served meanwhile."""


class JsonNumber(str):
    """The text of a JSON number."""

    __slots__ = ()


class JsonObject(list[tuple[str, Any]]):
    """A JSON object's pairs in their order, keys as written."""

    __slots__ = ()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=JsonObject, parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=_refuse_constant)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""The closing quotation mark may be missing: a match that failed at the end of the text would begin anew at the next mark."""

_NO_BRACKETS = bytes(c for c in range(256) if c not in b"[]{}")
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def parse_json(body: bytes) -> Any:
    """The one JSON value of `body`; objects are `JsonObject`, numbers `JsonNumber`. BadJson for anything else."""
    if (values := sum(map(body.count, (b",", b"[", b"{")))) > MAX_VALUES:
        raise BadJson(f"the body is not JSON we read: {values} values, more than {MAX_VALUES}")
    if is_too_deep(body):
        raise BadJson(f"the body is not JSON we read: nested more than {MAX_DEPTH} deep")
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadJson(f"the body is not UTF-8: byte {error.start} cannot be decoded") from None
    except ValueError as error:
        raise BadJson(f"the body is not one JSON value: {str(error)[:200]}") from None


def is_too_deep(body: bytes) -> bool:
    """Whether JSON text nests deeper than MAX_DEPTH; linear in its length. Text that is not JSON may be called too deep as well."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


def fold_object(value: Any, where: str, keys: Sequence[str] | frozenset[str]) -> dict[str, Any]:
    """The known `keys` (lower case) of an object, in whatever case they were written; JSON null counts as absent.

    Raises BadField when `value` is no object, and BadJson when any key stands twice, in any case.
    """
    if not isinstance(value, JsonObject):
        raise BadField(f"{where} must be a JSON object, not {json_type(value)}")
    found: dict[str, Any] = {}
    seen: set[str] = set()
    for key, item in value:
        folded = key.lower() if key.isascii() else fold_key(key)
        if folded in seen:
            raise BadJson(f"{where}: the key {key[:64]!r} stands twice", hint="keys match without regard to case; send each once")
        seen.add(folded)
        if item is not None and folded in keys:
            found[folded] = item
    return found


def exact_object(value: Any, where: str, keys: frozenset[str]) -> dict[str, Any]:
    """The values of an object whose keys are exactly named: unknown keys are errors, JSON null counts as absent.

    Raises BadField for a value that is no object and for an unknown key, BadJson for a key that stands twice.
    """
    if not isinstance(value, JsonObject):
        raise BadField(f"{where} must be a JSON object, not {json_type(value)}")
    found: dict[str, Any] = {}
    seen: set[str] = set()
    for key, item in value:
        if key in seen:
            raise BadJson(f"{where}: the key {key[:64]!r} stands twice")
        if key not in keys:
            raise BadField(f"{where}: unknown key {key[:64]!r}", hint=f"known keys: {', '.join(sorted(keys))}")
        seen.add(key)
        if item is not None:
            found[key] = item
    return found


def is_number_text(text: str) -> bool:
    """Whether `text` spells a number as JSON does; linear in its length, evaluates nothing."""
    return isinstance(text, JsonNumber) or _NUMBER.fullmatch(text) is not None


def fold_key(key: str) -> str:
    """A key without its case, folded as Go does: the long s and the Kelvin sign count as s and k."""
    return key.replace("\u017f", "s").replace("\u212a", "k").lower()


def json_type(value: Any) -> str:
    """What a person calls the JSON type of `value`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, JsonNumber):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, JsonObject | dict) else "an array"


def text_field(fields: dict[str, Any], key: str, name: str) -> str:
    """A string, "" when absent."""
    value = fields.get(key, "")
    if type(value) is not str:
        raise BadField(f"{name} must be a string, not {json_type(value)}")
    return replace_surrogates(value)


def replace_surrogates(text: str) -> str:
    """Go's reading of lone surrogate escapes: each is U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def int64_field(fields: dict[str, Any], key: str, name: str) -> int:
    """An integer of 64 bits, 0 when absent; `5.0`, `1e3` and `"5"` are none."""
    value = fields.get(key)
    if value is None:
        return 0
    if not isinstance(value, JsonNumber) or _INTEGER.fullmatch(value) is None or len(value) > 20:
        spelled = value[:32] if isinstance(value, JsonNumber) else json_type(value)
        raise BadField(f"{name} must be an integer of 64 bits, not {spelled}")
    number = int(value)
    if not INT64_MIN <= number <= INT64_MAX:
        raise BadField(f"{name} must be an integer of 64 bits, not {value}")
    return number


def base64_field(fields: dict[str, Any], key: str, name: str) -> bytes:
    """Strict standard base64 (padding required, trailing bits zero), b"" when absent."""
    value = fields.get(key)
    if value is None:
        return b""
    if type(value) is not str:
        raise BadField(f"{name} must be a base64 string, not {json_type(value)}")
    return parse_base64(value, name)


def parse_base64(text: str, name: str) -> bytes:
    """Strict standard base64: the alphabet with + and /, padding, no line breaks, trailing bits zero."""
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise BadField(f"{name} is not standard base64: {error}") from None
    if len(text) % 4 or (
        text.endswith("=") and not binascii.b2a_base64(raw[-(len(raw) % 3) :], newline=False).endswith(text[-4:].encode())
    ):
        raise BadField(f"{name} is not standard base64: padding or trailing bits are wrong")
    return raw
