"""Files that the service writes: whether this user can, before anything is begun. The texts name key and file; callers never see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from livepeer_remote_signer.config.events import FileSink
from livepeer_remote_signer.config.models import Config


def place_faults(config: Config) -> Iterator[str]:
    """Why `serve` could not write where the configuration says, one sentence a file."""
    for key, path in _written_files(config):
        if fault := _place_fault(path):
            yield f"{key} {path} {fault}"
        elif key == "ledger.path" and path.exists() and (fault := ledger_fault(path)):
            yield fault


def ledger_fault(path: Path) -> str:
    """Why a file that is there is no ledger of this release, "" where it may be one."""
    from livepeer_remote_signer.adapters.ledger.sqlite_connections import check_head
    from livepeer_remote_signer.core.errors import LedgerUnavailable

    try:
        check_head(path)
    except LedgerUnavailable as error:
        return f"ledger.path {path}: {error}"
    return ""


def _written_files(config: Config) -> Iterator[tuple[str, Path]]:
    """By the key that names each."""
    if config.ledger.backend == "sqlite" and config.ledger.path is not None:
        yield "ledger.path", config.ledger.path
    for index, sink in enumerate(config.events.sinks):
        if isinstance(sink, FileSink):
            yield f"events.sinks.{index}.path", sink.path
    if config.prices.runtime_file is not None and config.ledger.backend == "none":
        yield "prices.runtime_file", config.prices.runtime_file


def _place_fault(path: Path) -> str:
    """Why this user cannot write the file, "" where he can."""
    folder = path.parent
    if not folder.exists():
        return f"cannot be made: the folder {folder} is not there (mkdir -p {folder})"
    if not folder.is_dir():
        return f"cannot be made: {folder} is not a folder"
    if path.is_dir():
        return "is a folder, and a file is written there"
    if path.exists():
        return "" if os.access(path, os.R_OK | os.W_OK) else "cannot be read and written by this user"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"cannot be made: this user may not write to the folder {folder}"
