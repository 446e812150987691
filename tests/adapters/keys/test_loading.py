"""Keys come from where the configuration says, or not at all: none is made, none is exchanged, none is shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_account import Account

from livepeer_remote_signer.adapters.keys import (
    SigningKey,
    SigningKeyError,
    load_keystore,
    load_private_key_file,
    parse_private_key,
    read_secret_file,
)
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.wiring.keys import open_signing_key

SECRET = bytes.fromhex("2c" * 32)
OTHER = bytes.fromhex("2d" * 32)
PASSWORD = "correct horse"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def keystore(secret: bytes = SECRET, password: str = PASSWORD, kdf: str = "pbkdf2") -> dict[str, Any]:
    """A geth V3 keystore that opens quickly."""
    document: dict[str, Any] = Account.encrypt(secret, password, kdf=kdf, iterations=2)
    return document


def write(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def address_of(secret: bytes) -> bytes:
    return SigningKey(secret).address


def key_config(**key: Any) -> Any:
    text = yaml.safe_dump({"key": {name: str(value) for name, value in key.items()}, "chain": {"source": "static"}})
    return parse_config(text, {}).key


@pytest.mark.parametrize("kdf", ["pbkdf2", "scrypt"])
def test_a_keystore_file_opens_with_its_password(tmp_path: Path, kdf: str) -> None:
    assert load_keystore(write(tmp_path / "k", keystore(kdf=kdf)), PASSWORD, None) == SECRET


def test_a_wrong_password_is_said_to_be_one(tmp_path: Path) -> None:
    path = write(tmp_path / "k", keystore())
    with pytest.raises(SigningKeyError, match="the password is wrong") as refused:
        load_keystore(path, "wrong horse", None)
    assert "horse" not in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "document",
    ["", "{}", "[]", "7", "not json", "[" * 50_000, {"version": 3}, {**keystore(), "version": 1}, {**keystore(), "crypto": {}}],
)
def test_what_is_no_keystore_is_said_to_be_none(tmp_path: Path, document: Any) -> None:
    with pytest.raises(SigningKeyError, match="is not a geth V3 keystore"):
        load_keystore(write(tmp_path / "k", document), PASSWORD, None)


def test_a_folder_is_taken_when_exactly_one_of_its_keys_has_the_address(tmp_path: Path) -> None:
    write(tmp_path / "UTC--1", keystore())
    write(tmp_path / "UTC--2", keystore(OTHER))
    write(tmp_path / "notes.txt", "not a key")
    write(tmp_path / "large", "x" * 100_000)
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper" / "UTC--3", keystore())
    assert load_keystore(tmp_path, PASSWORD, address_of(SECRET)) == SECRET
    assert load_keystore(tmp_path, PASSWORD, address_of(OTHER)) == OTHER


def test_a_folder_with_none_or_two_of_the_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError, match=f"0 keys of 0x{address_of(SECRET).hex()}"):
        load_keystore(tmp_path, PASSWORD, address_of(SECRET))
    write(tmp_path / "a", keystore())
    document = keystore()
    write(tmp_path / "b", {**document, "address": "0x" + document["address"].removeprefix("0x").upper()})
    with pytest.raises(SigningKeyError, match="2 keys"):
        load_keystore(tmp_path, PASSWORD, address_of(SECRET))


def test_a_folder_needs_the_address_to_choose_by(tmp_path: Path) -> None:
    write(tmp_path / "a", keystore())
    with pytest.raises(SigningKeyError, match=r"key\.address must say which"):
        load_keystore(tmp_path, PASSWORD, None)


def test_a_key_is_never_created(tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    for load in (
        lambda: load_keystore(tmp_path / "missing", PASSWORD, None),
        lambda: load_keystore(tmp_path, PASSWORD, address_of(SECRET)),
        lambda: load_private_key_file(tmp_path / "missing"),
    ):
        with pytest.raises(SigningKeyError):
            load()
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("text", [SECRET.hex(), "0x" + SECRET.hex(), SECRET.hex().upper(), f"  {SECRET.hex()}\n", f"{SECRET.hex()}\r\n"])
def test_a_raw_key_is_64_hex_digits(tmp_path: Path, text: str) -> None:
    assert load_private_key_file(write(tmp_path / "k", text)) == SECRET


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "2c" * 31,
        "2c" * 33,
        "zz" * 32,
        "00" * 32,
        f"{ORDER:064x}",
        f"{ORDER + 1:064x}",
        "ff" * 32,
        "2c " * 32,
        "\u0661" * 64,
        "0x0x" + "2c" * 32,
    ],
)
def test_anything_else_is_no_key_and_is_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(SigningKeyError, match="is not a private key") as refused:
        load_private_key_file(write(tmp_path / "k", text))
    assert len(text) < 3 or text not in str(refused.value)
    with pytest.raises(SigningKeyError):
        parse_private_key(text, "key.private_key")


def test_the_smallest_and_the_largest_key_are_keys() -> None:
    assert parse_private_key(f"{1:064x}", "k") == (1).to_bytes(32, "big")
    assert parse_private_key(f"{ORDER - 1:064x}", "k") == (ORDER - 1).to_bytes(32, "big")


def test_a_secret_file_is_bounded_text(tmp_path: Path) -> None:
    assert read_secret_file(write(tmp_path / "s", " spaces stay \n"), "what") == " spaces stay "
    with pytest.raises(SigningKeyError, match="larger than 65536 bytes"):
        read_secret_file(write(tmp_path / "l", "x" * 65_537), "what")
    (tmp_path / "b").write_bytes(b"\xff\xfe")
    with pytest.raises(SigningKeyError, match="is not text"):
        read_secret_file(tmp_path / "b", "what")
    with pytest.raises(SigningKeyError, match=r"what .* cannot be read: Is a directory"):
        read_secret_file(tmp_path, "what")


def test_the_configured_address_must_be_the_keys(tmp_path: Path) -> None:
    raw, store, password = (
        write(tmp_path / "raw", SECRET.hex()),
        write(tmp_path / "store", keystore()),
        write(tmp_path / "pw", PASSWORD + "\n"),
    )
    mine, other = "0x" + address_of(SECRET).hex(), "0x" + address_of(OTHER).hex()
    for source in ({"private_key_file": raw}, {"keystore_file": store, "password_file": password}, {"private_key": SECRET.hex()}):
        assert open_signing_key(key_config(**source, address=mine)).address == address_of(SECRET)
        with pytest.raises(SigningKeyError) as refused:
            open_signing_key(key_config(**source, address=other))
        assert mine in str(refused.value)
        assert other in str(refused.value)
        assert SECRET.hex() not in str(refused.value)


def test_a_keystore_folder_works_from_the_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "keystore"
    folder.mkdir()
    write(folder / "UTC--1", keystore())
    write(folder / "UTC--2", keystore(OTHER))
    config = key_config(keystore_file=folder, password=PASSWORD, address="0x" + address_of(OTHER).hex())
    assert open_signing_key(config).address == address_of(OTHER)


def test_no_secret_is_in_what_a_person_may_print(tmp_path: Path) -> None:
    config = key_config(keystore_file=write(tmp_path / "s", keystore()), password=PASSWORD)
    key = open_signing_key(config)
    printed = " ".join((repr(config), str(config), repr(key), str(key), repr(vars(key)), repr(key_config(private_key=SECRET.hex()))))
    assert PASSWORD not in printed
    assert SECRET.hex() not in printed
    assert repr(SECRET)[2:-1] not in printed
