"""Values as the configuration spells them: amounts, addresses, times; and `Section`, which every part of the file is."""

from __future__ import annotations

import ipaddress
import re
from fractions import Fraction
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)

from livepeer_remote_signer.config.listening import ListenAddress, parse_listen
from livepeer_remote_signer.core.protocol.amounts import decimal_text, parse_currency_amount, parse_wei
from livepeer_remote_signer.core.protocol.timestamps import parse_rfc3339_ns

HEX = re.compile(r"0x[0-9a-fA-F]*")


class PriceAmount(NamedTuple):
    """A non-negative amount in a currency (`wei`, `eth`, `usd`), exact."""

    value: Fraction
    currency: str


def _wei(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number of wei")  # noqa: TRY004 - pydantic turns ValueError into a fault of the key
    return parse_wei(value) if isinstance(value, str) else value


def _amount(value: Any) -> Any:
    if isinstance(value, PriceAmount):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a number, or text such as 1200, 0.002eth or 0.50USD")  # noqa: TRY004 - as above
    return PriceAmount(*parse_currency_amount(str(value)))


def _decimal(value: Any) -> Any:
    if isinstance(value, Fraction):
        return value
    amount = _amount(value)
    if amount.currency != "wei":
        raise ValueError("must be a plain number")
    return amount.value


def _hex_bytes(length: int) -> BeforeValidator:
    def parse(value: Any) -> Any:
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str) or len(value) != 2 + 2 * length or HEX.fullmatch(value) is None:
            raise ValueError(f"must be 0x and {2 * length} hex digits")
        return bytes.fromhex(value[2:])

    return BeforeValidator(parse)


def _time(text: str) -> str:
    try:
        parse_rfc3339_ns(text)
    except ValueError:
        raise ValueError("must be a time such as 2026-04-07T20:00:00Z") from None
    return text


def _hex_text(value: bytes) -> str:
    return "0x" + value.hex()


Wei = Annotated[int, BeforeValidator(_wei), Field(ge=0), PlainSerializer(str)]
Amount = Annotated[
    PriceAmount,
    BeforeValidator(_amount),
    PlainSerializer(lambda a: f"{decimal_text(a.value)}{'' if a.currency == 'wei' else a.currency.upper()}"),
]
Decimal = Annotated[Fraction, BeforeValidator(_decimal), PlainSerializer(decimal_text)]
Address = Annotated[bytes, _hex_bytes(20), PlainSerializer(_hex_text)]
Hash = Annotated[bytes, _hex_bytes(32), PlainSerializer(_hex_text)]
Time = Annotated[str, AfterValidator(_time)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, PlainSerializer(str)]


class Section(BaseModel):
    """A part of the file: unknown keys are errors, values never change, errors never repeat the input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True, validate_default=True)


Listen = Annotated[
    ListenAddress,
    BeforeValidator(lambda value: value if isinstance(value, ListenAddress) else parse_listen(str(value))),
    PlainSerializer(str),
]


def check_one_form(section: Section, *names: str) -> None:
    """Raises ValueError where a value is given both by itself and in a file."""
    for name in names:
        if getattr(section, name) and getattr(section, f"{name}_file") is not None:
            raise ValueError(f"give either {name} or {name}_file, not both")
