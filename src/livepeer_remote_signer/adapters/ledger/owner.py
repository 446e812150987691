"""Whose ledger it is: the chain and the addresses whose payments are in it, kept among its settings.

Sequence numbers, budgets and events of one sender mean nothing to another, and a signer without sinks beside one with some
would leave payments out of everybody's bill. So a ledger is refused where both it and the configuration name an address that
the other does not; who means to have both in one names both.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.store import Store, StoreFailed
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS, encode_rfc3339_ns

CHAIN, SENDERS, SINKS, SINCE = "ledger:chain", "ledger:senders", "ledger:sinks", "ledger:since"
_log = logging.getLogger(__name__)


class WrongLedger(StoreFailed):
    """The ledger belongs to another chain or to other senders."""


class Owner(NamedTuple):
    """What a configuration pays from, and whom it tells. `chain_id` None: there is no chain."""

    chain_id: int | None
    senders: frozenset[bytes]
    sinks: tuple[str, ...] = ()


async def claim(store: Store, owner: Owner, now_ms: int) -> str:
    """Notes in a ledger that nobody has claimed whose it is, and sees that one that is claimed is this owner's.

    Since when it is in use, as text. Raises WrongLedger, which names both sides and what to change.
    """
    known = await store.settings()  # nothing is written where all is noted: a full disk is no reason not to start

    async def noted(name: str, value: str) -> str:
        return known[name] if name in known else await store.keep_setting(name, value, now_ms)

    if owner.chain_id is not None:
        chain = await noted(CHAIN, str(owner.chain_id))
        if chain != str(owner.chain_id):
            raise WrongLedger(
                f"this ledger's payments are on chain {chain[:32]}, and chain.rpc.chain_id is {owner.chain_id}: give each chain a "
                "ledger of its own"
            )
    senders = _addresses(await noted(SENDERS, _text(owner.senders)))
    if not (senders <= owner.senders or owner.senders <= senders):
        raise WrongLedger(
            f"this ledger holds the payments of {_text(senders)}, and this configuration pays from {_text(owner.senders)}: give each "
            "sender a ledger of its own, or name the others in ledger.senders"
        )
    if not owner.senders <= senders:
        await store.put_setting(SENDERS, _text(senders | owner.senders), now_ms)
    mine = ", ".join(sorted(owner.sinks)) or "none"
    if (before := await noted(SINKS, mine)) != mine:
        _warn_of_sinks(before, mine)
        await store.put_setting(SINKS, mine, now_ms)
    since_ms = int(await noted(SINCE, str(now_ms)))
    return encode_rfc3339_ns(since_ms * NS_PER_MS)


def _warn_of_sinks(before: str, mine: str) -> None:
    """Two configurations on one ledger may be meant, as while one replaces the other; but somebody should hear of it."""
    _log.warning(
        "this ledger was last opened with other event sinks (%s) than this configuration's (%s): where both run, %s",
        before,
        mine,
        "payments made here are in nobody's events" if mine == "none" else "whoever publishes sends to its own sinks",
    )


def _text(addresses: frozenset[bytes]) -> str:
    return ", ".join(sorted(f"0x{address.hex()}" for address in addresses))


def _addresses(text: str) -> frozenset[bytes]:
    return frozenset(bytes.fromhex(part.strip().removeprefix("0x")) for part in text.split(","))
