"""Stands between the signer and anvil: makes answers look like Arbitrum's, counts them, and fails as it is told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from tests.rpc_node import RpcNode, answer_of

L2_AHEAD = 400_000_000
"""Arbitrum's own block numbers are far above L1's: taken for one, every ticket would look expired."""


class Arbitrum:
    """Answers as an Arbitrum node: `number` counts L2 blocks, `l1BlockNumber` is anvil's number plus `l1_ahead`."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url
        self.l1_ahead = 0
        self.has_l1_block = True

    async def answer(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What anvil says, with the header made Arbitrum's."""
        answers: list[dict[str, Any]] = (await self._client.post(self._url, json=requests)).json()
        if any(r["method"] == "eth_getBlockByNumber" for r in requests):
            header = answer_of(requests, answers, "eth_getBlockByNumber")["result"]
            number = int(header["number"], 16)
            header["number"] = hex(number + L2_AHEAD)
            if self.has_l1_block:
                header["l1BlockNumber"] = hex(number + self.l1_ahead)
        return answers


@contextlib.asynccontextmanager
async def arbitrum_node(url: str, *, path: str = "/") -> AsyncIterator[tuple[RpcNode, Arbitrum]]:
    """A proxy in front of anvil at `url`, and the faults of its content."""
    async with httpx.AsyncClient(timeout=600) as client:
        arbitrum = Arbitrum(client, url)
        async with RpcNode(arbitrum.answer, path=path) as node:
            yield node, arbitrum
