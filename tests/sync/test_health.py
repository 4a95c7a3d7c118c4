"""The worker says that a part is stuck when it is, for its probe then has the worker killed; and at no other time."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from ledger.errors import InvalidInput
from sync.health import STALL, Health
from sync.kube import Api
from sync.lease import Lease
from sync.main import compete
from sync.metrics import Metrics
from sync.settings import from_environment
from tests.servers.apiserver import ControlPlane
from tests.sync.scene import Scene, wait_for


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_who_leads_for_long_is_not_stuck(scene: Scene, api: Api) -> None:
    base = from_environment({})
    settings = replace(base, lease=replace(base.lease, namespace=scene.namespace, renew=0.1))
    clock = Clock()
    health, stop = Health(clock=clock), threading.Event()
    lease = Lease(api, "me", settings.lease)
    term = threading.Thread(
        target=compete, args=(lease, api, scene.book, settings, health, Metrics(health), stop)
    )
    term.start()
    try:
        wait_for(lambda: health.role == "leading")
        clock.now += STALL + 1
        wait_for(lambda: "lead has not moved" not in " ".join(health.live()))
    finally:
        stop.set()
        term.join()


@pytest.mark.parametrize("name", ["IPAM_LEDGER_SWEEP_SECONDS", "IPAM_LEDGER_LEASE_RENEW_SECONDS"])
def test_no_part_may_pause_for_as_long_as_one_that_is_stuck(name: str) -> None:
    lasting = {"IPAM_LEDGER_LEASE_SECONDS": "3600"}
    assert from_environment({**lasting, name: "600"})
    with pytest.raises(InvalidInput, match=name):
        from_environment({**lasting, name: str(STALL)})


def test_a_lease_is_renewed_before_it_ends() -> None:
    """Else each term would end by itself, and begin again with everything that there is to list."""
    short = {"IPAM_LEDGER_LEASE_SECONDS": "12"}
    with pytest.raises(InvalidInput, match="IPAM_LEDGER_LEASE_RENEW_SECONDS: must be less than"):
        from_environment(short)
    assert from_environment({**short, "IPAM_LEDGER_LEASE_RENEW_SECONDS": "4"}).lease.renew == 4


def test_what_the_api_server_refuses_is_a_trouble_to_tell_until_it_is_allowed(
    scene: Scene, cluster: ControlPlane, namespace: str
) -> None:
    """A worker that may not write a status does all its other work, and nobody reads its log."""

    def allow(verb: str, what: str) -> None:
        name = f"{namespace}-{what[:10]}"
        cluster.kubectl("create", "clusterrole", name, f"--verb={verb}", f"--resource={what}")
        cluster.kubectl(
            "create",
            "clusterrolebinding",
            name,
            f"--clusterrole={name}",
            f"--serviceaccount={namespace}:half",
        )

    cluster.kubectl("create", "serviceaccount", "half", "-n", namespace)
    allow("*", "pods,events,statefulsets.apps,leases.coordination.k8s.io,ippools.ipam.k8s.io")
    worker = scene.sync(kubeconfig=cluster.kubeconfig_for(namespace, "half"))
    scene.pool()
    wait_for(lambda: 'ipam_ledger_trouble{part="status"} 1.0' in worker.page("/metrics")[1])
    assert "status: pool: ippools.ipam.k8s.io" in worker.page("/readyz")[1]
    allow("patch", "ippools.ipam.k8s.io/status")
    wait_for(scene.ready)
    wait_for(lambda: worker.page("/readyz")[0] == 200)


def test_a_part_that_only_notes_what_is_wrong_is_never_stuck() -> None:
    clock = Clock()
    health = Health(clock=clock)
    health.well("lead")
    health.note("status", "forbidden")
    clock.now += STALL + 1
    assert health.live() == [f"lead has not moved for {STALL + 1:.0f} s"]
    assert health.ready() == ["status: forbidden"]
    health.note("status", None)
    assert health.ready() == []
