"""Exact amounts and how Go spells them. Nothing here goes through a float.

Sources: section 8 of the protocol (decimals and their bounds), Go's math/big (`Rat.RatString`, `Rat.FloatString`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from livepeer_remote_signer.core.protocol.strict_json import is_number_text

MAX_DECIMAL_DIGITS = 80
MAX_DECIMAL_EXPONENT = 100
MAX_PLAIN_DIGITS = 40

WEI_PER_GWEI = 10**9
WEI_PER_ETH = 10**18
WEI_UNITS: Mapping[str, int] = {"wei": 1, "gwei": WEI_PER_GWEI, "eth": WEI_PER_ETH}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*)")


def parse_decimal(text: str) -> Fraction:
    """The exact value of a decimal, spelled as in JSON.

    Raises ValueError when it is no such number, has more than 80 digits or an exponent beyond 100 either way: the bounds
    are checked before anything is evaluated, so `1e999999999` costs nothing.
    """
    if len(text) > MAX_DECIMAL_DIGITS + 10:
        raise ValueError(f"a number of {len(text)} characters is longer than {MAX_DECIMAL_DIGITS} digits")
    if not is_number_text(text):
        raise ValueError("not a decimal number")
    mantissa, _, exponent = text.lower().partition("e")
    if sum(c.isdigit() for c in mantissa) > MAX_DECIMAL_DIGITS:
        raise ValueError(f"more than {MAX_DECIMAL_DIGITS} digits")
    if exponent and abs(int(exponent)) > MAX_DECIMAL_EXPONENT:
        raise ValueError(f"an exponent beyond {MAX_DECIMAL_EXPONENT}")
    return Fraction(text)


def decimal_text(value: Fraction) -> str:
    """The decimal that `parse_decimal` reads as this value; ValueError for a value that no finite decimal has.

    Plain digits where they are few, an exponent where the plain form would be longer than `parse_decimal` takes.
    """
    numerator, denominator = value.as_integer_ratio()
    places = max(denominator.bit_length() - 1, 0)
    scaled, rest = divmod(numerator * 10**places, denominator)
    if rest:
        raise ValueError(f"{value} is not a finite decimal")
    while places > 0 and scaled % 10 == 0:
        scaled, places = scaled // 10, places - 1
    if max(places, len(str(abs(scaled)))) < MAX_PLAIN_DIGITS:
        return float_string(Fraction(scaled, 10**places), places)
    while scaled % 10 == 0:
        scaled, places = scaled // 10, places - 1
    exponent = min(max(-places, -MAX_DECIMAL_EXPONENT), MAX_DECIMAL_EXPONENT)
    return f"{float_string(value / Fraction(10) ** exponent, max(places + exponent, 0))}e{exponent}"


def parse_currency_amount(text: str) -> tuple[Fraction, str]:
    """`"0.50USD"` as (1/2, "usd"): a non-negative decimal and a lower-case currency, `wei` when none is named.

    Raises ValueError for anything else, and for amounts beyond the bounds of `parse_decimal`.
    """
    stripped = text.strip()
    if len(stripped) > 2 * MAX_DECIMAL_DIGITS or (match := _AMOUNT.fullmatch(stripped)) is None:
        raise ValueError(f"{text[:40]!r} is not an amount such as 1200, 0.002eth or 0.50USD")
    return parse_decimal(match[1]), match[2].lower() or "wei"


def parse_wei(text: str) -> int:
    """`"0.25eth"`, `"100gwei"` or `"1200"` in wei; ValueError when it is not a whole number of wei."""
    value, unit = parse_currency_amount(text)
    if unit not in WEI_UNITS:
        raise ValueError(f"{text!r}: the unit {unit!r} is none of wei, gwei and eth")
    wei = value * WEI_UNITS[unit]
    if wei.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of wei")
    return wei.numerator


def rat_string(value: Fraction) -> str:
    """Go's Rat.RatString: `n`, or `n/d` in lowest terms."""
    numerator, denominator = value.as_integer_ratio()
    return str(numerator) if denominator == 1 else f"{numerator}/{denominator}"


def float_string(value: Fraction, decimals: int) -> str:
    """Go's Rat.FloatString: exactly `decimals` digits after the point, rounded half away from zero."""
    scaled = abs(value.numerator) * 10**decimals
    quotient, remainder = divmod(scaled, value.denominator)
    if 2 * remainder >= value.denominator:
        quotient += 1
    sign = "-" if value.numerator < 0 else ""
    if decimals == 0:
        return f"{sign}{quotient}"
    digits = str(quotient).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def encode_uint(value: int) -> bytes:
    """Minimal big-endian bytes, as big integers travel in the protocol: zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
