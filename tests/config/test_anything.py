"""Any text in file and environment is a configuration or a ConfigError, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.config.loading import ConfigError, parse_config
from livepeer_remote_signer.config.models import Config
from tests.config.reading import KEY, LEAST

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
