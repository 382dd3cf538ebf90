"""The manifests fit together, and what they mount is a configuration that works."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from referencing import Registry
from referencing.jsonschema import DRAFT7

from gateway.commands import main
from gateway.config.load import load

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/kubernetes"
SCHEMAS = ROOT / ".ci/schemas/kubernetes"
CONFIG = FOLDER / "config/gateway.yaml"
CREATED_BY_HAND = {("Secret", "gateway-secrets"): {"admin-token"}}


def read(path):
    return yaml.safe_load(path.read_text())


def resources(folder):
    """The manifests of a kustomization, its ConfigMaps included."""
    whole = read(folder / "kustomization.yaml")
    found = [read(folder / name) for name in whole["resources"]]
    for made in whole.get("configMapGenerator", ()):
        data = {Path(name).name: (folder / name).read_text() for name in made["files"]}
        head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": made["name"]}}
        found.append({**head, "data": data})
    return found


BASE = resources(FOLDER)
COMPONENTS = [path.parent for path in sorted(FOLDER.glob("components/*/kustomization.yaml"))]
ALL = [*BASE, *(each for folder in COMPONENTS for each in resources(folder))]
NAMES = {(each["kind"], each["metadata"]["name"]): each for each in ALL}
DEPLOYMENT = NAMES["Deployment", "policy-gateway"]["spec"]
POD = DEPLOYMENT["template"]["spec"]
(CONTAINER,) = POD["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


def is_known(resource):
    """Not the Prometheus operator's, whose schemas are in no package."""
    return not resource["apiVersion"].startswith("monitoring.coreos.com/")


def name_of(resource):
    return f"{resource['kind']} {resource['metadata']['name']}"


def test_every_file_belongs_to_a_kustomization():
    used = {FOLDER / "kustomization.yaml"}
    for folder in (FOLDER, *COMPONENTS):
        whole = read(folder / "kustomization.yaml")
        used |= {folder / "kustomization.yaml", *(folder / name for name in whole["resources"])}
        for made in whole.get("configMapGenerator", ()):
            used |= {folder / name for name in made["files"]}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == used


def test_volumes_are_of_things_that_exist():
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == set(volumes)
    for volume in volumes.values():
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in NAMES
        if "secret" in volume:
            assert ("Secret", volume["secret"]["secretName"]) in CREATED_BY_HAND
    assert not any("subPath" in mount for mount in CONTAINER["volumeMounts"])


def test_ports_have_the_names_that_are_used():
    probes = (
        CONTAINER[f"{kind}Probe"]["httpGet"]["port"]
        for kind in ("startup", "liveness", "readiness")
    )
    service = (port["targetPort"] for port in NAMES["Service", "policy-gateway"]["spec"]["ports"])
    policy = NAMES["NetworkPolicy", "policy-gateway"]["spec"]["ingress"]
    allowed = (port["port"] for rule in policy for port in rule["ports"])
    monitored = NAMES["PodMonitor", "policy-gateway"]["spec"]["podMetricsEndpoints"]
    scraped = (each["port"] for each in monitored)
    assert {*probes, *service, *allowed, *scraped} == set(PORTS)


def test_everything_selects_the_pods():
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    selectors = [
        DEPLOYMENT["selector"]["matchLabels"],
        NAMES["Service", "policy-gateway"]["spec"]["selector"],
        NAMES["PodDisruptionBudget", "policy-gateway"]["spec"]["selector"]["matchLabels"],
        NAMES["NetworkPolicy", "policy-gateway"]["spec"]["podSelector"]["matchLabels"],
        NAMES["PodMonitor", "policy-gateway"]["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in POD["topologySpreadConstraints"]),
    ]
    assert all(selector == labels for selector in selectors)
    target = NAMES["HorizontalPodAutoscaler", "policy-gateway"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in NAMES


def test_secrets_are_those_that_the_guide_creates():
    (endpoint,) = NAMES["PodMonitor", "policy-gateway"]["spec"]["podMetricsEndpoints"]
    credentials = endpoint["authorization"]["credentials"]
    assert credentials["key"] in CREATED_BY_HAND["Secret", credentials["name"]]
    guide = (ROOT / "docs/deploy.md").read_text()
    for (_, name), keys in CREATED_BY_HAND.items():
        assert f"create secret generic {name}" in guide
        for key in keys:
            assert f"--from-file={key}" in guide
            assert f"/{key}" in CONFIG.read_text()


def test_the_pod_fits_the_restricted_profile():
    """Pod Security Standards, which the namespace enforces."""
    labels = NAMES["Namespace", "policy-gateway"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    image = (ROOT / "deploy/container/Containerfile").read_text()
    assert (
        f"USER {POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}"
        in image
    )


@pytest.fixture
def secrets(tmp_path, monkeypatch):
    """The Secret as a folder."""
    for keys in CREATED_BY_HAND.values():
        for key in keys:
            (tmp_path / key).write_text("s3cret")
            (tmp_path / key).chmod(0o400)
    monkeypatch.setenv("SECRETS", str(tmp_path))


@pytest.mark.parametrize("command", [["config", "check"], ["policy", "test"]])
def test_the_mounted_configuration_is_good(secrets, command):
    result = CliRunner().invoke(main, [*command, "--config", str(CONFIG)])
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output


def test_the_configuration_fits_the_pod(secrets):
    config = load(CONFIG, os.environ).config
    assert [listener.address for listener in config.listeners] == [f"0.0.0.0:{PORTS['http']}"]
    assert config.admin.address == f"0.0.0.0:{PORTS['admin']}"
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in CONTAINER["volumeMounts"]}
    assert config.policy.state == mounts["state"]
    inside = mounts["config"] / config.policy.paths[0].relative_to(CONFIG.parent)
    assert Path(os.path.normpath(inside)) == mounts["policies"]
    assert CONTAINER["args"] == ["serve", "--config", str(mounts["config"] / CONFIG.name)]
    assert f"${{SECRETS:-{mounts['secrets']}}}/" in CONFIG.read_text()


def test_a_drain_fits_into_the_time_that_the_pod_has(secrets):
    limits = load(CONFIG, os.environ).config.limits
    whole = limits.drain_delay + limits.drain_timeout
    assert whole + 15 <= POD["terminationGracePeriodSeconds"]
    ready = CONTAINER["readinessProbe"]
    seen = ready["failureThreshold"] * (ready["periodSeconds"] + ready["timeoutSeconds"])
    assert seen <= limits.drain_delay


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("components", [[], [folder.name for folder in COMPONENTS]])
def test_kustomize_makes_what_is_tested_here(tmp_path, components):
    shutil.copytree(FOLDER, tmp_path / "base")
    path = tmp_path / "base/kustomization.yaml"
    whole = read(path) | {"components": [f"components/{name}" for name in components]}
    path.write_text(yaml.safe_dump(whole))
    command = ["kubectl", "kustomize", str(path.parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    made = list(yaml.safe_load_all(done.stdout))
    wanted = ALL if components else BASE
    assert sorted(map(name_of, made)) == sorted(map(name_of, wanted))
    for each in made:
        if each["kind"] == "ConfigMap":
            assert each["data"] == NAMES["ConfigMap", each["metadata"]["name"]]["data"]
        if each["kind"] == "Deployment":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            assert container["image"] == "registry.example.com/policy-gateway:0.1.0"
            assert ("replicas" in each["spec"]) == (not components)
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "policy-gateway"


@pytest.mark.skipif(not SCHEMAS.exists(), reason=".ci/schemas.sh has fetched no schemas")
@pytest.mark.parametrize("resource", [each for each in ALL if is_known(each)], ids=name_of)
def test_kubernetes_knows_every_field(resource):
    group, _, version = resource["apiVersion"].rpartition("/")
    version = f"{group.partition('.')[0]}-{version}" if group else version
    schema = json.loads((SCHEMAS / f"{resource['kind'].lower()}-{version}.json").read_text())
    definitions = json.loads((SCHEMAS / "_definitions.json").read_text())
    registry = Registry().with_resource("_definitions.json", DRAFT7.create_resource(definitions))
    jsonschema.Draft7Validator(schema, registry=registry).validate(resource)
