"""The status of an IPPool is the ledger at the position it names, about a second late, and written only where it differs."""

from __future__ import annotations

import json
import random
import threading
import time
from typing import Any

from ledger import pools
from ledger.errors import LedgerError
from tests.servers.apiserver import ControlPlane
from tests.sync.scene import POOLS, Scene, wait_for


def shown(status: dict[str, Any]) -> dict[str, Any]:
    return {key: status[key] for key in ("allocated", "held", "cooling", "dynamicReservations")}


def test_the_main_job_with_kubectl_and_the_plugin(scene: Scene) -> None:
    scene.sync(RECLAIM_GRACE="3600")
    scene.cluster.apply(EXAMPLE)
    wait_for(lambda: scene.ready("ippool"))
    first = scene.add("web-0", "uid-1", sandbox="one", pool="ippool")
    second = scene.add("web-1", "uid-2", sandbox="two", pool="ippool")
    wait_for(lambda: scene.status("ippool").get("allocated") == 2)
    line = scene.cluster.kubectl("get", "ippools", "--no-headers").stdout
    assert line.split()[:6] == ["ippool", "995", "2", "993", "0", "True"]
    assert scene.status("ippool")["dynamicReservations"] == {
        scene.namespace: {"web-0": first, "web-1": second}
    }
    # relaunched under the same name, while the old sandbox still has to be torn down
    assert scene.add("web-0", "uid-3", sandbox="three", pool="ippool") == first
    scene.delete("web-0", "uid-1", sandbox="one", pool="ippool")  # the late DEL
    scene.delete("web-1", "uid-2", sandbox="two", pool="ippool")
    wait_for(lambda: scene.status("ippool")["dynamicReservations"] == {scene.namespace: {"web-0": first}})
    status = scene.status("ippool")
    assert shown(status) == scene.figures_at(status["ledgerSeq"], "ippool")
    # what else a busy machine does can make it later, never sooner
    assert any(lateness(scene, "ippool") < 2 for _ in range(8))


def lateness(scene: Scene, pool: str) -> float:
    """Seconds from an allocation to the status that shows it."""
    before = scene.status(pool)["allocated"]
    scene.take("late", pool=pool)
    began = time.monotonic()
    wait_for(lambda: scene.status(pool)["allocated"] == before + 1)
    lasted = time.monotonic() - began
    scene.give_back("late")
    wait_for(lambda: scene.status(pool)["allocated"] == before)
    return lasted


EXAMPLE = json.loads(
    """{"apiVersion": "ipam.k8s.io/v1alpha1", "kind": "IPPool", "metadata": {"name": "ippool"},
 "spec": {"ipPoolSubs": [{"range": "10.19.120.0-10.19.123.254/22",
                          "reservedRanges": ["10.19.122.230-10.19.122.255/22"],
                          "netmaskBits": 22, "gateway": "10.19.123.254"}]}}"""
)


def test_at_every_moment_of_a_churn_the_status_is_the_pool_at_its_position(scene: Scene) -> None:
    scene.sync(RECLAIM_GRACE="3600")
    scene.pool(sub={"range": "10.9.0.0/24"})
    wait_for(scene.ready)
    stop = threading.Event()

    def churn(lane: int) -> None:
        while not stop.is_set():
            name = f"p{lane}-{random.randrange(20)}"
            try:
                scene.take(name)
            except LedgerError:
                continue
            if random.random() < 0.7:
                scene.give_back(name)
            time.sleep(0.01)

    lanes = [threading.Thread(target=churn, args=(lane,)) for lane in range(4)]
    for lane in lanes:
        lane.start()
    seen: dict[int, dict[str, Any]] = {}
    began = time.monotonic()
    positions = []
    while (lasted := time.monotonic() - began) < 4 or (len(seen) < 4 and lasted < 60):
        status = scene.status()
        positions.append(status["ledgerSeq"])
        seen[status["ledgerSeq"]] = status
        time.sleep(0.05)
    stop.set()
    for lane in lanes:
        lane.join()
    assert positions == sorted(positions), "it never goes back"
    assert len(seen) >= 4
    for position, status in seen.items():
        assert shown(status) == scene.figures_at(position), position
    last = len(scene.events())
    wait_for(lambda: shown(scene.status()) == scene.figures_at(last))


def test_an_idle_worker_asks_for_little_and_writes_nothing(scene: Scene, cluster: ControlPlane) -> None:
    scene.sync(RECLAIM_GRACE="3600", LEASE_SECONDS="30", LEASE_RENEW_SECONDS="10")
    scene.pool()
    wait_for(scene.ready)
    scene.take("p")
    wait_for(lambda: scene.status()["allocated"] == 1)
    time.sleep(1)
    version = cluster.request("GET", f"{POOLS}/pool")["metadata"]["resourceVersion"]
    time.sleep(3)
    assert cluster.request("GET", f"{POOLS}/pool")["metadata"]["resourceVersion"] == version


def test_a_restarted_worker_writes_nothing_where_nothing_changed(scene: Scene) -> None:
    worker = scene.sync(RECLAIM_GRACE="3600", LEASE_SECONDS="120")  # each lets go of its lease at its end
    scene.pool()
    wait_for(scene.ready)
    scene.take("p")
    wait_for(lambda: scene.status()["allocated"] == 1)
    time.sleep(1)
    raw = scene.cluster.request("GET", f"{POOLS}/pool")
    assert worker.stop() == 0
    worker.start()
    wait_for(lambda: "follow: started" in worker.process.output())
    time.sleep(1.5)
    assert scene.cluster.request("GET", f"{POOLS}/pool") == raw
    # what happened while it was away is shown when it is back
    worker.stop()
    scene.take("q")
    worker.start()
    wait_for(lambda: scene.status()["allocated"] == 2)
    assert scene.status()["ledgerSeq"] == 3


def test_a_full_sixteen_stays_small_and_says_what_is_left_out(scene: Scene) -> None:
    """65,536 addresses of one pool, all taken: a status with every reservation would be three times what etcd accepts."""
    spec = {"ipPoolSubs": [{"range": "10.0.0.0-10.0.255.255/15"}]}
    scene.book.apply_pool(pools.from_spec("pool", spec))
    fill(scene)
    scene.sync(RECLAIM_GRACE="3600")
    scene.cluster.apply(
        {"apiVersion": "ipam.k8s.io/v1alpha1", "kind": "IPPool", "metadata": {"name": "pool"}, "spec": spec}
    )
    wait_for(lambda: scene.status().get("allocated"))
    raw = scene.cluster.request("GET", f"{POOLS}/pool")
    status = raw["status"]
    assert (status["capacity"], status["allocated"], status["free"], status["usedPercent"]) == (
        65_535, 65_535, 0, 100,
    )  # fmt: skip
    assert "dynamicReservations" not in status
    assert scene.condition("ReservationsTruncated")["status"] == "True"
    assert scene.condition("Exhausted")["status"] == "True"
    assert len(json.dumps(raw)) < 8_000
    told = "of 65535 addresses none is free: 65535 allocated"  # after the status, and beside what others tell
    wait_for(lambda: told in scene.cluster.kubectl("get", "events", "-n", "default").stdout)


def fill(scene: Scene) -> None:
    """Allocate every address of the pool, event and row, as many ADDs would have; set-wise, for time's sake."""
    with scene.database.begin() as tx:
        tx.connection.exec_driver_sql(
            """
            INSERT INTO ledger (xid, at, pool_id, ip, version, kind, state, namespace, pod, pod_uid, container_id,
                                if_name, network, node, reason, actor)
            SELECT pg_current_xact_id(), now(), pool_id, ip, 1, 'Allocated', 'allocated', 'crowd', 'p' || host(ip),
                   'u', 'c' || host(ip), 'eth0', 'net', 'n', 'random', 'test'
            FROM address
            """
        )
        tx.connection.exec_driver_sql(
            """
            UPDATE address SET version = 1, state = 'allocated', since = now(), owner = 'crowd/p' || host(ip),
                namespace = 'crowd', pod = 'p' || host(ip), pod_uid = 'u', container_id = 'c' || host(ip),
                if_name = 'eth0', network = 'net', node = 'n'
            """
        )


def test_near_exhaustion_and_exhaustion_are_told_once(scene: Scene) -> None:
    scene.sync(RECLAIM_GRACE="3600")
    scene.pool("nearly")
    wait_for(lambda: scene.ready("nearly"))
    for number in range(9):
        scene.take(f"p{number}", pool="nearly")
    wait_for(lambda: scene.status("nearly").get("usedPercent") == 90)
    scene.take("p9", pool="nearly")
    wait_for(lambda: scene.condition("Exhausted", "nearly")["status"] == "True")
    scene.give_back("p9")
    wait_for(lambda: scene.condition("Exhausted", "nearly")["status"] == "False")
    scene.take("p9", pool="nearly")
    wait_for(lambda: scene.condition("Exhausted", "nearly")["status"] == "True")
    listed = scene.cluster.request("GET", "/api/v1/namespaces/default/events")["items"]
    told = [
        (each["type"], each["reason"])
        for each in sorted(listed, key=lambda each: each["eventTime"])
        if each["involvedObject"]["name"] == "nearly"
    ]
    assert told == [
        ("Warning", "NearlyExhausted"),
        ("Warning", "Exhausted"),
        ("Normal", "NoLongerExhausted"),
    ]
