"""Alert rules and dashboard: rules that fire when they should, and no metric that a running signer does not have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operate.conftest import skip_or_fail
from tests.prometheus_text import parse_metrics
from tests.served import Served, served

DOCKER = Path(__file__).parents[2] / "docker"
RULES = DOCKER / "prometheus" / "alerts.yml"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana" / "dashboards" / "signer.json").read_text("utf-8"))
_METRIC = re.compile(r"\b((?:livepeer|process)_[a-z0-9_]+)")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def expressions() -> Iterator[str]:
    """Every query of the rules and the dashboard."""
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (variable["definition"] for variable in DASHBOARD["templating"]["list"])


NAMED = sorted({name for expression in expressions() for name in _METRIC.findall(expression)})


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """All that a signer with everything configured shows, after a payment; the endpoints answer nothing."""
    folder = tmp_path_factory.mktemp("scraped")
    rpc = {"urls": ["http://127.0.0.1:1/"], "poll_seconds": 60}
    found: set[str] = set()
    for name, sections in (
        (
            "paying",
            {
                "ledger": {"backend": "sqlite", "path": str(folder / "ledger")},
                "events": {"sinks": [{"type": "file", "path": str(folder / "events.jsonl")}]},
                "discovery": {"enabled": True, "static": ["https://127.0.0.1:1"]},
            },
        ),
        (
            "live",
            {
                "chain": {"source": "rpc", "rpc": rpc},
                "prices": {"currency_feed": {}},
                "recipients": {"require": "any"},
                "ledger": {"backend": "sqlite", "path": str(folder / "live-ledger")},
            },
        ),
    ):
        (folder / name).mkdir()
        with served(folder / name, **sections) as signer:
            signer.pay()
            found |= shown_once_weighed(signer) if name == "live" else parse_metrics(signer.get("/metrics").body).keys()
    return found


def shown_once_weighed(signer: Served) -> set[str]:
    """What is shown once it was weighed what was drawn: soon after the start, in a thread of its own."""
    deadline = time.monotonic() + 60
    while "livepeer_signer_drawn_chance" not in (shown := parse_metrics(signer.get("/metrics").body).keys()):
        assert time.monotonic() < deadline, "nothing was weighed"
        time.sleep(0.2)
    return set(shown)


ONLY_WITH_AN_ANSWER = {
    "livepeer_signer_key_signatures_total": "key outside",
    "livepeer_signer_redeemed_behind_blocks": "redeemed",
    "livepeer_gateway_max_float": "transcoder_pool_size",
    "livepeer_signer_eth_usd_price": "price_feed",
    "livepeer_signer_price_feed_age_seconds": "price_feed",
    "livepeer_signer_discovery_age_seconds": "discovery",
}
"""Shown once the chain, the feed or an orchestrator has answered; their own tests hold them."""


@pytest.mark.operate
@pytest.mark.parametrize("name", NAMED)
def test_every_metric_that_is_named_exists(name: str, scraped: set[str]) -> None:
    if name in ONLY_WITH_AN_ANSWER:
        source = "".join(path.read_text("utf-8") for path in (DOCKER.parent / "src").rglob("*.py"))
        assert f'"{name}"' in source
        return
    assert name in scraped or _SUFFIX.sub("", name) in scraped


def test_the_rules_and_the_dashboard_name_most_of_what_there_is() -> None:
    assert len(NAMED) > 25


def test_every_rule_says_what_to_do() -> None:
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "action"}


def test_every_rule_has_a_unit_test_that_sees_it_fire() -> None:
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    tests = yaml.safe_load((DOCKER / "prometheus" / "alerts_test.yml").read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in group["rules"]}


@pytest.mark.operate
@pytest.mark.parametrize(
    "command",
    [["check", "rules", "alerts.yml"], ["check", "config", "--syntax-only", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]],
    ids=lambda command: " ".join(command[:2]),
)
def test_promtool_agrees(command: list[str]) -> None:
    if shutil.which("promtool") is None:
        skip_or_fail("promtool is not installed: it is part of Debian's package prometheus")
    done = subprocess.run(["promtool", *command], cwd=DOCKER / "prometheus", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
        assert place["x"] + place["w"] <= 24


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    asked = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())}
    assert asked == {source["uid"]}
