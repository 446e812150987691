"""One transaction of a command: what was left open is looked up first, what is sent is remembered before, and its end is waited for."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.funding import FundingRefused, Funds, format_eth, format_gwei

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.funding import FundingChain, Prepared
    from livepeer_remote_signer.adapters.sent_transactions import SentTransaction, SentTransactions
    from livepeer_remote_signer.adapters.transaction_keys import Signed

LAG_SECONDS = 15.0
"""So long an endpoint may count a nonce whose transaction it does not find."""


class Asked(NamedTuple):
    """A command as it is remembered: `amounts` tell one call of it from another. `timeout`: seconds to wait for a receipt."""

    command: str
    amounts: Mapping[str, str]
    timeout: float


def open_record(config: Path, chain_id: int, sender: bytes) -> SentTransactions | None:
    """Where it is kept what was sent and is not known to be done; None where there is no such place."""
    from livepeer_remote_signer.adapters.sent_transactions import RecordUnavailable, SentTransactions, default_folder

    folder = default_folder(os.environ)
    if folder is None:
        return None
    record = SentTransactions(folder, config, chain_id, sender)
    try:
        record.load()
    except RecordUnavailable:
        return None
    return record


def settle_earlier(chain: FundingChain, sender: bytes, record: SentTransactions | None, asked: Asked) -> tuple[int | None, bool]:
    """Looks up what an earlier command left open. The nonce to send with, None for the next one; and whether what is asked for now
    has just turned out to be done. Raises NotKnown while a transaction of this sender waits to be mined."""
    from livepeer_remote_signer.adapters.funding import NotKnown

    open_ = [] if record is None else record.load()
    mined, all_ = chain.count_nonces(sender)
    if record is None or not open_ or not chain.has_block(open_[0].head, open_[0].head_hash):
        if all_ > mined:
            raise NotKnown(
                f"{all_ - mined} transactions of {checksum_address(sender)} wait to be mined, from nonce {mined} on; what they change is "
                "not known yet: wait for them"
            )
        return None, False
    nonce = open_[0].nonce
    for earlier in open_:
        print(f"at {earlier.sent_at} `{describe(earlier)}` was sent as {earlier.hash}, and its end was not known", flush=True)
    known = _find_any(chain, open_, min(asked.timeout, LAG_SECONDS) if mined > nonce else 0.0)
    if known is None and mined > nonce:
        print(f"another transaction took nonce {nonce}: it cannot be mined any more")
        record.forget()
        return None, False
    if known is None:
        print(f"the endpoint does not know it; nonce {nonce} is taken again, so that one of them at the most can be mined")
        return nonce, False
    block = _wait_for_earlier(chain, known, record, asked)
    if block is None:
        return None, False
    print(f"{known.hash} was mined in block {block}")
    if (known.command, dict(known.arguments)) != (asked.command, dict(asked.amounts)):
        return None, False
    print("this is what is asked for now: nothing more is sent. To do it once more, run the command again")
    return None, True


def _find_any(chain: FundingChain, open_: Sequence[SentTransaction], seconds: float) -> SentTransaction | None:
    """The first that the endpoint knows, within so many seconds: it may count a nonce before it finds the transaction."""
    end = time.monotonic() + seconds
    while True:
        for earlier in open_:
            if chain.find(earlier.hash) is not None:
                return earlier
        if time.monotonic() >= end:
            return None
        time.sleep(min(1.0, seconds / 10))


def _wait_for_earlier(chain: FundingChain, earlier: SentTransaction, record: SentTransactions, asked: Asked) -> int | None:
    """The block of an earlier transaction that waits; None when it reverted. Raises NotKnown."""
    from livepeer_remote_signer.adapters.funding import FundingError, NotKnown

    block = None
    try:
        block = chain.wait(earlier.hash, asked.timeout, _print_progress())
    except NotKnown:
        raise
    except FundingError as error:
        print(error)
    record.forget()
    return block


def describe(earlier: SentTransaction) -> str:
    """The command as a person typed it, nearly."""
    return " ".join((earlier.command, *(f"--{name} {amount}" for name, amount in earlier.arguments.items() if amount != "0")))


def send(chain: FundingChain, prepared: Prepared, signed: Signed, record: SentTransactions | None, asked: Asked) -> int:
    """Sends and waits; the block that it was mined in. What is not known to be done is left in the record. Raises FundingError, or
    NotKnown."""
    from livepeer_remote_signer.adapters.funding import NotKnown

    print(f"sending transaction {signed.hash}", flush=True)
    record = _remember(chain, prepared, signed, record, asked)
    try:
        return _send_remembered(chain, signed, record, asked)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        if isinstance(error, BrokenPipeError):  # else what is left to be printed would fail once more, and its status be the exit status
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise NotKnown(
            f"it was interrupted; transaction {signed.hash} may have arrived and may still be mined: look it up before sending another"
        ) from None


def _send_remembered(chain: FundingChain, signed: Signed, record: SentTransactions | None, asked: Asked) -> int:
    from livepeer_remote_signer.adapters.funding import FundingError, NotKnown

    try:
        doubt = chain.send(signed)
    except FundingError:
        if record is not None:
            record.drop(signed.hash)
        raise
    said = f"sent {signed.hash}" if not doubt else f"{signed.hash} may have arrived, although {doubt}; looking for it"
    print(said, flush=True)
    try:
        block = chain.wait(signed.hash, asked.timeout, _print_progress())
    except NotKnown:
        raise
    except FundingError:
        _forget(record)
        raise
    print(f"done in block {block}", flush=True)
    _forget(record)  # who was not told that it is done must find it when he repeats it
    return block


def _remember(
    chain: FundingChain, prepared: Prepared, signed: Signed, record: SentTransactions | None, asked: Asked
) -> SentTransactions | None:
    """Notes what is about to be sent. Where that cannot be kept the operator is told: then it is he who must remember."""
    from livepeer_remote_signer.adapters.sent_transactions import RecordFault

    fault = "what is sent cannot be kept here"
    if record is not None:
        head, head_hash = chain.read_head()
        try:
            record.remember(signed.hash, prepared.transaction["nonce"], asked.command, dict(asked.amounts), head, head_hash)
        except RecordFault as error:
            fault = str(error)
        else:
            return record
    print(f"note: {fault}: should this end without a receipt, look {signed.hash} up before you repeat it", file=sys.stderr)
    return None


def _forget(record: SentTransactions | None) -> None:
    if record is not None:
        record.forget()


def print_cost(prepared: Prepared) -> None:
    """What its gas costs."""
    price = format_gwei(prepared.gas_price_wei)
    print(f"  gas: about {prepared.gas:,} at {price} = {format_eth(prepared.gas * prepared.gas_price_wei)}", end="")
    print(f", at most {format_eth(prepared.max_cost_wei)}")


def check_affordable(funds: Funds, prepared: Prepared) -> None:
    """Raises FundingRefused where the wallet does not hold value and gas."""
    needed = prepared.transaction["value"] + prepared.max_cost_wei
    if funds.wallet_wei < needed:
        raise FundingRefused(
            f"the wallet holds {format_eth(funds.wallet_wei)}, value and gas can need {format_eth(needed)}: "
            f"{format_eth(needed - funds.wallet_wei)} are missing"
        )


def _print_progress() -> Callable[[float], None]:
    """Says every few seconds that it still waits."""
    next_at = 0.0

    def progress(waited: float) -> None:
        nonlocal next_at
        if waited >= next_at:
            print(f"waiting for the receipt: {waited:.0f} s", flush=True)
            next_at = waited + 5

    return progress
