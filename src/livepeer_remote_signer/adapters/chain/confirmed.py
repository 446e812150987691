"""Reads that callers cause: apart from the poll, and by the word of two endpoints where there are two.

One endpoint's word must not make a stranger a transcoder, and what callers cause is asked of spare endpoints first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from livepeer_remote_signer.adapters.chain.abi import AnswerFault, Call
from livepeer_remote_signer.adapters.chain.endpoints import Endpoint
from livepeer_remote_signer.adapters.chain.json_rpc import RpcFault
from livepeer_remote_signer.adapters.chain.reading import ChainUnavailable, Contracts, parse_reads, read_requests
from livepeer_remote_signer.adapters.chain.spare import SpareEndpoints

WORDS = 2
READ_SECONDS = 0.8
"""For one endpoint: within the second that a payment waits for its recipient."""

PAUSE_SECONDS = 10.0
"""After "too many requests", where the endpoint does not say how long."""

log = logging.getLogger(__name__)


class ConfirmedReads:
    """A ContractReader over the endpoints of a live chain."""

    def __init__(self, spare: SpareEndpoints, contracts: Callable[[], Contracts | None]) -> None:
        self._spare = spare
        self._contracts = contracts

    @property
    def contracts(self) -> Contracts | None:
        """Where the contracts stand, once the Controller has said so."""
        return self._contracts()

    async def read_contracts(self, calls: Sequence[Call]) -> list[bytes | None]:
        """What two endpoints agree that each call returned, None where it reverted; one endpoint's word where no other is
        believed and answers. Raises ChainUnavailable when none answers, or when they contradict each other."""
        words: list[list[bytes | None]] = []
        left, faults = self._spare.order(), [e.fault for e in self._spare.endpoints if e.fault]
        while left:
            asked, left = left[: max(1, WORDS - len(words))], left[max(1, WORDS - len(words)) :]
            for outcome in await asyncio.gather(*(self._read(endpoint, calls) for endpoint in asked)):
                if isinstance(outcome, str):
                    faults.append(outcome)
                else:
                    words.append(outcome)
            if (word := next((w for w in words if words.count(w) >= WORDS), None)) is not None:
                return word
        if len(words) == 1:
            return words[0]
        if words:
            raise ChainUnavailable(f"{len(words)} endpoints contradict each other")
        raise ChainUnavailable(f"no endpoint answered: {'; '.join(faults) or 'none is known yet'}")

    async def _read(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[bytes | None] | str:
        """One endpoint's word, or what is wrong with it."""
        assert endpoint.known is not None  # noqa: S101 - `order` has asked
        has_multicall = endpoint.known.has_multicall
        try:
            answers = await self._spare.ask(endpoint, read_requests(calls, has_multicall), READ_SECONDS)
            return parse_reads(answers, len(calls), has_multicall)
        except (RpcFault, AnswerFault) as fault:
            log.warning("%s: a contract read for a payment failed: %s", endpoint.rpc.name, fault)
            return f"{endpoint.rpc.name}: {fault}"
