"""The sender's funds in TicketBroker over web3: reads, gas estimates, transactions and their receipts.

Used by commands, never by the service. What web3 and requests raise may carry the RPC URL, so every fault is turned into
a FundingError without it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import requests
from eth_account import Account
from eth_typing import HexStr
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

from livepeer_remote_signer.adapters.chain.json_rpc import endpoint_name
from livepeer_remote_signer.core.protocol import arbitrum_one
from livepeer_remote_signer.core.protocol.eip191 import checksum_address, keccak256
from livepeer_remote_signer.core.rules.funding import SECONDS_PER_HOUR, Burn, Funds

GAS_MARGIN_PERCENT = 25
"""Added to the estimate: on Arbitrum the L1 part of the gas moves between estimate and inclusion."""

MIN_LOG_BLOCKS = 64
_REDEEMED = "0x" + keccak256(b"WinningTicketRedeemed(address,address,uint256,uint256,uint256,uint256,bytes)").hex()


class FundingError(Exception):
    """The chain could not be asked, or refused; the message says which and why, without any part of an RPC URL but its host."""


class Unanswered(FundingError):
    """No answer came: it is not known what became of the request."""


class Prepared(NamedTuple):
    """A transaction ready to be signed. `gas` is the estimate, `max_cost_wei` what its gas can cost at the most."""

    transaction: dict[str, Any]
    gas: int
    gas_price_wei: int
    max_cost_wei: int


class Signed(NamedTuple):
    """A signed transaction and its hash, by which it can be looked up whatever became of it."""

    hash: str
    raw: bytes


def _abi(name: str, inputs: Sequence[str] = (), outputs: Sequence[str] = (), mutability: str = "view") -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "stateMutability": mutability,
        "inputs": [{"name": f"a{i}", "type": t} for i, t in enumerate(inputs)],
        "outputs": [{"name": "", "type": t} for t in outputs],
    }


_CONTROLLER = [_abi("getContract", ["bytes32"], ["address"]), _abi("paused", (), ["bool"])]
_ROUNDS = [
    *(_abi(name, (), ["uint256"]) for name in ("currentRound", "currentRoundStartBlock", "roundLength", "blockNum")),
    _abi("currentRoundInitialized", (), ["bool"]),
]
_BONDING = [_abi("getTranscoderPoolSize", (), ["uint256"])]
_BROKER = [
    _abi("getSenderInfo", ["address"], ["uint256"] * 4),
    _abi("unlockPeriod", (), ["uint256"]),
    _abi("fundDeposit", (), (), "payable"),
    _abi("fundReserve", (), (), "payable"),
    _abi("fundDepositAndReserve", ["uint256", "uint256"], (), "payable"),
    *(_abi(name, (), (), "nonpayable") for name in ("unlock", "cancelUnlock", "withdraw")),
]


class FundingChain:
    """TicketBroker as the first endpoint that serves the right chain shows it."""

    def __init__(self, web3: Web3, name: str, url: str, controller: bytes) -> None:
        self._web3 = web3
        self.endpoint = name
        self._secrets = secret_parts(url)
        self._controller = self._contract(checksum_address(controller), _CONTROLLER)
        with self._asking("the Controller"):
            places = {n: self._controller.functions.getContract(keccak256(n.encode())).call() for n in arbitrum_one.CONTRACTS}
        for contract, place in places.items():
            self._check_place(contract, place, controller)
        self.ticket_broker: str = places["TicketBroker"]
        self._broker = self._contract(self.ticket_broker, _BROKER)
        self._rounds = self._contract(places["RoundsManager"], _ROUNDS)
        self._bonding = self._contract(places["BondingManager"], _BONDING)

    @classmethod
    def open(cls, urls: Sequence[str], chain_id: int, controller: bytes, timeout_seconds: float = 15) -> FundingChain:
        """Tries the endpoints in order. Raises FundingError naming what is wrong with each."""
        faults = []
        for index, url in enumerate(urls):
            name = endpoint_name(url, index)
            provider = HTTPProvider(url, request_kwargs={"timeout": timeout_seconds}, exception_retry_configuration=None)
            web3 = Web3(provider)
            web3.middleware_onion.remove("validation")  # it asks for the chain id twice more with every read
            try:
                with _asking("eth_chainId", secret_parts(url)):
                    found = _whole(web3.eth.chain_id)
                if found != chain_id:
                    raise FundingError(f"it serves chain {found}, not {chain_id} (chain.rpc.chain_id)")
                return cls(web3, name, url, controller)
            except FundingError as error:
                faults.append(f"{name}: {error}")
        raise FundingError(f"no RPC endpoint can be used: {'; '.join(faults)}")

    def _contract(self, address: str, abi: list[dict[str, Any]]) -> Contract:
        return self._web3.eth.contract(address=Web3.to_checksum_address(address), abi=abi)

    @staticmethod
    def _check_place(contract: str, place: str, controller: bytes) -> None:
        address = bytes.fromhex(place[2:])
        if not any(address):
            raise FundingError(f"the Controller names no {contract}: is chain.rpc.controller right?")
        if controller == arbitrum_one.CONTROLLER and address != arbitrum_one.CONTRACTS[contract]:
            known = checksum_address(arbitrum_one.CONTRACTS[contract])
            raise FundingError(f"the Controller names {contract} at {place}, Livepeer's is {known}")

    # --- reading ---

    def read_funds(self, sender: bytes) -> Funds:
        """Everything the commands decide by. Raises FundingError."""
        address = checksum_address(sender)
        rounds = self._rounds.functions
        with self._asking("the contracts"):
            deposit, withdraw_round, reserve, claimed = self._broker.functions.getSenderInfo(address).call()
            return Funds(
                wallet_wei=_whole(self._web3.eth.get_balance(Web3.to_checksum_address(address))),
                deposit_wei=deposit,
                reserve_wei=reserve,
                claimed_wei=claimed,
                withdraw_round=withdraw_round,
                current_round=rounds.currentRound().call(),
                is_round_initialized=rounds.currentRoundInitialized().call(),
                round_length=rounds.roundLength().call(),
                round_start_block=rounds.currentRoundStartBlock().call(),
                l1_block=rounds.blockNum().call(),
                unlock_period=self._broker.functions.unlockPeriod().call(),
                pool_size=self._bonding.functions.getTranscoderPoolSize().call(),
                paused=self._controller.functions.paused().call(),
            )

    def read_burn(self, sender: bytes, seconds: int = SECONDS_PER_HOUR) -> Burn:
        """What winning tickets took in the last `seconds`, from the chain's events. Raises FundingError."""
        with self._asking("the last hour's blocks"):
            block = self._web3.eth.get_block("latest")
            head, now = _whole(block["number"]), _whole(block["timestamp"])
            first = self._first_block_since(head, now - seconds)
        amounts = self._redeemed(sender, first, head)
        return Burn(sum(amounts), len(amounts), seconds)

    def _first_block_since(self, head: int, timestamp: int) -> int:
        """The first block not before `timestamp`: strides back that grow, then halving."""
        low, high, stride = head, head, 256
        while low > 0 and self._time_of(low) >= timestamp:
            high, low, stride = low, max(0, low - stride), stride * 4
        if self._time_of(low) >= timestamp:
            return low
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._time_of(middle) >= timestamp else (middle, high)
        return high

    def _time_of(self, block: int) -> int:
        return _whole(self._web3.eth.get_block(block)["timestamp"])

    def _redeemed(self, sender: bytes, first: int, last: int) -> list[int]:
        """Face values; a range that the endpoint refuses is halved."""
        topics = [_REDEEMED, "0x" + sender.rjust(32, b"\0").hex()]
        query: Any = {"fromBlock": first, "toBlock": last, "address": self._broker.address, "topics": topics}
        try:
            with self._asking("eth_getLogs"):
                return [int.from_bytes(bytes(entry["data"])[:32], "big") for entry in self._web3.eth.get_logs(query)]
        except FundingError:
            if last - first < MIN_LOG_BLOCKS:
                raise
        middle = (first + last) // 2
        return self._redeemed(sender, first, middle) + self._redeemed(sender, middle + 1, last)

    # --- changing ---

    def prepare_fund(self, sender: bytes, deposit_wei: int, reserve_wei: int) -> Prepared:
        """Pays in for the sender itself. Raises FundingError, with the contract's reason when it would revert."""
        functions = self._broker.functions
        if deposit_wei and reserve_wei:
            call = functions.fundDepositAndReserve(deposit_wei, reserve_wei)
        else:
            call = functions.fundDeposit() if deposit_wei else functions.fundReserve()
        return self._prepare(sender, call, deposit_wei + reserve_wei)

    def prepare(self, sender: bytes, function: str) -> Prepared:
        """`unlock`, `cancelUnlock` or `withdraw`. Raises FundingError."""
        return self._prepare(sender, self._broker.functions[function](), 0)

    def _prepare(self, sender: bytes, call: Any, value_wei: int) -> Prepared:
        address = checksum_address(sender)
        eth = self._web3.eth
        with self._asking("the gas estimate"):
            gas = _whole(call.estimate_gas({"from": address, "value": value_wei}))
            base_fee = eth.get_block("latest").get("baseFeePerGas")
            price: int
            fees: dict[str, int]
            if base_fee is None:
                price = _whole(eth.gas_price)
                fees = {"gasPrice": price}
            else:
                base, tip = _whole(base_fee), _whole(eth.max_priority_fee)
                price = base + tip
                fees = {"maxFeePerGas": 2 * base + tip, "maxPriorityFeePerGas": tip}
            limit = gas * (100 + GAS_MARGIN_PERCENT) // 100
            nonce = _whole(eth.get_transaction_count(Web3.to_checksum_address(address), "pending"))
            transaction = call.build_transaction(
                {"from": address, "value": value_wei, "gas": limit, "nonce": nonce, "chainId": eth.chain_id, **fees}
            )
        return Prepared(dict(transaction), gas, price, limit * fees.get("maxFeePerGas", price))

    @staticmethod
    def sign(prepared: Prepared, secret: bytes) -> Signed:
        """Nothing is sent yet: the hash can be told before anything may go wrong."""
        signed = Account.sign_transaction(prepared.transaction, secret)
        return Signed("0x" + bytes(signed.hash).hex(), bytes(signed.raw_transaction))

    def send(self, signed: Signed) -> None:
        """Raises FundingError, which names the transaction and says when it may have arrived all the same."""
        try:
            with self._asking("eth_sendRawTransaction"):
                self._web3.eth.send_raw_transaction(signed.raw)
        except Unanswered as error:
            raise FundingError(
                f"{error}; transaction {signed.hash} may have arrived all the same: look it up before sending another"
            ) from None
        except FundingError as error:
            raise FundingError(f"{error} (transaction {signed.hash})") from None

    def wait(self, transaction_hash: str, timeout_seconds: float, progress: Callable[[float], None]) -> int:
        """The block of the receipt; tells `progress` the seconds waited. Raises FundingError when it reverted or did not come."""
        started = time.monotonic()
        fault = ""
        while True:
            try:
                with self._asking("the receipt"):
                    receipt = self._web3.eth.get_transaction_receipt(HexStr(transaction_hash))
                    status, block = _whole(receipt["status"]), _whole(receipt["blockNumber"])
            except TransactionNotFound:
                fault = ""
            except FundingError as error:
                fault = f"; {error}"
            else:
                if status == 1:
                    return block
                raise FundingError(f"transaction {transaction_hash} reverted in block {block}: nothing but gas was spent")
            waited = time.monotonic() - started
            if waited > timeout_seconds:
                raise FundingError(
                    f"no receipt within {timeout_seconds:g} s{fault}; transaction {transaction_hash} may still be mined: look it up "
                    "before sending another"
                )
            progress(waited)
            time.sleep(min(1.0, timeout_seconds / 10))

    def _asking(self, what: str) -> contextlib.AbstractContextManager[None]:
        return _asking(what, self._secrets)


@contextlib.contextmanager
def _asking(what: str, secrets: Sequence[str]) -> Iterator[None]:
    """Turns what web3 raises into a FundingError that says `what` was asked."""
    try:
        yield
    except (TransactionNotFound, FundingError):
        raise
    except ContractLogicError as error:
        raise FundingError(f"{what}: the contract refuses: {_scrub(error.message or 'it gives no reason', secrets)}") from None
    except Web3RPCError as error:
        raise FundingError(f"{what}: the endpoint answers: {_scrub(_rpc_message(error), secrets)}") from None
    except requests.RequestException as error:
        status = error.response.status_code if error.response is not None else None
        raise Unanswered(f"{what}: " + (f"HTTP status {status}" if status else f"the connection failed ({type(error).__name__})")) from None
    except Exception as error:  # noqa: BLE001 - web3 lets garbage through to wherever it breaks: AttributeError, IndexError and others
        raise Unanswered(f"{what}: an answer that is not the contract's ({type(error).__name__})") from None


def _whole(value: Any) -> int:
    """A number as a chain can mean it. web3 hands on null and text as they came. Raises TypeError."""
    if type(value) is not int or not 0 <= value < 1 << 256:
        raise TypeError("not a number")
    return value


def _rpc_message(error: Web3RPCError) -> str:
    answer: Any = error.rpc_response.get("error") if error.rpc_response else None
    return str(answer.get("message") or "an error") if isinstance(answer, dict) else "an error"


def secret_parts(url: str) -> tuple[str, ...]:
    """The pieces of an RPC URL that may be a key: everything but scheme, host and port."""
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    values = [pair.partition("=")[2] or pair for pair in parts.query.split("&")]
    pieces = {url, user, password, *parts.path.split("/"), *values, parts.fragment}
    return tuple(sorted((piece for p in pieces for piece in {p, unquote(p)} if len(piece) > 3), key=len, reverse=True))


def _scrub(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text[:300]
