"""The image is built by its recipe, holds what it must and no more, and does in the manifests' containers what they start it for."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url

from tests.deploy import image as images
from tests.deploy.image import Image, kubelet
from tests.deploy.manifests import NAMESPACE, ROOT, pods
from tests.servers.agent import Agent, cni_env, k8s_ipam
from tests.servers.apiserver import ApiError, ControlPlane
from tests.servers.keeper import Keeper
from tests.servers.postgres import PostgresServer, free_port
from tests.sync.scene import Scene, wait_for

pytestmark = pytest.mark.xdist_group("kube")  # one of them asks the API server, and they share an image
AGENT, SYNC = pods()


@pytest.fixture(scope="module")
def image(keeper: Keeper) -> Iterator[Image]:
    images.requirements()
    image = Image(keeper)
    try:
        image.build()
        yield image
    finally:
        image.close()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node that has a kernel and a container runtime, and no file."""
    for folder in shared(tmp_path).values():
        folder.mkdir(parents=True)
    return tmp_path


def shared(node: Path) -> dict[str, Path]:
    """The folders of a node that the agent's pod shares, by the names of the volumes."""
    return {each["name"]: node / each["hostPath"]["path"].lstrip("/") for each in AGENT["volumes"]}


def inside(image: Image, program: str) -> Any:
    """What a program in the image's Python says, as JSON."""
    options = ["--network=none", "--entrypoint=/opt/ipam-ledger/bin/python"]
    return json.loads(image.run("-c", program, options=options).stdout)


def test_it_holds_the_pinned_versions_and_no_more(image: Image) -> None:
    """Neither pip nor what builds and tests, no sources, no settings of the build."""
    found = inside(
        image,
        "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))",
    )
    found = {plain(name): pinned for name, pinned in found.items()}
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert found.pop("ipam-ledger") == version()
    assert found.items() <= {plain(name): pinned for name, pinned in pins.items()}.items()
    assert not {"pip", "setuptools", "hatchling", "pytest"} & found.keys()
    there = inside(image, "import json, os; print(json.dumps(os.listdir('/')))")
    assert "src" not in there


def test_its_labels_name_it(image: Image) -> None:
    labels = json.loads(image.podman("inspect", "ipam-ledger", "--format={{json .Labels}}").stdout)
    assert labels["org.opencontainers.image.title"] == "ipam-ledger"
    assert labels["org.opencontainers.image.version"] == version()


@pytest.mark.parametrize("command", [["--help"], ["sync", "--help"]])
def test_any_user_may_run_it_and_write_nothing(image: Image, command: list[str]) -> None:
    (container,) = SYNC["containers"]
    options = kubelet(SYNC, {**container, "volumeMounts": []}, {})
    assert image.run(*command, options=options).stdout.startswith("Usage: ipam-ledger")


def test_a_node_gets_its_plugin_and_the_agent_answers_it(image: Image, node: Path) -> None:
    """Install, then ADD and DEL: the containers in the image, the plugin on the node, where there is no Python but what it brought."""
    (install,), (agent,) = AGENT["initContainers"], AGENT["containers"]
    assert "written" in image.run(*install["args"], options=kubelet(AGENT, install, shared(node))).stdout
    assert (node / "opt/cni/bin/k8s-ipam").read_text().startswith("#!/opt/cni/bin/.k8s-ipam/")

    options = kubelet(
        AGENT, agent, shared(node), IPAM_LEDGER_DB="sqlite:////var/lib/ipam-ledger/ledger.db", IPAM_LEDGER_EVIDENCE="never",
        IPAM_LEDGER_NODE="node1", HOST_IP="10.19.120.1", IPAM_LEDGER_LISTEN=f"127.0.0.1:{free_port()}",
    )  # fmt: skip
    example = f"--volume={ROOT / 'crds' / 'examples'}:/examples:ro"
    image.run("pool", "apply", "-f", "/examples/ippool.json", options=[*options, example])
    image.start("agent", *agent["args"], options=options)
    wait_for(lambda: "ready" in image.log("agent"))

    conf = {"cniVersion": "1.0.0", "name": "podnet", "ipam": {"ipPoolName": "ippool"}}
    added = k8s_ipam(cni_env("ADD"), conf, program="/opt/cni/bin/k8s-ipam", root=node)
    assert added.code == 0, added
    assert added.json["ips"][0]["address"].startswith("10.19.12")
    assert k8s_ipam(cni_env("DEL"), conf, program="/opt/cni/bin/k8s-ipam", root=node).code == 0
    told = image.podman(
        "exec", "agent", "ipam-ledger", "history", "--pod", "default/web-0", "-o", "jsonl"
    ).stdout
    assert [json.loads(line)["kind"] for line in told.splitlines()] == ["Allocated", "Released"]
    assert (
        "is up to date" in image.run(*install["args"], options=kubelet(AGENT, install, shared(node))).stdout
    )


def test_the_worker_does_its_work_as_the_pod_that_it_is(
    deployed: ControlPlane,
    keeper: Keeper,
    agents: Callable[..., Agent],
    image: Image,
    namespace: str,
    postgres: PostgresServer,
    postgres_url: str,
    tmp_path: Path,
) -> None:
    """With the token and the authority that a kubelet mounts, as the manifest's user, and no file that it may write."""
    (container,) = SYNC["containers"]
    folders = {"seal": tmp_path / "seal", "token": tmp_path / "token"}
    for folder in folders.values():
        folder.mkdir(mode=0o755)
    (folders["token"] / "token").write_text(deployed.token(NAMESPACE, "ipam-ledger-sync"))
    (folders["token"] / "namespace").write_text(NAMESPACE)
    shutil.copyfile(deployed.folder / "server.crt", folders["token"] / "ca.crt")
    token = {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    port = free_port()
    options = kubelet(
        {**SYNC, "hostNetwork": True}, {**container, "volumeMounts": [*container["volumeMounts"], token]}, folders,
        IPAM_LEDGER_DB=postgres.url(str(make_url(postgres_url).database), tcp=True),
        IPAM_LEDGER_LISTEN=f"127.0.0.1:{port}",
        KUBERNETES_SERVICE_HOST="127.0.0.1", KUBERNETES_SERVICE_PORT=str(deployed.port),
    )  # fmt: skip
    with contextlib.suppress(ApiError):  # of a worker that was killed: it would be waited for
        deployed.request(
            "DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ipam-ledger-sync"
        )
    image.start("sync", *container["args"], options=options)
    scene = Scene(deployed, keeper, agents, namespace, postgres_url)
    try:
        scene.pool("image", sub={"range": "10.6.1.1-10.6.1.2/24"})
        wait_for(lambda: scene.ready("image"), why=image.log("sync"))
        for probe in ("readinessProbe", "livenessProbe"):
            path = container[probe]["httpGet"]["path"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                assert answer.status == 200
        assert scene.book.pool("image").capacity == 2
        image.podman("stop", "--time", "30", "sync")
        assert image.podman("inspect", "sync", "--format={{.State.ExitCode}}").stdout.strip() == "0"
    finally:
        print(image.log("sync"))
        scene.close()


def plain(name: str) -> str:
    """A distribution's name as PEP 503 compares them."""
    return re.sub("[-_.]+", "-", name).lower()


def version() -> str:
    project: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return project


def test_recipe_and_manifests_name_one_version() -> None:
    recipe = (ROOT / "deploy" / "Containerfile").read_text()
    assert re.findall("^ARG VERSION=(.*)$", recipe, re.MULTILINE) == [version()]
    kustomization = yaml.safe_load((ROOT / "deploy" / "kustomization.yaml").read_text())
    assert [each["newTag"] for each in kustomization["images"]] == [version()]


def test_the_builder_sees_what_is_installed_and_nothing_else() -> None:
    """No .git, no tests, and no room forgotten."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    lines = [each for each in (ROOT / ".dockerignore").read_text().splitlines() if not each.startswith("#")]
    assert lines[0] == "*"
    assert {each[1:] for each in lines if each.startswith("!")} == {
        "constraints.txt", "pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *rooms,
    }  # fmt: skip


def test_without_a_builder_make_says_what_to_install() -> None:
    done = subprocess.run(
        ["make", "image", "BUILDER="], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "podman or docker" in done.stderr and "apt-get install podman" in done.stderr
