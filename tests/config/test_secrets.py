"""No secret is in what is shown of a configuration, nor in what is said of one that cannot be read."""

from __future__ import annotations

import json

import pytest

from livepeer_remote_signer.config.loading import parse_config
from tests.config.reading import KEY, LEAST, fault, read
from tests.outside import NEEDED_BY_OUTSIDE_KEYS

SECRET = "5ecre7" * 10 + "5ecr"
URLS_WITH_SECRETS = {
    "auth.webhook.url": f"https://u:{SECRET}@h:1/a",
    "discovery.webhook_url": f"https://h:1/{SECRET}",
    "tracing.otlp_endpoint": f"http://h:1?token={SECRET}",
    "events.sinks.0.url": f"https://h:1/#{SECRET}",
    "auth.jwt.jwks_url": f"https://h:1/{SECRET}?x",
    "key.eth_sign.url": f"https://u:{SECRET}@h:1/",
}


def test_of_a_url_only_scheme_host_and_port_are_shown() -> None:
    url = URLS_WITH_SECRETS
    config = parse_config(
        f"key: {{eth_sign: {{url: '{url['key.eth_sign.url']}', address: '0x{'ab' * 20}'}}}}\nchain: {{source: static}}\n"
        + "".join(f"{name}: {json.dumps(section)}\n" for name, section in NEEDED_BY_OUTSIDE_KEYS.items())
        + f"auth: {{webhook: {{url: '{url['auth.webhook.url']}'}}, "
        f"jwt: {{issuer: i, audience: a, jwks_url: '{url['auth.jwt.jwks_url']}'}}}}\n"
        f"discovery: {{webhook_url: '{url['discovery.webhook_url']}'}}\ntracing: {{otlp_endpoint: '{url['tracing.otlp_endpoint']}'}}\n"
        f"events: {{sinks: [{{type: http, url: '{url['events.sinks.0.url']}'}}, {{type: http, url: 'https://h:1/'}}]}}",
        {},
    )
    for shown in (repr(config), config.model_dump_json(), repr(config.model_dump())):
        assert SECRET not in shown
        assert shown.count("://h:1/***") == 6
    assert config.model_dump()["events"]["sinks"][1]["url"] == "https://h:1"
    assert config.auth.webhook is not None
    assert config.auth.webhook.url == url["auth.webhook.url"]


@pytest.mark.parametrize(
    "key",
    [
        "auth: {webhook: {url: %s}}",
        "discovery: {webhook_url: %s}",
        "tracing: {otlp_endpoint: %s}",
        "events: {sinks: [{type: http, url: %s}]}",
        "auth: {jwt: {issuer: i, audience: a, jwks_url: %s}}",
    ],
)
@pytest.mark.parametrize(
    "url", ["no url", "ftp://x", "http://[bad", "http://", "https:///path", "http://h:99999", "http://h:0", '"http://h\\n/"']
)
def test_what_cannot_be_asked_is_no_url_and_is_not_repeated(key: str, url: str) -> None:
    said = fault(LEAST + key % json.dumps(json.loads(url) if url[0] == '"' else url))
    assert "url: must be an http:// or https:// URL" in said.replace("otlp_endpoint", "url")
    assert url.removeprefix("http://") == "" or url not in said


@pytest.mark.parametrize("url", ["http://[bad", "wss://h", "http://"])
def test_an_rpc_endpoint_is_a_url_too(url: str) -> None:
    said = fault(f"key: {{private_key: '{KEY}'}}\nchain: {{source: rpc, rpc: {{urls: ['http://h', '{url}']}}}}")
    assert said.startswith("chain.rpc.urls.1: must be an http:// or https:// URL")


def test_an_empty_discovery_webhook_is_none() -> None:
    assert read("discovery: {webhook_url: ''}").discovery.webhook_url is None


WITH_SECRETS = f"""
key: {{private_key: "{SECRET}"}}
state: {{mac_key: "{SECRET}"}}
chain: {{source: rpc, rpc: {{urls: ["https://rpc/{SECRET}"]}}}}
auth: {{webhook: {{url: "https://hook", secret: "{SECRET}", headers: {{X-Api-Key: "{SECRET}"}}}}}}
ledger: {{backend: postgres, url: "postgresql://u:{SECRET}@h/d"}}
events: {{sinks: [{{type: http, url: "https://sink", secret: "{SECRET}"}}]}}
"""


def test_no_secret_is_in_a_configurations_repr_or_dump() -> None:
    config = parse_config(WITH_SECRETS, {})
    assert config.key.private_key is not None
    assert config.key.private_key.get_secret_value() == SECRET
    for shown in (repr(config), str(config), config.model_dump_json(), repr(config.model_dump())):
        assert SECRET not in shown


@pytest.mark.parametrize("line", range(1, WITH_SECRETS.count("\n")))
@pytest.mark.parametrize("change", ["unknown", "type", "broken", "doubled", "listed"])
def test_no_secret_is_in_any_error(line: int, change: str) -> None:
    lines = WITH_SECRETS.split("\n")
    key, _, value = lines[line].partition(": ")
    lines[line] = {
        "unknown": f"{key}: {value[:-1]}, unknown_key: '{SECRET}'}}",
        "type": f"{key}: '{SECRET}'",
        "broken": f"{key}: {value} {SECRET}",
        "doubled": f"{key}: {value}\n{key}: {value}",
        "listed": f"{key}: [{value}]",
    }[change]
    assert SECRET not in fault("\n".join(lines))


@pytest.mark.parametrize(
    "name", ["SIGNER_PORT", "SIGNER_ETH_ADDR", "LIVE_AI_CAP_REPORT_INTERVAL", "SIGNER_REMOTE_DISCOVERY", "SIGNER_MAX_TOTAL_EV"]
)
def test_no_value_of_a_misplaced_variable_is_in_its_error(name: str) -> None:
    assert SECRET not in fault(LEAST, **{name: SECRET})
