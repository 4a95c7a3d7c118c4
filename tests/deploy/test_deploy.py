"""The plain manifests apply, and give each part exactly the rights that it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cni.spec import Verb
from cni.spec.configuration import read_conf
from ledger import keys
from ledger.checkpoint import peek
from sync.kube import Api, ApiEvidence, node_of
from tests.deploy.manifests import NAMESPACE, ROOT, containers, manifests
from tests.servers.agent import Agent
from tests.servers.apiserver import ControlPlane
from tests.servers.keeper import Keeper
from tests.servers.sync import SyncWorker
from tests.sync.pages import event
from tests.sync.scene import Scene, delete_pod, pod, wait_for


def rights(cluster: ControlPlane, account: str, namespace: str) -> set[tuple[str, str, str, str]]:
    """What the API server says an account may do in a namespace: (verb, group, resource, names); every account's own left out."""
    answer = cluster.request(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        {"spec": {"namespace": namespace}},
        token=cluster.token(NAMESPACE, account),
    )
    return {
        (verb, group, resource, ",".join(rule.get("resourceNames", [])))
        for rule in answer["status"]["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if not group.startswith(("authorization.", "authentication."))
    }


def grant(text: str) -> set[tuple[str, str, str, str]]:
    """Lines such as ``get list: apps/statefulsets``, or ``get: group/resource name``."""
    out = set()
    for line in text.strip().splitlines():
        verbs, _, what = line.strip().partition(": ")
        kind, _, name = what.partition(" ")
        group, _, resource = kind.partition("/")
        out |= {(verb, group, resource, name) for verb in verbs.split()}
    return out


SYNC = """
    get list watch patch: ipam.k8s.io/ippools
    patch: ipam.k8s.io/ippools/status
    get list watch: /pods
    get list watch: apps/statefulsets
"""


@pytest.mark.parametrize(
    ("account", "namespace", "wanted"),
    [
        ("ipam-ledger-agent", "kube-system", "get: /pods\nget: /nodes"),
        ("ipam-ledger-agent", NAMESPACE, "get: /pods\nget: /nodes"),
        ("ipam-ledger-sync", "kube-system", SYNC),
        ("ipam-ledger-sync", "default", SYNC + "create: /events"),
        (
            "ipam-ledger-sync",
            NAMESPACE,
            SYNC
            + "create: coordination.k8s.io/leases\nget update: coordination.k8s.io/leases ipam-ledger-sync\n"
            + "create: /configmaps\nget patch: /configmaps ipam-ledger-checkpoint",
        ),
    ],
)
def test_each_part_has_these_rights_and_no_other(
    deployed: ControlPlane, account: str, namespace: str, wanted: str
) -> None:
    assert rights(deployed, account, namespace) == grant(wanted)


@pytest.mark.parametrize(
    ("account", "what"),
    [
        ("ipam-ledger-agent", "list pods"),
        ("ipam-ledger-agent", "patch ippools.ipam.k8s.io"),
        ("ipam-ledger-agent", "get secrets"),
        ("ipam-ledger-sync", "delete pods"),
        ("ipam-ledger-sync", "create ippools.ipam.k8s.io"),
        ("ipam-ledger-sync", "delete ippools.ipam.k8s.io"),
        ("ipam-ledger-sync", "get secrets"),
        ("ipam-ledger-sync", "update leases.coordination.k8s.io/other"),
        ("ipam-ledger-sync", "patch configmaps/other"),
        ("ipam-ledger-sync", "get configmaps/other"),
        ("ipam-ledger-sync", "delete configmaps/ipam-ledger-checkpoint"),
        ("ipam-ledger-sync", "patch statefulsets.apps"),
    ],
)
def test_what_they_do_not_need_is_forbidden(deployed: ControlPlane, account: str, what: str) -> None:
    said = deployed.kubectl(
        "auth", "can-i", *what.split(), "-n", NAMESPACE, f"--as=system:serviceaccount:{NAMESPACE}:{account}",
        check=False,
    )  # fmt: skip
    assert said.stdout.strip() == "no"


def test_with_its_rights_the_worker_does_all_its_work(
    deployed: ControlPlane,
    keeper: Keeper,
    agents: Callable[..., Agent],
    namespace: str,
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    """On SQLite, for once: the whole worker, with a ServiceAccount's token and no more."""
    scene = Scene(deployed, keeper, agents, namespace, sqlite_url)
    keys.generate(tmp_path / "seal.key", "example.org/rights")
    worker = SyncWorker(
        sqlite_url,
        deployed.kubeconfig_for(NAMESPACE, "ipam-ledger-sync"),
        keeper=keeper,
        namespace=NAMESPACE,
        env={
            "IPAM_LEDGER_RECLAIM_SHARE": "1",
            "IPAM_LEDGER_KEY": str(tmp_path / "seal.key"),
            "IPAM_LEDGER_SEAL_SECONDS": "1",
        },
    )
    scene.workers.append(worker)
    worker.start()
    try:
        scene.pool("rights", sub={"range": "10.6.0.1-10.6.0.2/24"})
        wait_for(lambda: scene.ready("rights"))
        uid = pod(deployed, namespace, "p")
        scene.take("p", uid, pool="rights")
        other = pod(deployed, namespace, "q")
        scene.take("q", other, pool="rights")
        wait_for(lambda: scene.condition("Exhausted", "rights")["status"] == "True")
        delete_pod(deployed, namespace, "p")
        wait_for(lambda: any(each[0] == "Reclaimed" for each in scene.events()))
        scene.give_back("q", other)
        wait_for(lambda: scene.book.pool("rights").allocated == 0)
        deployed.kubectl("delete", "ippool", "rights", "--timeout=60s")
        events = deployed.kubectl("get", "events", "-n", "default").stdout
        assert "ippool/rights" in events and "Exhausted" in events
        checkpoint = f"/api/v1/namespaces/{NAMESPACE}/configmaps/ipam-ledger-checkpoint"
        wait_for(
            lambda: (
                peek(deployed.request("GET", checkpoint)["data"]["checkpoint"]).size == len(scene.events())
            ),
            why="made once, and then patched",
        )
        assert "forbidden" not in worker.process.output()
    finally:
        scene.close()


def test_with_its_rights_the_agent_gets_its_evidence(deployed: ControlPlane, namespace: str) -> None:
    api = Api.connect(deployed.kubeconfig_for(NAMESPACE, "ipam-ledger-agent"))
    uid = pod(deployed, namespace, "p")
    evidence = ApiEvidence(api)
    assert evidence.ended(event("Allocated", ".1", f"{namespace}/p", uid)) is None
    delete_pod(deployed, namespace, "p")
    assert evidence.ended(event("Allocated", ".1", f"{namespace}/p", uid)) == "pod not found"
    deployed.request("POST", "/api/v1/nodes", {"metadata": {"name": "rights", "labels": {"zone": "b"}}})
    assert (node_of(api, "rights").labels or {})["zone"] == "b"
    deployed.request("DELETE", "/api/v1/nodes/rights")
    api.close()


def test_the_manifests_name_only_variables_that_are_read() -> None:
    code = "".join(
        file.read_text() for room in ("cni", "sync", "ledger") for file in (ROOT / room).rglob("*.py")
    )
    known = set(re.findall(r"IPAM_LEDGER_[A-Z_]+", code)) | {
        f"IPAM_LEDGER_{name}" for name in re.findall(r'number\("([A-Z_]+)"', code)
    }
    env = [env for each in containers() for env in each.get("env", [])]
    named = {each["name"] for each in env}
    here = set(re.findall(r"\$\((\w+)\)", " ".join(each.get("value", "") for each in env)))
    assert len(named) >= 6
    assert named <= known | here


def test_the_agent_learns_its_nodes_addresses_from_the_api_server() -> None:
    """One that is given stands: on a dual-stack node it would hide the address of the other family."""
    named = {env["name"] for each in containers() for env in each.get("env", [])}
    assert named.isdisjoint({"IPAM_LEDGER_NODE_ADDRESS", "IPAM_LEDGER_NODE_LABEL"})


def test_no_container_keeps_a_capability_or_writes_to_its_own_files() -> None:
    assert len(containers()) == 3
    for each in containers():
        careful = each["securityContext"]
        assert careful["capabilities"] == {"drop": ["ALL"]}
        assert careful["readOnlyRootFilesystem"] and not careful["allowPrivilegeEscalation"]


def test_of_the_node_who_installs_the_plugin_sees_its_folder_and_no_other() -> None:
    (daemons,) = (each for each in manifests() if each["kind"] == "DaemonSet")
    spec = daemons["spec"]["template"]["spec"]
    paths = {each["name"]: each["hostPath"]["path"] for each in spec["volumes"]}
    (install,) = spec["initContainers"]
    assert [paths[each["name"]] for each in install["volumeMounts"]] == ["/opt/cni/bin"]
    assert all(each["mountPath"] == "/host" + paths[each["name"]] for each in install["volumeMounts"])


def test_the_leader_seals_only_where_somebody_gave_it_a_key() -> None:
    """The Secret may be missing, nobody but the pod's group reads it, and no variable asks for it."""
    (deployment,) = (each for each in manifests() if each["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    (volume,) = (each["secret"] for each in spec["volumes"] if "secret" in each)
    assert volume["optional"] and volume["defaultMode"] == 0o400
    assert spec["securityContext"]["fsGroup"]
    (container,) = spec["containers"]
    assert "IPAM_LEDGER_KEY" not in {each["name"] for each in container["env"]}


def test_the_example_attachment_is_a_configuration_that_the_plugin_reads() -> None:
    file = ROOT / "deploy" / "examples" / "network-attachment-definition.yaml"
    config = yaml.safe_load(file.read_text())["spec"]["config"]
    assert json.loads(config)["ipam"]["ipPoolName"] == "ippool"
    assert read_conf(Verb.ADD, config.encode()).pools == ("ippool",)
