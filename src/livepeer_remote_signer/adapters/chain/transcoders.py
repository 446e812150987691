"""Asks BondingManager whether an address is a transcoder. Source: section 10 of the protocol."""

from __future__ import annotations

from livepeer_remote_signer.adapters.chain.abi import AnswerFault, Call, call_data, read_bool
from livepeer_remote_signer.adapters.chain.reading import ContractReader

_REGISTERED = "isRegisteredTranscoder(address)"
_ACTIVE = "isActiveTranscoder(address)"


class Transcoders:
    """One contract read a question; whatever goes wrong is raised."""

    def __init__(self, chain: ContractReader) -> None:
        self._chain = chain

    async def is_transcoder(self, address: bytes, *, active: bool) -> bool:
        """Whether the 20-byte address is registered, or with `active` in this round's pool."""
        contracts = self._chain.contracts
        if contracts is None:
            raise AnswerFault("BondingManager is not known yet")
        question = _ACTIVE if active else _REGISTERED
        answers = await self._chain.read_contracts([Call(contracts.bonding_manager, call_data(question, address))])
        return read_bool(answers[0], question)
