"""A StatefulSet's pod that goes keeps its address while the set has its ordinal, and the pod that comes back has it again.

The real StatefulSet controller makes the pods; the test is their kubelet.
"""

from __future__ import annotations

from typing import Any

import pytest

from ledger.errors import PoolExhausted
from tests.servers.apiserver import ApiError
from tests.sync.scene import Scene, pod, wait_for


class Kubelet:
    """Runs what the controller makes: ADD for every new pod, DEL for what is gone."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.runs: dict[str, tuple[str, str]] = {}
        """Pod → (UID, address)."""

    def pods(self) -> dict[str, str]:
        path = f"/api/v1/namespaces/{self.scene.namespace}/pods"
        return {
            raw["metadata"]["name"]: raw["metadata"]["uid"]
            for raw in self.scene.cluster.request("GET", path)["items"]
            if "deletionTimestamp" not in raw["metadata"]
        }

    def step(self) -> dict[str, str]:
        """Bring what runs to what is wanted; pod → address."""
        wanted = self.pods()
        for name, (uid, _) in list(self.runs.items()):
            if wanted.get(name) != uid:
                self.scene.give_back(name, uid)
                del self.runs[name]
        for name, uid in wanted.items():
            if name not in self.runs:
                self.runs[name] = (uid, self.scene.take(name, uid))
        return {name: ip for name, (_, ip) in self.runs.items()}

    def until(self, *names: str) -> dict[str, str]:
        found = wait_for(lambda: (ips := self.step()).keys() == set(names) and [ips])
        return dict(found[0])


@pytest.fixture
def kubelet(scene: Scene) -> Kubelet:
    scene.cluster.start_controllers()
    scene.pool(sub={"range": "10.9.0.1-10.9.0.4/24"})
    scene.sync(RECLAIM_GRACE="3600")  # who takes an address here need not be a pod of the API server's
    wait_for(scene.ready)
    return Kubelet(scene)


def stateful(scene: Scene, replicas: int) -> None:
    path = f"/apis/apps/v1/namespaces/{scene.namespace}/statefulsets"
    labels = {"app": "web"}
    body: dict[str, Any] = {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "serviceName": "web",
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "c", "image": "pause"}],
                },
            },
        },
    }
    try:
        scene.cluster.request("PATCH", f"{path}/web", {"spec": {"replicas": replicas}})
    except ApiError as error:
        assert error.code == 404
        scene.cluster.request("POST", path, body)


def remove(scene: Scene, pod: str) -> None:
    path = f"/api/v1/namespaces/{scene.namespace}/pods/{pod}"
    scene.cluster.request("DELETE", path, {"gracePeriodSeconds": 0})


def states(scene: Scene) -> list[int]:
    figures = scene.book.pool("pool")
    return [figures.allocated, figures.held, figures.free]


def test_force_deleted_it_comes_back_to_its_address_though_the_pool_is_full(
    scene: Scene, kubelet: Kubelet
) -> None:
    stateful(scene, 3)
    before = kubelet.until("web-0", "web-1", "web-2")
    scene.take("other")
    assert states(scene) == [4, 0, 0]
    old = kubelet.runs["web-1"][0]
    remove(scene, "web-1")
    wait_for(lambda: kubelet.pods().get("web-1", old) != old)
    # the new pod's ADD comes before the old sandbox's DEL, as after a force deletion
    new = kubelet.pods()["web-1"]
    assert scene.take("web-1", new) == before["web-1"]
    scene.give_back("web-1", old)
    assert states(scene) == [4, 0, 0]
    assert scene.events()[-1] == ("Allocated", before["web-1"], "web-1", "reassigned")
    stateful(scene, 0)


def test_scaled_down_it_is_freed_scaled_up_and_gone_for_a_while_it_is_held(
    scene: Scene, kubelet: Kubelet
) -> None:
    stateful(scene, 2)
    before = kubelet.until("web-0", "web-1")
    # gone for a while: DEL first, and the controller is slow to make it anew
    scene.cluster.controllers.kill9()
    remove(scene, "web-1")
    kubelet.until("web-0")
    wait_for(lambda: states(scene) == [1, 1, 2])
    assert scene.events()[-1] == ("Held", before["web-1"], "web-1", "StatefulSet web exists")
    wait_for(lambda: scene.status().get("held") == 1)
    # nobody else gets it, even if nothing else is left
    assert {scene.take("a"), scene.take("b")}.isdisjoint(before.values())
    with pytest.raises(PoolExhausted):
        scene.take("c")
    scene.give_back("a")
    scene.give_back("b")
    scene.cluster.start_controllers()
    assert kubelet.until("web-0", "web-1") == before
    assert scene.events()[-1][0::3] == ("Allocated", "returning")

    # scaled down: its ordinal is gone, and so is the hold
    stateful(scene, 1)
    kubelet.until("web-0")
    wait_for(lambda: states(scene) == [1, 0, 3])
    # scaled up: nobody took it meanwhile, so it is the same again
    stateful(scene, 2)
    assert kubelet.until("web-0", "web-1") == before

    # the set is gone: so are its pods and what was held for them
    scene.cluster.controllers.kill9()
    remove(scene, "web-0")
    kubelet.until("web-1")
    wait_for(lambda: states(scene) == [1, 1, 2])
    scene.cluster.request("DELETE", f"/apis/apps/v1/namespaces/{scene.namespace}/statefulsets/web")
    wait_for(lambda: states(scene)[1] == 0)
    assert scene.events()[-1] == ("Freed", before["web-0"], "web-0", "StatefulSet web is gone")
    remove(scene, "web-1")
    kubelet.until()
    assert states(scene) == [0, 0, 4]
    scene.cluster.start_controllers()


def test_what_was_released_while_nobody_watched_is_held_later(scene: Scene, kubelet: Kubelet) -> None:
    stateful(scene, 2)
    kubelet.until("web-0", "web-1")
    scene.workers[0].kill9()
    scene.cluster.controllers.kill9()
    remove(scene, "web-1")
    kubelet.until("web-0")
    assert states(scene) == [1, 0, 3]
    scene.workers[0].start()
    wait_for(lambda: states(scene) == [1, 1, 2])
    stateful(scene, 0)
    wait_for(lambda: states(scene) == [1, 0, 3])
    remove(scene, "web-0")
    scene.cluster.start_controllers()


def test_a_pool_may_retain_nothing(scene: Scene, kubelet: Kubelet) -> None:
    scene.pool(sub={"range": "10.9.0.1-10.9.0.4/24"}, retainFor=[])
    wait_for(scene.ready)
    stateful(scene, 2)
    kubelet.until("web-0", "web-1")
    scene.cluster.controllers.kill9()
    remove(scene, "web-1")
    kubelet.until("web-0")
    position = len(scene.events())
    wait_for(lambda: scene.status()["ledgerSeq"] >= position)
    assert states(scene) == [1, 0, 3]
    stateful(scene, 0)
    scene.cluster.start_controllers()


def test_a_pool_that_retains_no_longer_lets_go_of_what_it_held(scene: Scene, kubelet: Kubelet) -> None:
    stateful(scene, 2)
    before = kubelet.until("web-0", "web-1")
    scene.cluster.controllers.kill9()
    remove(scene, "web-1")
    kubelet.until("web-0")
    wait_for(lambda: states(scene) == [1, 1, 2])
    scene.pool(sub={"range": "10.9.0.1-10.9.0.4/24"}, retainFor=[])
    wait_for(lambda: states(scene) == [1, 0, 3])
    why = "the pool retains no StatefulSet's addresses any more"
    assert scene.events()[-1] == ("Freed", before["web-1"], "web-1", why)
    stateful(scene, 0)
    scene.cluster.start_controllers()


@pytest.mark.parametrize("how", ["del", "gc"])
def test_on_a_full_pool_nobody_is_quicker_than_the_pod_that_comes_back(scene: Scene, how: str) -> None:
    """Between the DEL (or, of a sandbox that had none, the GC) and the sync worker's word the agent itself keeps the
    address, for a minute at most.
    """
    worker = scene.sync()
    scene.pool(sub={"range": "10.9.0.1-10.9.0.2/24"})
    wait_for(scene.ready)
    worker.stop()
    ips = {}
    for name in ("solo-0", "solo-1"):
        ips[name] = scene.add(name, pod(scene.cluster, scene.namespace, name), sandbox=name)
    remove(scene, "solo-1")
    if how == "del":
        scene.delete("solo-1", "", sandbox="solo-1")
    else:
        scene.collect(keep=["solo-0"])
    other = pod(scene.cluster, scene.namespace, "other")
    assert scene.add("other", other, sandbox="other") == "100", "it is not free, though nobody has it"
    again = pod(scene.cluster, scene.namespace, "solo-1")
    assert scene.add("solo-1", again, sandbox="again") == ips["solo-1"]
    assert [(kind, reason) for kind, ip, _, reason in scene.events() if ip == ips["solo-1"]] == [
        ("Allocated", "random"),
        ("Released", how),
        ("Held", "a StatefulSet may make the pod anew"),
        ("Allocated", "returning"),
    ]
    # there is no such set: the worker says so, and the address is anybody's
    scene.delete("solo-1", again, sandbox="again")
    worker.start()
    wait_for(lambda: scene.add("other", other, sandbox="other") == ips["solo-1"])
    assert ("Freed", ips["solo-1"], "solo-1", "StatefulSet solo is gone") in scene.events()
