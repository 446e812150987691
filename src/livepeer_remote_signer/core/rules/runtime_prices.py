"""Price ceilings that the operator changes while the signer runs: how they are asked for, kept, and laid over the file's.

Source: section 8 of the protocol. A ceiling is named by what it limits: `global`, or `<pipeline>/<model>`. Under that name
it is kept as JSON text, one entry a ceiling, so that two changes at once never undo each other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.amounts import WEI_UNITS, parse_currency_amount, parse_decimal, rat_string
from livepeer_remote_signer.core.protocol.prices import CAPABILITY_NUMBERS, DEFAULT_MODEL, PIPELINE_NAMES, CapabilityModel, pipeline_name
from livepeer_remote_signer.core.protocol.strict_json import is_too_deep
from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts, Rate, resolve_amount
from livepeer_remote_signer.core.rules.pricing import StaleRate

GLOBAL = "global"
MAX_MODEL_CHARACTERS = 256
_RATIONAL_CHARACTERS = 400


class PriceChange(NamedTuple):
    """One ceiling to be set; `amount` None: back to what the configuration says."""

    name: str
    amount: Amount | None


def ceiling_name(pipeline: str, model_id: str) -> str:
    """The name of a ceiling; both empty: the global one. Raises BadField."""
    if not pipeline and not model_id:
        return GLOBAL
    name = pipeline_name(pipeline)
    if name is None:
        raise BadField(f"unknown pipeline {pipeline[:64]!r}", hint=f"one of {', '.join(CAPABILITY_NUMBERS)}")
    model_id = model_id or DEFAULT_MODEL
    if len(model_id) > MAX_MODEL_CHARACTERS or not model_id.isprintable():
        raise BadField(f"a model id is printable text of at most {MAX_MODEL_CHARACTERS} characters")
    return f"{name}/{model_id}"


def pair_of(name: str) -> CapabilityModel | None:
    """The (capability, model) pair of a name, None for the global ceiling. ValueError for a name of another kind."""
    if name == GLOBAL:
        return None
    pipeline, _, model_id = name.partition("/")
    if pipeline not in CAPABILITY_NUMBERS or not model_id:
        raise ValueError(f"{name[:64]!r} names no ceiling")
    return CAPABILITY_NUMBERS[pipeline], model_id


def parse_price_change(name: str, price: str, pixels: str, currency: str, feeds: Collection[str]) -> PriceChange:
    """A change as a form or JSON body spells it. Raises BadField.

    `price` is a decimal that may carry its currency (`0.50USD`), `pixels` a positive decimal ("" for 1). A currency must be
    wei, gwei, eth or one of `feeds`: in another one the ceiling could never be known.
    """
    try:
        value, spelled = parse_currency_amount(price)
        per_units = parse_decimal(pixels.strip()) if pixels.strip() else Fraction(1)
    except ValueError as error:
        raise BadField(f"the price or the pixels per unit cannot be read: {error}") from None
    if per_units <= 0:
        raise BadField("pixels per unit must be positive")
    named = currency.strip().lower() or spelled
    if spelled not in ("wei", named):
        raise BadField(f"the price is in {spelled.upper()}, the currency says {named.upper()}")
    if named not in WEI_UNITS and named not in feeds:
        raise BadField(
            f"no price feed quotes {named.upper()[:16]}", hint="give the price in wei, gwei or eth, or configure prices.currency_feed"
        )
    if not value and name != GLOBAL:
        raise BadField("a ceiling for a pipeline must be above 0", hint="to take it away, reset it")
    return PriceChange(name, Amount(value, named, per_units))


def encode_amount(amount: Amount) -> str:
    """An amount as it is kept."""
    return json.dumps({"value": rat_string(amount.value), "currency": amount.currency, "per_units": rat_string(amount.per_units)})


def parse_amount(text: str) -> Amount:
    """A kept amount. ValueError for anything that `encode_amount` would not write."""
    if is_too_deep(text.encode("utf-8", "replace")):
        raise ValueError("not a price")
    try:
        fields = json.loads(text)
        spelled = [fields["value"], fields["per_units"]]
        if fields.keys() != {"value", "currency", "per_units"} or not all(
            isinstance(s, str) and len(s) <= _RATIONAL_CHARACTERS and s.replace("/", "", 1).isdecimal() for s in spelled
        ):
            raise ValueError("its fields are not those of a price")
        value, per_units = (Fraction(s) for s in spelled)
        currency = fields["currency"]
    except (KeyError, TypeError, AttributeError, ZeroDivisionError):
        raise ValueError("not a price") from None
    if per_units <= 0 or not isinstance(currency, str) or not currency.isalpha():
        raise ValueError("not a price")
    return Amount(value, currency, per_units)


def parse_kept(entries: Mapping[str, str]) -> dict[str, Amount]:
    """Kept ceilings by name. ValueError, naming the entry, for one that cannot be read."""
    found = {}
    for name, text in entries.items():
        try:
            pair_of(name)
            found[name] = parse_amount(text)
        except ValueError as error:
            raise ValueError(f"the kept price {name[:64]!r} cannot be used: {error}") from None
    return found


def overlay(configured: CeilingAmounts, changed: Mapping[str, Amount]) -> CeilingAmounts:
    """The configured ceilings with the changed ones in their places."""
    per_capability = dict(configured.per_capability)
    for name, amount in changed.items():
        pair = pair_of(name)
        if pair is not None:
            per_capability[pair] = amount
    return replace(configured, global_amount=changed.get(GLOBAL, configured.global_amount), per_capability=per_capability)


def describe_ceilings(configured: CeilingAmounts, changed: Mapping[str, Amount], rate: Rate | None) -> list[dict[str, Any]]:
    """What is in force, where each ceiling came from, and what it is in wei now; for people and their tools."""
    named = {GLOBAL: configured.global_amount}
    for (capability, model), amount in configured.per_capability.items():
        named[f"{PIPELINE_NAMES.get(capability, str(capability))}/{model}"] = amount
    lines = []
    for name in [*named, *(n for n in changed if n not in named)]:
        amount = changed.get(name) or named[name]
        pipeline, _, model_id = name.partition("/")
        lines.append(
            {
                "pipeline": None if name == GLOBAL else pipeline,
                "model_id": model_id or None,
                **_spell(amount),
                "wei_per_unit": _wei_text(amount, rate),
                "source": "runtime" if name in changed else "config",
                "configured": _spell(named[name]) if name in changed and name in named else None,
            }
        )
    return lines


def describe_absolute(configured: CeilingAmounts, rate: Rate | None) -> list[dict[str, Any]]:
    """The absolute ceilings that are set: what an hour of work and a job may cost, and what that is in wei now (None: not known)."""
    spans = {"hour": configured.per_hour, "job": configured.per_job}
    return [
        {"per": span, "price": rat_string(amount.value), "currency": amount.currency, "wei": _wei_text(amount, rate)}
        for span, amount in spans.items()
        if amount.value
    ]


def _spell(amount: Amount) -> dict[str, str]:
    return {"price_per_unit": rat_string(amount.value), "pixels_per_unit": rat_string(amount.per_units), "currency": amount.currency}


def _wei_text(amount: Amount, rate: Rate | None) -> str | None:
    """Wei per unit; None where there is no ceiling, or its currency has no fresh rate."""
    wei = resolve_amount(amount, rate)
    return None if isinstance(wei, StaleRate) or not wei else rat_string(wei)
