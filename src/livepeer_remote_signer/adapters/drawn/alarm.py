"""What is said of a redeemed ticket that this ledger never signed: in the log, and as an event."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from livepeer_remote_signer.adapters.ledger.redeemed import RedeemedRow
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.events import event_id_of

EVENT_TYPE = "foreign_ticket_redeemed"

log = logging.getLogger(__name__)


class Teller(NamedTuple):
    """Tells of it. `instance` names this process in events; `keys` are the names of several senders' keys, by address."""

    instance: str
    sends_events: bool
    keys: Mapping[bytes, str] = MappingProxyType({})

    def warn_suspected(self, row: RedeemedRow, said: bool | None) -> None:
        """One endpoint says so, and no other one has confirmed it."""
        other = "no other endpoint answers" if said is None else "another endpoint does not know of it"
        log.warning("%s; %s, so it is no alarm yet", self._describe(row), other)

    def alarm(self, row: RedeemedRow) -> None:
        """It is so."""
        log.error(
            "%s: SOMEBODY ELSE SIGNS WITH THE %s. Unlock and withdraw the funds, and change the key; if another signer of this "
            "key is yours, set drawn.other_signers: true",
            self._describe(row),
            f"KEY OF {self._whose(row)}" if self.keys else "SENDER'S KEY",
        )

    def event(self, row: RedeemedRow) -> bytes:
        """The event, the same whoever makes it."""
        name = row.ticket.hex()[:32]
        data = {
            "session_id": name,
            "ticket_hash": "0x" + row.ticket.hex(),
            "transaction": row.transaction,
            "block": row.block,
            "payer_address": checksum_address(row.sender),
            "recipient": checksum_address(row.recipient),
            "face_value": str(row.face_value_wei),
            "paid": str(row.paid_wei),
            "win_prob": str(row.win_prob),
            "sender_nonce": str(row.nonce),
            "recipient_rand_hash": "0x" + row.rand_hash.hex(),
            "creation_round": row.round,
            "instance": self.instance,
        }
        head = f'{{"id":"{event_id_of(name)}","type":"{EVENT_TYPE}","timestamp":"{row.found_ms}","gateway":"","data":'
        return (head + json.dumps(data, separators=(",", ":")) + "}").encode()

    def _whose(self, row: RedeemedRow) -> str:
        return f"{checksum_address(row.sender)} (keys.{self.keys[row.sender]})"

    def _describe(self, row: RedeemedRow) -> str:
        whose = f" from {self._whose(row)}" if self.keys else ""
        return (
            f"a ticket{whose} of creation round {row.round} that this ledger never signed was redeemed: transaction {row.transaction}, "
            f"block {row.block}, face value {row.face_value_wei} wei to {checksum_address(row.recipient)}"
        )
