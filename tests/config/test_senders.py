"""Several senders in one signer: whose payments each key makes is said once, and without a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer_remote_signer.config.doubtful import doubtful_settings
from livepeer_remote_signer.config.files import known_secrets, known_urls
from livepeer_remote_signer.config.ledger import budgets_of
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.config.secret_files import named_files
from tests.config.reading import fault

ONE, OTHER, MAC = "1f" * 32, "2f" * 32, "3f" * 32
PARTS = {
    "keys": f"keys: {{ours: {{private_key: '{ONE}'}}, tenant: {{private_key: '{OTHER}'}}}}\n",
    "senders": "senders: [{auth_id: acme, key: tenant}, {auth_id: '*', key: ours}]\n",
    "state": f"state: {{mac_key: '{MAC}'}}\n",
    "auth": "auth: {api_keys_file: keys.json}\n",
    "chain": "chain: {source: static}\n",
}


def text(**parts: str) -> str:
    return "".join({**PARTS, **parts}.values())


def test_the_key_of_everybody_else_is_the_one_that_stands_where_one_key_does() -> None:
    config = parse_config(text(), {})
    assert config.key == config.keys["ours"]
    assert [(sender.auth_id, sender.key) for sender in config.senders] == [("acme", "tenant"), ("*", "ours")]
    alone = parse_config(text(senders="senders: [{auth_id: acme, key: tenant}, {auth_id: corp, key: ours}]\n"), {})
    assert alone.key == alone.keys["tenant"], "the first, where nobody is everybody else"
    assert (config.key_names, alone.key_names) == (["ours", "tenant"], ["tenant", "ours"])


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"keys": f"key: {{private_key: '{ONE}'}}\n"}, "senders name keys of keys, which is empty"),
        ({"chain": f"chain: {{source: static}}\nkey: {{private_key: '{ONE}'}}\n"}, "give key, or keys with senders, not both"),
        ({"senders": ""}, "senders says whose payments each makes"),
        ({"senders": "senders: []\n"}, "senders says whose payments each makes"),
        ({"senders": "senders: [{auth_id: '*', key: ours}]\n"}, "keys.tenant is nobody's"),
        ({"senders": "senders: [{auth_id: '*', key: ours}, {auth_id: a, key: gone}, {auth_id: b, key: tenant}]\n"}, "'gone'"),
        ({"senders": "senders: [{auth_id: a, key: ours}, {auth_id: a, key: tenant}]\n"}, "the auth id 'a' twice"),
        ({"auth": ""}, "must be known before anything else"),
        ({"auth": "auth: {webhook: {url: 'http://127.0.0.1:1/'}}\n"}, "a webhook names a caller only after"),
        ({"auth": "auth: {api_keys_file: keys.json, namespaces: true}\n"}, "senders.0: with auth.namespaces no auth id is 'acme'"),
        ({"state": ""}, "set state.mac_key_file"),
        ({"state": f"state: {{mac_key: '{MAC}', seal: signature}}\n"}, "does not tell whose a state is"),
        ({"keys": "keys: {Ours: {private_key: x}}\n", "senders": "senders: [{auth_id: '*', key: Ours}]\n"}, "keys.Ours"),
    ],
)
def test_what_leaves_open_who_pays_is_refused(parts: dict[str, str], said: str) -> None:
    assert said in fault(text(**parts))


def test_everybody_may_pay_from_one_of_several_keys_without_being_known() -> None:
    one = f"keys: {{ours: {{private_key: '{ONE}'}}}}\n"
    config = parse_config(text(keys=one, senders="senders: [{auth_id: '*', key: ours}]\n", auth=""), {})
    assert config.keys.keys() == {"ours"}


def test_secrets_and_files_of_every_key_are_known() -> None:
    keys = "keys: {ours: {private_key_file: ours.hex}, tenant: {eth_sign: {url: 'http://127.0.0.1:1/', address: '0x" + "ab" * 20 + "'}}}\n"
    config = parse_config(text(keys=keys, auth="auth: {api_keys_file: keys.json}\nledger: {backend: sqlite, path: ledger.sqlite}\n"), {})
    assert {"keys.ours.private_key_file", "key.private_key_file"} <= {file.key for file in named_files(config)}
    assert "http://127.0.0.1:1/" in known_urls(config)
    local = parse_config(text(), {})
    assert {ONE, OTHER, MAC} <= set(known_secrets(local))


def test_a_key_asked_in_the_clear_is_doubtful_whichever_it_is(tmp_path: Path) -> None:
    keys = f"keys: {{ours: {{private_key: '{ONE}'}}, tenant: {{eth_sign: {{url: 'http://signer.example/', address: '0x{'ab' * 20}'}}}}}}\n"
    written = text(keys=keys, auth="auth: {api_keys_file: keys.json}\nledger: {backend: sqlite, path: ledger.sqlite}\n")
    file = tmp_path / "config.yaml"
    file.write_text(written)
    doubts = [doubt for doubt in doubtful_settings(parse_config(written, {}), file) if "eth_sign" in doubt]
    assert len(doubts) == 1
    assert doubts[0].startswith("keys.tenant.eth_sign.url")


@pytest.mark.parametrize("match", ["*", "tenant", "0x" + "aB" * 20])
def test_a_senders_budget_names_a_key_an_address_or_each(match: str) -> None:
    budget = f"budgets: [{{scope: sender, match: '{match}', window: day, limit_wei: 5}}]\nledger: {{backend: sqlite, path: l.db}}\n"
    config = parse_config(text() + budget, {})
    assert config.budgets[0].match == match
    (rule,) = budgets_of(config.budgets, {"tenant": b"\x12" * 20, "ours": b"\x13" * 20})
    assert rule.match == ("0x" + "12" * 20 if match == "tenant" else match)


def test_a_senders_budget_that_would_never_hold_is_refused_with_the_names_that_there_are() -> None:
    budget = "budgets: [{scope: sender, match: tenants, window: day, limit_wei: 5}]\nledger: {backend: sqlite, path: l.db}\n"
    assert "one of keys, which has ours, tenant, not 'tenants': it would never hold" in fault(text() + budget)
    alone = f"key: {{private_key: '{ONE}'}}\nchain: {{source: static}}\n"
    assert "0x and 40 hex digits, or one of keys, not 'tenants'" in fault(alone + budget)
