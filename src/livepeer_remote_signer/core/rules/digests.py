"""A chain of digests over a ledger's payments, so that what a statement says can be proven after its rows were forgotten.

Each process writes its payments of a minute on a line of its own: the digest of each covers the one before it on that line,
and the line's row is written in the transaction of the payments. A minute that is over is closed by one process: its lines are
fixed from then on, and the closing's digest covers them and the closing before. A payment that comes late, by a clock that is
slow, begins another line, which a later closing covers. So nothing waits for anything else, and a payment that was altered,
added or left out afterwards shows in every closing that follows.

Payments of a release that keeps no digests stand on no line. SHA-256; texts and numbers are framed, so that no two rows have
the same bytes. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import NamedTuple

from livepeer_remote_signer.core.rules.figures import Figures
from livepeer_remote_signer.core.rules.ledger import Lines

TAG_BYTES = 6
NO_DIGEST = bytes(32)
"""What the first closing covers as the one before it, and the first payment of a line."""

MS_PER_MINUTE = 60_000


class LineName(NamedTuple):
    """The line of a process in a unix minute. `part`: see `core.rules.ledger.Lines`."""

    minute: int
    part: int = 0


class LineHead(NamedTuple):
    """How many payments a line has, and the digest of the last one."""

    payments: int = 0
    digest: bytes = NO_DIGEST


class Account(NamedTuple):
    """What is kept of a payment for statements: its line and its place on it, its moment (unix milliseconds), and its figures."""

    tag: bytes
    place: int
    paid_ms: int
    tickets: int
    figures: Figures

    @property
    def minute(self) -> int:
        """The unix minute of its line."""
        return self.paid_ms // MS_PER_MINUTE

    def encode(self, updated_ms: int) -> bytes:
        """The bytes that are kept; `updated_ms` stands beside them, in the payment's name."""
        return encode_account(self.tag, self.place, self.paid_ms - updated_ms, self.tickets, self.figures)


class PaymentName(NamedTuple):
    """Which payment: its step, the digest of its request (32 bytes), who paid, whom (20 bytes), and the LastUpdate that it left."""

    state_id: bytes
    sequence_number: int
    request: bytes
    auth_id: bytes
    orchestrator: bytes
    updated_ms: int


class Line(NamedTuple):
    """A line as it is kept."""

    minute: int
    tag: bytes
    payments: int
    digest: bytes


class Closing(NamedTuple):
    """A closed minute: `lines` is the digest of its lines, `digest` covers that and the closing before."""

    number: int
    minute: int
    closed_ms: int
    payments: int
    lines: bytes
    digest: bytes


def open_heads() -> Lines[LineName, LineHead]:
    """The lines that a process adds to."""
    return Lines(LineHead())


@lru_cache(64)
def line_tag(writer: str, part: int) -> bytes:
    """What tells a process's lines from those of others."""
    return blake2b(f"{writer}.{part}".encode(), digest_size=TAG_BYTES).digest()


def add_payment(
    heads: dict[LineName, LineHead],
    before: Lines[LineName, LineHead],
    writer: str,
    name: PaymentName,
    paid: tuple[int, int, Figures],
) -> bytes:
    """Puts a payment on its line in `heads`, which goes on from `before`. `paid`: its moment (ms), tickets and figures.

    Returns its account, encoded, to be kept with it.
    """
    paid_ms, tickets, figures = paid
    minute = paid_ms // MS_PER_MINUTE
    part = before.part(minute)
    line = LineName(minute, part)
    payments, digest = heads.get(line) or before.get(line)
    account = encode_account(line_tag(writer, part), payments, paid_ms - name.updated_ms, tickets, figures)
    heads[line] = LineHead(payments + 1, chain_payment(digest, name, account))
    return account


def chain_payment(before: bytes, name: PaymentName, account: bytes) -> bytes:
    """The digest of a payment; `before` is that of the one before it on its line, NO_DIGEST for the first."""
    state_id, sequence_number, request, auth_id, orchestrator, updated_ms = name
    framed = (
        before,
        len(state_id),
        state_id,
        sequence_number,
        len(request),
        request,
        len(auth_id),
        auth_id,
        orchestrator,
        updated_ms,
        account,
    )
    return sha256(b"%b%d,%b%d,%d,%b%d,%b%b%d,%b" % framed).digest()


def encode_account(tag: bytes, place: int, owed_ms: int, tickets: int, figures: Figures) -> bytes:
    """The bytes that are kept of an `Account`: some 35 of them. `owed_ms`: its moment less the LastUpdate that it left."""
    ev_wei, fee_wei, billed_ns, fee_usd = figures
    parts = [tag]
    for value in (place, owed_ms, tickets, ev_wei, fee_wei, billed_ns, 0 if fee_usd is None else fee_usd + 1):
        if value < _SMALL:
            parts.append(_BYTES[value])
        else:
            length = (value.bit_length() + 7) >> 3
            parts += (_BYTES[_SMALL - 1 + length], value.to_bytes(length, "big"))
    return b"".join(parts)


def parse_account(raw: bytes, updated_ms: int) -> Account:
    """The reverse. Raises ValueError."""
    values, at = [], TAG_BYTES
    while at < len(raw):
        size = raw[at]
        if size < _SMALL:
            values.append(size)
            at += 1
            continue
        length = size - _SMALL + 1
        values.append(int.from_bytes(raw[at + 1 : at + 1 + length], "big"))
        at += 1 + length
    if at != len(raw) or len(values) != 7:
        raise ValueError("not an account")
    place, owed_ms, tickets, ev_wei, fee_wei, billed_ns, priced = values
    figures = Figures(ev_wei, fee_wei, billed_ns, priced - 1 if priced else None)
    return Account(raw[:TAG_BYTES], place, updated_ms + owed_ms, tickets, figures)


_SMALL = 0xC0
"""Numbers below stand for themselves; what is above says how many bytes follow."""


_BYTES = [bytes((value,)) for value in range(256)]


def close_minute(before: Closing | None, lines: Sequence[Line], closed_ms: int) -> Closing:
    """The closing of lines of one minute, at least one. They may come in any order."""
    digest = digest_lines(lines)
    number = 1 if before is None else before.number + 1
    closing = Closing(number, lines[0].minute, closed_ms, sum(line.payments for line in lines), digest, b"")
    return closing._replace(digest=digest_closing(NO_DIGEST if before is None else before.digest, closing))


def digest_lines(lines: Sequence[Line]) -> bytes:
    """Over all lines of a closing."""
    framed = [b"%d,%b%d,%b" % (line.minute, line.tag, line.payments, line.digest) for line in sorted(lines)]
    return sha256(b"".join(framed)).digest()


def digest_closing(before: bytes, closing: Closing) -> bytes:
    """Over a closing and the digest of the one before."""
    number, minute, closed_ms, payments, lines, _ = closing
    return sha256(b"%b%d,%d,%d,%d,%b" % (before, number, minute, closed_ms, payments, lines)).digest()
