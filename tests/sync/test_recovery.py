"""The ledger is lost, or the cluster is: each is rebuilt from what the other says, and what disagrees is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger import pools
from ledger.adoption.compare import HELD, compare
from ledger.adoption.perform import perform
from ledger.book import Book
from ledger.follow import holders
from ledger.store import Database
from sync import check, restore
from sync.check import Kind
from sync.errors import NotReached
from sync.objects import IPPool
from sync.survey import RunningPod, Survey
from tests.sync.pages import ippool
from tests.sync.scene import POOLS, SUB, Scene, delete_pod, pod, wait_for


@pytest.fixture
def fresh(empty_sqlite_url: str) -> Iterator[Book]:
    """A new ledger, in place of the one that was lost."""
    database = Database(empty_sqlite_url)
    database.require_head()
    yield Book(database, actor="restore/test")
    database.close()


def running(scene: Scene, name: str, ip: str | None = None, **metadata: Any) -> str:
    """A pod whose kubelet has told its address."""
    uid = pod(scene.cluster, scene.namespace, name, **metadata)
    if ip:
        path = f"/api/v1/namespaces/{scene.namespace}/pods/{name}/status"
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
        scene.cluster.request("PATCH", path, {"status": status})
    return uid


def adopt(book: Book, kubeconfig: Path) -> list[tuple[str, str, str]]:
    """As `restore --from-cluster` does: the pools, then what was found."""
    reading = restore.from_cluster(str(kubeconfig))
    for name, raw in reading.specs.items():
        book.apply_pool(pools.from_spec(name, raw))
    specs = [each.spec for each in book.pools()]
    lines = compare(reading.found, specs, holders(book.database, *HELD))
    done = perform(book, lines, lambda count: None)
    return sorted((line.verdict.value, line.found.ip, line.found.holder) for line in done)


def test_a_lost_ledger_is_rebuilt_and_the_worker_goes_on(scene: Scene, fresh: Book) -> None:
    worker = scene.sync(RECLAIM_GRACE="3600")
    scene.pool()
    wait_for(scene.ready)
    for _ in range(5):
        scene.take("before")
        scene.give_back("before")
    ips = {}
    for name in ("a", "b", "c"):
        ips[name] = scene.take(name, running(scene, name))
    wait_for(lambda: scene.status().get("allocated") == 3)
    worker.stop()
    # d came while nobody wrote the status, and shows its address itself, as c does
    ips["d"] = scene.take("d")
    running(scene, "d", ips["d"])
    # and here the ledger is lost

    outcome = adopt(fresh, scene.cluster.kubeconfig)
    assert outcome == sorted(("adopted", ip, f"{scene.namespace}/{name}") for name, ip in ips.items())
    assert adopt(fresh, scene.cluster.kubeconfig) == [("already so", ip, who) for _, ip, who in outcome]
    assert fresh.pool("pool").allocated == 4

    scene.url = fresh.database.url.render_as_string(hide_password=False)
    new = scene.sync()
    wait_for(lambda: scene.condition("Ready").get("reason") == "LedgerBehind")
    assert restore.settled(str(scene.cluster.kubeconfig)) == ["pool"]
    wait_for(lambda: scene.ready() and scene.status().get("allocated") == 4)
    assert scene.status()["dynamicReservations"] == {scene.namespace: ips}
    # what was adopted is the pod's own: relaunched it has it again
    assert fresh.allocate(claim_of(scene, "a"))[0].ip == ips["a"]
    new.stop()


def claim_of(scene: Scene, name: str) -> Any:
    from tests.sync.scene import claim

    return claim(f"{scene.namespace}/{name}", "new", "pool")


# -- what disagrees, purely


def seen(reservations: dict[str, str], *pods: RunningPod, **status: Any) -> Survey:
    raw = ippool(status={"dynamicReservations": {"a": reservations}, **status})
    return Survey({"p": IPPool.from_raw(raw)}, {each.key: each for each in pods})


def a_pod(name: str, *ips: str, uid: str = "u") -> RunningPod:
    raw = {
        "metadata": {"namespace": "a", "name": name, "uid": uid, "resourceVersion": "1"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIPs": [{"ip": ip} for ip in ips]},
    }
    found = RunningPod.from_raw(raw)
    assert found is not None
    return found


def verdicts(survey: Survey) -> list[tuple[str, str, str]]:
    reading = restore.read(survey)
    specs = [pools.from_spec(name, raw) for name, raw in reading.specs.items()]
    lines = compare(reading.found, specs, [])
    return sorted((line.verdict.value, line.found.ip, line.found.holder) for line in lines)


@pytest.mark.parametrize(
    ("survey", "wanted"),
    [
        # both say the same; only the pod says it; only the status does
        (seen({"x": "10.9.0.1"}, a_pod("x", "10.9.0.1")), [("adopt", "10.9.0.1", "a/x")]),
        (seen({}, a_pod("x", "10.9.0.1")), [("adopt", "10.9.0.1", "a/x")]),
        (seen({"x": "10.9.0.1"}), [("adopt", "10.9.0.1", "a/x")]),
        (seen({"x": "10.9.0.1"}, a_pod("x")), [("adopt", "10.9.0.1", "a/x")]),
        # the status is old: its pod is gone, and another runs with the address
        (seen({"old": "10.9.0.1"}, a_pod("x", "10.9.0.1")), [("adopt", "10.9.0.1", "a/x")]),
        # two that run show one address; or one shows it, and the other could have it
        (
            seen({}, a_pod("x", "10.9.0.1"), a_pod("y", "10.9.0.1")),
            [("two owners", "10.9.0.1", "a/x"), ("two owners", "10.9.0.1", "a/y")],
        ),
        (
            seen({"y": "10.9.0.1"}, a_pod("x", "10.9.0.1"), a_pod("y")),
            [("two owners", "10.9.0.1", "a/x"), ("two owners", "10.9.0.1", "a/y")],
        ),
        # one pod, two addresses
        (
            seen({"x": "10.9.0.1"}, a_pod("x", "10.9.0.2")),
            [("two addresses", "10.9.0.1", "a/x"), ("two addresses", "10.9.0.2", "a/x")],
        ),
        # other networks are nobody's business here
        (seen({}, a_pod("x", "192.0.2.7")), []),
    ],
)
def test_what_status_and_pods_say_together(survey: Survey, wanted: list[tuple[str, str, str]]) -> None:
    assert verdicts(survey) == wanted


def test_a_status_that_left_reservations_out_is_told() -> None:
    truncated = {"conditions": [{"type": "ReservationsTruncated", "status": "True"}]}
    (problem,) = restore.read(seen({}, **truncated)).problems
    assert "only what running pods show" in problem.why


def test_every_interface_of_a_pod_is_read() -> None:
    noted = [
        {"name": "cbr0", "interface": "eth0", "ips": ["10.9.0.1"], "default": True},
        {"name": "a/podnet", "interface": "net1", "ips": ["10.9.0.2", "fd00::2"]},
    ]
    raw = {
        "metadata": {
            "namespace": "a", "name": "x", "uid": "u", "resourceVersion": "1",
            "annotations": {"k8s.v1.cni.cncf.io/network-status": json.dumps(noted)},
        },
        "spec": {},
        "status": {"podIP": "10.9.0.1", "podIPs": [{"ip": "10.9.0.1"}]},
    }  # fmt: skip
    found = RunningPod.from_raw(raw)
    assert found is not None
    assert [(each.name, each.network, each.ips) for each in found.interfaces] == [
        ("eth0", "cbr0", ("10.9.0.1",)),
        ("net1", "podnet", ("10.9.0.2", "fd00::2")),
    ]
    shared = RunningPod.from_raw({**raw, "spec": {"hostNetwork": True}})
    assert shared is not None and shared.ips == frozenset()
    assert RunningPod.from_raw({**raw, "status": {"phase": "Failed"}}) is None


# -- the cluster is lost


def test_a_lost_cluster_gets_its_pools_from_the_ledger(scene: Scene) -> None:
    for number in (1, 2):
        spec = {"ipPoolSubs": [{"range": f"10.{number}.0.0/24"}], "cooldownSeconds": number}
        scene.book.apply_pool(pools.from_spec(f"p{number}", spec))
    scene.pool("p2", sub={"range": "10.2.0.0/25"})
    specs = [each.spec for each in scene.book.pools()]
    kubeconfig = str(scene.cluster.kubeconfig)
    tried = restore.to_cluster(specs, kubeconfig, dry_run=True)
    assert [(each.pool, each.became) for each in tried] == [("p1", "created"), ("p2", "differs")]
    assert [raw["metadata"]["name"] for raw in scene.cluster.request("GET", POOLS)["items"]] == ["p2"]
    written = restore.to_cluster(specs, kubeconfig)
    assert [(each.pool, each.became) for each in written] == [("p1", "created"), ("p2", "differs")]
    made = scene.cluster.request("GET", f"{POOLS}/p1")
    assert made["metadata"]["finalizers"] == ["ipam.k8s.io/ledger"]
    assert pools.same(pools.from_object(made), specs[0])
    again = restore.to_cluster(specs, kubeconfig)
    assert [(each.pool, each.became) for each in again] == [("p1", "unchanged"), ("p2", "differs")]


def test_a_pool_that_the_api_server_refuses_keeps_no_other_from_being_written(scene: Scene) -> None:
    for name in ("a", "b", "c"):
        sub = {"range": f"10.{ord(name)}.0.0/24"}
        scene.book.apply_pool(pools.from_spec(name, {"ipPoolSubs": [sub]}))
    kubectl, account = scene.cluster.kubectl, f"{scene.namespace}:mender"
    kubectl("create", "serviceaccount", "mender", "-n", scene.namespace)
    for verb, names in (("create", ()), ("get", ("a", "c"))):
        role, named = f"{scene.namespace}-{verb}", [f"--resource-name={name}" for name in names]
        kubectl("create", "clusterrole", role, f"--verb={verb}", "--resource=ippools.ipam.k8s.io", *named)
        kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", f"--serviceaccount={account}")
    kubeconfig = str(scene.cluster.kubeconfig_for(scene.namespace, "mender"))
    written = restore.to_cluster([each.spec for each in scene.book.pools()], kubeconfig)
    assert [(each.pool, each.became) for each in written] == [
        ("a", "created"),
        ("b", "refused"),
        ("c", "created"),
    ]
    assert [each.pool for each in written if each.why and "403 Forbidden" in each.why] == ["b"]


# -- check --against-cluster


def test_the_ledger_and_the_cluster_are_compared(scene: Scene) -> None:
    scene.sync(RECLAIM_GRACE="3600")
    scene.pool()
    scene.pool("extra", sub={"range": "10.8.0.0/24"})
    wait_for(lambda: scene.ready() and scene.ready("extra"))
    scene.workers[0].stop()
    scene.book.apply_pool(pools.from_spec("by-hand", {"ipPoolSubs": [{"range": "10.7.0.0/24"}]}))
    scene.pool("late", sub={"range": "10.6.0.0/24"})
    scene.pool("extra", sub={"range": "10.8.0.0/25"})

    fine = scene.take("fine", running(scene, "fine"))
    gone = scene.take("gone", "u")
    taken = scene.take("taken", running(scene, "taken"))
    running(scene, "thief", taken)
    free = next(f"10.9.0.{n}" for n in range(1, 11) if f"10.9.0.{n}" not in (fine, gone, taken))
    running(scene, "stranger", free)

    kubeconfig = str(scene.cluster.kubeconfig)
    found = check.against_cluster(scene.database, kubeconfig, settle=lambda: None)
    assert [(each.kind, each.pool, each.ip, each.owner) for each in found] == [
        (Kind.NO_OBJECT, "by-hand", None, None),
        (Kind.DIFFERS, "extra", None, None),
        (Kind.NO_POOL, "late", None, None),
        (Kind.LEAK, "pool", gone, f"{scene.namespace}/gone"),
        (Kind.UNKNOWN, "pool", free, f"{scene.namespace}/stranger"),
        (Kind.TWO_OWNERS, "pool", taken, f"{scene.namespace}/thief"),
    ]
    leak = next(each for each in found if each.kind is Kind.LEAK)
    assert leak.why == "pod not found"
    assert leak.to_json()["kind"] == "leak candidate"
    scene.cluster.request("PATCH", f"{POOLS}/pool/status", {"status": {"ledgerSeq": 10**6}})
    later = check.against_cluster(scene.database, kubeconfig, settle=lambda: None)
    assert [each.pool for each in later if each.kind is Kind.BEHIND] == ["pool"]


def test_what_is_over_a_moment_later_is_no_finding(scene: Scene) -> None:
    scene.book.apply_pool(pools.from_spec("pool", {"ipPoolSubs": [{"range": "10.9.0.0/24"}]}))
    scene.pool()
    for ip, name in (("10.9.0.7", "ends"), ("10.9.0.8", "stays")):
        running(scene, name, ip)

    def found(settle: Callable[[], object]) -> list[str | None]:
        everything = check.against_cluster(scene.database, str(scene.cluster.kubeconfig), settle=settle)
        return [each.ip for each in everything if each.kind is Kind.UNKNOWN]

    assert found(lambda: None) == ["10.9.0.7", "10.9.0.8"]
    assert found(lambda: delete_pod(scene.cluster, scene.namespace, "ends")) == ["10.9.0.8"]


def test_a_pod_on_its_way_out_may_have_given_its_address_back_before_it_is_gone(scene: Scene) -> None:
    scene.pool()
    scene.book.apply_pool(pools.from_spec("pool", {"ipPoolSubs": [SUB]}))
    running(scene, "leaving", "10.9.0.1")

    def found() -> list[Kind]:
        everything = check.against_cluster(scene.database, str(scene.cluster.kubeconfig), settle=lambda: None)
        return [each.kind for each in everything]

    assert found() == [Kind.UNKNOWN]
    scene.cluster.kubectl("delete", "pod", "leaving", "-n", scene.namespace, "--wait=false")
    assert found() == []


def test_who_cannot_ask_says_so(scene: Scene, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "kubeconfig")
    with pytest.raises(NotReached, match="no way to the API server"):
        restore.from_cluster(nowhere)
    with pytest.raises(NotReached, match="no way to the API server"):
        check.against_cluster(scene.database, nowhere)
