"""Livepeer's own contracts, as their npm package has them built, deployed on an anvil chain as they are on Arbitrum One.

Each stands behind its proxy and finds the others through the Controller. What is left out: the token's bridge
and governance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak
from web3.contract import Contract

from livepeer_remote_signer.adapters.chain.reading import MULTICALL3
from tests.chain.evm import CACHE, ETH, ROUND_LENGTH, Anvil, Evm, Tools, connect

BUILT = CACHE / "node_modules" / "@livepeer" / "sdk" / "abis" / "contracts"
UNBONDING_ROUNDS = 7
MAX_TRANSCODERS = 100
STAKE = 1000 * ETH
SUPPLY_ON_L1 = "0x" + "51" * 20
"""Stands for the cache of the token's supply on Ethereum, which the bridge fills: it answers everything with STAKE."""

PERCENT = 10_000
"""Livepeer counts shares in millionths."""


class LivepeerEvm(Evm):
    """The real Controller, TicketBroker, RoundsManager and BondingManager; the price feed is ours."""

    def __init__(self, anvil: Anvil, tools: Tools) -> None:
        self.url = anvil.url
        self.web3 = connect(anvil.url)
        self.owner = self.web3.eth.accounts[0]
        self._artifacts = tools.artifacts
        self.controller = self._deploy_built("Controller.sol/Controller")
        self._token = self._deploy_built("token/LivepeerToken.sol/LivepeerToken")
        controller = self.controller.address
        minter = self._deploy_built("token/Minter.sol/Minter", controller, 137, 3, 50 * PERCENT)
        self._name("LivepeerToken", self._token.address)
        self._name("Minter", minter.address)
        sorted_list = self._deploy_built("libraries/SortedDoublyLL.sol/SortedDoublyLL")
        self.bonding = self._behind_proxy("BondingManager", "bonding", {"SortedDoublyLL": sorted_list.address})
        self.rounds = self._behind_proxy("RoundsManager", "rounds")
        self.broker = self._behind_proxy("TicketBroker", "pm")
        self._name("JobsManager", self.broker.address)  # the minter holds the senders' ETH and knows the broker by this name
        self.registry = self._behind_proxy("ServiceRegistry", ".")
        for role in ("MINTER_ROLE", "BURNER_ROLE"):
            for holder in (minter.address, self.owner):
                self.send(self._token.functions.grantRole(keccak(text=role), holder))
        self.send(self.bonding.functions.setUnbondingPeriod(UNBONDING_ROUNDS))
        self.send(self.bonding.functions.setNumActiveTranscoders(MAX_TRANSCODERS))
        self.send(self.rounds.functions.setRoundLength(ROUND_LENGTH))
        self.send(self.rounds.functions.setRoundLockAmount(10 * PERCENT))
        self.send(self.broker.functions.setUnlockPeriod(2))
        self.send(self.broker.functions.setTicketValidityPeriod(2))
        self.rpc("anvil_setCode", SUPPLY_ON_L1, f"0x7f{STAKE:064x}5f5260205ff3")
        self._name("L2LPTDataCache", SUPPLY_ON_L1)
        self.send(self.controller.functions.unpause())
        self.feed = self._deploy("PriceFeed", 8, "ETH / USD")
        self.rpc("anvil_setCode", "0x" + MULTICALL3.hex(), tools.artifacts["Multicall3"]["deployed"])
        self.next_round()

    def join(self, account: str) -> None:
        """Bonds an account to itself, which makes it a transcoder from the next round on, and goes on to that."""
        self.send(self._token.functions.mint(account, STAKE))
        self.send(self._token.functions.approve(self.bonding.address, STAKE), sender=account)
        self.send(self.bonding.functions.bond(STAKE, account), sender=account)
        self.send(self.bonding.functions.transcoder(10 * PERCENT, 50 * PERCENT), sender=account)
        self.next_round()

    def _behind_proxy(self, name: str, folder: str, libraries: dict[str, str] | None = None) -> Contract:
        target = self._deploy_built(f"{folder}/{name}.sol/{name}", self.controller.address, libraries=libraries)
        self._name(f"{name}Target", target.address)
        proxy = self._deploy_built("ManagerProxy.sol/ManagerProxy", self.controller.address, keccak(text=f"{name}Target"))
        self._name(name, proxy.address)
        return self.web3.eth.contract(address=proxy.address, abi=target.abi)

    def _name(self, name: str, address: str) -> None:
        self.send(self.controller.functions.setContractInfo(keccak(text=name), address, bytes(20)))

    def _deploy_built(self, path: str, *arguments: Any, libraries: dict[str, str] | None = None) -> Contract:
        built = json.loads(Path(BUILT / f"{path}.json").read_text())
        code = built["bytecode"].removeprefix("0x")
        for links in built["linkReferences"].values():
            for library, places in links.items():
                address = (libraries or {})[library].removeprefix("0x").lower()
                for place in places:
                    at = 2 * place["start"]
                    code = code[:at] + address + code[at + 2 * place["length"] :]
        return self._deploy_code(built["abi"], "0x" + code, *arguments)
