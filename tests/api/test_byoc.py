"""`POST /sign-byoc-job`: credentials over an encoding that nothing else can pass as."""

from __future__ import annotations

import struct

import httpx
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import keccak

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config

KEY = "0x" + "17" * 32
JOB = {"id": "job-1", "capability": "text-reversal", "request": '{"run":"reverse"}', "parameters": "{}", "timeout_seconds": 30}


async def post(body: object, enabled: bool = True) -> httpx.Response:
    config = parse_config(f"key: {{private_key: '{KEY}'}}\nchain: {{source: static}}\nbyoc_jobs: {str(enabled).lower()}\n", {})
    transport = httpx.ASGITransport(create_app(config))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://signer") as client:
        return await client.post("/sign-byoc-job", json=body)


def preimage(job: dict[str, object]) -> bytes:
    """Section 14's bytes, put together independently of the signer."""
    out = b"LP_BYOC_JOB_V1" + b"\x00\x00" + struct.pack(">I", job["timeout_seconds"])
    for name in ("id", "capability", "request", "parameters"):
        raw = str(job[name]).encode("utf-8")
        out += struct.pack(">I", len(raw)) + raw
    return out


async def test_the_signature_is_over_the_domain_separated_encoding() -> None:
    job = {**JOB, "parameters": "naïve \u2028"}
    reply = await post(job)
    assert reply.status_code == 200
    signer = Account.recover_message(encode_defunct(primitive=keccak(preimage(job))), signature=reply.json()["signature"])
    assert signer == reply.json()["sender"] == Account.from_key(KEY).address


async def test_the_route_is_off_unless_configured() -> None:
    assert (await post(JOB, enabled=False)).status_code == 404


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": ""}, "id"),
        ({"capability": ""}, "capability"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"timeout_seconds": 2**32}, "timeout_seconds"),
        ({"timeout_seconds": "30"}, "timeout_seconds"),
        ({"timeout_seconds": 1.5}, "timeout_seconds"),
        ({"request": 5}, "request"),
    ],
)
async def test_a_field_out_of_its_range_is_refused_by_name(change: dict[str, object], named: str) -> None:
    reply = await post({**JOB, **change})
    assert reply.status_code == 400
    assert named in reply.json()["error"]["message"]


async def test_fields_cannot_flow_into_each_other() -> None:
    one = await post({**JOB, "id": "ab", "capability": "c"})
    other = await post({**JOB, "id": "a", "capability": "bc"})
    assert one.json()["signature"] != other.json()["signature"]
