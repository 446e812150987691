"""go-livepeer's flags become a configuration that the signer takes, none of them is passed over, and no secret is repeated."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.cli import main
from livepeer_remote_signer.config.go_livepeer import (
    BOOLEAN,
    LEFT_OUT,
    NO_MEANING,
    TAKEN,
    Migration,
    UnreadableError,
    migrate,
    read_file,
    read_words,
)
from livepeer_remote_signer.config.loading import parse_config

GUIDE = Path(__file__).parents[2] / "docs/migration.md"
ADDRESS = "0x" + "ab" * 20


def migrated(line: str) -> Migration:
    return migrate(read_words(shlex.split(line)))


def test_the_guides_command_line_becomes_a_configuration_that_is_taken(tmp_path: Path) -> None:
    (line,) = re.findall(r"^livepeer -remoteSigner .*$", GUIDE.read_text(), re.MULTILINE)
    found = migrated(line)
    assert {account.fate for account in found.accounts} == {"taken", "no meaning"}
    headers = tmp_path / "webhook-headers"
    headers.write_text("Authorization: Bearer planted")
    found.tree["auth"]["webhook"]["headers_file"] = str(headers)
    config = parse_config(yaml.safe_dump(found.tree), {})
    assert str(config.listen) == "0.0.0.0:8936"
    assert (config.chain.source, config.discovery.enabled) == ("rpc", True)
    assert config.limits.max_ticket_ev_wei == 3_000_000_000_000
    assert (config.prices.max_price_per_unit.currency, config.prices.pixels_per_unit) == ("usd", 10**12)
    (sink,) = config.events.sinks
    assert (sink.type, sink.brokers, sink.topic) == ("kafka", ("kafka:9092",), "livepeer-gateway-events")
    assert str(config.key.keystore_file) == "/keys"


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("-ethUrl https://a,https://b", "chain.rpc.urls", ["https://a", "https://b"]),
        ("--ethUrl=https://a", "chain.rpc.urls", ["https://a"]),
        ("-network offchain", "chain.source", "static"),
        (f"-ethAcctAddr {'ab' * 20}", "key.address", ADDRESS),
        ("-ethPassword ./password", "key.password_file", "./password"),
        ("-httpAddr :9000", "listen", "0.0.0.0:9000"),
        ("-blockPollingInterval 7", "chain.rpc.poll_seconds", 7),
        ("-liveAICapReportInterval 25m", "discovery.refresh_seconds", 1500.0),
        ("-discoveryTimeout 500ms", "discovery.timeout_seconds", 0.5),
        ("-remoteDiscovery=false", "discovery.enabled", False),
        ("-remoteDiscovery -v 6", "log.level", "debug"),
        ("-remoteDiscovery -v 5", "log.level", "info"),
        ("-remoteDiscovery -v loud", "log.level", "info"),
        ("-remoteSignerAllowNoAuth", "auth.allow_unauthenticated", True),
        ("-orchAddr a.example:8935,https://b.example", "discovery.static", ["https://a.example:8935", "https://b.example"]),
        (f"-orchBlocklist {ADDRESS}", "recipients.deny", [ADDRESS]),
        ("-extraNodes 3", "discovery.follow_nodes", "3"),
        ("LP_ETHURL=https://a livepeer -remoteSigner", "chain.rpc.urls", ["https://a"]),
        ("-remoteSigner", "listen", "0.0.0.0:8935"),
    ],
)
def test_a_flag_becomes_its_key(line: str, key: str, value: Any) -> None:
    at: Any = migrated(line).tree
    for name in key.split("."):
        at = at[name]
    assert at == value


def test_every_flag_has_exactly_one_fate_and_every_taken_one_makes_a_key_that_exists() -> None:
    assert not TAKEN.keys() & NO_MEANING.keys()
    assert not (TAKEN.keys() | NO_MEANING.keys()) & LEFT_OUT.keys()
    assert TAKEN.keys() | NO_MEANING.keys() | LEFT_OUT.keys() >= BOOLEAN
    named = set(re.findall(r"`-(\w+)", "\n".join(line for line in GUIDE.read_text().splitlines() if line.startswith("| `-"))))
    assert named <= TAKEN.keys() | NO_MEANING.keys() | LEFT_OUT.keys(), "the guide's table and the command agree"
    assert TAKEN.keys() <= named, TAKEN.keys() - named


def test_no_secret_is_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    line = "livepeer -ethPassword planted1 -remoteSignerWebhookHeaders X-Key:planted2"
    line += " -kafkaBootstrapServers k:1 -kafkaGatewayTopic t -kafkaPassword planted3"
    assert main(["migrate", "--", *shlex.split(line)]) == 0
    out = capsys.readouterr()
    assert "planted" not in out.out + out.err
    tree = yaml.safe_load(out.out)
    assert tree["key"]["password_file"] == "./secrets/keystore-password"
    assert tree["auth"]["webhook"]["headers_file"] == "./secrets/webhook-headers"
    assert tree["events"]["sinks"][0]["password_file"] == "./secrets/kafka-password"
    for name in ("keystore-password", "webhook-headers", "kafka-password"):
        assert f"./secrets/{name}" in out.err


def test_a_file_stands_behind_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lp.conf"
    file.write_text("# a comment\nethUrl https://file\n\nremoteDiscovery\nmaxTotalEV 5\n")
    assert read_file(file.read_text()) == [("ethUrl", "https://file"), ("remoteDiscovery", "true"), ("maxTotalEV", "5")]
    assert main(["migrate", "--file", str(file), "--", "livepeer", "-ethUrl", "https://line"]) == 0
    tree = yaml.safe_load(capsys.readouterr().out)
    assert tree["chain"]["rpc"]["urls"] == ["https://line"]
    assert (tree["discovery"]["enabled"], tree["limits"]["max_total_ev_wei"]) == (True, "5")


def test_what_is_not_known_is_said_to_be_left_out() -> None:
    (account,) = migrated("-someNewFlag 5").accounts
    assert (account.flag, account.fate) == ("-someNewFlag", "left out")
    (account,) = migrated("-ignoreMaxPriceIfNeeded").accounts
    assert account.told == "a ceiling that gives way is none"


@pytest.mark.parametrize("line", ["livepeer extra words", "-ethUrl", "-remoteDiscovery=perhaps", "-liveAICapReportInterval soon", "-"])
def test_words_that_are_no_command_line_are_refused(line: str) -> None:
    with pytest.raises(UnreadableError):
        migrated(line)


@pytest.mark.parametrize("words", [[], ["--"], ["--file", "/nowhere"]])
def test_without_a_flag_there_is_nothing_to_print(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", *words]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.startswith("error: ")
