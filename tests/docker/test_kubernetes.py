"""docker/k8s: against Kubernetes' published schemas, and its configuration against ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from livepeer_remote_signer.config.loading import parse_config

FOLDER = Path(__file__).parents[2] / "docker/k8s"
OBJECTS: list[dict[str, Any]] = [o for name in ("namespace.yaml", "signer.yaml") for o in yaml.safe_load_all((FOLDER / name).read_text())]


def of_kind(kind: str) -> dict[str, Any]:
    return next(found for found in OBJECTS if found["kind"] == kind)


POD = of_kind("Deployment")["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


@pytest.mark.parametrize("found", OBJECTS, ids=lambda found: found["kind"])
def test_each_object_is_of_its_published_schema(found: dict[str, Any]) -> None:
    kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)


def test_the_kustomization_lists_every_file() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert set(listed) == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}


def test_the_configuration_is_taken_and_shared_by_all_replicas() -> None:
    environment = {entry["name"]: entry.get("value", "planted") for entry in CONTAINER["env"]}
    environment["ETH_RPC_URL"] = "https://rpc.example/key"
    config = parse_config(of_kind("ConfigMap")["data"]["config.yaml"], environment)
    assert config.ledger.backend == "postgres"
    assert config.auth.is_configured
    assert of_kind("Deployment")["spec"]["replicas"] > 1
    assert config.limits.drain_seconds < POD["terminationGracePeriodSeconds"]
    mounted = tuple(mount["mountPath"] for mount in CONTAINER["volumeMounts"])
    for path in (config.key.keystore_file, config.key.password_file, config.auth.api_keys_file, config.admin and config.admin.token_file):
        assert str(path).startswith(mounted)


def test_service_links_are_off_since_a_service_named_signer_would_set_signer_port() -> None:
    assert of_kind("Service")["metadata"]["name"] == "signer"
    assert POD["enableServiceLinks"] is False


def test_the_pod_is_confined_as_the_restricted_standard_demands() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False


def test_disruptions_leave_replicas_and_selectors_match() -> None:
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    for selector in (
        of_kind("Deployment")["spec"]["selector"]["matchLabels"],
        of_kind("Service")["spec"]["selector"],
        of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert 0 < of_kind("PodDisruptionBudget")["spec"]["minAvailable"] < of_kind("Deployment")["spec"]["replicas"]


def test_probes_ask_the_routes_that_the_signer_has() -> None:
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {port["name"]: port["containerPort"] for port in CONTAINER["ports"]} == {"http": 8936, "admin": 8937}
