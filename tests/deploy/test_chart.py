"""The chart is the plain manifests, with values where clusters differ."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from tests.deploy.manifests import NAMESPACE, ROOT, manifests
from tests.servers import kubeprograms, need
from tests.servers.apiserver import ControlPlane

CHART = ROOT / "deploy" / "chart"
OLDEST = "--kube-version=1.31"

pytestmark = pytest.mark.timeout(120, func_only=True)  # Helm is built once a machine, and against no test
Helm: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Runs Helm, in a home of its own."""
    (found,) = kubeprograms.HELM.programs("helm")
    program = found or need.missing("Helm", kubeprograms.HELM_HOW)
    home = tmp_path_factory.mktemp("home")

    def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([program, *argv], capture_output=True, text=True, env={"HOME": str(home)})
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def render(helm: Helm, values: str = "", *options: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """The objects that it makes of values, written as for ``--set``."""
    argv = ("template", "ipam-ledger", str(CHART), f"--namespace={namespace}", OLDEST, f"--set={values}")
    return list(yaml.safe_load_all(helm(*argv, *options).stdout))


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value by its path; in a list, what has a name goes by it."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = [
            (each.get("name", at) if isinstance(each, dict) else at, each) for at, each in enumerate(value)
        ]
    if not inner:
        yield path, value
    for key, each in inner:
        yield from leaves(each, f"{path}.{key}")


def everything(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        path: leaf for each in objects for path, leaf in leaves(each, f"{each['kind']} {each['metadata']['name']}")
    }  # fmt: skip


def test_by_default_it_is_the_plain_manifests(helm: Helm) -> None:
    """And the IPPool's definition. The namespace is not the chart's to make; Helm's two labels are added to the rest."""
    (image,) = yaml.safe_load((ROOT / "deploy" / "kustomization.yaml").read_text())["images"]
    plain = [each for each in manifests() if each["kind"] != "Namespace"]
    plain.append(yaml.safe_load((ROOT / "crds" / "ippool.yaml").read_text()))
    wanted = {
        path: f"{image['newName']}:{image['newTag']}" if path.endswith(".image") else leaf
        for path, leaf in everything(plain).items()
    }
    rendered = render(helm, "", "--include-crds")
    for each in rendered:
        if each["kind"] != "CustomResourceDefinition":
            labels = each["metadata"]["labels"]
            assert labels.pop("app.kubernetes.io/managed-by") == "Helm"
            assert labels.pop("helm.sh/chart") == f"ipam-ledger-{image['newTag']}"
    assert everything(rendered) == wanted
    assert len(rendered) == len(plain)


def test_the_definition_in_it_is_a_copy() -> None:
    """Not a link: Flux leaves links out of what it fetches from Git, and would install the chart without it."""
    (copy,) = (CHART / "crds").iterdir()
    assert not copy.is_symlink()
    assert copy.read_bytes() == (ROOT / "crds" / "ippool.yaml").read_bytes(), f"cp crds/ippool.yaml {copy}"


def test_it_has_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version


def test_helm_finds_no_fault_with_it(helm: Helm) -> None:
    helm("lint", "--strict", str(CHART), OLDEST)


def test_its_namespace_is_the_releases(helm: Helm) -> None:
    objects = render(helm, namespace="net")
    where = {(each["metadata"]["name"], each["metadata"].get("namespace", "net")) for each in objects}
    assert {name for name, namespace in where if namespace != "net"} == {"ipam-ledger-sync-events"}
    assert {who["namespace"] for each in objects for who in each.get("subjects", [])} == {"net"}


PAGE = r"""
image.repository=example.org:5000/ipam-ledger,image.tag=1.1-a
    agent spec.initContainers.install-cni.image: example.org:5000/ipam-ledger:1.1-a
    agent spec.containers.agent.image: example.org:5000/ipam-ledger:1.1-a
    sync spec.containers.sync.image: example.org:5000/ipam-ledger:1.1-a
image.tag=1.1-a,image.digest=sha256:00ff
    agent spec.initContainers.install-cni.image: ipam-ledger@sha256:00ff
    agent spec.containers.agent.image: ipam-ledger@sha256:00ff
    sync spec.containers.sync.image: ipam-ledger@sha256:00ff
image.pullPolicy=Always
    agent spec.initContainers.install-cni.imagePullPolicy: Always
    agent spec.containers.agent.imagePullPolicy: Always
    sync spec.containers.sync.imagePullPolicy: Always
imagePullSecrets[0].name=registry
    agent spec.imagePullSecrets.registry.name: registry
    sync spec.imagePullSecrets.registry.name: registry
database.existingSecret=db,database.key=uri
    agent spec.containers.agent.env.IPAM_LEDGER_DB.valueFrom.secretKeyRef.name: db
    agent spec.containers.agent.env.IPAM_LEDGER_DB.valueFrom.secretKeyRef.key: uri
    sync spec.containers.sync.env.IPAM_LEDGER_DB.valueFrom.secretKeyRef.name: db
    sync spec.containers.sync.env.IPAM_LEDGER_DB.valueFrom.secretKeyRef.key: uri

agent.port=9999
    agent spec.containers.agent.env.IPAM_LEDGER_LISTEN.value: $(HOST_IP):9999
    agent spec.containers.agent.ports.pages.containerPort: 9999
agent.cniBinDir=/usr/lib/cni
    agent spec.initContainers.install-cni.args.2: --to=/host/usr/lib/cni
    agent spec.initContainers.install-cni.volumeMounts.cni-bin.mountPath: /host/usr/lib/cni
    agent spec.volumes.cni-bin.hostPath.path: /usr/lib/cni
agent.extraEnv[0].name=A,agent.extraEnv[0].value=b
    agent spec.containers.agent.env.A.name: A
    agent spec.containers.agent.env.A.value: b
agent.resources.limits.memory=1Gi
    agent spec.containers.agent.resources.limits.memory: 1Gi
agent.nodeSelector.kind=metal
    agent spec.nodeSelector.kind: metal
agent.tolerations[0].key=metal
    agent spec.tolerations.0.operator: null
    agent spec.tolerations.0.key: metal
agent.updateStrategy.rollingUpdate.maxUnavailable=1
    DaemonSet ipam-ledger-agent.spec.updateStrategy.rollingUpdate.maxUnavailable: 1
agent.podLabels.team=net,agent.podAnnotations.a=b
    agent metadata.labels.team: net
    agent metadata.annotations.a: b

sync.replicas=3
    Deployment ipam-ledger-sync.spec.replicas: 3
sync.extraEnv[0].name=A,sync.extraEnv[0].value=b
    sync spec.containers.sync.env.A.name: A
    sync spec.containers.sync.env.A.value: b
sync.resources.limits.memory=1Gi
    sync spec.containers.sync.resources.limits.memory: 1Gi
sync.nodeSelector.kind=metal
    sync spec.nodeSelector.kind: metal
sync.tolerations[0].key=metal
    sync spec.tolerations.0.key: metal
sync.affinity.podAntiAffinity=null
    sync spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.0.weight: null
    sync spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.0.podAffinityTerm.topologyKey: null
    sync spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.0.podAffinityTerm.labelSelector.matchLabels.app.kubernetes.io/name: null
sync.podLabels.team=net,sync.podAnnotations.a=b
    sync metadata.labels.team: net
    sync metadata.annotations.a: b
sync.podLabels.app\.kubernetes\.io/name=mine

sealing.enabled=true
    sync spec.containers.sync.env.IPAM_LEDGER_KEY.name: IPAM_LEDGER_KEY
    sync spec.containers.sync.env.IPAM_LEDGER_KEY.value: /etc/ipam-ledger/seal/seal.key
sealing.existingSecret=signer
    sync spec.volumes.seal.secret.secretName: signer
sealing.checkpointConfigMap=head
    Role ipam-ledger-sync-checkpoint.rules.1.resourceNames.0: head
    sync spec.containers.sync.env.IPAM_LEDGER_CHECKPOINT_CONFIGMAP.name: IPAM_LEDGER_CHECKPOINT_CONFIGMAP
    sync spec.containers.sync.env.IPAM_LEDGER_CHECKPOINT_CONFIGMAP.value: head
"""
"""Values, and below them every leaf of the whole that they change: what it is then, or null where it is gone."""


def cases() -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for values, changes in re.findall(r"^(\S+)\n((?: .*\n)*)", PAGE, re.MULTILINE):
        out[values] = {}
        for line in changes.splitlines():
            path, _, leaf = line.strip().partition(": ")
            path = re.sub("^agent ", "DaemonSet ipam-ledger-agent.spec.template.", path)
            path = re.sub("^sync ", "Deployment ipam-ledger-sync.spec.template.", path)
            out[values][path] = yaml.safe_load(leaf)
    return out


@pytest.mark.parametrize(("values", "wanted"), cases().items(), ids=str)
def test_a_value_goes_where_it_should_and_nowhere_else(
    helm: Helm, values: str, wanted: dict[str, Any]
) -> None:
    before, after = everything(render(helm)), everything(render(helm, values))
    changed = {path: after.get(path) for path in before | after if before.get(path) != after.get(path)}
    assert changed == cases()[values]


def test_prometheus_operator_is_told_of_both_parts_and_their_ports(helm: Helm) -> None:
    objects = render(helm, "podMonitor.enabled=true,podMonitor.labels.release=prometheus")
    (monitor,) = (each for each in objects if each["kind"] == "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (selector,) = monitor["spec"]["selector"]["matchExpressions"]
    pods = [each["spec"]["template"] for each in objects if "template" in each.get("spec", {})]
    assert {each["metadata"]["labels"][selector["key"]] for each in pods} == set(selector["values"])
    ports = {port["name"] for pod in pods for each in pod["spec"]["containers"] for port in each["ports"]}
    assert ports == {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]}


def test_the_schema_is_made_before_all_else_and_as_the_owner(helm: Helm, empty_sqlite_url: str) -> None:
    (job,) = (each for each in render(helm, "migrate.enabled=true") if each["kind"] == "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (variable,) = container["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "ipam-ledger-db-owner", "key": "url"}
    program = Path(sys.executable).with_name("ipam-ledger")
    env = {**os.environ, variable["name"]: empty_sqlite_url}
    done = subprocess.run([program, *container["args"]], env=env, capture_output=True, text=True, check=True)
    assert "(was empty)" in done.stdout


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ("agent.port=99999", "/agent/port"),
        ("agent.port=null", "'port'"),
        ("agent.cniBinDir=opt/cni/bin", "/agent/cniBinDir"),
        ("agent.extraEnv[0].name=A,agent.extraEnv[0].value=1", "/agent/extraEnv/0/value"),
        ("sync.replica=1", "'replica'"),
        ("sync.podLabels.a=true", "/sync/podLabels/a"),
        ("image.tag=20261126", "/image/tag"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("database.url=postgresql+psycopg://ipam:secret@db/ipam", "'url'"),
        ("database.existingSecret=The Secret", "/database/existingSecret"),
        ("podmonitor.enabled=true", "'podmonitor'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(helm: Helm, values: str, named: str) -> None:
    done = helm("template", str(CHART), OLDEST, f"--set={values}", check=False)
    assert done.returncode == 1
    assert "values don't meet the specifications" in done.stderr and named in done.stderr
    assert "secret@" not in done.stderr


def test_its_notes_say_what_comes_next(helm: Helm, cluster: ControlPlane, namespace: str) -> None:
    """As an API server is told nothing, others' objects are not in the way: ``--take-ownership``."""

    def notes(values: str) -> str:
        argv = ["install", "ipam-ledger", str(CHART), f"--namespace={namespace}", f"--set={values}"]
        argv += ["--dry-run=server", "--take-ownership", f"--kubeconfig={cluster.kubeconfig}"]
        return helm(*argv).stdout.partition("NOTES:")[2]

    said = notes("database.existingSecret=mine")
    assert f"kubectl -n {namespace} create secret generic mine --from-literal=url=" in said
    assert "ipam-ledger db upgrade" in said
    assert "ipam-ledger db upgrade" not in notes("migrate.enabled=true")


@pytest.mark.parametrize("values", ["", ",".join([*cases(), "migrate.enabled=true"])], ids=["default", "all"])
def test_the_api_server_takes_it(helm: Helm, cluster: ControlPlane, namespace: str, values: str) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": render(helm, values, namespace=namespace)}
    cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed)
