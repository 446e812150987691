"""`make demo-chain`, as a newcomer runs it."""

from __future__ import annotations

import pytest

from tests.chain.demo import tell
from tests.chain.evm import Evm, Tools, running_anvil


def test_the_demos_winners_are_redeemed_and_pay(tools: Tools, capsys: pytest.CaptureFixture[str]) -> None:
    with running_anvil(tools) as anvil:
        assert tell(Evm(anvil, tools)) == 0
    said = capsys.readouterr().out
    assert "paid 0.000001 ETH" in said
    assert "once more: refused by the contract (execution reverted: ticket is used)" in said
