"""A node for the funding commands that can lose its answers. It keeps a pool as real ones do: a nonce once, `latest` without and
`pending` with what waits to be mined."""

from __future__ import annotations

from typing import Any

from eth_account.typed_transactions import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from tests.fake_chain import FakeChain
from tests.rpc_node import RpcNode

ETH = 10**18


class Node:
    """A FakeChain with a pool of transactions. `on_send` decides what becomes of one and of its answer."""

    def __init__(self) -> None:
        self.chain = FakeChain(deposit=0, reserve=0)
        self.pool: dict[str, dict[str, Any]] = {}
        self.receipts: dict[str, dict[str, str]] = {}
        self.nonce = 0
        self.sent: list[str] = []
        self.is_mining = True
        self.takes = True
        self.hides_pool = False
        self.refusal: str | None = None
        self.status = 200
        self.cuts_answer = False
        self.rpc: RpcNode | None = None

    async def answer(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        (request,) = requests
        assert self.rpc is not None
        is_send = request["method"] == "eth_sendRawTransaction"
        self.rpc.status = self.status if is_send else 200
        self.rpc.cuts_answer = self.cuts_answer and is_send
        own = getattr(self, "_" + request["method"], None)
        if own is None:
            return await self.chain.answer(requests)
        try:
            return [{"jsonrpc": "2.0", "id": request["id"], "result": own(*request["params"])}]
        except ValueError as error:
            return [{"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32000, "message": str(error)}}]

    def mine(self) -> None:
        """Mines what fits."""
        for name, transaction in sorted(self.pool.items(), key=lambda item: item[1]["nonce"]):
            if transaction["nonce"] == self.nonce:
                self.nonce += 1
                self.chain.deposit += transaction["value"]
                self.receipts[name] = {"status": "0x1", "blockNumber": hex(self.chain.number)}
        self.pool = {name: t for name, t in self.pool.items() if t["nonce"] >= self.nonce}

    def _eth_sendRawTransaction(self, raw: str) -> str:
        name = "0x" + keccak(HexBytes(raw)).hex()
        self.sent.append(name)
        transaction = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        if self.takes and transaction["nonce"] >= self.nonce:
            self.pool[name] = transaction
        if self.is_mining:
            self.mine()
        if self.refusal is not None:
            raise ValueError(self.refusal)
        return name

    def _eth_getTransactionCount(self, _: str, block: str) -> str:
        waiting = 0 if self.hides_pool or block != "pending" else len(self.pool)
        return hex(self.nonce + waiting)

    def _eth_getTransactionReceipt(self, name: str) -> dict[str, str] | None:
        return self.receipts.get(name)

    def _eth_getTransactionByHash(self, name: str) -> dict[str, str] | None:
        return {"hash": name} if (name in self.pool and not self.hides_pool) or name in self.receipts else None

    def _eth_getBalance(self, *_: str) -> str:
        return hex(100 * ETH)

    def _eth_estimateGas(self, *_: Any) -> str:
        return "0x5208"

    def _eth_maxPriorityFeePerGas(self) -> str:
        return "0x1"

    def _eth_getBlockByNumber(self, *_: Any) -> dict[str, str]:
        number = self.chain.number
        block_hash = "0x" + keccak(number.to_bytes(32, "big")).hex()
        return {"number": hex(number), "timestamp": hex(self.chain.timestamp), "baseFeePerGas": "0x3", "hash": block_hash}
