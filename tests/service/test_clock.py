"""While this host's clock is wrong nothing is signed, whichever way a payment goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.chain.static import StaticChain
from livepeer_remote_signer.core.rules.chain import ChainView, ClockFault
from tests.signer import counted_signatures, running_signer


@pytest.mark.parametrize("has_ledger", [False, True])
async def test_while_the_clock_is_wrong_nothing_is_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_ledger: bool) -> None:
    ledger: dict[str, Any] = {"ledger": {"backend": "sqlite", "path": str(tmp_path / "ledger")}} if has_ledger else {}
    view = StaticChain.view

    def wrong(chain: StaticChain) -> ChainView:
        return replace(view(chain), clock_fault=ClockFault("this host's clock is 90 s behind", -90.0, 30.0))

    async with running_signer(**ledger) as signer:
        with monkeypatch.context() as patch, counted_signatures() as signatures:
            patch.setattr(StaticChain, "view", wrong)
            refused = await signer.pay()
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "clock_wrong")
            assert signatures.made == 0
        assert (await signer.pay()).status_code == 200
