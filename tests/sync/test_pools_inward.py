"""An IPPool made, changed or deleted with kubectl becomes the ledger's pool; what cannot be is said on the object."""

from __future__ import annotations

import pytest

from ledger import pools
from ledger.errors import UnknownPool
from tests.servers.page import samples
from tests.servers.sync import SyncWorker
from tests.sync.scene import POOLS, SUB, Scene, wait_for


def test_made_changed_and_deleted(scene: Scene) -> None:
    scene.sync()
    scene.pool()
    wait_for(scene.ready)
    assert scene.book.pool("pool").capacity == 10
    assert scene.cluster.request("GET", f"{POOLS}/pool")["metadata"]["finalizers"] == ["ipam.k8s.io/ledger"]

    scene.pool(sub={"range": "10.9.0.1-10.9.0.20/24"})
    wait_for(lambda: scene.ready() and scene.status()["capacity"] == 20)
    assert scene.book.pool("pool").capacity == 20

    scene.cluster.kubectl("delete", "ippool", "pool", "--timeout=60s")
    with pytest.raises(UnknownPool):
        scene.book.pool("pool")
    assert [kind for kind, *_ in scene.events()] == ["PoolCreated", "PoolUpdated", "PoolDeleted"]


def test_a_pool_in_use_is_kept_until_its_last_address_is_back(scene: Scene) -> None:
    scene.sync(RECLAIM_GRACE="3600")
    scene.pool()
    wait_for(scene.ready)
    ip = scene.take("p")
    scene.cluster.kubectl("delete", "ippool", "pool", "--wait=false")
    waits = wait_for(
        lambda: scene.condition("Ready").get("reason") == "AddressesInUse" and scene.condition("Ready")
    )
    assert waits["status"] == "False"
    assert ip in waits["message"] and f"{scene.namespace}/p" in waits["message"]
    assert scene.book.pool("pool").allocated == 1

    scene.give_back("p")
    scene.cluster.kubectl("wait", "--for=delete", "ippool/pool", "--timeout=60s")
    assert scene.events()[-1][0] == "PoolDeleted"


def test_a_pool_that_is_deleted_before_the_worker_saw_it_in_the_ledger_is_deleted_there_too(
    scene: Scene,
) -> None:
    worker = scene.sync(FOLLOW_SECONDS="60")
    wait_for(lambda: "follow: started" in worker.process.output())
    scene.pool()
    wait_for(scene.events)
    scene.cluster.kubectl("delete", "ippool", "pool", "--timeout=60s")
    assert [kind for kind, *_ in scene.events()] == ["PoolCreated", "PoolDeleted"]


def test_what_the_ledger_refuses_changes_nothing_and_is_said_on_the_object(scene: Scene) -> None:
    scene.sync(RECLAIM_GRACE="3600")
    scene.pool()
    wait_for(scene.ready)
    taken = scene.take("p")
    before = scene.events()

    # two ranges that overlap: no rule of the definition sees that
    scene.cluster.apply(
        {
            "apiVersion": "ipam.k8s.io/v1alpha1",
            "kind": "IPPool",
            "metadata": {"name": "broken"},
            "spec": {"ipPoolSubs": [{"range": "10.8.0.0/24"}, {"range": "10.8.0.9-10.8.0.10/24"}]},
        }
    )
    broken = wait_for(lambda: scene.condition("Ready", "broken"))
    assert (broken["status"], broken["reason"], broken["observedGeneration"]) == ("False", "InvalidSpec", 1)
    assert "spec.ipPoolSubs[1].range" in broken["message"]

    scene.pool("twin")
    twin = wait_for(lambda: scene.condition("Ready", "twin"))
    assert (twin["status"], twin["reason"]) == ("False", "Overlap")
    assert "overlaps pool 'pool'" in twin["message"]

    # an update that would drop an address in use
    without = next(n for n in range(1, 11) if f"10.9.0.{n}" == taken)
    scene.pool(sub={**SUB, "reservedRanges": [f"10.9.0.{without}"]})
    refused = wait_for(
        lambda: scene.condition("Ready").get("reason") == "AddressesInUse" and scene.condition("Ready")
    )
    assert taken in refused["message"]
    assert (scene.status()["capacity"], scene.status()["observedGeneration"]) == (10, 2)

    assert scene.events() == before
    told = ("InvalidSpec", "Overlap", "AddressesInUse")  # after the status
    events = ("get", "events", "-n", "default", "-o", "wide")
    wait_for(lambda: (said := scene.cluster.kubectl(*events).stdout) and all(each in said for each in told))

    # mended, it is taken at once
    scene.pool()
    wait_for(scene.ready)
    scene.pool("twin", addressSpace="default", sub={"range": "10.7.0.0/24"})
    wait_for(lambda: scene.ready("twin"))


def test_what_was_refused_is_taken_once_nothing_stands_in_its_way(scene: Scene) -> None:
    scene.sync(SWEEP_SECONDS="0.5")
    scene.pool()
    wait_for(scene.ready)
    scene.pool("twin")
    wait_for(lambda: scene.condition("Ready", "twin").get("reason") == "Overlap")
    scene.cluster.kubectl("delete", "ippool", "pool", "--timeout=60s")
    wait_for(lambda: scene.ready("twin"))


def test_a_pool_that_only_the_ledger_has_is_left_alone_and_reported(scene: Scene) -> None:
    scene.book.apply_pool(pools.from_spec("by-hand", {"ipPoolSubs": [{"range": "10.1.0.0/24"}]}))
    worker = scene.sync()
    scene.pool()
    wait_for(scene.ready)
    assert scene.book.pool("by-hand").capacity == 254
    assert "only in the ledger, without an IPPool, and left alone: by-hand" in worker.process.output()


def test_a_pool_that_was_applied_by_hand_first_goes_on_as_its_object_says(scene: Scene) -> None:
    """So the worker's own pod gets an address, where the cluster's main network has its addresses from here."""
    scene.book.apply_pool(pools.from_spec("pool", {"ipPoolSubs": [SUB]}))
    scene.take("the-worker")
    before = scene.events()
    scene.pool()
    scene.sync(RECLAIM_GRACE="3600")
    wait_for(scene.ready)
    assert scene.status()["allocated"] == 1
    assert scene.events() == before


def test_the_object_wins_over_what_somebody_applied_to_the_ledger(scene: Scene) -> None:
    scene.sync()
    scene.pool()
    wait_for(scene.ready)
    scene.book.apply_pool(pools.from_spec("pool", {"ipPoolSubs": [{"range": "10.9.0.1-10.9.0.3/24"}]}))
    wait_for(lambda: scene.book.pool("pool").capacity == 10)


def test_a_ledger_that_lost_a_pool_in_use_gives_nothing_out(scene: Scene) -> None:
    """The object says that pods have addresses, and this ledger has never heard of the pool."""
    scene.pool()
    shown = {"capacity": 10, "allocated": 1, "ledgerSeq": 70, "dynamicReservations": {"a": {"b": "10.9.0.4"}}}
    scene.cluster.request("PATCH", f"{POOLS}/pool/status", {"status": shown})
    scene.sync()
    lost = wait_for(lambda: scene.condition("Ready").get("reason") and scene.condition("Ready"))
    assert (lost["status"], lost["reason"]) in (("False", "LedgerLost"), ("False", "LedgerBehind"))
    assert "restore --from-cluster" in lost["message"]
    assert scene.events() == []
    status = scene.status()
    assert {key: status[key] for key in shown} == shown, "what is left to restore from is kept"


def test_the_worker_says_how_it_is(scene: Scene) -> None:
    worker = scene.sync()
    wait_for(lambda: worker.page("/readyz") == (200, "ok (leading)\n"))
    standby = scene.sync()
    wait_for(lambda: standby.page("/readyz")[0] == 200)
    assert "standby; " in standby.page("/readyz")[1]
    assert worker.page("/healthz")[0] == 200
    assert worker.page("/else")[0] == 404


def test_the_leader_counts_its_pools_for_prometheus(scene: Scene) -> None:
    scene.pool()
    workers = [scene.sync(), scene.sync()]
    wait_for(scene.ready)
    worker, standby = sorted(workers, key=lambda each: metrics(each)["ipam_ledger_leading",], reverse=True)
    scene.take("web-0")
    scene.take("web-1")
    scene.give_back("web-1")
    wait_for(lambda: metrics(worker).get(("ipam_ledger_pool_addresses", "pool", "allocated")) == 1)
    with scene.database.read() as tx:
        position = tx.connection.exec_driver_sql("SELECT max(seq) FROM ledger").scalar_one()
    wait_for(lambda: metrics(worker)["ipam_ledger_position",] == position)
    found = metrics(worker)
    assert found["ipam_ledger_leading",] == 1
    assert found["ipam_ledger_pool_capacity", "pool"] == 10
    assert found["ipam_ledger_pool_addresses", "pool", "free"] == 9
    assert found["ipam_ledger_pool_reclaim_suspended", "pool"] == 0
    assert found["ipam_ledger_events_total", "Allocated", "pool"] == 2
    assert found["ipam_ledger_events_total", "Released", "pool"] == 1
    other = metrics(standby)
    assert other["ipam_ledger_leading",] == 0
    assert not any("pool" in key[0] for key in other), "a standby knows nothing of pools"


def metrics(worker: SyncWorker) -> dict[tuple[str, ...], float]:
    status, text = worker.page("/metrics")
    assert status == 200
    return samples(text)
