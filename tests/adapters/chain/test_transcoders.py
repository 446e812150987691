"""BondingManager is asked the right question, and anything but a plain yes or no is an error."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from livepeer_remote_signer.adapters.chain.abi import AnswerFault, Call, call_data
from livepeer_remote_signer.adapters.chain.reading import Contracts
from livepeer_remote_signer.adapters.chain.transcoders import Transcoders

ADDRESS = bytes([5]) * 20
CONTRACTS = Contracts(bytes([1]) * 20, bytes([2]) * 20, bytes([3]) * 20)
YES, NO = (1).to_bytes(32, "big"), bytes(32)


class Chain:
    """A live chain with one answer."""

    def __init__(self, answer: bytes | None, contracts: Contracts | None = CONTRACTS) -> None:
        self.contracts = contracts
        self.answer = answer
        self.calls: list[Call] = []

    async def read_contracts(self, calls: Sequence[Call]) -> list[bytes | None]:
        self.calls += calls
        return [self.answer]


@pytest.mark.parametrize(("active", "question"), [(False, "isRegisteredTranscoder(address)"), (True, "isActiveTranscoder(address)")])
async def test_the_question_is_the_one_that_is_configured(active: bool, question: str) -> None:
    chain = Chain(YES)
    assert await Transcoders(chain).is_transcoder(ADDRESS, active=active) is True
    assert chain.calls == [Call(CONTRACTS.bonding_manager, call_data(question, ADDRESS))]
    assert await Transcoders(Chain(NO)).is_transcoder(ADDRESS, active=active) is False


@pytest.mark.parametrize("answer", [None, b"", b"\1", (2).to_bytes(32, "big"), b"\xff" * 32])
async def test_another_answer_is_an_error(answer: bytes | None) -> None:
    with pytest.raises(AnswerFault):
        await Transcoders(Chain(answer)).is_transcoder(ADDRESS, active=False)


async def test_before_the_contract_is_known_there_is_no_answer() -> None:
    with pytest.raises(AnswerFault):
        await Transcoders(Chain(YES, None)).is_transcoder(ADDRESS, active=False)
