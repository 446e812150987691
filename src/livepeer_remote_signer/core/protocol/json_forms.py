"""OrchestratorInfo and Capabilities as JSON, in and out, for callers without protobuf.

Source: section 5.2 of the protocol: names as proto3's JSON mapping has them (the original field names are taken as
well, unknown ones are errors), bytes as 0x hex, integers as decimal strings or JSON integers. What the messages may
hold is read from their descriptors; how deep they nest is bounded by the messages themselves. The base64 form carries
fields that this package does not know; this form cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from livepeer_remote_signer.core.errors import BadCapabilities, BadField, BadOrchestrator, SignerError
from livepeer_remote_signer.core.protocol.amounts import encode_uint
from livepeer_remote_signer.core.protocol.strict_json import JsonNumber, JsonObject, json_type, text_field
from livepeer_remote_signer.core.protocol.wire import MAX_INTEGER_BYTES, parse_message
from livepeer_remote_signer.proto import net_pb2

MAX_ENTRIES = 4096
"""The most entries of one list or map: far more than any real message has."""

_INTEGER_BYTES = frozenset({"net.TicketParams.face_value", "net.TicketParams.win_prob", "net.TicketParams.expiration_block"})
"""Fields of type bytes that hold a big-endian integer."""

_INTEGER_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}
_WIDE = (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64)
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,79})", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]*", re.ASCII)


def info_from_json(value: Any) -> bytes:
    """A serialized net.OrchestratorInfo from its JSON form, as `strict_json.parse_json` read it.

    Raises BadOrchestrator when `value` is no object, names an unknown field or names one twice, BadField for a value of
    the wrong type, spelling or range; both name the place.
    """
    return _from_json(value, net_pb2.OrchestratorInfo(), "orchestratorInfo", BadOrchestrator)


def capabilities_from_json(value: Any) -> bytes:
    """A serialized net.Capabilities from its JSON form; raises BadCapabilities and BadField as `info_from_json` does."""
    return _from_json(value, net_pb2.Capabilities(), "capabilities", BadCapabilities)


def info_to_json(raw: bytes) -> dict[str, Any]:
    """The JSON form of a serialized net.OrchestratorInfo, as `info_from_json` takes it; fields with no value are left out.

    Integers of 64 bits and more are decimal strings. Raises BadOrchestrator when `raw` is no such message.
    """
    try:
        return _to_json(parse_message(net_pb2.OrchestratorInfo, raw))
    except ValueError:
        raise BadOrchestrator("the orchestrator's answer is not a serialized net.OrchestratorInfo") from None


class _Field(NamedTuple):
    """What a field's JSON value is: one value, a list, or a map from `key` to values; `message` None for a scalar."""

    name: str
    json_name: str
    kind: int
    is_list: bool
    is_integer_bytes: bool
    message: Descriptor | None
    enum: dict[str, int]
    map_key: _Field | None


@cache
def _fields_of(descriptor: Descriptor) -> tuple[_Field, ...]:
    return tuple(_describe(field) for field in descriptor.fields)


@cache
def _fields_by_name(descriptor: Descriptor) -> dict[str, _Field]:
    return {name: field for field in _fields_of(descriptor) for name in (field.json_name, field.name)}


def _describe(field: FieldDescriptor) -> _Field:
    message = field.message_type
    key = None
    value = field
    if message is not None and message.GetOptions().map_entry:
        key = _describe(message.fields_by_name["key"])
        value = message.fields_by_name["value"]
        message = value.message_type
    return _Field(
        name=field.name,
        json_name=field.json_name,
        kind=value.type,
        is_list=field.is_repeated and key is None,
        is_integer_bytes=field.full_name in _INTEGER_BYTES,
        message=message,
        enum={v.name: v.number for v in field.enum_type.values} if field.enum_type is not None else {},
        map_key=key,
    )


# --- JSON to message ---


def _from_json(value: Any, message: Message, where: str, refusal: Callable[..., SignerError]) -> bytes:
    _fill(message, value, where, refusal)
    return message.SerializeToString(deterministic=True)


def _fill(message: Message, value: Any, where: str, refusal: Callable[..., SignerError]) -> None:
    """Sets the fields that the object `value` names; a field whose value is null stays unset."""
    if not isinstance(value, JsonObject):
        raise refusal(f"{where} must be a JSON object, not {json_type(value)}")
    fields = _fields_by_name(message.DESCRIPTOR)
    seen: set[str] = set()
    for key, item in value:
        field = fields.get(key)
        if field is None:
            known = sorted({f.json_name for f in fields.values()})
            raise refusal(f"{where}: unknown field {key[:64]!r}", hint=f"known fields: {', '.join(known)}")
        if field.name in seen:
            raise refusal(f"{where}: the field {key!r} stands twice", hint=f"{field.json_name} and {field.name} are the same field")
        seen.add(field.name)
        if item is None:
            continue
        place = f"{where}.{field.json_name}"
        if field.map_key is not None:
            _fill_map(getattr(message, field.name), field.map_key, field, item, place, refusal)
        elif field.is_list:
            _fill_list(getattr(message, field.name), field, item, place, refusal)
        elif field.message is not None:
            child = getattr(message, field.name)
            child.SetInParent()
            _fill(child, item, place, refusal)
        else:
            setattr(message, field.name, _scalar(field, item, place))


def _fill_list(target: Any, field: _Field, value: Any, where: str, refusal: Callable[..., SignerError]) -> None:
    if not isinstance(value, list) or isinstance(value, JsonObject):
        raise BadField(f"{where} must be an array, not {json_type(value)}")
    _check_entries(value, where)
    for index, item in enumerate(value):
        place = f"{where}[{index}]"
        if field.message is not None:
            _fill(target.add(), item, place, refusal)
        else:
            target.append(_scalar(field, item, place))


def _fill_map(target: Any, keys: _Field, field: _Field, value: Any, where: str, refusal: Callable[..., SignerError]) -> None:
    if not isinstance(value, JsonObject):
        raise BadField(f"{where} must be a JSON object, not {json_type(value)}")
    _check_entries(value, where)
    seen: set[Any] = set()
    for text, item in value:
        place = f"{where}[{text[:64]!r}]"
        key = _scalar(keys, text, place)
        if key in seen:
            raise refusal(f"{where}: the key {text[:64]!r} stands twice")
        seen.add(key)
        if field.message is not None:
            _fill(target[key], item, place, refusal)
        else:
            target[key] = _scalar(field, item, place)


def _check_entries(value: list[Any], where: str) -> None:
    if len(value) > MAX_ENTRIES:
        raise BadField(f"{where} has {len(value)} entries, more than {MAX_ENTRIES}", entries=len(value), limit=MAX_ENTRIES)


def _scalar(field: _Field, value: Any, where: str) -> Any:
    kind = field.kind
    if kind == FieldDescriptor.TYPE_STRING:
        return text_field({"value": value}, "value", where)
    if kind == FieldDescriptor.TYPE_BYTES:
        return encode_uint(_big_integer(value, where)) if field.is_integer_bytes else _hex_bytes(value, where)
    if kind == FieldDescriptor.TYPE_BOOL:
        if not isinstance(value, bool):
            raise BadField(f"{where} must be true or false, not {json_type(value)}")
        return value
    if kind == FieldDescriptor.TYPE_ENUM:
        return _enum_number(field, value, where)
    low, high = _INTEGER_RANGES[kind]
    number = _decimal(value, where)
    if not low <= number <= high:
        raise BadField(f"{where} is {number}, outside {low} to {high}")
    return number


def _decimal(value: Any, where: str) -> int:
    if not isinstance(value, str):
        raise BadField(f"{where} must be an integer, as a decimal string or a JSON integer, not {json_type(value)}")
    if _DECIMAL.fullmatch(value) is None:
        raise BadField(f"{where} must be an integer of at most 80 digits, not {value[:32]!r}")
    return int(value)


def _big_integer(value: Any, where: str) -> int:
    """A non-negative integer of at most 32 bytes: decimal, or 0x hex."""
    is_hex = type(value) is str and _HEX.fullmatch(value) is not None
    if is_hex and len(value.removeprefix("0x").lstrip("0")) <= 2 * MAX_INTEGER_BYTES:
        return int(value.removeprefix("0x") or "0", 16)
    number = -1 if is_hex else _decimal(value, where)
    if not 0 <= number < 1 << 8 * MAX_INTEGER_BYTES:
        raise BadField(f"{where} must be an integer of 0 to {MAX_INTEGER_BYTES} bytes, not {value[:32]!r}")
    return number


def _hex_bytes(value: Any, where: str) -> bytes:
    if type(value) is not str or _HEX.fullmatch(value) is None or len(value) % 2:
        spelled = repr(value[:32]) if isinstance(value, str) else json_type(value)
        raise BadField(f"{where} must be bytes as 0x and an even number of hex digits, not {spelled}")
    return bytes.fromhex(value[2:])


def _enum_number(field: _Field, value: Any, where: str) -> int:
    if type(value) is str and value in field.enum:
        return field.enum[value]
    if isinstance(value, JsonNumber) and _DECIMAL.fullmatch(value) is not None and -(2**31) <= int(value) < 2**31:
        return int(value)
    spelled = repr(str(value)[:32]) if isinstance(value, str) else json_type(value)
    raise BadField(f"{where} must be one of {', '.join(field.enum)}, or its number, not {spelled}")


# --- message to JSON ---


def _to_json(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in _fields_of(message.DESCRIPTOR):
        value = getattr(message, field.name)
        if field.map_key is not None:
            if value:
                out[field.json_name] = {str(key): _value_to_json(field, item) for key, item in sorted(value.items())}
        elif field.is_list:
            if value:
                out[field.json_name] = [_value_to_json(field, item) for item in value]
        elif field.message is not None:
            if message.HasField(field.name):
                out[field.json_name] = _to_json(value)
        elif value:
            out[field.json_name] = _value_to_json(field, value)
    return out


def _value_to_json(field: _Field, value: Any) -> Any:
    if field.message is not None:
        return _to_json(value)
    if field.kind == FieldDescriptor.TYPE_BYTES:
        if field.is_integer_bytes and len(value) <= MAX_INTEGER_BYTES:
            return str(int.from_bytes(value, "big"))
        return "0x" + value.hex()
    return str(value) if field.kind in _WIDE else value
