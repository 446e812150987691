"""What stands in files of its own is read with the configuration, stays secret, and stands nowhere else as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer_remote_signer.config.files import MAX_SECRET_FILE_BYTES, known_secrets
from livepeer_remote_signer.config.loading import ConfigError, parse_config

KEY = f"key: {{private_key: '0x{'1f' * 32}'}}\n"
STATIC = "chain: {source: static}\n"
PLANTED = "pl4nted-token"

URLS = KEY + "chain: {source: rpc, rpc: {urls_file: %s}}\n"
LEDGER = KEY + STATIC + "ledger: {backend: postgres, url_file: %s}\n"
HEADERS = KEY + STATIC + "auth: {webhook: {url: 'https://h', headers_file: %s}}\n"
EVERY_FILE = pytest.mark.parametrize("text", [URLS, LEDGER, HEADERS], ids=["urls", "ledger", "headers"])


def fault(text: str) -> str:
    """What the ConfigError of this configuration says."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, {})
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def test_rpc_endpoints_are_read_one_a_line(file: Path) -> None:
    file.write_text(f"https://a/{PLANTED}\n\n  https://b\r\n")
    config = parse_config(URLS % file, {})
    assert [url.get_secret_value() for url in config.chain.rpc.urls] == [f"https://a/{PLANTED}", "https://b"]
    assert PLANTED not in repr(config) + config.model_dump_json()
    assert f"https://a/{PLANTED}" in known_secrets(config)


def test_the_environments_endpoints_stand_over_the_file(file: Path) -> None:
    config = parse_config(URLS % file, {"ETH_RPC_URL": "https://c"})
    assert [url.get_secret_value() for url in config.chain.rpc.urls] == ["https://c"]


def test_a_ledgers_url_is_read(file: Path) -> None:
    file.write_text(f"postgresql://u:{PLANTED}@h/d\n")
    config = parse_config(LEDGER % file, {})
    assert config.ledger.url is not None
    assert config.ledger.url.get_secret_value() == f"postgresql://u:{PLANTED}@h/d"
    assert PLANTED not in repr(config) + config.model_dump_json()


def test_headers_are_read_one_a_line(file: Path) -> None:
    file.write_text(f"X-Api-Key: {PLANTED}\n\nX-Url:https://h:1\n")
    webhook = parse_config(HEADERS % file, {}).auth.webhook
    assert webhook is not None
    assert {name: value.get_secret_value() for name, value in webhook.headers.items()} == {"X-Api-Key": PLANTED, "X-Url": "https://h:1"}
    assert PLANTED not in repr(webhook) + webhook.model_dump_json()


@EVERY_FILE
def test_a_file_that_holds_nothing_usable_is_named_without_its_content(file: Path, text: str) -> None:
    assert f"_file {file} cannot be read: No such file" in fault(text % file)
    file.write_text(" \n")
    assert f"_file {file} is empty" in fault(text % file)
    file.write_bytes(b"\xff")
    assert f"_file {file} is not text" in fault(text % file)
    file.write_text("x" * (MAX_SECRET_FILE_BYTES + 1))
    assert "is larger than 65536 bytes" in fault(text % file)


@pytest.mark.parametrize(
    ("text", "content", "said"),
    [(URLS, f"https://a\nftp://{PLANTED}", "line 2: must be an http"), (HEADERS, f"X-A: b\n{PLANTED}", "line 2: must be a header")],
)
def test_a_bad_line_is_named_by_its_number(file: Path, text: str, content: str, said: str) -> None:
    file.write_text(content)
    assert said in fault(text % file)
    assert PLANTED not in fault(text % file)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (KEY + "chain: {source: static, rpc: {urls: ['http://h'], urls_file: f}}", "urls"),
        (KEY + STATIC + "ledger: {backend: postgres, url: u, url_file: f}", "url"),
        (KEY + STATIC + "auth: {webhook: {url: 'https://h', headers: {A: b}, headers_file: f}}", "headers"),
        (KEY + STATIC + "auth: {webhook: {url: 'https://h', secret: s, secret_file: f}}", "secret"),
        (KEY + STATIC + "state: {mac_key: s, mac_key_file: f}", "mac_key"),
        (KEY + STATIC + "events: {sinks: [{type: http, url: 'https://h', secret: s, secret_file: f}]}", "secret"),
        (KEY + STATIC + "events: {sinks: [{type: kafka, brokers: ['h:1'], topic: t, password: s, password_file: f}]}", "password"),
    ],
)
def test_a_value_given_by_itself_and_in_a_file_is_refused(text: str, name: str) -> None:
    assert f": give either {name} or {name}_file, not both" in fault(text)


@EVERY_FILE
def test_a_byte_order_mark_is_named(file: Path, text: str) -> None:
    file.write_text(f"\ufeff{PLANTED}\n")
    said = fault(text % file)
    assert f"_file {file} begins with a byte-order mark" in said
    assert PLANTED not in said


def test_a_ledgers_url_is_one_line(file: Path) -> None:
    file.write_text(f"postgresql://one@h/d\npostgresql://{PLANTED}@h/d\n")
    assert fault(LEDGER % file) == f"ledger.url_file {file} holds 2 lines, and one is expected"
