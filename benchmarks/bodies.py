"""Requests that a signer with `STATIC_CHAIN` accepts for a day."""

from __future__ import annotations

import base64
import random
import time

from livepeer_remote_signer.core.protocol.amounts import encode_uint
from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB
from livepeer_remote_signer.proto import net_pb2

L1_BLOCK = 23_400_000
ROUND = 4012
BLOCK_HASH = b"\xab" * 32
STATIC_CHAIN = {
    "l1_block": L1_BLOCK,
    "last_initialized_round": ROUND,
    "last_initialized_round_block_hash": "0x" + BLOCK_HASH.hex(),
    "deposit_wei": "0.25eth",
    "reserve_wei": "0.3eth",
}
TICKET_EV_WEI = 10**11
"""About what one ticket is worth: 100 of them stay below the total EV limit."""


def payment_body(session: int, variant: int, tickets: int, *, is_new: bool = False) -> dict[str, object]:
    """One call of a session that always needs `tickets` tickets. Variants of a session differ in their ticket params.

    With `is_new` each variant is a session of its own with the orchestrator of the session that is named.
    """
    fixed, varying = random.Random(session), random.Random(session * 1_000_003 + variant + 1)
    info = net_pb2.OrchestratorInfo(transcoder="https://orchestrator.example:8935", address=fixed.randbytes(20))
    info.price_info.pricePerUnit, info.price_info.pixelsPerUnit = TICKET_EV_WEI, 1
    params = info.ticket_params
    params.recipient, params.face_value = info.address, encode_uint(TICKET_EV_WEI * 1000)
    params.win_prob, params.recipient_rand_hash = encode_uint(MAX_WIN_PROB // 1000), varying.randbytes(32)
    params.seed, params.expiration_block = varying.randbytes(32), encode_uint(L1_BLOCK + 40)
    params.expiration_params.creation_round, params.expiration_params.creation_round_block_hash = ROUND, BLOCK_HASH
    token, own = info.auth_token, varying if is_new else fixed
    token.token, token.session_id, token.expiration = own.randbytes(32), own.randbytes(4).hex(), int(time.time()) + 86_400
    encoded = base64.b64encode(info.SerializeToString()).decode()
    # One ticket is worth a hair less than the price of a unit, so n units need n tickets and n + 1 now and then.
    return {"orchestrator": encoded, "ManifestID": token.session_id, "type": "", "inPixels": tickets}
