"""Reads that callers cause: apart from the poll, and by the word of two endpoints where there are two.

One endpoint's word must not make a stranger a transcoder, and what callers cause must not use up the quota that the poll
lives on: endpoints that are not in use are asked first, and one that says "too many" is left alone for a while by these
reads only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from livepeer_remote_signer.adapters.chain.abi import AnswerFault, Call
from livepeer_remote_signer.adapters.chain.endpoints import Endpoint
from livepeer_remote_signer.adapters.chain.json_rpc import MAX_RETRY_AFTER_SECONDS, RpcFault, TooManyRequests
from livepeer_remote_signer.adapters.chain.reading import ChainUnavailable, Contracts, parse_reads, read_requests

WORDS = 2
READ_SECONDS = 0.8
"""For one endpoint: within the second that a payment waits for its recipient."""

PAUSE_SECONDS = 10.0
"""After "too many requests", where the endpoint does not say how long."""

log = logging.getLogger(__name__)


class ConfirmedReads:
    """A ContractReader over the endpoints of a live chain."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        in_use: Callable[[], Endpoint | None],
        contracts: Callable[[], Contracts | None],
        clock: Callable[[], float],
    ) -> None:
        self._endpoints = endpoints
        self._in_use = in_use
        self._contracts = contracts
        self._clock = clock
        self._paused_until: dict[int, float] = {}

    @property
    def contracts(self) -> Contracts | None:
        """Where the contracts stand, once the Controller has said so."""
        return self._contracts()

    async def read_contracts(self, calls: Sequence[Call]) -> list[bytes | None]:
        """What two endpoints agree that each call returned, None where it reverted; one endpoint's word where no other is
        believed and answers. Raises ChainUnavailable when none answers, or when they contradict each other."""
        words: list[list[bytes | None]] = []
        left, faults = self._order(), [e.fault for e in self._endpoints if e.fault]
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

    def _order(self) -> list[Endpoint]:
        """Who may be asked: believed, known and not paused; the one that the poll uses comes last."""
        now, in_use = self._clock(), self._in_use()
        believed = (e for e in self._endpoints if e.is_healthy and e.known is not None and now >= self._paused_until.get(e.place, now))
        return sorted(believed, key=lambda endpoint: endpoint is in_use)

    async def _read(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[bytes | None] | str:
        """One endpoint's word, or what is wrong with it."""
        assert endpoint.known is not None  # noqa: S101 - `_order` has asked
        has_multicall = endpoint.known.has_multicall
        try:
            answers = await endpoint.rpc.batch(read_requests(calls, has_multicall), READ_SECONDS)
            return parse_reads(answers, len(calls), has_multicall)
        except (RpcFault, AnswerFault) as fault:
            if isinstance(fault, TooManyRequests):
                self._paused_until[endpoint.place] = self._clock() + min(
                    fault.retry_after_seconds or PAUSE_SECONDS, MAX_RETRY_AFTER_SECONDS
                )
            log.warning("%s: a contract read for a payment failed: %s", endpoint.rpc.name, fault)
            return f"{endpoint.rpc.name}: {fault}"
