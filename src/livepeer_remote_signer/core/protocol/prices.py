"""Prices as they are written: capability numbers and names, units, and the exact rational of a pair of integers.

Source: section 8 of the protocol. A price is an exact rational in wei per unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

CAPABILITY_NUMBERS: Mapping[str, int] = {
    "text-to-image": 27,
    "image-to-image": 28,
    "image-to-video": 29,
    "upscale": 30,
    "audio-to-text": 31,
    "segment-anything-2": 32,
    "llm": 33,
    "image-to-text": 34,
    "live-video-to-video": 35,
    "text-to-speech": 36,
    "byoc": 37,
}
PIPELINE_NAMES: Mapping[int, str] = {number: name for name, number in CAPABILITY_NUMBERS.items()}


def pipeline_name(text: str) -> str | None:
    """The pipeline that a person or go-livepeer spells so: `Live video to video` is `live-video-to-video`. None for no pipeline."""
    name = text.strip().lower().replace(" ", "-")
    return name if name in CAPABILITY_NUMBERS else None


DEFAULT_MODEL = "default"
UNIT_OF_TYPE: Mapping[str, str] = {"live": "seconds", "lv2v": "720p-pixel-seconds", "fixed": "fixed"}

CapabilityModel = tuple[int, str]


class MaxPrice(NamedTuple):
    """A ceiling as a client or the webhook spells it; checked only when it is applied."""

    price: str
    currency: str
    unit: str


@lru_cache(4096)
def exact_price(price_per_unit: int, pixels_per_unit: int) -> Fraction:
    """Wei per unit. Cached: a session's price is the same object from call to call, so equal prices compare by identity."""
    return Fraction(price_per_unit, pixels_per_unit)
