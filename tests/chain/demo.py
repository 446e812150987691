"""`make demo-chain`: the demo's sessions with the signer reading a real EVM, and every winning ticket redeemed there."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_checksum_address
from web3.exceptions import ContractLogicError
from web3.logs import DISCARD

from livepeer_remote_signer.core.rules.funding import format_eth
from livepeer_remote_signer.simulate.recipient import Chain, Winner
from livepeer_remote_signer.simulate.report import head, row, summary
from livepeer_remote_signer.simulate.stage import Stage, play
from tests.chain.evm import CHAIN_ID, ETH, Evm, ToolsMissing, install_tools, running_anvil

FACE_VALUE = 1_000_000_000_000
"""Five times a ticket's expected value: about every fifth ticket wins."""


def main() -> int:
    """The exit status: 1 when anything is not as it should be."""
    print("Installing anvil and compiling the contracts, unless that is done...", flush=True)
    try:
        tools = install_tools()
    except ToolsMissing as missing:
        print(f"cannot play: {missing}", file=sys.stderr)
        return 1
    with running_anvil(tools) as anvil:
        return tell(Evm(anvil, tools))


def tell(evm: Evm) -> int:
    """Plays on the deployed contracts, redeems, and says what it came to."""
    secret = os.urandom(32)
    sender = PrivateKey(secret).public_key.to_canonical_address()
    evm.fund(sender, deposit=ETH, reserve=ETH)
    addresses = (os.urandom(20), os.urandom(20))
    for address in addresses:
        evm.join(to_checksum_address(address))
    chain = Chain(evm.web3.eth.block_number, evm.rounds.functions.lastInitializedRound().call(), evm.round_hash)
    for text in head():
        print(text)
    played = asyncio.run(play(Stage(chain, _section(evm), secret, FACE_VALUE, addresses), lambda line: print(row(line), flush=True)))
    for text in summary(played.story):
        print(text)
    winners = [winner for orchestrator in played.orchestrators for winner in orchestrator.recipient.winning]
    print(f"\nTicketBroker {evm.broker.address} on chain {CHAIN_ID}: the sender's deposit is {format_eth(evm.deposit_of(sender))}.")
    off = list(played.story.off)
    for winner in winners:
        paid = redeem(evm, winner)
        print(_row(winner, paid))
        if paid != FACE_VALUE:
            off.append(f"ticket {winner.nonce} paid {paid} wei, not {FACE_VALUE}")
    off += _judge(evm, winners, sender)
    for what in off:
        print(f"NOT AS IT SHOULD BE: {what}")
    return 1 if off else 0


def _judge(evm: Evm, winners: list[Winner], sender: bytes) -> list[str]:
    """What is wrong with the books on chain."""
    spent = ETH - evm.deposit_of(sender)
    print(f"{len(winners)} winning tickets took {format_eth(spent)}; {format_eth(evm.deposit_of(sender))} are left.")
    off = [] if spent == len(winners) * FACE_VALUE else [f"{len(winners)} winners of {FACE_VALUE} wei took {spent} wei"]
    if not winners:
        return [*off, "no ticket won"]
    try:
        redeem(evm, winners[0])
    except ContractLogicError as error:
        print(f"The first one once more: refused by the contract ({error.message}).")
        return off
    return [*off, "a ticket was redeemed twice"]


def redeem(evm: Evm, winner: Winner) -> int:
    """Redeems one ticket; what it paid, in wei. Raises ContractLogicError."""
    params, expiration = winner.payment.ticket_params, winner.payment.expiration_params
    ticket = (
        to_checksum_address(params.recipient),
        to_checksum_address(winner.payment.sender),
        int.from_bytes(params.face_value, "big"),
        int.from_bytes(params.win_prob, "big"),
        winner.nonce,
        params.recipient_rand_hash,
        expiration.creation_round.to_bytes(32, "big") + expiration.creation_round_block_hash,
    )
    rand = int.from_bytes(winner.rand, "big")
    receipt = evm.send(evm.broker.functions.redeemWinningTicket(ticket, winner.sig, rand))
    transfers: Any = evm.broker.events.WinningTicketTransfer().process_receipt(receipt, errors=DISCARD)
    return sum(transfer["args"]["amount"] for transfer in transfers)


def _row(winner: Winner, paid: int) -> str:
    rand_hash = winner.payment.ticket_params.recipient_rand_hash.hex()
    return f"  redeemed ticket {winner.nonce:>2} of the terms 0x{rand_hash[:12]}..: paid {format_eth(paid)}"


def _section(evm: Evm) -> str:
    return f"""\
chain:
  source: rpc
  rpc:
    urls: ["{evm.url}"]
    controller: "{evm.controller.address}"
    chain_id: {CHAIN_ID}
    poll_seconds: 1
"""


if __name__ == "__main__":
    sys.exit(main())
