"""One leads, the others wait; who cannot reach the API server stops leading before another may start."""

from __future__ import annotations

import pytest

from sync.errors import ApiAway
from sync.kube import LEASES, Api
from sync.lease import Lease, LeaseSettings, Record, may_take
from tests.servers.apiserver import ControlPlane


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def leads(lease: Lease) -> bool:
    return lease.leading  # changes with the clock, which the type checker cannot know


@pytest.mark.parametrize(
    ("holder", "unchanged", "takes"),
    [("", 0, True), ("me", 0, True), ("other", 29, False), ("other", 31, True)],
)
def test_when_a_lease_may_be_taken(holder: str, unchanged: float, takes: bool) -> None:
    assert may_take(Record(holder, 1, "t"), "me", unchanged, 30) is takes


def test_two_candidates_and_one_lease(api: Api, cluster: ControlPlane, namespace: str) -> None:
    clock = Clock()
    settings = LeaseSettings(namespace=namespace, duration=30, renew=10)
    one, two = (Lease(api, name, settings, clock=clock) for name in ("one", "two"))
    assert (one.step(), one.leading) == (True, True)
    assert (two.step(), two.leading, two.holder) == (False, False, "one")
    for _ in range(5):  # renewed: it lasts
        clock.now += 20
        assert one.step()
        assert not two.step()
    one.release()
    assert not leads(one)
    assert two.step()
    assert leads(two)
    assert not one.step()
    lease = cluster.request("GET", f"{LEASES.format(namespace)}/ipam-ledger-sync")
    assert lease["spec"]["holderIdentity"] == "two"
    assert lease["spec"]["leaseTransitions"] == 2
    assert lease["spec"]["leaseDurationSeconds"] == 30


def test_a_leader_that_died_is_succeeded_after_the_duration(api: Api, namespace: str) -> None:
    clock = Clock()
    settings = LeaseSettings(namespace=namespace, duration=30)
    dead, heir = (Lease(api, name, settings, clock=clock) for name in ("dead", "heir"))
    assert dead.step()
    assert not heir.step()
    clock.now += 23
    assert not leads(dead), "it stops by itself before another may start"
    assert not heir.step()
    clock.now += 8
    assert heir.step()
    assert leads(heir)
    assert not dead.step(), "its version of the lease is old"
    assert not leads(dead)


def test_without_the_api_server_nobody_leads_for_long(
    api: Api, cluster: ControlPlane, namespace: str
) -> None:
    clock = Clock()
    lease = Lease(api, "one", LeaseSettings(namespace=namespace), clock=clock)
    assert lease.step()
    cluster.kill9_apiserver()
    try:
        clock.now += 10
        with pytest.raises(ApiAway):
            lease.step()
        assert leads(lease)
        clock.now += 15
        assert not leads(lease)
    finally:
        cluster.start_apiserver()
    assert lease.step()
    assert leads(lease)
