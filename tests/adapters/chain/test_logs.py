"""What an endpoint sends in place of events is a fault of the endpoint's."""

from __future__ import annotations

from typing import Any

import pytest

from livepeer_remote_signer.adapters.chain.json_rpc import RpcFault
from livepeer_remote_signer.adapters.chain.logs import parse_redemptions

BROKER, SENDER = bytes([1]) * 20, bytes([2]) * 20
EVENT = {
    "address": "0x" + BROKER.hex(),
    "topics": [],
    "data": "0x",
    "blockNumber": "0x5",
    "blockHash": "0x" + "00" * 32,
    "transactionHash": "0x" + "00" * 32,
    "logIndex": "0x0",
}


@pytest.mark.parametrize(
    "entry", [5, None, "event", [], {}, {"topics": 5}, {**EVENT, "topics": None}, {**EVENT, "data": None}, {**EVENT, "blockNumber": "five"}]
)
def test_an_entry_that_is_no_event_is_a_fault(entry: Any) -> None:
    with pytest.raises(RpcFault):
        parse_redemptions([entry], BROKER, (SENDER,), 1, 9)
