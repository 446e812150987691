"""`top-up`: keeps a deposit filled, for a timer. Pays in when it is below a mark, and never more within a day than it may.

A small hot key, a cold treasury: the configuration's key pays, `--for` names the sender whose tickets the deposit backs. Run twice at
once the second run ends; what an earlier run left open is looked up first, and its amount counts until it is known that it was not paid.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, TypeAlias

from livepeer_remote_signer.commands.transactions import Asked, check_affordable, print_cost, send, settle_earlier
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.funding import FundingRefused, check_fund, format_eth, top_up_amount

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.funding import FundingChain
    from livepeer_remote_signer.adapters.sent_transactions import SentTransactions
    from livepeer_remote_signer.adapters.topped_up import ToppedUp
    from livepeer_remote_signer.adapters.transaction_keys import LocalTransactionKey, OutsideTransactionKey

    TransactionKey: TypeAlias = LocalTransactionKey | OutsideTransactionKey


def find_mark_fault(below_wei: int, to_wei: int, most_wei: int) -> str:
    """Why these marks cannot be meant; "" when they can."""
    if not 0 < below_wei <= to_wei:
        return f"--below {format_eth(below_wei)} must be above 0, and --to {format_eth(to_wei)} not under it"
    return "" if most_wei else "--max-per-day must be above 0"


def top_up(chain: FundingChain, config: Config, arguments: argparse.Namespace) -> int:
    """One run. 0: paid in, or nothing was to do. Raises FundingError, FundingRefused, RecordFault or SigningKeyError."""
    from livepeer_remote_signer.adapters.sent_transactions import RecordFault, SentTransactions, default_folder
    from livepeer_remote_signer.adapters.topped_up import ToppedUp
    from livepeer_remote_signer.wiring.keys import open_transaction_key
    from livepeer_remote_signer.wiring.outbound import open_outbound

    key = open_transaction_key(config.key, open_outbound(config.outbound))
    payer = key.address
    sender: bytes = arguments.sender or payer
    folder = default_folder(os.environ)
    if folder is None:
        raise RecordFault("there is no place for what was sent: set STATE_DIRECTORY, or HOME; without it no day's limit could be kept")
    record = SentTransactions(folder, arguments.config, config.chain.rpc.chain_id, payer)
    with record.alone():
        return _run(chain, arguments, key, sender, record, ToppedUp(folder, config.chain.rpc.chain_id, payer, sender))


def _run(
    chain: FundingChain,
    arguments: argparse.Namespace,
    key: TransactionKey,
    sender: bytes,
    record: SentTransactions,
    topped_up: ToppedUp,
) -> int:
    from livepeer_remote_signer.adapters.funding import FundingError, NotKnown

    payer = key.address
    asked = Asked("top-up", {"for": checksum_address(sender)}, arguments.timeout)
    nonce, _ = settle_earlier(chain, payer, record, asked)
    if nonce is None:
        nonce = chain.count_nonces(payer)[1]
    _learn_ends(chain, topped_up)
    head, last = chain.read_head()[0], topped_up.last_block()
    if head < last:
        raise NotKnown(f"the endpoint is at block {head}, and the last top-up was mined in block {last}: it lags")
    funds = chain.read_funds(sender, payer, head)
    paid = topped_up.paid_wei(apart_from=nonce)
    amount = top_up_amount(funds, arguments.below, arguments.to, paid, arguments.max_per_day)
    had = f"the deposit of {checksum_address(sender)} is {format_eth(funds.deposit_wei)}"
    if amount == 0:
        print(f"{had}, not below {format_eth(arguments.below)}: nothing to do")
        return 0
    check_fund(funds, amount, 0)
    prepared = chain.prepare_fund(payer, amount, 0, sender=sender, max_gas_price_wei=arguments.max_gas_price, nonce=nonce)
    print(f"{had}, below {format_eth(arguments.below)}; {format_eth(paid)} were paid in within the last day")
    print(f"{checksum_address(payer)} pays {format_eth(amount)} in, of {format_eth(arguments.to - funds.deposit_wei)} that are missing")
    print_cost(prepared)
    if amount <= prepared.max_cost_wei:
        raise FundingRefused(f"{format_eth(amount)} are all that --max-per-day leaves now, and gas may cost as much: nothing was sent")
    check_affordable(funds, prepared)
    signed = key.sign_transaction(prepared.transaction)
    topped_up.note(signed.hash, prepared.transaction["nonce"], amount)
    try:
        block = send(chain, prepared, signed, record, asked)
    except NotKnown:
        raise
    except FundingError:
        topped_up.drop(signed.hash)
        raise
    topped_up.mined(signed.hash, block)
    print(f"the deposit is {format_eth(funds.deposit_wei + amount)} now, but for what tickets took meanwhile")
    return 0


def _learn_ends(chain: FundingChain, topped_up: ToppedUp) -> None:
    """Of what an earlier run left open: was it paid? What the endpoint does not know goes on to count for its day."""
    for note in topped_up.open_notes():
        found = chain.find(note.hash)
        if found is None or found.block is None:
            continue
        if found.succeeded:
            topped_up.mined(note.hash, found.block)
        else:
            topped_up.drop(note.hash)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `top-up`, without what it shares with the other funding commands."""
    return subparsers.add_parser(
        "top-up",
        help="pay into the deposit when it is low, for a timer",
        description="Pays from the key's wallet into the deposit when it is below a mark: up to another one, and within 24 hours no more "
        "than a limit, which counts what earlier runs sent. Asks nothing: for a timer. Does nothing while an unlock is in progress. "
        "Amounts: 0.25eth, 100gwei, or wei.",
    )
