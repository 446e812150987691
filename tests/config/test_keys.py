"""The forms of a key, of which one is given and whole, and what one outside this host needs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from livepeer_remote_signer.config.keys import KeyConfig
from livepeer_remote_signer.config.loading import ConfigError, parse_config
from tests.config.reading import KEY, fault
from tests.outside import NEEDED_BY_OUTSIDE_KEYS

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
