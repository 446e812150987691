"""The sender's funds in TicketBroker over web3: reads, gas estimates, transactions and their receipts.

Used by commands, never by the service. What web3 and requests raise may carry the RPC URL, so every fault is turned into
a FundingError without it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import requests
from eth_typing import BlockNumber, HexStr
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.exceptions import BlockNotFound, ContractLogicError, TransactionNotFound, Web3RPCError
from web3.types import BlockIdentifier, RPCEndpoint

from livepeer_remote_signer.adapters.chain.json_rpc import endpoint_name, parse_quantity
from livepeer_remote_signer.adapters.outbound.reasons import connection_reason
from livepeer_remote_signer.adapters.transaction_keys import Signed
from livepeer_remote_signer.core.protocol import arbitrum_one
from livepeer_remote_signer.core.protocol.eip191 import checksum_address, keccak256
from livepeer_remote_signer.core.rules.funding import SECONDS_PER_HOUR, Burn, Funds, format_gwei

GAS_MARGIN_PERCENT = 25
"""Added to the estimate: on Arbitrum the L1 part of the gas moves between estimate and inclusion."""

MAX_LOG_REQUESTS = 4096
_REDEEMED = "0x" + keccak256(b"WinningTicketRedeemed(address,address,uint256,uint256,uint256,uint256,bytes)").hex()


class FundingError(Exception):
    """The chain could not be asked, or refused; the message says which and why, without any part of an RPC URL but its host."""


class Unanswered(FundingError):
    """No answer came: it is not known what became of the request. `status` is an HTTP status, where there was one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotKnown(FundingError):
    """A transaction may have arrived, and whether it did cannot be told now."""


class Refusal(FundingError):
    """The endpoint answered with an error. `is_final`: what it says means that it did not take the request."""

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class GasTooExpensive(FundingError):
    """Gas costs more than the operator wants to pay."""

    def __init__(self, price_wei: int, most_wei: int) -> None:
        super().__init__(f"gas costs {format_gwei(price_wei)} now, --max-gas-price is {format_gwei(most_wei)}: wait, or raise it")


class Prepared(NamedTuple):
    """A transaction ready to be signed. `gas` is the estimate, `max_cost_wei` what its gas can cost at the most."""

    transaction: dict[str, Any]
    gas: int
    gas_price_wei: int
    max_cost_wei: int


class Found(NamedTuple):
    """A transaction that the endpoint knows. `block` None: it waits to be mined."""

    block: int | None
    succeeded: bool = False


_REFUSED = re.compile(
    "insufficient funds|intrinsic gas|gas limit|underpriced|fee cap|less than block base fee|invalid sender|chain id|oversized|revert",
    re.IGNORECASE,
)
"""What a node says of a transaction that it will not take. Whatever else it says, the transaction may have arrived before."""

_REFUSED_CODES = frozenset({-32600, -32601, -32602, -32700})


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
    _abi("fundDepositAndReserveFor", ["address", "uint256", "uint256"], (), "payable"),
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
    def open(
        cls,
        urls: Sequence[str],
        chain_id: int,
        controller: bytes,
        timeout_seconds: float = 15,
        session: requests.Session | None = None,
    ) -> FundingChain:
        """Tries the endpoints in order, through `session` where one is given. Raises FundingError naming what is wrong with each."""
        faults = []
        for index, url in enumerate(urls):
            name = endpoint_name(url, index)
            headers = {**HTTPProvider.get_request_headers(), "Accept-Encoding": "identity"}
            options = {"timeout": timeout_seconds, "headers": headers}
            provider = HTTPProvider(url, request_kwargs=options, session=session, exception_retry_configuration=None)
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

    def read_funds(self, sender: bytes, payer: bytes | None = None, block: int | None = None) -> Funds:
        """Everything the commands decide by; the wallet is `payer`'s, where another than the sender pays in. As of `block`, else of the
        latest. Raises FundingError."""
        address = checksum_address(sender)
        rounds = self._rounds.functions
        at: BlockIdentifier = "latest" if block is None else BlockNumber(block)
        with self._asking("the contracts"):
            deposit, withdraw_round, reserve, claimed = self._broker.functions.getSenderInfo(address).call(block_identifier=at)
            return Funds(
                wallet_wei=_whole(self._web3.eth.get_balance(Web3.to_checksum_address(checksum_address(payer or sender)), at)),
                deposit_wei=deposit,
                reserve_wei=reserve,
                claimed_wei=claimed,
                withdraw_round=withdraw_round,
                current_round=rounds.currentRound().call(block_identifier=at),
                is_round_initialized=rounds.currentRoundInitialized().call(block_identifier=at),
                round_length=rounds.roundLength().call(block_identifier=at),
                round_start_block=rounds.currentRoundStartBlock().call(block_identifier=at),
                l1_block=rounds.blockNum().call(block_identifier=at),
                unlock_period=self._broker.functions.unlockPeriod().call(block_identifier=at),
                pool_size=self._bonding.functions.getTranscoderPoolSize().call(block_identifier=at),
                paused=self._controller.functions.paused().call(block_identifier=at),
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
        """Face values. A range that the endpoint refuses is halved, down to one block; what it took once is asked for from there on."""
        topics = [_REDEEMED, "0x" + sender.rjust(32, b"\0").hex()]
        amounts: list[int] = []
        size, requests_made = last - first + 1, 0
        while first <= last:
            if requests_made + (last - first) // size >= MAX_LOG_REQUESTS:
                raise FundingError(
                    f"eth_getLogs: the endpoint takes {size} blocks at a time, more than {MAX_LOG_REQUESTS} requests are needed"
                )
            end = min(last, first + size - 1)
            query: Any = {"fromBlock": first, "toBlock": end, "address": self._broker.address, "topics": topics}
            requests_made += 1
            try:
                with self._asking("eth_getLogs"):
                    amounts += [int.from_bytes(bytes(entry["data"])[:32], "big") for entry in self._web3.eth.get_logs(query)]
            except FundingError as error:
                if size == 1 or (isinstance(error, Unanswered) and error.status in (401, 403, 429)):
                    raise
                size //= 2
            else:
                first = end + 1
        return amounts

    # --- changing ---

    def prepare_fund(
        self,
        payer: bytes,
        deposit_wei: int,
        reserve_wei: int,
        *,
        sender: bytes | None = None,
        max_gas_price_wei: int | None = None,
        nonce: int | None = None,
    ) -> Prepared:
        """Pays in for the payer itself, or for another `sender`; `nonce` None: the next one. Raises FundingError, with the contract's
        reason when it would revert, and GasTooExpensive."""
        functions = self._broker.functions
        if sender is not None and sender != payer:
            call = functions.fundDepositAndReserveFor(checksum_address(sender), deposit_wei, reserve_wei)
        elif deposit_wei and reserve_wei:
            call = functions.fundDepositAndReserve(deposit_wei, reserve_wei)
        else:
            call = functions.fundDeposit() if deposit_wei else functions.fundReserve()
        return self._prepare(payer, call, deposit_wei + reserve_wei, max_gas_price_wei, nonce)

    def prepare(self, sender: bytes, function: str, *, max_gas_price_wei: int | None = None, nonce: int | None = None) -> Prepared:
        """`unlock`, `cancelUnlock` or `withdraw`. Raises FundingError and GasTooExpensive."""
        return self._prepare(sender, self._broker.functions[function](), 0, max_gas_price_wei, nonce)

    def _prepare(self, sender: bytes, call: Any, value_wei: int, max_gas_price_wei: int | None, nonce: int | None) -> Prepared:
        address = checksum_address(sender)
        eth = self._web3.eth
        with self._asking("the gas estimate"):
            gas = _whole(call.estimate_gas({"from": address, "value": value_wei}))
        price, fees = self._fees(max_gas_price_wei)
        with self._asking("the nonce"):
            if nonce is None:
                nonce = _whole(eth.get_transaction_count(Web3.to_checksum_address(address), "pending"))
            limit = gas * (100 + GAS_MARGIN_PERCENT) // 100
            transaction = call.build_transaction(
                {"from": address, "value": value_wei, "gas": limit, "nonce": nonce, "chainId": eth.chain_id, **fees}
            )
        return Prepared(dict(transaction), gas, price, limit * fees.get("maxFeePerGas", price))

    def _fees(self, most_wei: int | None) -> tuple[int, dict[str, int]]:
        """What a unit of gas costs now, and the transaction's fee fields, which stay within `most_wei`. Where the endpoint has
        neither eth_maxPriorityFeePerGas nor eth_feeHistory, the price that it suggests. Raises FundingError, GasTooExpensive."""
        with self._asking("the gas price"):
            base_fee = self._web3.eth.get_block("latest").get("baseFeePerGas")
            base = None if base_fee is None else _whole(base_fee)
        tip = None if base is None else self._tip()
        if base is None or tip is None:
            with self._asking("eth_gasPrice"):
                price = _whole(self._web3.eth.gas_price)
            fees = {"gasPrice": price}
        else:
            price = base + tip
            fees = {"maxFeePerGas": 2 * base + tip, "maxPriorityFeePerGas": tip}
        if most_wei is not None and price > most_wei:
            raise GasTooExpensive(price, most_wei)
        return price, fees if most_wei is None else {name: min(fee, most_wei) for name, fee in fees.items()}

    def _tip(self) -> int | None:
        """The priority fee that the endpoint suggests, or what blocks of late took; None when it tells neither."""
        ask = self._web3.manager.request_blocking
        with contextlib.suppress(FundingError), self._asking("eth_maxPriorityFeePerGas"):
            return parse_quantity(ask(RPCEndpoint("eth_maxPriorityFeePerGas"), []), "the priority fee")
        with contextlib.suppress(FundingError), self._asking("eth_feeHistory"):
            history: Any = ask(RPCEndpoint("eth_feeHistory"), ["0xa", "latest", [50]])
            return max(parse_quantity(of_block[0], "the reward") for of_block in history["reward"])
        return None

    def count_nonces(self, sender: bytes) -> tuple[int, int]:
        """How many transactions of the sender are mined, and how many there are with those that wait. Raises FundingError."""
        address = Web3.to_checksum_address(checksum_address(sender))
        with self._asking("eth_getTransactionCount"):
            mined, all_ = (_whole(self._web3.eth.get_transaction_count(address, at)) for at in ("latest", "pending"))
        return mined, max(mined, all_)

    def read_head(self) -> tuple[int, str]:
        """Number and hash of the latest block. Raises FundingError."""
        with self._asking("the latest block"):
            block = self._web3.eth.get_block("latest")
            return _whole(block["number"]), "0x" + bytes(block["hash"]).hex()

    def has_block(self, number: int, block_hash: str) -> bool:
        """Whether this block is in the chain. Raises NotKnown where the endpoint has not come so far, and FundingError."""
        with self._asking(f"block {number}"):
            try:
                found = "0x" + bytes(self._web3.eth.get_block(number)["hash"]).hex()
            except BlockNotFound:
                found = ""
        if not found:
            raise NotKnown(f"the endpoint does not know block {number}, which was there before: it lags, or the chain is another")
        return found == block_hash

    def send(self, signed: Signed) -> str:
        """Whether it was taken: "" when it was, else why that is not known. Raises FundingError when it was refused for certain."""
        try:
            with self._asking("eth_sendRawTransaction"):
                self._web3.eth.send_raw_transaction(signed.raw)
        except Refusal as error:
            if error.is_final and not self._is_there(signed.hash):
                raise FundingError(f"{error} (transaction {signed.hash}): it was not taken") from None
            return str(error)
        except FundingError as error:
            return str(error)
        return ""

    def _is_there(self, transaction_hash: str) -> bool:
        """Whether it is known; yes where that cannot be told."""
        try:
            return self.find(transaction_hash) is not None
        except FundingError:
            return True

    def find(self, transaction_hash: str) -> Found | None:
        """What became of a transaction; None: the endpoint does not know it. Raises FundingError when it cannot be asked."""
        with contextlib.suppress(TransactionNotFound), self._asking("the receipt"):
            receipt = self._web3.eth.get_transaction_receipt(HexStr(transaction_hash))
            return Found(_whole(receipt["blockNumber"]), _whole(receipt["status"]) == 1)
        with contextlib.suppress(TransactionNotFound), self._asking("the transaction"):
            self._web3.eth.get_transaction(HexStr(transaction_hash))
            return Found(None)
        return None

    def wait(self, transaction_hash: str, timeout_seconds: float, progress: Callable[[float], None]) -> int:
        """The block of the receipt; tells `progress` the seconds waited. Raises FundingError when it reverted, NotKnown when the
        receipt did not come."""
        started = time.monotonic()
        while True:
            found, fault = None, ""
            try:
                found = self.find(transaction_hash)
            except FundingError as error:
                fault = f"; {error}"
            if found is not None and found.block is not None:
                if found.succeeded:
                    return found.block
                raise FundingError(f"transaction {transaction_hash} reverted in block {found.block}: nothing but gas was spent")
            waited = time.monotonic() - started
            if waited > timeout_seconds:
                state = "may have arrived and may still be mined" if found is None else "is known to the endpoint and may still be mined"
                raise NotKnown(
                    f"no receipt within {timeout_seconds:g} s{fault}; transaction {transaction_hash} {state}: look it up before "
                    "sending another"
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
        message = _rpc_message(error)
        is_final = _rpc_code(error) in _REFUSED_CODES or _REFUSED.search(message) is not None
        raise Refusal(f"{what}: the endpoint answers: {_scrub(message, secrets)}", is_final=is_final) from None
    except requests.RequestException as error:
        status = error.response.status_code if error.response is not None else None
        said = f"HTTP status {status}" if status else f"the connection failed: {connection_reason(error)}"
        raise Unanswered(f"{what}: {said}", status) from None
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


def _rpc_code(error: Web3RPCError) -> Any:
    answer: Any = error.rpc_response.get("error") if error.rpc_response else None
    return answer.get("code") if isinstance(answer, dict) else None


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
