"""What orchestrators say of themselves, as bytes and as values, for tests."""

from __future__ import annotations

import json
from typing import Any

from livepeer_remote_signer.core.rules.addresses import AddressPolicy
from livepeer_remote_signer.core.rules.advertised import (
    Node,
    Offer,
    parse_nodes,
    parse_terms,
)
from livepeer_remote_signer.proto import net_pb2

PUBLIC = AddressPolicy()
RECIPIENT = bytes([7]) * 20
A, B = "https://a.example:8935", "https://b.example:8935"
LV2V, LLM = 35, 33


def info(models: dict[tuple[int, str], None] | list[tuple[int, str]], price: tuple[int, int] | None = (100, 1), **more: Any) -> bytes:
    message = net_pb2.OrchestratorInfo(**more)
    if price is not None:
        message.price_info.pricePerUnit, message.price_info.pixelsPerUnit = price
    for capability, model in models:
        message.capabilities.constraints.PerCapability[capability].models[model].warm = True
    return message.SerializeToString()


def parse_offers(raw: bytes) -> tuple[Offer, ...]:
    return parse_terms(raw).offers


def runner(**changes: Any) -> dict[str, Any]:
    return {
        "url": "https://runner.example/x",
        "app": "me/app",
        "price_info": {"price": 12, "currency": "wei", "unit": "seconds"},
    } | changes


def nodes_of(*runners: Any, address: Any = A) -> tuple[Node, ...]:
    return parse_nodes(json.dumps([{"address": address, "runners": list(runners)}]).encode(), PUBLIC)
