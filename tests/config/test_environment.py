"""The environment names of existing stacks: each stands over its key of the file (section 13 of the protocol)."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer_remote_signer.config.events import KafkaSink
from livepeer_remote_signer.config.loading import ConfigError, parse_config, parse_go_duration
from livepeer_remote_signer.core.protocol import arbitrum_one
from tests.config.reading import KEY, LEAST, fault, read

RPC = f"key: {{private_key: '{KEY}'}}\nchain: {{source: static, rpc: {{controller: '0x{'11' * 20}', chain_id: 5}}}}\n"


def test_signer_network_chooses_the_chain_and_its_controller() -> None:
    chain = parse_config(RPC, {"SIGNER_NETWORK": "arbitrum-one-mainnet", "ETH_RPC_URL": "http://a, http://b,"}).chain
    assert (chain.source, [url.get_secret_value() for url in chain.rpc.urls]) == ("rpc", ["http://a", "http://b"])
    assert chain.rpc.controller == arbitrum_one.CONTROLLER
    assert chain.rpc.chain_id == arbitrum_one.CHAIN_ID
    assert parse_config(RPC.replace("static,", "rpc,"), {"SIGNER_NETWORK": "offchain"}).chain.source == "static"
    assert "one of arbitrum-one-mainnet and offchain" in fault(RPC, SIGNER_NETWORK="mainnet")


def test_without_a_network_the_files_controller_stands() -> None:
    assert parse_config(RPC, {"ETH_RPC_URL": "http://a"}).chain.rpc.controller == b"\x11" * 20


@pytest.mark.parametrize(("listen", "host"), [("", "127.0.0.1"), ("listen: localhost:1", "localhost"), ("listen: '[::1]:1'", "::1")])
def test_signer_port_changes_the_port_alone(listen: str, host: str) -> None:
    assert tuple(read(listen, SIGNER_PORT="9000").listen) == (host, 9000)


@pytest.mark.parametrize("listen", ["'8936'", "null", "''", "h"])
def test_signer_port_makes_no_open_listener_of_what_is_no_address(listen: str) -> None:
    assert "must be HOST:PORT" in fault(f"{LEAST}listen: {listen}\nauth: {{allow_unauthenticated: true}}", SIGNER_PORT="9000")


@pytest.mark.parametrize("port", ["x", "-1", "80 ", "٣", "1e3"])
def test_signer_port_is_a_number(port: str) -> None:
    assert fault(LEAST, SIGNER_PORT=port) == "SIGNER_PORT is not a port number"
    assert "must be HOST:PORT" in fault(LEAST, SIGNER_PORT="65536")


@pytest.mark.parametrize("spelled", ["0x" + "ab" * 20, "ab" * 20])
def test_signer_eth_addr_is_the_keys_address(spelled: str) -> None:
    assert read(SIGNER_ETH_ADDR=spelled).key.address == b"\xab" * 20


def test_signer_eth_keystore_path_stands_over_any_key_of_the_file() -> None:
    outside = "eth_sign: {url: 'http://h', address: '0x" + "ab" * 20 + "'}, aws_kms: {key_id: k, region: r}"
    text = f"key: {{private_key: x, password: y, {outside}}}\nchain: {{source: static}}"
    key = parse_config(text, {"SIGNER_ETH_KEYSTORE_PATH": "/keys"}).key
    assert (key.private_key, key.keystore_file) == (None, Path("/keys"))


def test_the_webhook_and_its_secret() -> None:
    config = read(REMOTE_SIGNER_WEBHOOK_URL="https://hook", WEBHOOK_SECRET="s").auth.webhook
    assert config is not None
    assert config.secret is not None
    assert (config.url, config.secret.get_secret_value(), config.secret_file) == ("https://hook", "s", None)
    replaced = read(
        "auth: {webhook: {url: 'http://u', secret_file: f, timeout_seconds: 2}}", REMOTE_SIGNER_WEBHOOK_URL="http://v", WEBHOOK_SECRET="s"
    ).auth.webhook
    assert replaced is not None
    assert (replaced.url, replaced.secret_file, replaced.timeout_seconds) == ("http://v", None, 2)
    assert "no webhook is" in fault(LEAST, WEBHOOK_SECRET="s")
    assert "webhook must be a mapping" in fault(LEAST + "auth: {webhook: text}", WEBHOOK_SECRET="s")


def test_kubernetes_link_to_a_service_named_signer_is_told_for_what_it_is() -> None:
    said = fault(LEAST, SIGNER_PORT="tcp://10.96.0.12:8936")
    assert "Kubernetes" in said
    assert "enableServiceLinks: false" in said
    assert "10.96" not in said


def test_kafka_is_a_sink_beside_the_files_others() -> None:
    sinks = read("events: {sinks: [{type: file, path: e}]}", KAFKA_BROKERS="a:9092, b:9092", KAFKA_GATEWAY_TOPIC="t").events.sinks
    assert [sink.type for sink in sinks] == ["file", "kafka"]
    assert isinstance(sinks[1], KafkaSink)
    assert (sinks[1].brokers, sinks[1].topic) == (("a:9092", "b:9092"), "t")
    assert "KAFKA_GATEWAY_TOPIC is not" in fault(LEAST, KAFKA_BROKERS="a:1")
    assert "must be a list" in fault(LEAST + "events: {sinks: 5}", KAFKA_BROKERS="a:1", KAFKA_GATEWAY_TOPIC="t")


@pytest.mark.parametrize(
    ("environ", "brokers", "topic"),
    [
        ({"KAFKA_BROKERS": "new:1,new:2", "KAFKA_GATEWAY_TOPIC": "new"}, ("new:1", "new:2"), "new"),
        ({"KAFKA_BROKERS": "new:1"}, ("new:1",), "old"),
        ({"KAFKA_GATEWAY_TOPIC": "new"}, ("old:1",), "new"),
    ],
)
def test_each_kafka_variable_stands_over_its_key_of_the_files_one_kafka_sink(
    environ: dict[str, str], brokers: tuple[str, ...], topic: str
) -> None:
    kafka = "{type: kafka, brokers: [old:1], topic: old, username: u, password_file: p, tls: false}"
    sinks = read(f"events: {{sinks: [{kafka}, {{type: file, path: e}}]}}", **environ).events.sinks
    assert [sink.type for sink in sinks] == ["kafka", "file"]
    assert isinstance(sinks[0], KafkaSink)
    assert (sinks[0].brokers, sinks[0].topic) == (brokers, topic)
    assert (sinks[0].username, sinks[0].password_file, sinks[0].tls) == ("u", Path("p"), False)


def test_kafka_credentials_of_existing_stacks_are_those_of_the_kafka_sink() -> None:
    names = {"LP_KAFKAUSER": "gateway", "LP_KAFKAPASSWORD": "planted"}
    (made,) = read(KAFKA_BROKERS="a:1", KAFKA_GATEWAY_TOPIC="t", **names).events.sinks
    (laid_over,) = read("events: {sinks: [{type: kafka, brokers: [a:1], topic: t, username: u, password_file: p}]}", **names).events.sinks
    for sink in (made, laid_over):
        assert isinstance(sink, KafkaSink)
        assert sink.password is not None
        assert (sink.username, sink.password.get_secret_value(), sink.password_file) == ("gateway", "planted", None)
        assert "planted" not in repr(sink)
    assert read(**names).events.sinks == (), "for the gateway beside us"
    assert "exactly one of password_file and password" in fault(LEAST, KAFKA_BROKERS="a:1", KAFKA_GATEWAY_TOPIC="t", LP_KAFKAUSER="u")


@pytest.mark.parametrize(
    ("brokers", "words"),
    [
        ("kafka://a:9092", "without a scheme such as kafka://"),
        ("a:9092,SASL_SSL://b:9093", "brokers.1: must be HOST:PORT, without a scheme"),
        ("a:9092/x", "must be HOST:PORT"),
        ("user:planted@a:9092", "must be HOST:PORT"),
        ("a:0", "must be HOST:PORT"),
        ("a:65536", "must be HOST:PORT"),
        ("a:9092 b:9092", "must be HOST:PORT"),
        ("a;b", "must be HOST:PORT"),
    ],
)
def test_brokers_that_nobody_can_connect_to_are_named(brokers: str, words: str) -> None:
    said = fault(LEAST, KAFKA_BROKERS=brokers, KAFKA_GATEWAY_TOPIC="t")
    assert words in said
    assert "events.sinks.0" in said
    assert "planted" not in said


def test_brokers_as_they_may_be_spelled() -> None:
    (sink,) = read(KAFKA_BROKERS="a, b_c-d.example:9092 ,[::1]:9092\r,192.0.2.1:1", KAFKA_GATEWAY_TOPIC="a.B_c-1").events.sinks
    assert isinstance(sink, KafkaSink)
    assert sink.brokers == ("a", "b_c-d.example:9092", "[::1]:9092", "192.0.2.1:1")


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("t\r", "line break"),
        (" t", "line break"),
        ("t u", "must be a Kafka topic"),
        ("..", "must be a Kafka topic"),
        ("t" * 250, "Kafka topic"),
    ],
)
def test_topics_that_kafka_does_not_know_are_named(topic: str, words: str) -> None:
    said = fault(LEAST, KAFKA_BROKERS="a:1", KAFKA_GATEWAY_TOPIC=topic)
    assert words in said
    assert "events.sinks.0" in said


def test_two_kafka_sinks_of_the_file_give_way_to_the_environments() -> None:
    two = "events: {sinks: [{type: kafka, brokers: [a:1], topic: a}, {type: kafka, brokers: [b:1], topic: b}]}"
    (sink,) = read(two, KAFKA_BROKERS="c:1", KAFKA_GATEWAY_TOPIC="c").events.sinks
    assert isinstance(sink, KafkaSink)
    assert sink.topic == "c"
    assert len(read(two, KAFKA_GATEWAY_TOPIC="c").events.sinks) == 2


def test_discovery_is_switched_and_configured_from_the_environment() -> None:
    discovery = read(SIGNER_REMOTE_DISCOVERY="true", ORCH_WEBHOOK_URL="https://o", LIVE_AI_CAP_REPORT_INTERVAL="25m").discovery
    assert (discovery.enabled, discovery.webhook_url, discovery.refresh_seconds) == (True, "https://o", 1500)
    assert not read("discovery: {enabled: true}", SIGNER_REMOTE_DISCOVERY="0").discovery.enabled
    assert read(SIGNER_REMOTE_DISCOVERY="1").discovery.enabled
    assert "neither true nor false" in fault(LEAST, SIGNER_REMOTE_DISCOVERY="maybe")


def test_signer_max_total_ev_is_the_batchs_limit() -> None:
    assert read(SIGNER_MAX_TOTAL_EV="5").limits.max_total_ev_wei == 5
    assert "limits.max_total_ev_wei" in fault(LEAST, SIGNER_MAX_TOTAL_EV="much")


def test_empty_variables_count_as_unset() -> None:
    names = (
        "SIGNER_NETWORK SIGNER_PORT ETH_RPC_URL SIGNER_ETH_ADDR SIGNER_ETH_KEYSTORE_PATH REMOTE_SIGNER_WEBHOOK_URL WEBHOOK_SECRET "
        "KAFKA_BROKERS KAFKA_GATEWAY_TOPIC LP_KAFKAUSER LP_KAFKAPASSWORD "
        "SIGNER_REMOTE_DISCOVERY ORCH_WEBHOOK_URL LIVE_AI_CAP_REPORT_INTERVAL SIGNER_MAX_TOTAL_EV"
    )
    assert read(**dict.fromkeys(names.split(), "")) == read()


@pytest.mark.parametrize("section", ["chain: 5", "key: []", "limits: x", "discovery: [1]"])
def test_an_environment_over_a_section_that_is_none_is_refused(section: str) -> None:
    environ = {"ETH_RPC_URL": "u", "SIGNER_ETH_ADDR": "a", "SIGNER_MAX_TOTAL_EV": "5", "ORCH_WEBHOOK_URL": "u"}
    assert "must be a mapping of keys" in fault(section, **environ)


DURATIONS = [("25m", 1500.0), ("1h30m", 5400.0), ("90s", 90.0), ("1.5s", 1.5), ("100ms", 0.1), ("2us3ns", 2.003e-6)]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_go_duration(text, "X") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "25", "m", "-5m", "5 m", "5d", "1h-30m", "0"])
def test_what_is_no_go_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="X is not a duration such as 25m"):
        parse_go_duration(text, "X")
