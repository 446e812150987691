"""What `ledger export` and `ledger verify` do once the ledger is open."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.rules.ledger_proof import MAX_RECORD_BYTES, NotAnExport, Proof
from livepeer_remote_signer.core.rules.usage import UsageRow, UsageSum, days_of_month

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.ledger.controls import Controls


async def export_to(controls: Controls, file: Path) -> int:
    """Writes an export to a new file; 1 where it cannot be written, and then there is none."""
    from livepeer_remote_signer.adapters.ledger.proving import export_lines

    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        print(f"{file} cannot be made: {error.strerror}", file=sys.stderr)
        return 1
    proof, is_done = Proof(), False
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            async for line in export_lines(controls.digests):
                proof.take(line)
                out.write(line + "\n")
            out.flush()
            os.fsync(out.fileno())
        is_done = True
    except OSError as error:
        print(f"{file} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    finally:
        if not is_done:
            os.unlink(file)
    proof.end()
    print(f"exported: {proof.payments} payments of {len(proof.closings)} closed minutes{_forgotten(proof)}")
    return _told(proof.faults)


async def verify(controls: Controls, files: Sequence[Path], auth_id: str | None, month: str) -> int:
    """Checks the chain, with exports those too, and with an auth id its statement. 1 where something does not agree, 2 for a file that
    is no export, or a month that is none."""
    from livepeer_remote_signer.adapters.ledger.proving import compare, export_lines

    proof = Proof()
    try:
        days = days_of_month(month) if auth_id is not None else (0, 0)
        for file in files:
            _read(file, proof)
        if not files:
            async for line in export_lines(controls.digests):
                proof.take(line)
        proof.end()
    except OSError as error:
        print(f"{error.filename} cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    except (NotAnExport, BadField) as error:
        print(str(error), file=sys.stderr)
        return 2
    compared = await compare(controls.digests, proof)
    print(f"checked: {proof.payments} payments of {len(proof.closings)} closed minutes{_forgotten(proof)}")
    print(f"the ledger keeps {compared.kept} closings" + (f", {compared.older} of these are older" if compared.older else ""))
    status = _told([*proof.faults, *compared.faults])
    if auth_id is None:
        return status
    wanted, found = (await controls.statement(auth_id, month)).rows, proof.of(auth_id, days)
    if compared.older:
        print("not proven: the ledger has forgotten closings that would prove it", file=sys.stderr)
        return 1
    return max(status, _compared(auth_id, month, wanted, found))


def _read(file: Path, proof: Proof) -> None:
    """Raises OSError, and NotAnExport with the file and its line."""
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(MAX_RECORD_BYTES + 1):
            number += 1
            try:
                proof.take(line)
            except NotAnExport as error:
                raise NotAnExport(f"{file}:{number}: {error}") from None


def _compared(auth_id: str, month: str, wanted: Sequence[UsageRow], found: Sequence[UsageRow]) -> int:
    sums = [{(row.day, row.orchestrator): row.sums for row in rows} for rows in (wanted, found)]
    if sums[0] == sums[1]:
        print(f"proven: the statement of {auth_id!r} for {month}, {sum(row.sums.payments for row in wanted)} payments")
        return 0
    totals = []
    for rows in (wanted, found):
        total = UsageSum()
        for row in rows:
            total = total.plus(row.sums)
        totals.append(f"{total.payments} payments, EV {total.ev_wei} wei, fee {total.fee_wei} wei")
    print(f"not proven: the statement has {totals[0]}; what was checked has {totals[1]}", file=sys.stderr)
    return 1


def _forgotten(proof: Proof) -> str:
    return f", {proof.forgotten} more are forgotten" if proof.forgotten else ""


def _told(faults: Sequence[str]) -> int:
    for fault in faults:
        print(f"wrong: {fault}", file=sys.stderr)
    return 1 if faults else 0
