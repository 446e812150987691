"""The files that a configuration names, each declared at its key: what `serve` reads, and what of it must never be printed.

A key's type says what its file is, so that loading, redaction and `check-config` walk the same list, and a new key is on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias

from livepeer_remote_signer.config.values import Section


class FileKind(Enum):
    """What a named file is, and who reads it."""

    SECRET = "one secret, read by serve"  # noqa: S105 - a description
    PROTECTED = "encrypted or hashed secrets, read by serve: no line of it is a secret as it stands"
    PUBLIC = "certificates, read by serve"
    LOADED = "read with the configuration, which takes its content in place of the key without `_file`"


SecretFile: TypeAlias = Annotated[Path | None, FileKind.SECRET]
NeededSecretFile: TypeAlias = Annotated[Path, FileKind.SECRET]
PublicFile: TypeAlias = Annotated[Path | None, FileKind.PUBLIC]
ProtectedFile: TypeAlias = Annotated[Path | None, FileKind.PROTECTED]
LoadedFile: TypeAlias = Annotated[Path | None, FileKind.LOADED]


class NamedFile(NamedTuple):
    """A file under the key that names it, such as `state.previous.0.mac_key_file`."""

    key: str
    path: Path
    kind: FileKind


def named_files(section: Section, where: str = "") -> Iterator[NamedFile]:
    """Every file that a section and the sections in it name."""
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), f"{where}{name}"
        if isinstance(value, Path):
            yield from (NamedFile(key, value, kind) for kind in field.metadata if isinstance(kind, FileKind))
        elif isinstance(value, Section):
            yield from named_files(value, f"{key}.")
        elif isinstance(value, Mapping):
            for item_name, item in value.items():
                if isinstance(item, Section):
                    yield from named_files(item, f"{key}.{item_name}.")
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Section):
                    yield from named_files(item, f"{key}.{index}.")
