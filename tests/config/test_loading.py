"""Whatever stands in file and environment gives a Config or a ConfigError that says what to change, and never a secret."""

from __future__ import annotations

import inspect
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.config.ceilings import ceiling_amounts
from livepeer_remote_signer.config.faults import explain
from livepeer_remote_signer.config.keys import KeyConfig
from livepeer_remote_signer.config.loading import ConfigError, load_config, parse_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.values import PriceAmount
from tests.config.reading import KEY, LEAST, fault, read
from tests.outside import NEEDED_BY_OUTSIDE_KEYS

SECRET = "5ecre7" * 10 + "5ecr"
ROOT = Path(__file__).parents[2]


# --- the file ---


def test_key_and_chain_are_enough() -> None:
    config = read()
    assert (config.listen.host, config.listen.port, config.state.seal) == ("127.0.0.1", 8936, "mac")
    assert (config.limits.max_ticket_ev_wei, config.limits.max_total_ev_wei, config.limits.deposit_multiplier) == (
        3 * 10**12,
        2 * 10**13,
        1,
    )
    assert (config.prices.max_price_per_unit, config.prices.pixels_per_unit) == (PriceAmount(Fraction(0), "wei"), 1)
    assert (config.auth.webhook, config.admin, config.ledger.backend, config.byoc_jobs) == (None, None, "none", False)


@pytest.mark.parametrize(
    "address",
    [
        "0x" + "ab" * 19 + "  ",
        "0x" + "ab" * 9 + "  " + "ab" * 10,
        "0x" + "ab" * 19 + "a ",
        "0x" + "ab" * 19,
        "0x" + "ab" * 21,
        "0x" + "ab" * 19 + "zz",
        "0X" + "ab" * 20,
        "ab" * 21,
    ],
)
@pytest.mark.parametrize("key", ["allow", "deny"])
def test_an_address_that_would_match_nobody_is_refused(address: str, key: str) -> None:
    """Python's own reader of hex skips blanks: 19 bytes and two blanks are as long as an address."""
    assert fault(f"{LEAST}recipients: {{{key}: ['{address}']}}") == f"recipients.{key}.0: must be 0x and 40 hex digits"


@pytest.mark.parametrize("text", ["", "{}", "# nothing", "null", "---\n"])
def test_an_empty_file_misses_its_keys_by_name(text: str) -> None:
    assert fault(text) == "the key 'key' is missing\nthe key 'chain' is missing"


@pytest.mark.parametrize("text", ["5", "[]", "text", "- a", "true"])
def test_a_file_is_a_mapping_of_keys(text: str) -> None:
    assert fault(text) == "the configuration must be a mapping of keys"


def test_the_example_is_a_good_configuration() -> None:
    assert load_config(ROOT / "config.example.yaml", {}).chain.static.deposit_wei == 25 * 10**16


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.yaml", {})
    (tmp_path / "latin.yaml").write_bytes(b"key: \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("byoc_job: true", "unknown key 'byoc_job': did you mean 'byoc_jobs'?"),
        ("limits: {max_ticket_ev: 5}", "unknown key 'limits.max_ticket_ev': did you mean 'max_ticket_ev_wei'?"),
        ("prices: {max_price_per_capability: [{pipline: llm, pipeline: llm, price_per_unit: 1}]}", "did you mean 'pipeline'?"),
        ("budgets: [{scop: global, window: day, limit_wei: 5}]", "unknown key 'budgets.0.scop': did you mean 'scope'?"),
        ("auth: {webhook: {url: u, zzzzzz: 1}}", "unknown key 'auth.webhook.zzzzzz': known here: "),
        ("zzzzzz: 1", "known here: admin, allowed_hosts, auth, "),
        ("<<: {listen: 127.0.0.1:1}", "unknown key '<<'"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(text: str, said: str) -> None:
    assert said in fault(LEAST + text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "prices: {max_price_per_capability: [{pipeline: nope, price_per_unit: 1}]}",
            "prices.max_price_per_capability.0.pipeline: unknown pipeline",
        ),
        ("prices: {max_price_per_capability: [{pipeline: llm}]}", "the key 'prices.max_price_per_capability.0.price_per_unit' is missing"),
        ("prices: {max_price_per_capability: [{pipeline: llm, price_per_unit: x}]}", "prices.max_price_per_capability.0.price_per_unit: "),
        ("prices: {max_price_per_capability: {list: 5}}", "prices.max_price_per_capability: "),
        ("prices: {max_price_per_capability: [5]}", "prices.max_price_per_capability.0: "),
        ("events: {sinks: [{type: file, file: e, path: e}]}", "unknown key 'events.sinks.0.file'"),
        ("events: {sinks: [{type: file}]}", "the key 'events.sinks.0.path' is missing"),
        ("events: {sinks: [{type: http, url: u}]}", "events.sinks.0.url: "),
    ],
)
def test_a_fault_is_one_line_that_names_the_key_as_it_is_written(text: str, said: str) -> None:
    assert fault(LEAST + text).startswith(said)
    assert "\n" not in fault(LEAST + text)


@pytest.mark.parametrize("text", ["listen: 127.0.0.1:1\nlisten: 127.0.0.1:2", "log: {level: info, level: debug}", "'chain': {}"])
def test_a_key_stands_once(text: str) -> None:
    assert "stands twice" in fault(LEAST + text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state: &a {}\nlog: *a", "anchors and aliases are not read"),
        ("a: &a [*a]", "anchors and aliases are not read"),
        ("listen: !!python/object:os.system x", "tags are not read"),
        ("listen: !!int 5", "tags are not read"),
        ("[a]: 1", "a key must be text"),
        ("true: 1", "a key must be text"),
        ("null: 1", "a key must be text"),
        ("listen: [", "not YAML"),
        ("listen: '\x00'", "not YAML"),
        ("a: b: c", "not YAML"),
    ],
)
def test_yaml_beyond_plain_values_is_refused(text: str, said: str) -> None:
    assert said in fault(LEAST + text)


def test_numbers_are_the_text_they_are_spelled_as() -> None:
    address = "0x00000000000000000000000000000000000000aa"
    config = read(f"recipients: {{deny: [{address}]}}\nprices: {{max_price_per_unit: 0.1234567890123456789012345678901}}\n")
    assert config.recipients.deny == (bytes(19) + b"\xaa",)
    assert config.prices.max_price_per_unit.value == Fraction("0.1234567890123456789012345678901")
    assert "not an amount" in fault(LEAST + "limits: {max_ticket_ev_wei: 1:30}")
    assert "decimal" in fault(LEAST + "limits: {max_ticket_ev_wei: 0100}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {deposit_multiplier: 0}", "limits.deposit_multiplier: "),
        ("limits: {max_tickets: 0}", "limits.max_tickets: "),
        ("limits: {max_tickets: 101}", "limits.max_tickets: "),
        ("limits: {min_ticket_ev_wei: -1}", "limits.min_ticket_ev_wei: "),
        ("limits: {min_ticket_ev_wei: 3000000000001}", "min_ticket_ev_wei 3000000000001 is above max_ticket_ev_wei 3000000000000"),
        ("limits: {max_ticket_ev_wei: -1}", "limits.max_ticket_ev_wei: "),
        ("limits: {max_ticket_ev_wei: true}", "limits.max_ticket_ev_wei: YAML reads yes, no, on, off, true and false"),
        ("limits: {max_ticket_ev_wei: 0.5}", "limits.max_ticket_ev_wei: '0.5' is not a whole number of wei"),
        ("limits: {max_ticket_ev_wei: 1e999999999}", "limits.max_ticket_ev_wei: an exponent beyond 100"),
        ("limits: {body_timeout_seconds: inf}", "limits.body_timeout_seconds: "),
        ("limits: {body_timeout_seconds: nan}", "limits.body_timeout_seconds: "),
        ("limits: {body_timeout_seconds: 0}", "limits.body_timeout_seconds: "),
        ("limits: 5", "limits: "),
        ("limits: null", "limits: "),
        ("listen: nowhere", "listen: must be HOST:PORT"),
        ("listen: 127.0.0.1:99999", "listen: must be HOST:PORT"),
        ("listen: [::1]:5", "not YAML"),
        ("state: {seal: wax}", "state.seal: "),
        ("prices: {max_price_per_unit: -5}", "prices.max_price_per_unit: "),
        ("prices: {max_price_per_unit: true}", "prices.max_price_per_unit: YAML reads yes, no, on, off, true and false"),
        ("prices: {pixels_per_unit: 5eth}", "prices.pixels_per_unit: must be a plain number"),
        ("prices: {pixels_per_unit: 0}", "prices: pixels_per_unit must be positive"),
        ("prices: {max_price_per_capability: [{pipeline: nope, price_per_unit: 1}]}", "unknown pipeline 'nope': one of text-to-image"),
        (
            "prices: {max_price_per_capability: [{pipeline: llm, price_per_unit: 1, pixels_per_unit: 0}]}",
            "pixels_per_unit must be positive",
        ),
        ("recipients: {allow: [0x12]}", "recipients.allow.0: must be 0x and 40 hex digits"),
        ("admin: {listen: 127.0.0.1:1}", "the key 'admin.token_file' is missing"),
        (
            "state: {previous: [{accept_until: 2030-01-31T00:00:00Z}]}",
            "give exactly one of private_key_file, keystore_file and",
        ),
        ("ledger: {backend: sqlite}", "backend sqlite needs path"),
        ("ledger: {backend: postgres}", "backend postgres needs url"),
        ("budgets: [{scope: global, window: day, limit_wei: 5}]", "budgets need a ledger"),
        ("auth: {api_keys_in_ledger: true}", "auth.api_keys_in_ledger needs a ledger"),
        ("admin: {listen: 127.0.0.1:1, token_file: /dev/null, manage_users: true}", "admin.manage_users needs a ledger"),
        ("budgets: [{scope: orchestrator, match: orch.example, window: day, limit_wei: 5}]", "0x and 40 hex digits, not 'orch.example'"),
        ("budgets: [{scope: orchestrator, match: '', window: day, limit_wei: 5}]", "0x and 40 hex digits, not ''"),
        (f"budgets: [{{scope: orchestrator, match: '{'ab' * 20}', window: day, limit_wei: 5}}]", "0x and 40 hex digits"),
        (f"budgets: [{{scope: orchestrator, match: '0x{'ab' * 21}', window: day, limit_wei: 5}}]", "0x and 40 hex digits"),
        ("events: {sinks: [{type: pigeon}]}", "events.sinks.0: "),
        ("state: {previous: [{accept_until: tomorrow, mac_key_file: f}]}", "state.previous.0.accept_until: must be a time such as"),
        ("recipients: {require: active}", "recipients.require active needs a live chain"),
        ("discovery: {enabled: true, on_chain: service_registry}", "discovery.on_chain service_registry needs a live chain"),
        ("listen: 0.0.0.0:8936", "nobody is asked before signing"),
        ("listen: ':8936'", "nobody is asked before signing"),
    ],
)
def test_a_value_that_cannot_stand_is_named(text: str, said: str) -> None:
    assert said in fault(LEAST + text)


@pytest.mark.parametrize("match", ["*", f"0x{'aB' * 20}"])
def test_a_budget_of_an_orchestrator_names_it_in_any_case(match: str) -> None:
    budgets = f"budgets: [{{scope: orchestrator, match: '{match}', window: day, limit_wei: 5}}]"
    config = parse_config(LEAST + "ledger: {backend: sqlite, path: l.db}\n" + budgets, {})
    assert config.budgets[0].match == match


@pytest.mark.parametrize(
    "key",
    [
        "{}",
        "{private_key: a, private_key_file: b}",
        "{keystore_file: a}",
        "{keystore_file: a, password: b, password_file: c}",
        "{private_key: a, keystore_file: b, password: c}",
    ],
)
def test_there_is_exactly_one_key(key: str) -> None:
    assert "exactly one of" in fault(f"key: {key}\nchain: {{source: static}}")


@pytest.mark.parametrize(
    "text",
    [
        "listen: '[::1]:8936'",
        "listen: localhost:8936",
        "listen: 0.0.0.0:1\nauth: {allow_unauthenticated: true}",
        "listen: ':1'\nauth: {webhook: {url: 'https://h'}}",
        "listen: 10.0.0.1:1\nauth: {api_keys_file: keys.json}",
        "listen: h:1\nauth: {jwt: {issuer: i, audience: a}}",
        "ledger: {backend: sqlite, path: l.db}\nbudgets: [{scope: global, window: day, limit_wei: 1eth}]",
    ],
)
def test_good_combinations_pass(text: str) -> None:
    assert isinstance(read(text), Config)


def test_a_chain_over_rpc_needs_an_endpoint() -> None:
    assert "needs chain.rpc.urls" in fault(f"key: {{private_key: '{KEY}'}}\nchain: {{source: rpc}}")


# --- ${VAR} ---


def test_variables_stand_anywhere_in_a_string_and_are_filled_once() -> None:
    config = read("auth: {webhook: {url: 'https://${HOST}/${PATH_}', headers: {X: '${H}'}}}", HOST="h", PATH_="p", H="${HOST}")
    assert config.auth.webhook is not None
    assert config.auth.webhook.url == "https://h/p"
    assert config.auth.webhook.headers["X"].get_secret_value() == "${HOST}"
    assert read("limits: {deposit_multiplier: '${N}'}", N="7").limits.deposit_multiplier == 7


def test_a_shells_other_forms_are_refused_with_the_key() -> None:
    assert fault(LEAST + "budgets: [{match: '${X:-planted}'}]", X="1").startswith("budgets.0.match: only ${NAME} is read")
    assert "planted" not in fault(LEAST + "budgets: [{match: '${X:-planted}'}]", X="1")


def test_an_unset_variable_names_itself_and_its_key() -> None:
    assert fault(LEAST + "budgets: [{match: '${NONE}'}]") == "budgets.0.match: the environment variable NONE is not set"


# --- the ceilings' file ---


@pytest.mark.parametrize("spelled", ["live-video-to-video", "Live video to video", "LIVE-VIDEO-TO-VIDEO", " Live-video to video "])
def test_a_pipeline_may_be_spelled_as_go_livepeer_prints_it(tmp_path: Path, spelled: str) -> None:
    entry = f'{{"pipeline": "{spelled}", "price_per_unit": 5}}'
    for config in (
        ceilings_of(tmp_path, f'{{"capabilities_prices": [{entry}]}}'),
        read(f"prices: {{max_price_per_capability: [{entry}]}}"),
    ):
        assert [price.pipeline for price in config.prices.max_price_per_capability] == ["live-video-to-video"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"capabilities_prices": [], "capabilities_prices": []}', "the key 'capabilities_prices' stands twice"),
        (
            '{"capabilities_prices": [{"pipeline": "llm", "price_per_unit": 1, "price_per_unit": 2}]}',
            "the key 'price_per_unit' stands twice",
        ),
        (
            '{"capabilities_prices": [{"pipeline": "llm", "price_per_unit": 1}, {"pipeline": "Llm", "model_id": "", "price_per_unit": 2}]}',
            "entries 0 and 1 are both for llm and the model 'default'",
        ),
        ('{"capabilities_prices": [], "capability_prices": []}', "unknown key 'capability_prices': known here: capabilities_prices"),
        (
            '{"capabilities_prices": [{"pipeline": "llm", "price_per_unit": 1, "colour": 2}]}',
            "known here: currency, model_id, pipeline, pixels_per_unit, price_per_unit",
        ),
    ],
)
def test_a_price_file_that_says_two_things_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Of a doubled key JSON's readers take one in silence: all ceilings were gone once."""
    with pytest.raises(ConfigError) as refused:
        ceilings_of(tmp_path, text)
    assert said in str(refused.value)


def test_a_list_of_prices_that_says_two_things_is_refused() -> None:
    assert "entries 0 and 1 are both for llm" in fault(
        LEAST + "prices: {max_price_per_capability: [{pipeline: llm, price_per_unit: 1}, {pipeline: llm, price_per_unit: 2}]}"
    )


def ceilings_of(tmp_path: Path, content: str) -> Config:
    """The configuration whose ceilings stand in a file of this content."""
    (tmp_path / "prices.json").write_text(content)
    return read(f"prices: {{max_price_per_capability: {json.dumps(str(tmp_path / 'prices.json'))}}}")


def test_ceilings_are_read_from_go_livepeers_file_exactly(tmp_path: Path) -> None:
    entry = '{"pipeline": "llm", "model_id": "", "price_per_unit": 0.12345678901234567890123, "pixels_per_unit": "3", "currency": "USD"}'
    prices = ceilings_of(tmp_path, f'{{"capabilities_prices": [{entry}, {{"pipeline": "byoc", "price_per_unit": "5eth"}}]}}').prices
    first, second = prices.max_price_per_capability
    assert not isinstance(first, str)
    assert (first.model_id, first.price_per_unit.value, first.pixels_per_unit) == ("default", Fraction("0.12345678901234567890123"), 3)
    assert (second.model_id, second.price_per_unit, second.pixels_per_unit) == ("default", PriceAmount(Fraction(5), "eth"), None)


@pytest.mark.parametrize("currency", ['""', '" "', "null"])
def test_no_currency_is_wei_as_in_go_livepeer(tmp_path: Path, currency: str) -> None:
    entry = f'{{"pipeline": "llm", "price_per_unit": 1, "currency": {currency}}}'
    for config in (
        ceilings_of(tmp_path, f'{{"capabilities_prices": [{entry}]}}'),
        read(f"prices: {{max_price_per_capability: [{entry}]}}"),
    ):
        assert ceiling_amounts(config.prices).feed_currencies == set()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not {"),
        ("[]", "is not {"),
        ("{}", "is not {"),
        ('{"capabilities_prices": 5}', "is not {"),
        ("[" * 100_00, "is not {"),
        ('{"capabilities_prices": [5]}', "valid dictionary"),
        ('{"capabilities_prices": [{"pipeline": "x", "price_per_unit": 1}]}', "unknown pipeline"),
        ('{"capabilities_prices": [{"pipeline": "llm"}]}', "'price_per_unit' is missing"),
        ('{"capabilities_prices": [{"pipeline": "llm", "price_per_unit": 1}, {"pipeline": "llm"}]}', "entry 1: the key 'price_per_unit'"),
    ],
)
def test_a_bad_ceilings_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"max_price_per_capability \(.*prices.json\)") as error:
        ceilings_of(tmp_path, content)
    assert said in str(error.value)


def test_a_missing_ceilings_file_is_named() -> None:
    assert "cannot be read: No such file" in fault(LEAST + "prices: {max_price_per_capability: /none/prices.json}")


# --- anything at all ---

YAML_PIECES = [
    "{",
    "}",
    "[",
    "]",
    ":",
    "-",
    "?",
    "|",
    ">",
    "&",
    "*",
    "!",
    "%",
    "@",
    "`",
    "'",
    '"',
    "#",
    ",",
    "=",
    "<<",
    "~",
    "null",
    "true",
    ".nan",
    ".inf",
    "1e400",
    "0x10",
    "1:30",
    "2001-99-99",
    "!!int",
    "!!float",
    "!!timestamp",
    "!!binary",
    "!!set",
    "key",
    "chain",
    "source",
    "static",
    "listen",
    "private_key",
    "limits",
    "prices",
    "auth",
    "webhook",
    "events",
    "sinks",
    "${A}",
    "${B}",
]
yaml_pieces = st.sampled_from([*YAML_PIECES, " ", "\n", "\n  ", ": ", "- ", "\t", "\x00", "\x85", "\ufeff"])


@given(st.text(max_size=60) | st.lists(yaml_pieces, max_size=25).map("".join), st.text(max_size=6))
def test_any_text_is_a_config_or_a_config_error(text: str, value: str) -> None:
    environ = {
        "A": value,
        "SIGNER_PORT": value,
        "ETH_RPC_URL": value,
        "WEBHOOK_SECRET": value,
        "KAFKA_BROKERS": value,
        "KAFKA_GATEWAY_TOPIC": "t",
    }
    for whole in (text, LEAST + text):
        for names in ({}, environ):
            try:
                config = parse_config(whole, names)
            except ConfigError:
                continue
            assert isinstance(config, Config)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "type", "x", "static", "0"]), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(Config.model_fields)), json_values, max_size=5), st.booleans())
def test_any_values_of_known_keys_are_a_config_or_a_config_error(tree: dict[str, Any], with_environment: bool) -> None:
    environ = {"ETH_RPC_URL": "u", "WEBHOOK_SECRET": "s", "KAFKA_BROKERS": "b", "KAFKA_GATEWAY_TOPIC": "t", "SIGNER_NETWORK": "offchain"}
    text = json.dumps({"key": {"private_key": KEY}, "chain": {"source": "static"}, **tree})
    try:
        config = parse_config(text, environ if with_environment else {})
    except ConfigError as error:
        said = str(error)
    else:
        said = repr(config)
    assert said


# --- secrets ---

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


def test_other_programs_find_the_configuration_and_the_application_by_these_names() -> None:
    from livepeer_remote_signer import config
    from livepeer_remote_signer.app import create_app

    assert {name: getattr(config, name).__name__ for name in config.__all__} == {name: name for name in config.__all__}
    with pytest.raises(AttributeError, match="no attribute 'parse'"):
        _ = config.parse
    assert "clock_ns" in inspect.signature(create_app).parameters


ETH_SIGN = {"url": "http://h", "address": "0x" + "ab" * 20}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({"eth_sign": ETH_SIGN, "private_key": KEY}, "give exactly one of private_key"),
        (
            {"eth_sign": ETH_SIGN, "pkcs11": {"module": "m", "token_label": "t", "key_label": "k", "pin_file": "p"}},
            "eth_sign, aws_kms, pkcs11",
        ),
        ({}, "give exactly one of private_key, private_key_file and keystore_file, or of eth_sign, aws_kms, pkcs11, not none"),
        ({"eth_sign": ETH_SIGN, "address": "0x" + "cd" * 20}, "two addresses"),
        ({"eth_sign": {**ETH_SIGN, "headers": {"a": "b"}, "headers_file": "f"}}, "either headers or headers_file"),
        ({"eth_sign": {"url": "http://h"}}, "eth_sign.address"),
        ({"aws_kms": {"key_id": "", "region": "r"}}, "key_id"),
        ({"aws_kms": {"key_id": "k", "region": "r", "max_per_second": 0}}, "max_per_second"),
        ({"pkcs11": {"module": "m", "token_label": "t", "key_label": "k"}}, "pin_file"),
    ],
)
def test_of_the_forms_of_a_key_one_is_given_and_whole(key: dict[str, Any], said: str) -> None:
    assert said in fault(json.dumps({"key": key, "chain": {"source": "static"}}))


def test_a_key_outside_is_known_by_its_form_and_its_address() -> None:
    def key(**form: Any) -> KeyConfig:
        return parse_config(json.dumps({"key": form, "chain": {"source": "static"}, **NEEDED_BY_OUTSIDE_KEYS}), {}).key

    address = bytes.fromhex("ab" * 20)
    assert (key(eth_sign=ETH_SIGN).external, key(eth_sign=ETH_SIGN).known_address) == ("eth_sign", address)
    assert key(eth_sign=ETH_SIGN, address=ETH_SIGN["address"]).known_address == address
    assert key(aws_kms={"key_id": "k", "region": "r"}).known_address is None
    assert key(aws_kms={"key_id": "k", "region": "r"}, address=ETH_SIGN["address"]).known_address == address
    assert (key(private_key=KEY).external, key(private_key=KEY).known_address) == (None, None)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("limits: {max_connections: yes}", "limits.max_connections"),
        ("limits: {drain_seconds: true}", "limits.drain_seconds"),
        ("prices: {max_price_per_unit: on}", "prices.max_price_per_unit"),
        ("events: {sinks: [{type: kafka, brokers: ['a:1'], topic: no}]}", "events.sinks.0.topic"),
        ("auth: {webhook: {url: 'http://a/', headers: {X-One: yes}}}", "auth.webhook.headers.X-One"),
        ("cors: {allow_origins: [off]}", "cors.allow_origins.0"),
        ("recipients: {guard: {window_seconds: true}}", "recipients.guard.window_seconds"),
    ],
)
def test_yes_where_no_truth_is_expected_is_named(text: str, key: str) -> None:
    assert fault(f"{LEAST}{text}\n") == (
        f"{key}: YAML reads yes, no, on, off, true and false as true or false, which cannot be meant here; text stands in quotes"
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("limits:", "limits"),
        ("auth:\n  webhook:", "auth.webhook"),
        ("auth:\n  jwt:", "auth.jwt"),
        ("admin:", "admin"),
        ("budgets:", "budgets"),
        ("events:\n  sinks:", "events.sinks"),
        ("recipients: {guard: }", "recipients.guard"),
        ("limits: {max_ticket_ev_wei: }", "limits.max_ticket_ev_wei"),
    ],
)
def test_a_section_with_nothing_under_it_is_named(text: str, key: str) -> None:
    assert fault(f"{LEAST}{text}\n") == f"{key}: nothing stands under it: give it a value, or take the key away"


def test_what_may_be_true_or_nothing_still_may() -> None:
    text = "byoc_jobs: yes\nauth: {allow_unauthenticated: on}\noutbound: {proxy: }\nledger: {path: }\n"
    config = parse_config(LEAST + text, {})
    assert (config.byoc_jobs, config.auth.allow_unauthenticated, config.outbound.proxy, config.ledger.path) == (True, True, None, None)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"ledger": {"backend": "none"}}, "key.pkcs11: a key outside this host needs a ledger: set ledger.backend to sqlite or postgres"),
        ({"state": {"mac_key": "0x" + "ab" * 32, "seal": "signature"}}, "state.seal signature would sign every state anew with key.pkcs11"),
        ({"state": {}}, "state.mac_key_file, which `livepeer-remote-signer signing-key mac` makes"),
        ({}, None),
    ],
)
def test_what_a_key_outside_this_host_needs(change: dict[str, Any], fault: str | None) -> None:
    form = {"pkcs11": {"module": "/m.so", "token_label": "t", "key_label": "k", "pin_file": "/pin"}}
    sections = {"key": form, "chain": {"source": "static"}, **NEEDED_BY_OUTSIDE_KEYS, **change}
    if fault is None:
        assert parse_config(json.dumps(sections), {}).key.external == "pkcs11"
        return
    with pytest.raises(ConfigError, match=re.escape(fault)):
        parse_config(json.dumps(sections), {})


def test_a_fault_of_no_single_key_names_what_it_is_in() -> None:
    fault = {"loc": (), "type": "value_error", "msg": "Value error, it is empty"}
    assert explain({}, fault) == "configuration: it is empty"
    assert explain({}, fault, KeyConfig) == "the entry: it is empty"


def test_keys_in_the_ledger_are_keys_and_want_a_ledger_alone(tmp_path: Path) -> None:
    config = read(f"auth: {{api_keys_in_ledger: true}}\nledger: {{backend: sqlite, path: {tmp_path}/ledger}}\n")
    assert config.auth.has_api_keys
    assert config.auth.is_configured
    assert not read().auth.has_api_keys


def test_budgets_of_single_names_are_namespaced_where_names_are(tmp_path: Path) -> None:
    told = f"{LEAST}auth: {{api_keys_file: keys.json, namespaces: true}}\nledger: {{backend: sqlite, path: {tmp_path}/ledger}}\n"
    budget = "budgets: [{{scope: auth_id, match: '{}', window: day, limit_wei: '5'}}]\n"
    for match in ("*", "key:alice"):
        assert parse_config(told + budget.format(match), {}).budgets[0].match == match
    assert "budgets.0: with auth.namespaces no auth id is 'alice'" in fault(told + budget.format("alice"))
