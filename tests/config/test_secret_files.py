"""One list of files: what the configuration names is read, redacted and looked for by what its key declares."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from livepeer_remote_signer.config.files import _PARSERS, known_secrets
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.secret_files import FileKind, named_files
from livepeer_remote_signer.config.values import Section

NO_SECRETS = {"prices.runtime_file"}
"""Files that hold nothing secret."""

EVERY_FILE = {
    "key": {"keystore_file": "{}/keystore", "password_file": "{}/password"},
    "chain": {"source": "rpc", "rpc": {"urls_file": "{}/urls"}},
    "state": {
        "mac_key_file": "{}/mac",
        "previous": [
            {"private_key_file": "{}/old_key", "accept_until": "2030-01-31T00:00:00Z"},
            {"keystore_file": "{}/old_keystore", "password_file": "{}/old_password", "accept_until": "2030-01-31T00:00:00Z"},
            {"mac_key_file": "{}/old_mac", "accept_until": "2030-01-31T00:00:00Z"},
        ],
    },
    "ledger": {"backend": "postgres", "url_file": "{}/ledger"},
    "auth": {"api_keys_file": "{}/keys", "webhook": {"url": "https://h", "secret_file": "{}/webhook", "headers_file": "{}/headers"}},
    "admin": {"listen": "127.0.0.1:1", "token_file": "{}/token", "metrics_token_file": "{}/metrics_token"},
    "events": {
        "sinks": [
            {"type": "http", "url": "https://h", "secret_file": "{}/http"},
            {"type": "kafka", "brokers": ["h:1"], "topic": "t", "username": "u", "password_file": "{}/kafka"},
        ]
    },
    "outbound": {"ca_file": "{}/authorities"},
}
OTHER_KEYS = (
    {"eth_sign": {"url": "https://h", "address": "0x" + "ab" * 20, "headers_file": "{}/key_headers"}},
    {"pkcs11": {"module": "/m.so", "token_label": "t", "key_label": "k", "pin_file": "{}/pin"}},
)
"""Of the forms of a key one is given: the files of the others."""

LOADED = {
    "key_headers": "X-Key: planted-key_headers",
    "urls": "https://h/planted-urls",
    "ledger": "postgresql://u:planted-ledger@h/d",
    "headers": "X-Key: planted-headers",
}
PROTECTED = {"keystore", "old_keystore", "keys"}
PUBLIC = {"authorities"}


def configured(folder: Path, key: dict[str, Any] | None = None) -> Config:
    """Every file that can be named, each with a secret of its own."""
    text = yaml.safe_dump(EVERY_FILE | ({} if key is None else {"key": key})).replace("{}", str(folder))
    for path in re.findall(rf"{re.escape(str(folder))}/(\w+)", text):
        (folder / path).write_text(LOADED.get(path, f"planted-{path}\n"))
    return parse_config(text, {})


def file_keys(model: type[BaseModel], where: str = "") -> dict[str, bool]:
    """Every key of the model that ends in `_file`, and whether it says what its file is."""
    found: dict[str, bool] = {}
    for name, field in model.model_fields.items():
        if name.endswith("_file"):
            found[f"{where}{name}"] = any(isinstance(mark, FileKind) for mark in field.metadata)
        for inner in _sections_of(field.annotation):
            found |= file_keys(inner, f"{where}{name}.")
    return found


def _sections_of(annotation: object) -> list[type[Section]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Section) else []
    return [section for inner in getattr(annotation, "__args__", ()) for section in _sections_of(inner)]


def test_no_file_can_be_named_without_saying_what_it_is() -> None:
    keys = file_keys(Config)
    assert len(keys) > 12
    assert {key for key, is_marked in keys.items() if not is_marked} == NO_SECRETS


def test_every_file_is_found_under_its_key(tmp_path: Path) -> None:
    found = {file.key for key in (None, *OTHER_KEYS) for file in named_files(configured(tmp_path, key))}
    plain = {re.sub(r"\.\d+\.", ".", key) for key in found}
    named = {key for key in file_keys(Config) if not key.startswith("keys.")}  # the same forms as those of `key`
    assert plain == named - NO_SECRETS - {"key.private_key_file"}


@pytest.mark.parametrize("key", [None, *OTHER_KEYS])
def test_what_stands_in_any_of_them_is_known_as_a_secret(tmp_path: Path, key: dict[str, Any] | None) -> None:
    config = configured(tmp_path, key)
    known = " ".join(known_secrets(config))
    names = {file.path.name for file in named_files(config)}
    assert {name for name in names if f"planted-{name}" in known} == names - PROTECTED - PUBLIC


@pytest.mark.parametrize("key", [None, *OTHER_KEYS])
def test_every_file_that_is_read_with_the_configuration_has_a_reader(tmp_path: Path, key: dict[str, Any] | None) -> None:
    config = configured(tmp_path, key)
    assert {file.key.rpartition(".")[2] for file in named_files(config) if file.kind is FileKind.LOADED} == set(_PARSERS)
    assert "planted" not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize("missing", ["token", "webhook"])
def test_a_secret_that_cannot_be_read_yet_hides_none_of_the_others(tmp_path: Path, missing: str) -> None:
    config = configured(tmp_path)
    (tmp_path / missing).unlink()
    known = known_secrets(config)
    assert f"planted-{missing}" not in known
    assert "planted-mac" in known
    assert "planted-kafka" in known
