"""docker/k8s: against Kubernetes' published schemas, and its configuration against ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from livepeer_remote_signer.config.loading import parse_config
from tests.operate.conftest import skip_or_fail

KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
FOLDER = Path(__file__).parents[2] / "docker/k8s"
OBJECTS: list[dict[str, Any]] = [o for name in ("namespace.yaml", "signer.yaml") for o in yaml.safe_load_all((FOLDER / name).read_text())]


def find_kustomize() -> str | None:
    """On the PATH, or built once with Go into a folder that git ignores."""
    if (found := shutil.which("kustomize")) is not None:
        return found
    place = FOLDER.parents[1] / ".cache" / "kustomize"
    if not (place / "kustomize").exists() and shutil.which("go") is not None and os.environ.get("LRS_REQUIRE_ALL") == "1":
        subprocess.run(["go", "install", KUSTOMIZE], env=os.environ | {"GOBIN": str(place)}, check=True)
    return str(place / "kustomize") if (place / "kustomize").exists() else None


def of_kind(kind: str) -> dict[str, Any]:
    return next(found for found in OBJECTS if found["kind"] == kind)


POD = of_kind("Deployment")["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


@pytest.mark.parametrize("found", OBJECTS, ids=lambda found: found["kind"])
def test_each_object_is_of_its_published_schema(found: dict[str, Any]) -> None:
    kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)


KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
SECRETS = {generator["name"]: generator for generator in KUSTOMIZATION["secretGenerator"]}


def test_the_kustomization_lists_every_file() -> None:
    files = {*KUSTOMIZATION["resources"], *KUSTOMIZATION["configMapGenerator"][0]["files"]}
    assert files == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}


def test_what_is_mounted_and_read_is_made_and_only_the_keys_change_without_a_roll_out() -> None:
    named = {volume["secret"]["secretName"] for volume in POD["volumes"] if "secret" in volume}
    named |= {entry["valueFrom"]["secretKeyRef"]["name"] for entry in CONTAINER["env"] if "valueFrom" in entry}
    assert named == set(SECRETS)
    assert [volume["configMap"]["name"] for volume in POD["volumes"] if "configMap" in volume] == ["livepeer-remote-signer"]
    without_hash = {name for name, generator in SECRETS.items() if generator.get("options", {}).get("disableNameSuffixHash")}
    assert without_hash == {"livepeer-remote-signer-keys"}
    config = (FOLDER / "config.yaml").read_text()
    mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    secret_of = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in POD["volumes"]}
    for path in set(re.findall(r"/run/secrets/[\w/.-]+", config)):
        folder, _, name = path.rpartition("/")
        assert f"secrets/{name}" in SECRETS[secret_of[mounts[folder]]]["files"], path


@pytest.mark.operate
@pytest.mark.timeout(600)
def test_an_edit_rolls_out_as_kustomize_renders_it(tmp_path: Path) -> None:
    kustomize = find_kustomize()
    if kustomize is None:
        skip_or_fail("kustomize is not installed, and there is no Go to build it with")
    shutil.copytree(FOLDER, tmp_path / "k8s")
    for generator in SECRETS.values():
        for file in (*generator.get("files", ()), *generator.get("envs", ())):
            (tmp_path / "k8s" / file).parent.mkdir(exist_ok=True)
            (tmp_path / "k8s" / file).write_text("ETH_RPC_URL=https://rpc.example\nLEDGER_PASSWORD=0123\n")

    def rendered() -> dict[str, Any]:
        done = subprocess.run([kustomize, "build", tmp_path / "k8s"], capture_output=True, text=True, check=True)
        found = list(yaml.safe_load_all(done.stdout))
        for one in found:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
        (deployment,) = (one for one in found if one["kind"] == "Deployment")
        pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
        return pod

    def names(pod: dict[str, Any]) -> dict[str, str]:
        volumes = {
            volume["name"]: volume.get("secret", {}).get("secretName") or volume.get("configMap", {}).get("name")
            for volume in pod["volumes"]
        }
        return {name: named for name, named in volumes.items() if named}

    first = rendered()
    assert re.fullmatch(r"livepeer-remote-signer-[a-z0-9]{10}", names(first)["config"])
    assert first["containers"][0]["lifecycle"]["preStop"] == {"sleep": {"seconds": 6}}
    assert first["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz?exclude=ledger"
    for file, volume, changes in (
        ("config.yaml", "config", True),
        ("secrets/admin-token", "secrets", True),
        ("secrets/api-keys.json", "keys", False),
    ):
        path = tmp_path / "k8s" / file
        path.write_text(path.read_text() + "# another\n")
        assert (names(rendered())[volume] != names(first)[volume]) is changes, file


def test_the_configuration_is_taken_and_shared_by_all_replicas() -> None:
    environment = {entry["name"]: entry.get("value", "planted") for entry in CONTAINER["env"]}
    environment["ETH_RPC_URL"] = "https://rpc.example/key"
    config = parse_config((FOLDER / "config.yaml").read_text(), environment)
    assert config.ledger.backend == "postgres"
    assert config.auth.is_configured
    assert of_kind("Deployment")["spec"]["replicas"] > 1
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause + config.limits.drain_seconds < POD["terminationGracePeriodSeconds"]
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
    assert CONTAINER["readinessProbe"]["httpGet"]["path"].partition("?")[0] == "/readyz"
    assert {port["name"]: port["containerPort"] for port in CONTAINER["ports"]} == {"http": 8936, "admin": 8937}
