"""Keys come from where the configuration says, or not at all: none is made, none is exchanged, none is shown."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from eth_account import Account

from livepeer_remote_signer.adapters.keys import (
    SigningKey,
    SigningKeyError,
    StateSeal,
    load_keystore,
    load_private_key_file,
    parse_private_key,
    read_password_file,
    read_secret_file,
    signing,
)
from livepeer_remote_signer.adapters.keys.loading import MAX_TRIED_KEYSTORES
from livepeer_remote_signer.adapters.keys.sender import Sender
from livepeer_remote_signer.adapters.keys.signing import CoincurveSigner
from livepeer_remote_signer.config.loading import ConfigError, parse_config
from livepeer_remote_signer.core.errors import SenderChanged
from livepeer_remote_signer.core.protocol.eip191 import keccak256, personal_digest, recover_address
from livepeer_remote_signer.wiring.keys import open_mac_key, open_seal, open_signing_key
from tests.signer import configuration

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
    assert load_keystore(write(tmp_path / "k", keystore(kdf=kdf)), [PASSWORD], None) == SECRET


def test_a_wrong_password_is_said_to_be_one(tmp_path: Path) -> None:
    path = write(tmp_path / "k", keystore())
    with pytest.raises(SigningKeyError, match="the password is wrong") as refused:
        load_keystore(path, ["wrong horse", "also wrong"], None)
    assert "horse" not in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "document",
    ["", "{}", "[]", "7", "not json", "[" * 50_000, {"version": 3}, {**keystore(), "crypto": {}}],
)
def test_what_is_no_keystore_is_said_to_be_none(tmp_path: Path, document: Any) -> None:
    with pytest.raises(SigningKeyError, match="is not a geth V3 keystore"):
        load_keystore(write(tmp_path / "k", document), [PASSWORD], None)


def test_a_folder_is_taken_when_exactly_one_of_its_keys_has_the_address(tmp_path: Path) -> None:
    write(tmp_path / "UTC--1", keystore())
    write(tmp_path / "UTC--2", keystore(OTHER))
    write(tmp_path / "notes.txt", "not a key")
    write(tmp_path / "large", "x" * 100_000)
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper" / "UTC--3", keystore())
    assert load_keystore(tmp_path, [PASSWORD], address_of(SECRET)) == SECRET
    assert load_keystore(tmp_path, [PASSWORD], address_of(OTHER)) == OTHER


def test_a_folder_with_none_or_two_of_the_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError, match=f"0 keys of 0x{address_of(SECRET).hex()}"):
        load_keystore(tmp_path, [PASSWORD], address_of(SECRET))
    write(tmp_path / "a", keystore())
    document = keystore()
    write(tmp_path / "b", {**document, "address": "0x" + document["address"].removeprefix("0x").upper()})
    with pytest.raises(SigningKeyError, match="2 keys"):
        load_keystore(tmp_path, [PASSWORD], address_of(SECRET))


def test_a_folder_needs_the_address_to_choose_by(tmp_path: Path) -> None:
    write(tmp_path / "a", keystore())
    with pytest.raises(SigningKeyError, match=r"key\.address must say which"):
        load_keystore(tmp_path, [PASSWORD], None)


def test_a_key_is_never_created(tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    for load in (
        lambda: load_keystore(tmp_path / "missing", [PASSWORD], None),
        lambda: load_keystore(tmp_path, [PASSWORD], address_of(SECRET)),
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


@pytest.mark.parametrize("version", [1, 2, 4, "3", None])
def test_another_version_of_keystores_is_refused_by_name(tmp_path: Path, version: Any) -> None:
    with pytest.raises(SigningKeyError, match=rf"is a keystore of version {version!r}, and only version 3 is read"):
        load_keystore(write(tmp_path / "k", {**keystore(), "version": version}), [PASSWORD], None)


SHORT = bytes.fromhex("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe")
"""31 bytes: geth's own test vectors have a key that was written without its leading zero."""


def _encrypted(secret: bytes) -> dict[str, Any]:
    """The `crypto` part of a keystore that holds these bytes, whatever they are: no tool's own checks are in the way."""
    derived = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), bytes(16), 2, 32)
    encryptor = Cipher(algorithms.AES(derived[:16]), modes.CTR(bytes(16))).encryptor()
    ciphertext = encryptor.update(secret) + encryptor.finalize()
    return {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": bytes(16).hex()},
        "ciphertext": ciphertext.hex(),
        "kdf": "pbkdf2",
        "kdfparams": {"c": 2, "dklen": 32, "prf": "hmac-sha256", "salt": bytes(16).hex()},
        "mac": keccak256(derived[16:] + ciphertext).hex(),
    }


def test_a_key_that_lost_its_leading_zeros_gets_them_back(tmp_path: Path) -> None:
    """Filled up at its end instead it would pass the check of its address, and then sign everything with another key."""
    whole = SHORT.rjust(32, b"\0")
    assert load_keystore(write(tmp_path / "k", {"version": 3, "crypto": _encrypted(SHORT)}), [PASSWORD], None) == whole
    config = key_config(keystore_file=tmp_path / "k", password=PASSWORD, address="0x" + address_of(whole).hex())
    key = open_signing_key(config)
    assert recover_address(personal_digest(b"m"), key.sign_personal(b"m")) == address_of(whole)


@pytest.mark.parametrize("secret", [b"\x2c" * 33, bytes(32), bytes(5), ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_a_keystore_of_what_is_no_key_is_refused(tmp_path: Path, secret: bytes) -> None:
    with pytest.raises(SigningKeyError, match="is not a private key"):
        load_keystore(write(tmp_path / "k", {"version": 3, "crypto": _encrypted(secret)}), [PASSWORD], None)


@pytest.mark.parametrize("length", [31, 33, 0])
def test_no_signer_is_made_of_another_number_of_bytes(length: int) -> None:
    with pytest.raises(ValueError, match=f"a secret has 32 bytes, not {length}"):
        CoincurveSigner(b"\x2c" * length)


def test_at_start_a_signature_is_made_that_must_recover_to_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    other = CoincurveSigner(OTHER)
    monkeypatch.setattr(signing, "CoincurveSigner", lambda secret: other)
    with pytest.raises(RuntimeError, match="does not recover to its address"):
        SigningKey(SECRET)


@pytest.mark.parametrize("spelling", [PASSWORD, f"{PASSWORD}\n", f"  {PASSWORD}\t\r\n\n"])
def test_a_password_file_is_read_as_go_livepeer_reads_it(tmp_path: Path, spelling: str) -> None:
    write(tmp_path / "k", keystore())
    write(tmp_path / "password", spelling)
    assert open_signing_key(key_config(keystore_file=tmp_path / "k", password_file=tmp_path / "password")).address == address_of(SECRET)


def test_a_password_with_blanks_at_its_ends_is_tried_as_it_stands_too(tmp_path: Path) -> None:
    write(tmp_path / "k", keystore(password=f" {PASSWORD} "))
    write(tmp_path / "password", f" {PASSWORD} \n")
    assert open_signing_key(key_config(keystore_file=tmp_path / "k", password_file=tmp_path / "password")).address == address_of(SECRET)


@pytest.mark.parametrize("content", ["", "\n", "  \r\n"])
def test_an_empty_password_file_is_refused_and_what_to_do_is_said(tmp_path: Path, content: str) -> None:
    with pytest.raises(SigningKeyError, match=r"is empty: go-livepeer tries .* write key\.password"):
        read_password_file(write(tmp_path / "password", content))
    write(tmp_path / "k", keystore(password=""))
    assert load_keystore(tmp_path / "k", [""], None) == SECRET


def test_keystores_without_an_address_are_opened_where_none_names_it(tmp_path: Path) -> None:
    for name, secret in (("one", SECRET), ("two", OTHER)):
        document = keystore(secret)
        del document["address"]
        write(tmp_path / name, document)
    assert load_keystore(tmp_path, [PASSWORD], address_of(OTHER)) == OTHER
    with pytest.raises(SigningKeyError, match="2 keystores name no address, and none of them opens to it"):
        load_keystore(tmp_path, ["wrong"], address_of(OTHER))
    for number in range(MAX_TRIED_KEYSTORES):
        write(tmp_path / f"more{number}", {"version": 3, "crypto": {}})
    with pytest.raises(SigningKeyError, match="exactly one is needed"):
        load_keystore(tmp_path, [PASSWORD], address_of(OTHER))


def test_a_neighbour_that_cannot_be_read_hides_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "k", keystore())
    write(tmp_path / "theirs", keystore(OTHER))
    real = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "theirs":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert load_keystore(tmp_path, [PASSWORD], address_of(SECRET)) == SECRET


def test_a_mnemonic_beside_the_key_is_named_and_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    document = {**keystore(), "x-ethers": {"mnemonicCiphertext": "0011", "version": "0.1"}}
    assert load_keystore(write(tmp_path / "k", document), [PASSWORD], None) == SECRET
    (line,) = caplog.messages
    assert "holds a mnemonic, which is not used" in line
    assert "0011" not in line


def test_a_previous_key_may_stand_in_a_keystore(tmp_path: Path) -> None:
    write(tmp_path / "k", keystore(OTHER))
    write(tmp_path / "password", PASSWORD)
    previous = {"keystore_file": str(tmp_path / "k"), "password_file": str(tmp_path / "password"), "accept_until": "2030-01-01T00:00:00Z"}
    config = parse_config(yaml.safe_dump(configuration(state={"previous": [previous]})), {})
    key = SigningKey(SECRET)
    old = SigningKey(OTHER)
    seal = open_seal(config.state, Sender(key.address, open_mac_key(config.state, key), key, None), lambda: 0)
    state = b'{"StateID":"a"}'
    with pytest.raises(SenderChanged):
        seal.verify(state, StateSeal(old.address, mac_key=old.derive_mac_key(), clock_ns=lambda: 0).seal(state))


@pytest.mark.parametrize(
    "previous",
    [
        {},
        {"keystore_file": "/k"},
        {"password_file": "/p"},
        {"mac_key_file": "/m", "password_file": "/p"},
        {"keystore_file": "/k", "password_file": "/p", "mac_key_file": "/m"},
    ],
)
def test_a_previous_key_has_exactly_one_form(previous: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"state\.previous"):
        parse_config(yaml.safe_dump(configuration(state={"previous": [{**previous, "accept_until": "2030-01-01T00:00:00Z"}]})), {})


def test_a_secret_of_two_lines_or_with_a_byte_order_mark_is_named_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    for text, words in (("first\ngeheim\n", "holds 2 lines, and one is expected"), ("\ufeffgeheim\n", "begins with a byte-order mark")):
        file.write_text(text)
        with pytest.raises(SigningKeyError, match=words) as refused:
            read_secret_file(file, "admin.token_file")
        assert str(refused.value).startswith(f"admin.token_file {file} ")
        assert "geheim" not in str(refused.value)
    file.write_text("\ufeff" + json.dumps({"version": 3}))
    with pytest.raises(SigningKeyError, match=r"key\.keystore_file .* begins with a byte-order mark"):
        load_keystore(file, ["x"], None)
