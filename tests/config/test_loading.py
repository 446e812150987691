"""Whatever stands in file and environment gives a Config or a ConfigError that says what to change, and never a secret."""

from __future__ import annotations

import inspect
from fractions import Fraction
from pathlib import Path

import pytest

from livepeer_remote_signer.config.faults import explain
from livepeer_remote_signer.config.keys import KeyConfig
from livepeer_remote_signer.config.loading import ConfigError, load_config, parse_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.values import PriceAmount
from tests.config.reading import KEY, LEAST, fault, read

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


def test_other_programs_find_the_configuration_and_the_application_by_these_names() -> None:
    from livepeer_remote_signer import config
    from livepeer_remote_signer.app import create_app

    assert {name: getattr(config, name).__name__ for name in config.__all__} == {name: name for name in config.__all__}
    with pytest.raises(AttributeError, match="no attribute 'parse'"):
        _ = config.parse
    assert "clock_ns" in inspect.signature(create_app).parameters


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
