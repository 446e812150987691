"""What `top-up` paid into a deposit within the last day: one small file for each chain, payer and sender.

An amount is noted before it is sent, so that a run which ended anywhere is counted by the next. Of several transactions of one nonce one
at the most is mined: the one that is known to be, else the largest of them counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from livepeer_remote_signer.adapters.sent_transactions import RecordFault, read_record, write_record

DAY_SECONDS = 86_400
MAX_NOTES = 1000
MAX_FILE_BYTES = 512 * 1024


class Note(NamedTuple):
    """A transaction that pays in, sent or nearly. `block`: where it was mined; None while that is not known."""

    hash: str
    nonce: int
    wei: int
    at: int
    block: int | None = None


class ToppedUp:
    """The file. Used by one command at a time: see SentTransactions.alone."""

    def __init__(self, folder: Path, chain_id: int, payer: bytes, sender: bytes, now: Callable[[], float] = time.time) -> None:
        self.path = folder / f"topped-up-{chain_id}-{payer.hex()}-{sender.hex()}.json"
        self._now = now

    def load(self) -> list[Note]:
        """What counts now, oldest first. What a clock that went back has dated ahead counts too. Raises RecordFault."""
        since = self._now() - DAY_SECONDS
        return [note for note in read_record(self.path, _note, MAX_FILE_BYTES) if note.at > since]

    def paid_wei(self, apart_from: int | None = None) -> int:
        """What was paid within the last day, or may have been; without the nonce `apart_from`, whose place the next one takes. Raises
        RecordFault."""
        by_nonce: dict[int, list[Note]] = {}
        for note in self.load():
            if note.nonce != apart_from:
                by_nonce.setdefault(note.nonce, []).append(note)
        total = 0
        for notes in by_nonce.values():
            mined = [note.wei for note in notes if note.block is not None]
            total += max(mined or (note.wei for note in notes))
        return total

    def last_block(self) -> int:
        """The block of the last one that is known to be mined; 0 where there is none. Raises RecordFault."""
        return max((note.block for note in self.load() if note.block is not None), default=0)

    def open_notes(self) -> list[Note]:
        """Those whose end is not known. Raises RecordFault."""
        return [note for note in self.load() if note.block is None]

    def note(self, transaction_hash: str, nonce: int, wei: int) -> None:
        """To be called before sending. Raises RecordFault, and then nothing may be sent."""
        notes = [note for note in self.load() if note.hash != transaction_hash]
        if len(notes) >= MAX_NOTES:
            raise RecordFault(f"{self.path} holds {len(notes)} payments of the last day, the most that are counted: pay in more at a time")
        self._write([*notes, Note(transaction_hash, nonce, wei, int(self._now()))])

    def mined(self, transaction_hash: str, block: int) -> None:
        """It was paid. Raises RecordFault."""
        self._write([note._replace(block=block) if note.hash == transaction_hash else note for note in self.load()])

    def drop(self, transaction_hash: str) -> None:
        """It was not taken, or it reverted: nothing was paid. Raises RecordFault."""
        self._write([note for note in self.load() if note.hash != transaction_hash])

    def _write(self, notes: list[Note]) -> None:
        write_record(self.path, [{**note._asdict(), "wei": str(note.wei)} for note in notes])


def _note(document: Any) -> Note:
    note = Note(**{**document, "wei": int(document["wei"])})
    whole = (note.nonce, note.wei, note.at, 0 if note.block is None else note.block)
    if type(document["wei"]) is not str or type(note.hash) is not str or any(type(number) is not int or number < 0 for number in whole):
        raise TypeError("another type")
    return note
