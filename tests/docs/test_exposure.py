"""What the documents say that a caller can take in an hour is what the program computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from livepeer_remote_signer.config.exposure import most_in_an_hour
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.rules.exposure import eth_text

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs" / "security.md").read_text().partition("## What a caller can take in an hour")[2].partition("\n## ")[0]
SAID = dict(re.findall(r"^\| `([\w./]+)` \| ([0-9.]+) \|$", SECTION, re.MULTILINE))
LEAST = {"key": {"private_key": "0x" + "1f" * 32}, "chain": {"source": "static"}}


def test_every_example_is_in_the_table() -> None:
    assert SAID.keys() == {"config.example.yaml", "docker/signer.yaml", "docker/signer.postgres.yaml", "docker/k8s/config.yaml"}


@pytest.mark.parametrize("name", SAID)
def test_an_example_allows_as_much_as_is_said_and_not_all_of_it_at_once(name: str) -> None:
    told = yaml.safe_load((ROOT / name).read_text())
    told = {**LEAST, **{section: told[section] for section in ("limits", "budgets", "ledger") if section in told}}
    told["ledger"] = {"backend": "sqlite", "path": "ledger"}
    config = parse_config(yaml.safe_dump(told), {})
    assert eth_text(most_in_an_hour(config).wei) == SAID[name]
    assert any(budget.window == "minute" for budget in config.budgets), "an hour's budget alone is gone within seconds"


def test_without_budgets_it_is_what_is_said() -> None:
    said = re.search(r"^\| no budgets, .* \| ([0-9.]+) \|$", SECTION, re.MULTILINE)
    assert said is not None
    assert eth_text(most_in_an_hour(parse_config(yaml.safe_dump(LEAST), {})).wei) == said[1]
