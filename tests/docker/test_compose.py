"""docker/compose.yaml: its form, its hardening, and that what it hands the signer is a configuration the signer takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.rules.api_keys import is_secret, parse_keys, split_key

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT, "uniqueItems": True}
DURATION = {"type": "string", "pattern": r"^(\d+(ms|s|m|h))+$"}
CONDITION = {
    "type": "object",
    "required": ["condition"],
    "properties": {
        "condition": {"enum": ["service_started", "service_healthy", "service_completed_successfully"]},
        "required": {"type": "boolean"},
    },
    "additionalProperties": False,
}
SERVICE = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "build": {"type": "object", "properties": {"context": TEXT, "dockerfile": TEXT}, "additionalProperties": False},
        "cap_add": TEXTS,
        "cap_drop": TEXTS,
        "command": TEXTS,
        "configs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["source"],
                "properties": {"source": TEXT, "target": TEXT},
                "additionalProperties": False,
            },
        },
        "depends_on": {"type": "object", "additionalProperties": CONDITION},
        "environment": {"type": "object", "additionalProperties": TEXT},
        "healthcheck": {
            "type": "object",
            "properties": {
                "test": TEXTS,
                "interval": DURATION,
                "timeout": DURATION,
                "retries": {"type": "integer"},
                "start_period": DURATION,
            },
            "additionalProperties": False,
        },
        "labels": {"type": "object", "additionalProperties": TEXT},
        "image": {"type": "string", "pattern": r"^(\$\{\w+:-)?[a-z0-9/.-]+:[A-Za-z0-9._-]+\}?$"},
        "logging": {"type": "object", "properties": {"driver": TEXT, "options": {"type": "object", "additionalProperties": TEXT}}},
        "mem_limit": {"type": "string", "pattern": r"^\d+[kmg]$"},
        "networks": TEXTS,
        "pids_limit": {"type": "integer"},
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
        "profiles": TEXTS,
        "read_only": {"type": "boolean"},
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "secrets": TEXTS,
        "security_opt": TEXTS,
        "stop_grace_period": DURATION,
        "tmpfs": TEXTS,
        "user": {"type": "string", "pattern": r"^\d+:\d+$"},
        "volumes": {"type": "array", "items": {"type": "string", "pattern": r"^[./\w-]+:/[\w/.-]+(:ro)?$"}},
    },
}
FILE = {"type": "object", "required": ["file"], "properties": {"file": TEXT}, "additionalProperties": False}
SCHEMA = {
    "type": "object",
    "required": ["services"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "networks": {
            "type": "object",
            "additionalProperties": {"properties": {"internal": {"type": "boolean"}}, "additionalProperties": False},
        },
        "volumes": {"type": "object", "additionalProperties": {"type": "object", "maxProperties": 0}},
        "configs": {"type": "object", "additionalProperties": FILE},
        "secrets": {"type": "object", "additionalProperties": FILE},
    },
}


def filled(text: str, environment: dict[str, str]) -> str:
    """Compose's own variables put in."""

    def value(match: re.Match[str]) -> str:
        name, kind, word = match[1], match[2], match[3] or ""
        return environment.get(name) or (word if kind == ":-" else f"<{name}>")

    return re.sub(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}", value, text)


def signer_environment(**given: str) -> dict[str, str]:
    given = {"ETH_RPC_URL": "https://rpc.example/key", "SIGNER_ETH_ADDR": "0x" + "ab" * 20, **given}
    return {name: filled(text, given) for name, text in SERVICES["signer"]["environment"].items()}


def test_it_is_of_the_form_that_compose_documents() -> None:
    jsonschema.validate(COMPOSE, SCHEMA)


def test_compose_itself_takes_it_where_it_is_installed() -> None:
    if shutil.which("docker") is None or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        return  # the test above holds everywhere
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "ETH_RPC_URL": "https://rpc.example", "SIGNER_ETH_ADDR": "0x" + "ab" * 20}
    command = ["docker", "compose", "-f", DOCKER / "compose.yaml", "--profile", "*", "config", "--quiet"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_services_name_is_declared() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("networks", [])) <= set(COMPOSE["networks"]), name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        assert {c["source"] for c in service.get("configs", [])} <= set(COMPOSE["configs"]), name
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        named = {v.split(":")[0] for v in service.get("volumes", [])}
        assert {v for v in named if not v.startswith(".")} <= set(COMPOSE["volumes"]), name
        for folder in (v for v in named if v.startswith(".")):
            assert (DOCKER / folder).is_dir(), f"{name} mounts {folder}, which is not there"


def test_every_service_is_read_only_without_capabilities() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_the_payment_routes_are_not_published_and_demand_the_gateways_key() -> None:
    assert not [port for service in SERVICES.values() for port in service.get("ports", []) if port.endswith(":8936")]
    for name in ("signer.yaml", "signer.postgres.yaml"):
        auth = parse_config((DOCKER / name).read_text(), signer_environment()).auth
        assert (auth.api_keys_file, auth.allow_unauthenticated) == (Path("/run/secrets/api_keys"), False)


def test_there_is_a_network_for_each_link_and_nobody_else_on_it() -> None:
    on = {network: {name for name, service in SERVICES.items() if network in service["networks"]} for network in COMPOSE["networks"]}
    assert on == {
        "paying": {"signer", "gateway"},
        "ledger": {"signer", "postgres"},
        "events": {"signer", "kafka"},
        "watching": {"signer", "prometheus"},
        "dashboards": {"prometheus", "grafana"},
        "chain": {"signer"},
        "orchestrators": {"gateway"},
    }
    ways_out = {name for name, network in COMPOSE["networks"].items() if not network.get("internal")}
    assert ways_out == {"dashboards", "chain", "orchestrators"}


def test_the_gateway_holds_no_key_and_asks_the_signer() -> None:
    gateway = SERVICES["gateway"]
    assert {"-remoteSignerUrl=http://signer:8936", "-config=/run/secrets/gateway_config"} <= set(gateway["command"])
    assert not [flag for flag in gateway["command"] if flag.startswith(("-eth", "-network"))]
    assert gateway["secrets"] == ["gateway_config"]
    assert "lrs_" not in str(gateway), "the API key would stand in the process list"


def test_another_configuration_makes_another_container() -> None:
    """Compose compares what stands in its file: of a mounted file it sees neither name nor content."""
    named = COMPOSE["configs"]["signer"]["file"]
    assert named in SERVICES["signer"]["labels"].values()


def test_the_database_is_healthy_only_when_its_own_server_listens() -> None:
    check = SERVICES["postgres"]["healthcheck"]
    assert "--host=127.0.0.1" in check["test"], "the first server of the image listens on the Unix socket"
    assert check["start_period"]


def test_only_signer_and_gateway_start_without_a_profile() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"signer", "gateway"}
    assert {p for service in SERVICES.values() for p in service.get("profiles", [])} == {"prometheus", "grafana", "postgres", "kafka"}


@pytest.mark.parametrize("name", ["signer.yaml", "signer.postgres.yaml"])
def test_its_configurations_are_taken_with_the_variables_that_compose_hands_over(name: str) -> None:
    config = parse_config((DOCKER / name).read_text(), signer_environment())
    assert config.chain.source == "rpc"
    assert config.listen.port == 8936
    assert config.key.address == bytes.fromhex("ab" * 20)
    assert config.ledger.backend == ("postgres" if "postgres" in name else "sqlite")
    assert config.budgets


def test_the_names_of_existing_stacks_reach_the_signer() -> None:
    config = parse_config(
        (DOCKER / "signer.yaml").read_text(),
        signer_environment(
            SIGNER_ETH_KEYSTORE_PATH="/data/keystore",
            SIGNER_MAX_TOTAL_EV="5",
            REMOTE_SIGNER_WEBHOOK_URL="https://billing.example/authorize",
            WEBHOOK_SECRET="planted",
            KAFKA_BROKERS="kafka:9092",
            KAFKA_GATEWAY_TOPIC="events",
            SIGNER_REMOTE_DISCOVERY="1",
            ORCH_WEBHOOK_URL="https://list.example",
            LIVE_AI_CAP_REPORT_INTERVAL="25m",
        ),
    )
    assert config.key.keystore_file == Path("/data/keystore")
    assert config.limits.max_total_ev_wei == 5
    assert config.auth.webhook is not None
    assert config.auth.webhook.url == "https://billing.example/authorize"
    assert config.events.sinks[0].type == "kafka"
    assert config.discovery.enabled
    assert config.discovery.refresh_seconds == 1500


def test_every_secret_the_signer_reads_is_mounted() -> None:
    mounted = {f"/run/secrets/{name}" for name in SERVICES["signer"]["secrets"]}
    for name in ("signer.yaml", "signer.postgres.yaml"):
        assert set(re.findall(r"/run/secrets/\w+", (DOCKER / name).read_text())) <= mounted


def test_the_example_environment_names_only_what_compose_reads() -> None:
    named = set(re.findall(r"^(?:# )?([A-Z_]+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    read = set(re.findall(r"\$\{([A-Z_]+)", (DOCKER / "compose.yaml").read_text()))
    assert named
    assert named <= read


def test_make_secrets_makes_each_file_once_and_never_a_key(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    first = subprocess.run(["sh", DOCKER / "make-secrets", folder], capture_output=True, text=True, check=False)
    assert "still missing" in first.stdout
    made = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    tokens = {"admin-token", "metrics-token", "prometheus-token", "postgres-password", "pgpass", "grafana-password"}
    assert set(made) == {*tokens, "api-keys.json", "gateway.conf"}
    assert set(made.values()) == {0o400}
    assert folder.stat().st_mode & 0o777 == 0o700, "users of the host may have the numbers of those in the containers"
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert before["prometheus-token"] == before["metrics-token"] != before["admin-token"]
    subprocess.run(["sh", DOCKER / "make-secrets", folder], capture_output=True, check=False)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert len(before["admin-token"].strip()) == 64
    files = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert files == {*made, "keystore.json", "keystore-password"}


def test_the_gateways_key_is_one_that_the_signer_takes(tmp_path: Path) -> None:
    subprocess.run(["sh", DOCKER / "make-secrets", tmp_path], capture_output=True, check=False)
    (record,) = parse_keys((tmp_path / "api-keys.json").read_text())
    flag, header = (tmp_path / "gateway.conf").read_text().strip().split(" ", 1)
    assert flag == "remoteSignerHeaders", "a line of go-livepeer's -config: the flag without its dash, a blank, the value"
    name, _, value = header.partition(":")
    assert name == "Authorization"
    key = split_key(value.removeprefix("Bearer "))
    assert key is not None
    assert key[0] == record.id
    assert is_secret(record, key[1])
    assert (record.auth_id, record.expires, record.revoked) == ("gateway", None, None)


def test_prometheus_gets_the_metrics_token_anew_when_that_was_changed(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    subprocess.run(["sh", DOCKER / "make-secrets", folder], capture_output=True, check=False)
    (folder / "metrics-token").unlink()
    (folder / "metrics-token").write_text("another-token-0123\n")
    kept = {path.name: path.read_text() for path in folder.iterdir() if path.name != "prometheus-token"}
    done = subprocess.run(["sh", DOCKER / "make-secrets", folder], capture_output=True, text=True, check=False)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {**kept, "prometheus-token": "another-token-0123\n"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o400}
    assert "another" not in done.stdout + done.stderr


def test_the_variables_file_beside_the_secrets_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ETH_RPC_URL=https://rpc.example/k3y\n")
    (tmp_path / ".env").chmod(0o644)
    subprocess.run(["sh", DOCKER / "make-secrets", tmp_path / "secrets"], capture_output=True, check=False)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_the_example_environment_and_the_guide_name_every_variable_that_a_person_may_set() -> None:
    read = set(re.findall(r"\$\{([A-Z_]+)", (DOCKER / "compose.yaml").read_text()))
    named = set(re.findall(r"^(?:# )?([A-Z_]+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    assert read == named
    guide = (DOCKER.parent / "docs/operator-guide.md").read_text()
    assert {"ORCH_ADDR", "LIVEPEER_IMAGE"} <= set(re.findall(r"`([A-Z_]+)`", guide))
