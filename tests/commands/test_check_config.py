"""`check-config` refuses what `serve` would refuse, before anything is served."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from livepeer_remote_signer.cli import main

KEY = f"key: {{private_key: '0x{'01' * 32}'}}\n"


def check(folder: Path, text: str) -> int:
    """The exit status for a configuration of this text."""
    file = folder / "config.yaml"
    file.write_text(KEY + text)
    return main(["check-config", "--config", str(file)])


def test_what_is_in_force_is_printed_without_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, "chain: {source: static}\n") == 0
    printed = capsys.readouterr()
    assert "source: static" in printed.out
    assert "0101" not in printed.out


def test_a_fault_of_one_part_is_told_with_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, "chain: {source: nowhere}\n") == 2
    assert f"{tmp_path / 'config.yaml'}: " in capsys.readouterr().err


@pytest.mark.parametrize("chain", ["{source: static}", "{source: rpc, rpc: {urls: ['http://127.0.0.1:1'], chain_id: 1}}"])
def test_a_ceiling_in_dollars_needs_a_feed_that_quotes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], chain: str) -> None:
    assert check(tmp_path, f"chain: {chain}\nprices: {{max_price_per_unit: 0.5USD}}\n") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "prices.currency_feed.address must name the Chainlink feed" in printed.err


def test_on_arbitrum_one_dollars_have_a_feed(tmp_path: Path) -> None:
    assert check(tmp_path, "chain: {source: rpc, rpc: {urls: ['http://127.0.0.1:1']}}\nprices: {max_price_per_unit: 0.5USD}\n") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("auth: {webhook: {url: not a url}}", "auth.webhook.url: must be an http"),
        ("events: {sinks: [{type: http, url: 'ftp://x'}]}", "url: must be an http"),
        ("state: {previous: [{mac_key_file: f, accept_until: tomorrow}]}", "state.previous.0.accept_until: must be a time"),
        ("discovery: {enabled: true, on_chain: service_registry}", "discovery.on_chain"),
        ("recipients: {require: active}", "recipients.require active"),
        ("budgets: [{scope: app, match: '*', window: day, limit_wei: 5}]", "budgets.0: scope app needs a match that names one app"),
        ("budgets: [{scope: app, window: day, limit_wei: 5}]", "escapes its limit under any new app label"),
        ("ledger: {backend: postgres, url: nonsense}", "ledger.url: this is no libpq connection string"),
        (
            "auth: {webhook: {url: 'https://h', secret: abc, headers: {Authorization: x}}}",
            "secret and headers.Authorization both claim the Authorization header",
        ),
        ("auth: {webhook: {url: 'https://u:p@h', secret: abc}}", "both claim the Authorization header"),
        ("auth: {webhook: {url: 'https://h', secret: 'a b '}}", "auth.webhook"),
        ("state: {mac_key: zz}", "state.mac_key is not"),
    ],
)
def test_what_serve_refuses_is_refused_and_its_key_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    assert check(tmp_path, f"chain: {{source: static}}\n{text}\n") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("command", ["check-config", "serve", "funds", "unlock"])
def test_an_endpoint_that_is_no_url_is_told_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(KEY + "chain: {source: rpc, rpc: {urls: ['http://[bad']}}\n")
    assert main([command, "--config", str(file)]) == 2
    assert "chain.rpc.urls.0: must be an http" in capsys.readouterr().err


def test_secret_files_that_are_not_there_yet_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
chain: {source: static}
state: {previous: [{mac_key_file: /none/mac, accept_until: 2030-01-31T00:00:00Z}]}
auth: {api_keys_file: /none/keys, webhook: {url: "https://h", secret_file: /none/webhook}}
events: {sinks: [{type: http, url: "https://h", secret_file: /none/sink}]}
"""
    assert check(tmp_path, text) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")] == [
        "note: state.previous.0.mac_key_file /none/mac is not there yet",
        "note: auth.api_keys_file /none/keys is not there yet",
        "note: auth.webhook.secret_file /none/webhook is not there yet",
        "note: events.sinks.0.secret_file /none/sink is not there yet",
    ]


def test_a_secret_file_of_no_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_bytes(b"\xff")
    assert check(tmp_path, f"chain: {{source: static}}\nauth: {{webhook: {{url: 'https://h', secret_file: {tmp_path / 'secret'}}}}}\n") == 2
    assert "secret is not text" in capsys.readouterr().err


def test_what_is_printed_of_prices_can_be_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "chain: {source: rpc, rpc: {urls: ['http://h']}}\nprices: {max_price_per_unit: 0.50USD, pixels_per_unit: 1.25}\n"
    assert check(tmp_path, text) == 0
    printed = yaml.safe_load(capsys.readouterr().out)["prices"]
    assert (printed["max_price_per_unit"], printed["pixels_per_unit"]) == ("0.5USD", "1.25")


def test_ids_whose_limit_is_above_the_default_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budgets = """
ledger: {backend: sqlite, path: LEDGER}
budgets:
  - {scope: auth_id, match: "*", window: day, limit_wei: 10}
  - {scope: auth_id, match: team-a, window: day, limit_wei: 50}
  - {scope: auth_id, match: team-b, window: day, limit_wei: 5}
  - {scope: auth_id, match: team-c, window: hour, limit_wei: 500}
"""
    assert check(tmp_path, "chain: {source: static}\n" + budgets.replace("LEDGER", str(tmp_path / "ledger"))) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: budgets")] == [
        "note: budgets: auth_id 'team-a' may spend 50 wei ev per day: its own entry stands instead of the 10 wei of match \"*\""
    ]


def test_limits_of_time_that_nobody_wants_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    webhook = "chain: {{source: static}}\nauth: {{webhook: {{url: 'https://h', timeout_seconds: {}}}}}\nlimits: {{answer_seconds: {}}}\n"
    for seconds, answer, notes in ((3, 4.5, 0), (4.4, 4.5, 0), (4.5, 4.5, 1), (9, 4.9, 1), (3, 5, 1), (5, 5, 2)):
        assert check(tmp_path, webhook.format(seconds, answer)) == 0
        said = capsys.readouterr().err
        assert said.count("note: ") == notes, (seconds, answer, said)
        assert (f"auth.webhook.timeout_seconds {seconds} is not below limits.answer_seconds {answer}" in said) == (seconds >= answer)
    ledger = "chain: {{source: static}}\nledger: {{backend: postgres, url: 'postgresql:///x', timeout_seconds: {}}}\n"
    for seconds, notes in ((4.4, 0), (4.5, 1), (20, 1)):
        assert check(tmp_path, ledger.format(seconds)) == 0
        said = capsys.readouterr().err
        assert said.count(f"note: ledger.timeout_seconds {seconds} is not below limits.answer_seconds 4.5") == said.count("note: ") == notes
    assert check(tmp_path, "chain: {source: static}\n") == 0
    assert "note: " not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("", ["nobody is asked", "ledger.backend none", "no price is too high"]),
        ("auth: {webhook: {url: 'https://h'}}\nprices: {max_price_per_hour: 0.001eth}\n", ["ledger.backend none"]),
        (
            "auth: {webhook: {url: 'https://h'}}\nprices: {max_price_per_job: 0.001eth}\nledger: {backend: sqlite, path: L}\n",
            ["no budget holds"],
        ),
        (
            "auth: {webhook: {url: 'https://h'}}\nprices: {max_price_per_unit: 5}\nledger: {backend: sqlite, path: L}\n"
            "budgets: [{scope: auth_id, window: hour, limit_wei: 0.005eth}]\n",
            [],
        ),
    ],
)
def test_each_bound_that_is_missing_is_told_in_eth_an_hour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str, warned: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert check(tmp_path, "chain: {source: static}\n" + text) == 0
    lines = capsys.readouterr().err.splitlines()
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == len(warned)
    for line, words in zip(warnings, warned, strict=True):
        assert words in line
        assert "32.4 ETH an hour" in line
    (note,) = [line for line in lines if line.startswith("exposure: ")]
    assert ("0.005 ETH an hour (budgets of an auth id" in note) is (not warned)


def test_a_secret_that_every_user_can_read_is_noted_and_not_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "secret"
    secret.write_text("word")
    text = f"chain: {{source: static}}\nauth: {{webhook: {{url: 'https://h', secret_file: {secret}}}}}\n"
    for mode, is_noted in ((0o644, True), (0o640, False), (0o600, False)):
        secret.chmod(mode)
        assert check(tmp_path, text) == 0
        assert ("auth.webhook.secret_file" in capsys.readouterr().err) is is_noted
