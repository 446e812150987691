"""`funds`, `fund`, `top-up`, `unlock`, `cancel-unlock` and `withdraw`: the sender's deposit and reserve in TicketBroker.

Each change says what it would do and what it costs before it asks, and says plainly what failed. Where it cannot tell
whether its transaction arrived, it says so, ends with status 3, and the next one looks that transaction up before it sends
another.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from livepeer_remote_signer.commands.chosen_key import add_key_option, read_config_of_key
from livepeer_remote_signer.commands.top_up import add_parser as add_top_up
from livepeer_remote_signer.commands.top_up import find_mark_fault, top_up
from livepeer_remote_signer.commands.transactions import Asked, check_affordable, describe, open_record, print_cost, send, settle_earlier
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.protocol.amounts import parse_wei
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.funding import (
    SECONDS_PER_HOUR,
    Burn,
    FundingRefused,
    Funds,
    check_cancel_unlock,
    check_fund,
    check_unlock,
    check_withdraw,
    format_eth,
    format_hours,
)
from livepeer_remote_signer.core.rules.runway import Burn as Signed
from livepeer_remote_signer.core.rules.runway import Runway, burn_of, describe_runway, plan_runway

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.funding import FundingChain, Prepared
    from livepeer_remote_signer.adapters.sent_transactions import SentTransactions
    from livepeer_remote_signer.adapters.transaction_keys import LocalTransactionKey, OutsideTransactionKey

    TransactionKey: TypeAlias = LocalTransactionKey | OutsideTransactionKey

NOT_KNOWN = 3

_ASKS = "Says first what it would do and what it costs, and asks."


def add_parsers(subparsers: Any) -> None:
    """Adds the commands."""
    funds = subparsers.add_parser(
        "funds",
        help="deposit, reserve, unlock state, and how long they last",
        description="Shows the sender's funds in Livepeer's TicketBroker: deposit, reserve, the largest ticket that they allow, an unlock "
        "in progress, and how long the deposit lasts at the last hour's burn. Reads the chain and sends nothing.",
    )
    _add_config(funds)
    funds.add_argument("--json", action="store_true", help="as JSON, amounts in wei")
    fund = subparsers.add_parser(
        "fund",
        help="pay into deposit and reserve",
        description=f"Pays from the key's wallet into deposit and reserve; an unlock in progress is cancelled by it. {_ASKS} "
        "Amounts: 0.25eth, 100gwei, or wei.",
    )
    fund.add_argument("--deposit", type=_wei, default=0, metavar="AMOUNT", help="winning tickets are paid from it")
    _add_for(fund)
    fund.add_argument("--reserve", type=_wei, default=0, metavar="AMOUNT", help="what orchestrators can claim when the deposit is empty")
    unlock = subparsers.add_parser(
        "unlock",
        help="begin to unlock deposit and reserve",
        description="Begins to unlock deposit and reserve together: two rounds (about two days) later they can be withdrawn. The signer "
        f"stops signing tickets one round before that, because they could not be redeemed any more; until then it goes on. {_ASKS}",
    )
    cancel = subparsers.add_parser(
        "cancel-unlock",
        help="keep deposit and reserve locked, and go on paying",
        description=f"Takes an unlock back: deposit and reserve stay where they are, and the signer goes on. {_ASKS}",
    )
    withdraw = subparsers.add_parser(
        "withdraw",
        help="take unlocked deposit and reserve out",
        description="Pays all of deposit and reserve out to the key's wallet, once the two rounds after unlock are over. After it nothing "
        f"can be signed until fund pays in again. {_ASKS}",
    )
    filling = add_top_up(subparsers)
    _add_for(filling)
    filling.add_argument("--below", type=_wei, required=True, metavar="AMOUNT", help="a deposit that is below this is filled up")
    filling.add_argument("--to", type=_wei, required=True, metavar="AMOUNT", help="up to this")
    filling.add_argument("--max-per-day", type=_wei, required=True, metavar="AMOUNT", help="the most that is paid in within 24 hours")
    for parser in (fund, unlock, cancel, withdraw):
        parser.add_argument("--yes", action="store_true", help="send without asking")
    for parser in (fund, unlock, cancel, withdraw, filling):
        _add_config(parser)
        parser.add_argument(
            "--max-gas-price", type=_wei, metavar="AMOUNT", help="send nothing while a unit of gas costs more, such as 0.1gwei"
        )
        parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="how long to wait for the receipt (300)")
    _add_for(funds)
    for parser in (funds, fund, unlock, cancel, withdraw, filling):
        parser.set_defaults(run=run)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="the signer's configuration: key and chain.rpc are used")
    add_key_option(parser)


def _add_for(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--for", dest="sender", type=_address, metavar="ADDRESS", help="the sender, where it is not the key's own address")


def _address(text: str) -> bytes:
    if re.fullmatch("0x[0-9a-fA-F]{40}", text) is None:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not an address: 0x and 40 hex digits are expected")
    address = bytes.fromhex(text[2:])
    if text[2:] not in (text[2:].lower(), text[2:].upper()) and text != checksum_address(address):
        raise argparse.ArgumentTypeError(f"{text} has a digit wrong: its capital letters are a checksum, and do not fit")
    return address


def _wei(text: str) -> int:
    try:
        return parse_wei(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(arguments: argparse.Namespace) -> int:
    """Runs one of the commands: 0 done, 1 failed, 2 when arguments or configuration cannot be followed, 3 when it cannot be told
    whether a transaction arrived."""
    config = read_config_of_key(arguments, may_be_none=arguments.command == "funds" and arguments.sender is not None)
    if config is None:
        return 2
    if arguments.command == "top-up" and (fault := find_mark_fault(arguments.below, arguments.to, arguments.max_per_day)):
        print(fault, file=sys.stderr)
        return 2
    if not config.chain.rpc.urls:
        print(f"{arguments.config}: chain.rpc.urls (or ETH_RPC_URL) must name an RPC endpoint", file=sys.stderr)
        return 2
    from livepeer_remote_signer.adapters.funding import FundingChain, FundingError, NotKnown  # web3 takes seconds to import
    from livepeer_remote_signer.adapters.keys import SigningKeyError
    from livepeer_remote_signer.adapters.sent_transactions import RecordFault
    from livepeer_remote_signer.wiring.outbound import open_outbound

    try:
        chain = FundingChain.open(
            [u.get_secret_value() for u in config.chain.rpc.urls],
            config.chain.rpc.chain_id,
            config.chain.rpc.controller,
            session=open_outbound(config.outbound).open_requests(),
        )
        if arguments.command == "funds":
            return _show(chain, config, arguments)
        if arguments.command == "top-up":
            return top_up(chain, config, arguments)
        return _change(chain, config, arguments)
    except NotKnown as error:
        print(f"{arguments.command} is not known to be done: {error}", file=sys.stderr)
        return NOT_KNOWN
    except ConfigError as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return 2
    except (FundingError, FundingRefused, RecordFault, SigningKeyError) as error:
        print(f"{arguments.command} failed: {error}", file=sys.stderr)
        return 1


def _sender(config: Config) -> bytes:
    """The address to look at: the configured one, or else the key's."""
    from livepeer_remote_signer.wiring.keys import load_address
    from livepeer_remote_signer.wiring.outbound import open_outbound

    return load_address(config.key, open_outbound(config.outbound))


def _show(chain: FundingChain, config: Config, arguments: argparse.Namespace) -> int:
    sender = getattr(arguments, "sender", None) or _sender(config)
    record = open_record(arguments.config, config.chain.rpc.chain_id, sender)
    for earlier in [] if record is None else record.load():
        said = f"at {earlier.sent_at} `{describe(earlier)}` was sent as {earlier.hash}, and its end was not known"
        print(f"note: {said}; the next change looks it up", file=sys.stderr)
    funds = chain.read_funds(sender)
    burn = _read_burn(chain, sender)
    signed = _read_signed(config, sender, arguments.key)
    runway = _plan_runway(funds, burn, signed)
    largest = funds.deposit_wei // config.limits.deposit_multiplier
    if arguments.json:
        print(json.dumps(_as_json(sender, chain, funds, burn, largest, runway), indent=2))
        return 0
    rows = [
        ("sender", checksum_address(sender)),
        ("TicketBroker", f"{chain.ticket_broker}, read through {chain.endpoint}"),
        ("wallet", format_eth(funds.wallet_wei)),
        ("deposit", format_eth(funds.deposit_wei)),
        ("reserve", f"{format_eth(funds.reserve_wei)}; {format_eth(funds.claimed_wei)} claimed in this round"),
        ("claimable", f"{format_eth(funds.claimable_wei)} by each of {funds.pool_size} orchestrators in the pool"),
        ("largest ticket", f"{format_eth(largest)} of face value (deposit / {config.limits.deposit_multiplier})"),
        ("unlock", _unlock_text(funds)),
        ("round", f"{funds.current_round}{'' if funds.is_round_initialized else ', not initialized yet'}"),
        ("redeemed", _burn_text(burn)),
        *_runway_rows(runway, signed is not None),
    ]
    if funds.paused:
        rows.append(("PAUSED", "the protocol is paused by its Controller: no ticket is signed or redeemed"))
    for name, text in rows:
        print(f"{name:<15} {text}")
    return 0


def _read_burn(chain: FundingChain, sender: bytes) -> Burn | None:
    """None when the endpoint gives no events: the other figures are worth showing all the same."""
    from livepeer_remote_signer.adapters.funding import FundingError

    try:
        return chain.read_burn(sender)
    except FundingError as error:
        print(f"note: burn and runway are not known: {error}", file=sys.stderr)
        return None


def _unlock_text(funds: Funds) -> str:
    missing = [name for name, wei in (("deposit", funds.deposit_wei), ("reserve", funds.reserve_wei)) if not wei]
    if missing and not funds.is_unlocking:
        return f"no {' and no '.join(missing)}: no ticket can be signed until `fund` pays in"
    if not funds.is_unlocking:
        return "locked: tickets can be signed"
    if funds.is_unlocked:
        return f"unlocked since round {funds.withdraw_round}: withdraw, or cancel-unlock to go on paying"
    return (
        f"in progress: withdraw from round {funds.withdraw_round} on ({format_hours(funds.hours_until_round(funds.withdraw_round))}); "
        "the signer stops one round before"
    )


def _read_signed(config: Config, sender: bytes, key: str | None) -> Signed | None:
    """What the ledger has signed in the last hour, of several senders this one; None without a ledger, or where it cannot be read."""
    from livepeer_remote_signer.adapters.runways import OneOfSeveral, read_burn
    from livepeer_remote_signer.core.errors import LedgerUnavailable
    from livepeer_remote_signer.wiring.ledger import open_ledger

    one_of_several = OneOfSeveral(sender, key == config.key_names[0]) if len(config.keys) > 1 else None

    async def read() -> Signed | None:
        ledger = open_ledger(config, time.time_ns, may_create=False)
        if ledger is None:
            return None
        await ledger.store.open()
        try:
            return await read_burn(ledger.store, time.time_ns, one_of_several)
        finally:
            await ledger.store.close()

    try:
        return asyncio.run(read())
    except LedgerUnavailable as error:
        print(f"note: what was signed is not known: {error}", file=sys.stderr)
        return None


def _plan_runway(funds: Funds, burn: Burn | None, signed: Signed | None) -> Runway | None:
    """From what was signed, as everywhere; without a ledger from what was redeemed. None where neither is known."""
    if signed is None and burn is not None:
        hourly = burn.redeemed_wei * SECONDS_PER_HOUR // burn.seconds
        signed = burn_of(hourly, (), burn.redeemed_wei // burn.tickets if burn.tickets else 0)
    return None if signed is None else plan_runway(funds.deposit_wei, funds.reserve_wei, signed)


def _burn_text(burn: Burn | None) -> str:
    if burn is None:
        return "not known"
    return f"{format_eth(burn.redeemed_wei)} by {burn.tickets} winning tickets in the last hour"


def _runway_rows(runway: Runway | None, is_signed: bool) -> list[tuple[str, str]]:
    """How long deposit, and deposit and reserve, last; and what would last a week."""
    source = "signed" if is_signed else "redeemed"
    if runway is None:
        return [("runway", "not known")]
    if not runway.burn_wei_per_hour:
        return [("runway", f"no end in sight: nothing was {source} in the last hour")]
    at = f"at the {format_eth(runway.burn_wei_per_hour)} that were {source} in the last hour"
    return [
        ("runway", f"the deposit lasts {_cases_text(runway.deposit_seconds)} {at}"),
        ("with reserve", f"deposit and reserve last {_cases_text(runway.funds_seconds)}"),
        ("safe week", f"a deposit of {format_eth(runway.safe_week_wei)} lasts a week but for 1 case in 100"),
    ]


def _cases_text(seconds: Sequence[float]) -> str:
    median, twentieth, hundredth = (format_hours(Fraction(value) / SECONDS_PER_HOUR) if value < inf else "for ever" for value in seconds)
    return f"{median}, in 1 case of 20 less than {twentieth}, in 1 of 100 less than {hundredth}"


def _as_json(sender: bytes, chain: FundingChain, funds: Funds, burn: Burn | None, largest: int, runway: Runway | None) -> dict[str, Any]:
    is_known = runway is not None and runway.burn_wei_per_hour > 0
    return {
        "sender": checksum_address(sender),
        "ticket_broker": chain.ticket_broker,
        "wallet_wei": str(funds.wallet_wei),
        "deposit_wei": str(funds.deposit_wei),
        "reserve_wei": str(funds.reserve_wei),
        "claimed_wei": str(funds.claimed_wei),
        "claimable_wei": str(funds.claimable_wei),
        "pool_size": funds.pool_size,
        "largest_face_value_wei": str(largest),
        "withdraw_round": funds.withdraw_round,
        "round": funds.current_round,
        "paused": funds.paused,
        "burn_wei": None if burn is None else str(burn.redeemed_wei),
        "burn_tickets": None if burn is None else burn.tickets,
        "runway_hours": round(runway.median_hours, 2) if runway is not None and is_known else None,
        "runway": describe_runway(runway) if runway is not None and is_known else None,
    }


def _change(chain: FundingChain, config: Config, arguments: argparse.Namespace) -> int:
    """One transaction: checked, shown, confirmed, sent, waited for. Raises FundingError, FundingRefused, RecordFault or
    SigningKeyError."""
    from livepeer_remote_signer.adapters.sent_transactions import RecordUnavailable
    from livepeer_remote_signer.wiring.keys import open_transaction_key
    from livepeer_remote_signer.wiring.outbound import open_outbound

    key = open_transaction_key(config.key, open_outbound(config.outbound))
    payer = key.address
    record = open_record(arguments.config, config.chain.rpc.chain_id, payer)
    with contextlib.ExitStack() as held:
        if record is not None:
            with contextlib.suppress(RecordUnavailable):  # where nothing can be kept nobody can be told either
                held.enter_context(record.alone())
        return _change_alone(chain, config, arguments, key, record)


def _change_alone(
    chain: FundingChain, config: Config, arguments: argparse.Namespace, key: TransactionKey, record: SentTransactions | None
) -> int:
    payer = key.address
    sender = getattr(arguments, "sender", None) or payer
    asked = Asked(arguments.command, _amounts(arguments), arguments.timeout)
    nonce, is_done = settle_earlier(chain, payer, record, asked)
    if is_done:
        _print_result(chain, sender)
        return 0
    funds = chain.read_funds(sender, payer)
    lines, prepared = _prepare(chain, (payer, sender), funds, arguments, nonce)
    print(f"{arguments.command}: TicketBroker {chain.ticket_broker}, chain {config.chain.rpc.chain_id}, through {chain.endpoint}")
    print(f"from {checksum_address(payer)}, whose wallet holds {format_eth(funds.wallet_wei)}")
    if sender != payer:
        print(f"for the sender {checksum_address(sender)}")
    for line in lines:
        print(f"  {line}")
    print_cost(prepared)
    check_affordable(funds, prepared)
    if not arguments.yes and not _is_confirmed():
        print("nothing was sent", file=sys.stderr)
        return 1
    signed = key.sign_transaction(prepared.transaction)
    send(chain, prepared, signed, record, asked)
    _print_result(chain, sender)
    return 0


def _amounts(arguments: argparse.Namespace) -> dict[str, str]:
    """What tells one call of a command from another."""
    amounts = {name: str(getattr(arguments, name)) for name in ("deposit", "reserve") if getattr(arguments, name, None) is not None}
    sender = getattr(arguments, "sender", None)
    return amounts if sender is None else {"for": checksum_address(sender), **amounts}


def _print_result(chain: FundingChain, sender: bytes) -> None:
    """The change is made: that its result cannot be read is worth a note, not a failure."""
    from livepeer_remote_signer.adapters.funding import FundingError

    try:
        funds = chain.read_funds(sender)
    except FundingError as error:
        print(f"note: deposit and reserve cannot be read now: {error}", file=sys.stderr)
        return
    print(f"deposit {format_eth(funds.deposit_wei)}, reserve {format_eth(funds.reserve_wei)}, {_unlock_text(funds)}")


def _prepare(
    chain: FundingChain, addresses: tuple[bytes, bytes], funds: Funds, arguments: argparse.Namespace, nonce: int | None
) -> tuple[list[str], Prepared]:
    """What is going to happen, in words and as a transaction; `addresses`: who pays, and the sender."""
    payer, sender = addresses
    most = arguments.max_gas_price
    both = f"deposit {format_eth(funds.deposit_wei)} and reserve {format_eth(funds.reserve_wei)}"
    if arguments.command == "fund":
        deposit, reserve = arguments.deposit, arguments.reserve
        check_fund(funds, deposit, reserve)
        changes = (("deposit", funds.deposit_wei, deposit), ("reserve", funds.reserve_wei, reserve))
        lines = [f"{name}: {format_eth(had)} + {format_eth(more)} = {format_eth(had + more)}" for name, had, more in changes if more]
        if funds.is_unlocking:
            lines.append("the unlock in progress is cancelled by paying in")
        return lines, chain.prepare_fund(payer, deposit, reserve, sender=sender, max_gas_price_wei=most, nonce=nonce)
    if arguments.command == "unlock":
        check_unlock(funds)
        until = funds.current_round + funds.unlock_period
        text = f"{both} can be withdrawn from round {until} on ({format_hours(funds.hours_until_round(until))})"
        return [text, "the signer stops signing tickets one round before that"], chain.prepare(
            sender, "unlock", max_gas_price_wei=most, nonce=nonce
        )
    if arguments.command == "cancel-unlock":
        check_cancel_unlock(funds)
        return [f"{both} stay locked, and the signer goes on"], chain.prepare(sender, "cancelUnlock", max_gas_price_wei=most, nonce=nonce)
    check_withdraw(funds)
    return [f"{both} go to the wallet; the signer cannot pay any more"], chain.prepare(
        sender, "withdraw", max_gas_price_wei=most, nonce=nonce
    )


def _is_confirmed() -> bool:
    """Asks on the terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        print("nobody can be asked here: add --yes to send", file=sys.stderr)
        return False
    try:
        return input("Send it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
