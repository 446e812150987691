"""`check-config` refuses what `serve` would refuse, before anything is served."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from livepeer_remote_signer.cli import main

KEY = f"key: {{private_key: '0x{'01' * 32}'}}\n"


def check(folder: Path, text: str, key: str = "") -> int:
    """The exit status for a configuration of this text, with its key in a file of its own unless it is given."""
    secret = folder / "key"
    secret.touch(0o600)
    secret.write_text("01" * 32)
    file = folder / "config.yaml"
    file.write_text((key or f"key: {{private_key_file: {secret}}}\n") + text)
    return main(["check-config", "--config", str(file)])


def said(capsys: pytest.CaptureFixture[str], kind: str) -> list[str]:
    """The lines of this kind that were printed beside the configuration."""
    return [line.removeprefix(f"{kind}: ") for line in capsys.readouterr().err.splitlines() if line.startswith(f"{kind}: ")]


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
            "auth: {api_keys_in_ledger: true}\nprices: {max_price_per_job: 0.001eth}\nledger: {backend: sqlite, path: L}\n"
            "admin: {listen: '127.0.0.1:1', token_file: missing, manage_users: true}\n",
            ["no budget holds", "whoever has the admin token"],
        ),
        (
            "auth: {webhook: {url: 'https://h'}}\nprices: {max_price_per_unit: 5}\nledger: {backend: sqlite, path: L}\n"
            "budgets: [{scope: global, window: hour, limit_wei: 0.005eth}]\n",
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
    assert ("0.005 ETH an hour (budgets of all callers" in note) is (not warned)


def test_a_secret_that_every_user_can_read_is_noted_and_not_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "secret"
    secret.write_text("word")
    text = f"chain: {{source: static}}\nauth: {{webhook: {{url: 'https://h', secret_file: {secret}}}}}\n"
    for mode, is_noted in ((0o644, True), (0o640, False), (0o600, False)):
        secret.chmod(mode)
        assert check(tmp_path, text) == 0
        assert ("auth.webhook.secret_file" in capsys.readouterr().err) is is_noted


PRICES = "chain: {{source: rpc, rpc: {{urls: ['http://h']}}}}\nprices: {{{}}}\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("listen: 127.0.0.1:8937\nadmin: {listen: 127.0.0.1:8937, token_file: TOKEN}\n", "listen 127.0.0.1:8937 and admin.listen"),
        ("listen: 127.0.0.1:8937\nadmin: {listen: ':8937', token_file: TOKEN}\n", "are one address"),
        ("admin: {listen: 127.0.0.1:8937, token_file: SHORT}\n", "admin.token_file must hold at least 16 ASCII characters, it holds 5"),
        ("ledger: {backend: sqlite, path: FOLDER/none/l}\n", "none is not there (mkdir -p FOLDER/none)"),
        ("ledger: {backend: sqlite, path: SHORT/l}\n", "ledger.path SHORT/l cannot be made: SHORT is not a folder"),
        ("ledger: {backend: sqlite, path: FOLDER}\n", "ledger.path FOLDER is a folder"),
        ("ledger: {backend: sqlite, path: SHORT}\n", "ledger.path SHORT: the file is not a database (SQLITE_NOTADB)"),
        ("ledger: {backend: sqlite, path: NEWER}\n", "ledger.path NEWER: the ledger has schema version 99"),
        ("events: {sinks: [{type: file, path: FOLDER/none/e}]}\n", "events.sinks.0.path FOLDER/none/e cannot be made"),
        ("prices: {runtime_file: FOLDER/none/p}\n", "prices.runtime_file FOLDER/none/p cannot be made"),
        ("auth: {require_auth_id: true}\n", "auth.require_auth_id: true refuses every payment"),
    ],
)
def test_what_serve_would_meet_only_at_its_start_is_refused_with_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, named: str
) -> None:
    (tmp_path / "short").write_text("short")
    (tmp_path / "token").write_text("t" * 16)
    with contextlib.closing(sqlite3.connect(tmp_path / "newer")) as newer:
        newer.execute("PRAGMA user_version = 99")
    places = {"SHORT": tmp_path / "short", "TOKEN": tmp_path / "token", "NEWER": tmp_path / "newer", "FOLDER": tmp_path}
    for word, place in places.items():
        text, named = text.replace(word, str(place)), named.replace(word, str(place))
    assert check(tmp_path, "chain: {source: static}\n" + text) == 2
    printed = capsys.readouterr()
    assert (printed.out, named in printed.err) == ("", True), printed.err


def test_serve_refuses_a_place_in_the_same_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"chain: {{source: static}}\nlisten: 127.0.0.1:0\nledger: {{backend: sqlite, path: {tmp_path}/none/l}}\n"
    assert check(tmp_path, text) == 2
    refused = capsys.readouterr().err.strip().partition(": ")[2]
    assert main(["serve", "--config", str(tmp_path / "config.yaml")]) == 1
    assert f"cannot start: {refused}" in capsys.readouterr().err


def test_a_key_file_that_is_there_is_read_and_must_hold_the_key_of_the_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_text("no key")
    assert check(tmp_path, "chain: {source: static}\n", f"key: {{private_key_file: {tmp_path / 'bad'}}}\n") == 2
    assert "is not a private key" in capsys.readouterr().err
    other = f"key: {{private_key_file: {tmp_path / 'key'}, address: '0x{'12' * 20}'}}\n"
    assert check(tmp_path, "chain: {source: static}\n", other) == 2
    assert f"key.address says 0x{'12' * 20}" in capsys.readouterr().err


def test_looking_at_a_ledger_leaves_nothing_beside_it(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger")) as ledger:
        ledger.execute("PRAGMA journal_mode = WAL")
        ledger.execute("CREATE TABLE t (x)")
    before = {path.name for path in tmp_path.iterdir()} | {"key", "config.yaml"}
    assert check(tmp_path, f"chain: {{source: static}}\nledger: {{backend: sqlite, path: {tmp_path / 'ledger'}}}\n") == 0
    assert {path.name for path in tmp_path.iterdir()} == before


def test_defaults_that_follow_from_other_keys_are_printed_as_they_are_in_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
chain: {source: rpc, rpc: {urls: ['http://h']}}
prices: {pixels_per_unit: 4, max_price_per_hour: 2USD, max_price_per_capability: [{pipeline: llm, price_per_unit: 3}]}
discovery: {enabled: true}
events: {sinks: [{type: kafka, brokers: ['h:1'], topic: t, username: u, password: p}, {type: kafka, brokers: ['h:1'], topic: s}]}
"""
    assert check(tmp_path, text) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["recipients"]["require"] == "registered"
    assert shown["chain"]["rpc"]["max_head_age_seconds"] == 300
    assert shown["prices"]["currency_feed"]["address"].lower() == "0x639fe6ab55c921f74e7fac1ee960c0b6293ba612"
    assert shown["prices"]["max_price_per_capability"][0]["pixels_per_unit"] == "4"
    assert shown["discovery"]["on_chain"] == "service_registry"
    assert [sink["tls"] for sink in shown["events"]["sinks"]] == [True, False]
    assert 8 <= shown["limits"]["max_connections"] <= 16384
    assert check(tmp_path, "chain: {source: static}\nlimits: {max_connections: 9}\n") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["recipients"]["require"], shown["limits"]["max_connections"]) == ("any", 9)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            PRICES.format("max_price_per_unit: 0.50EUR, currency_feed: {max_age_seconds: 90}"),
            "given in EUR, but prices.currency_feed quotes USD",
        ),
        (PRICES.format("max_price_per_unit: 0.50EUR, max_price_per_hour: 1USD"), "given in EUR, USD"),
        ("chain: {source: rpc, rpc: {urls: ['http://h'], poll_seconds: 61}}\n", "max_age_seconds 60 is below poll_seconds 61"),
        ("chain: {source: rpc, rpc: {urls: ['http://h'], max_head_age_seconds: 4}}\n", "max_head_age_seconds 4 is below poll_seconds 5"),
        (PRICES.format("currency_feed: {max_age_seconds: 4}"), "prices.currency_feed.max_age_seconds 4 is below chain.rpc.poll_seconds 5"),
    ],
)
def test_what_could_never_work_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, named: str) -> None:
    assert check(tmp_path, text) == 2
    assert named in capsys.readouterr().err


HOOK = "chain: {{source: static}}\nauth: {{webhook: {{url: '{}'}}}}\n"
STATIC = "chain: {source: static}\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (STATIC + "prices: {max_price_per_unit: 0.5}\n", "prices.max_price_per_unit is 0.5 wei, next to nothing"),
        (STATIC + "prices: {max_price_per_hour: 2}\n", "was 2USD or 2eth meant?"),
        (
            STATIC + "prices: {max_price_per_capability: [{pipeline: llm, price_per_unit: 0.5}]}\n",
            "max_price_per_capability llm/default is 0.5 wei",
        ),
        (STATIC + "prices: {max_price_per_unit: 1, max_price_per_hour: 0.001eth}\n", None),
        (HOOK.format("http://identity-webhook:8090/authorize"), "auth.webhook.url is plain http to identity-webhook"),
        (HOOK.format("http://127.0.0.1:8090/authorize"), None),
        (HOOK.format("http://[::1]:8090/"), None),
        (HOOK.format("https://identity-webhook/"), None),
        (STATIC + "auth: {jwt: {issuer: 'http://login.example', audience: a}}\n", "auth.jwt.issuer is plain http to login.example"),
        (STATIC + "events: {sinks: [{type: http, url: 'http://bills.example'}]}\n", "events.sinks.0.url is plain http"),
        (STATIC + "state: {mac_key: '" + "02" * 32 + "'}\n", "state.mac_key stands in"),
        (STATIC + "state: {mac_key: '${MAC_KEY}'}\n", None),
    ],
)
def test_what_is_taken_and_may_not_be_meant_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str, named: str | None
) -> None:
    monkeypatch.setenv("MAC_KEY", "02" * 32)
    assert check(tmp_path, text) == 0
    doubts = [line for line in said(capsys, "warning") if " can take up to " not in line and " pays what " not in line]
    assert len(doubts) == (named is not None), doubts
    if named is not None:
        assert named in doubts[0]


def test_a_key_in_the_file_itself_is_warned_of_also_by_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, STATIC, KEY) == 0
    assert any(line.startswith("key.private_key stands in") and "0101" not in line for line in said(capsys, "warning"))
    (tmp_path / "config.yaml").write_text(KEY + STATIC + f"ledger: {{backend: sqlite, path: {tmp_path}/none/l}}\n")
    served = subprocess.run(
        [sys.executable, "-m", "livepeer_remote_signer", "serve", "--config", str(tmp_path / "config.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (served.returncode, "key.private_key stands in" in served.stderr) == (1, True)


def test_payments_of_nobody_are_warned_of_where_auth_ids_are_budgeted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = f"ledger: {{backend: sqlite, path: {tmp_path}/l}}\nbudgets: [{{scope: auth_id, window: day, limit_wei: 5}}]\n"
    for more, is_warned in (("", True), (", require_auth_id: true", False)):
        assert check(tmp_path, STATIC + f"auth: {{webhook: {{url: 'https://h'}}{more}}}\n" + budget) == 0
        assert any(line.startswith("auth.require_auth_id is not set") for line in said(capsys, "warning")) is is_warned


def test_a_variable_that_drops_entries_of_the_file_is_noted_also_by_serve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = "chain: {source: rpc, rpc: {urls: ['${ONE}', 'https://two']}}\n"
    monkeypatch.setenv("ONE", "https://one")
    assert check(tmp_path, two) == 0
    assert not [line for line in said(capsys, "note") if "ETH_RPC_URL" in line]
    monkeypatch.setenv("ETH_RPC_URL", "https://one")
    assert check(tmp_path, two) == 0
    (note,) = (line for line in said(capsys, "note") if "ETH_RPC_URL" in line)
    assert "1 of chain.rpc.urls are not used" in note
    (tmp_path / "urls").write_text("https://two\n")
    assert check(tmp_path, f"chain: {{source: rpc, rpc: {{urls_file: {tmp_path / 'urls'}}}}}\n") == 0
    assert any("chain.rpc.urls_file are not used" in line for line in said(capsys, "note"))
    monkeypatch.setenv("ETH_RPC_URL", "https://one, https://two")
    assert check(tmp_path, two) == 0
    assert not [line for line in said(capsys, "note") if "ETH_RPC_URL" in line]
    monkeypatch.setenv("ETH_RPC_URL", "https://one")
    assert check(tmp_path, two + f"ledger: {{backend: sqlite, path: {tmp_path}/none/l}}\n") == 2
    served = subprocess.run(
        [sys.executable, "-m", "livepeer_remote_signer", "serve", "--config", str(tmp_path / "config.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ETH_RPC_URL is set and stands in place of all RPC endpoints of the file" in served.stderr
