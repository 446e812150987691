"""`limits.payments_per_minute` and `limits.tickets_per_minute` hold for every kind of caller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api_keys import create_key
from tests.hooks import running_hook, says
from tests.signer import counted_signatures, running_signer


@pytest.mark.parametrize("kind", ["address", "key", "webhook", "proxy"])
async def test_every_kind_of_caller_has_its_rate(kind: str, tmp_path: Path) -> None:
    async with running_hook() as hook:
        file = tmp_path / "keys.json"
        keys = [create_key(file, name=name, auth_id=name, now=5)[0] for name in ("a", "b")]
        auth: dict[str, Any] = {
            "address": {"trusted_proxies": ["127.0.0.1/32"], "allow_unauthenticated": True},
            "proxy": {"trusted_proxies": ["127.0.0.1/32"], "allow_unauthenticated": True},
            "key": {"api_keys_file": str(file)},
            "webhook": {"webhook": {"url": hook.url}},
        }[kind]
        one, other = {
            "address": ({"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}),
            "proxy": ({"Signer-Auth-Id": "a"}, {"Signer-Auth-Id": "b"}),
            "key": ({"X-Api-Key": keys[0]}, {"X-Api-Key": keys[1]}),
            "webhook": ({}, {}),
        }[kind]
        hook.answer = says({"status": 200, "auth_id": "a"})
        with counted_signatures() as signatures:
            async with running_signer(auth=auth, limits={"payments_per_minute": 2}) as signer:
                assert [(await signer.pay(one)).status_code for _ in range(2)] == [200, 200]
                before = signatures.made
                refused = await signer.pay(one)
                assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_exceeded")
                assert 28 <= int(refused.headers["retry-after"]) <= 30
                assert signatures.made == before
                hook.answer = says({"status": 200, "auth_id": "b"})
                assert (await signer.pay(other)).status_code == 200


async def test_where_nobody_is_asked_the_rate_holds_too() -> None:
    async with running_signer(limits={"tickets_per_minute": 3}) as signer:
        assert [(await signer.pay()).status_code for _ in range(2)] == [200, 429]
