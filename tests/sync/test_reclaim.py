"""An address is taken back on positive evidence alone: nothing that only looks like an end ever frees a running pod's."""

from __future__ import annotations

import time

from ledger.claims import Claim
from ledger.events import Attachment, Owner
from tests.sync.scene import POOLS, Scene, delete_pod, pod, set_phase, wait_for


def running(scene: Scene, *names: str, pool: str = "pool") -> dict[str, str]:
    """Pods that run and have an address each: name → address."""
    return {name: scene.take(name, pod(scene.cluster, scene.namespace, name), pool=pool) for name in names}


def test_a_pod_that_ended_without_a_del_loses_its_address_a_running_one_never(scene: Scene) -> None:
    worker = scene.sync()
    scene.pool()
    wait_for(scene.ready)
    ips = running(scene, "stays", "goes", "finishes", "recreated")
    scene.book.allocate(Claim(("pool",), Owner(None, "by hand"), Attachment("router")))
    time.sleep(2.5)
    assert not [each for each in scene.events() if each[0] == "Reclaimed"]

    delete_pod(scene.cluster, scene.namespace, "goes")
    set_phase(scene.cluster, scene.namespace, "finishes", "Succeeded")  # as a Job's pod does
    delete_pod(scene.cluster, scene.namespace, "recreated")
    new = pod(scene.cluster, scene.namespace, "recreated")
    wait_for(lambda: len([each for each in scene.events() if each[0] == "Reclaimed"]) == 3)
    assert {each[1:] for each in scene.events() if each[0] == "Reclaimed"} == {
        (ips["goes"], "goes", "pod not found"),
        (ips["finishes"], "finishes", "pod has succeeded"),
        (ips["recreated"], "recreated", f"pod has another UID now ({new})"),
    }
    time.sleep(1.5)
    assert scene.book.pool("pool").allocated == 2
    assert "reclaimed" in worker.process.output()


def test_on_a_full_pool_the_agent_reclaims_a_deleted_pods_address_at_once(scene: Scene) -> None:
    scene.sync(RECLAIM_GRACE="3600")
    scene.pool(sub={"range": "10.9.0.1-10.9.0.3/24"})
    wait_for(scene.ready)
    ips = {}
    for name in ("a", "b", "c"):
        ips[name] = scene.add(name, pod(scene.cluster, scene.namespace, name), sandbox=name)
    late = pod(scene.cluster, scene.namespace, "late")
    assert scene.add("late", late, sandbox="late") == "100", "three pods run, and nothing is free"
    delete_pod(scene.cluster, scene.namespace, "b")
    assert scene.add("late", late, sandbox="late") == ips["b"]
    assert [each for each in scene.events() if each[0] == "Reclaimed"] == [
        ("Reclaimed", ips["b"], "b", "pod not found")
    ]
    # without the API server there is no evidence, and the answer is still quick
    delete_pod(scene.cluster, scene.namespace, "a")
    scene.cluster.kill9_apiserver()
    try:
        began = time.monotonic()
        assert scene.add("more", "uid", sandbox="more") == "100"
        assert time.monotonic() - began < 9, "the book gives up after ten seconds by itself"
    finally:
        scene.cluster.start_apiserver()
    more = pod(scene.cluster, scene.namespace, "more")
    assert scene.add("more", more, sandbox="more") == ips["a"]


def test_an_empty_list_of_pods_frees_nothing_and_is_told(scene: Scene) -> None:
    scene.sync()
    scene.pool()
    wait_for(scene.ready)
    running(scene, "a", "b")
    wait_for(lambda: scene.status().get("allocated") == 2)
    # Every pod of the cluster is gone at once, as after a restore of etcd, or with a view that is broken.
    for each in scene.cluster.request("GET", "/api/v1/pods")["items"]:
        delete_pod(scene.cluster, each["metadata"]["namespace"], each["metadata"]["name"])
    wait_for(lambda: scene.cluster.request("GET", "/api/v1/pods")["items"] == [], why="a pod was left over")
    empty = "the API server lists no pod at all, while 2 hold addresses"
    wait_for(lambda: scene.condition("ReclaimSuspended").get("message") == empty)
    time.sleep(2)
    assert scene.book.pool("pool").allocated == 2
    wait_for(lambda: "ReclaimSuspended" in scene.cluster.kubectl("get", "events", "-n", "default").stdout)
    # one pod is enough to see that the list is a list; then the evidence counts
    pod(scene.cluster, scene.namespace, "other")
    wait_for(lambda: scene.book.pool("pool").allocated == 0)
    wait_for(lambda: scene.condition("ReclaimSuspended") == {})


def test_too_many_at_once_is_not_believed(scene: Scene) -> None:
    # all of them are missed before it would be asked about the first one
    scene.sync(RECLAIM_SHARE="0.5", RECLAIM_GRACE="5")
    scene.pool(sub={"range": "10.9.0.1-10.9.0.40/24"})
    wait_for(scene.ready)
    running(scene, *(f"p{n}" for n in range(24)))
    for n in range(14):
        delete_pod(scene.cluster, scene.namespace, f"p{n}")
    # Where all of them went between two looks, that the list shrank so suddenly is what is told first.
    says = wait_for(
        lambda: "14 of 24 pods" in (said := scene.condition("ReclaimSuspended").get("message", "")) and said
    )
    assert "IPAM_LEDGER_RECLAIM_SHARE" in says
    assert scene.book.pool("pool").allocated == 24
    scene.workers[0].stop()
    scene.sync(RECLAIM_SHARE="1")
    wait_for(lambda: scene.book.pool("pool").allocated == 10)
    wait_for(lambda: scene.condition("ReclaimSuspended") == {})


def test_a_terminating_pod_keeps_its_address(scene: Scene) -> None:
    scene.sync()
    scene.pool()
    wait_for(scene.ready)
    pod(scene.cluster, scene.namespace, "other")
    uid = pod(scene.cluster, scene.namespace, "p", finalizers=["example.org/wait"])
    scene.take("p", uid)
    delete_pod(scene.cluster, scene.namespace, "p")
    time.sleep(2.5)
    assert scene.book.pool("pool").allocated == 1
    path = f"/api/v1/namespaces/{scene.namespace}/pods/p"
    scene.cluster.request("PATCH", path, {"metadata": {"finalizers": None}})
    wait_for(lambda: scene.book.pool("pool").allocated == 0)
    assert scene.cluster.request("GET", f"{POOLS}/pool")


def test_a_jobs_pod_that_has_finished_gives_its_address_back(scene: Scene) -> None:
    """The real job controller makes the pod and keeps it when it is done; its kubelet, the test, never says DEL."""
    scene.cluster.start_controllers()
    scene.sync(RECLAIM_SHARE="1")
    scene.pool()
    wait_for(scene.ready)
    jobs = f"/apis/batch/v1/namespaces/{scene.namespace}/jobs"
    template = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "pause"}]}
    scene.cluster.request(
        "POST", jobs, {"metadata": {"name": "backup"}, "spec": {"template": {"spec": template}}}
    )
    pods = f"/api/v1/namespaces/{scene.namespace}/pods?labelSelector=job-name%3Dbackup"
    (made,) = wait_for(lambda: scene.cluster.request("GET", pods)["items"])
    name = made["metadata"]["name"]
    set_phase(scene.cluster, scene.namespace, name, "Running")
    ip = scene.take(name, made["metadata"]["uid"])
    running(scene, "stays")  # if no pod at all is left, nothing is believed
    time.sleep(2.5)
    assert not [each for each in scene.events() if each[0] == "Reclaimed"]

    set_phase(scene.cluster, scene.namespace, name, "Succeeded")
    wait_for(lambda: scene.cluster.request("GET", f"{jobs}/backup")["status"].get("succeeded") == 1)
    wait_for(lambda: any(each[0] == "Reclaimed" for each in scene.events()))
    assert [each for each in scene.events() if each[0] == "Reclaimed"] == [
        ("Reclaimed", ip, name, "pod has succeeded")
    ]
    assert scene.book.pool("pool").allocated == 1
    scene.cluster.request("DELETE", f"{jobs}/backup", {"propagationPolicy": "Background"})
