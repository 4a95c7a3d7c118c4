"""What the ledger does for pods behind a real main plugin: the same name, the same address; a late DEL frees nobody."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.conftest import make_network
from tests.system.ipam import Ours
from tests.system.node import Network, Node

pytestmark = pytest.mark.root


@pytest.fixture
def network(node: Node, ours: Ours) -> Network:
    return make_network(node, ours, "bridge")


def test_a_relaunched_pod_returns_to_its_address(node: Node, network: Network, ours: Ours) -> None:
    """DEL, then ADD of a pod with the same name and another UID, as a StatefulSet does it."""
    before, other, after = node.sandbox(), node.sandbox(), node.sandbox()
    network.add(before, pod="default/web-0", uid="uid-1")
    network.add(other, pod="default/web-1", uid="uid-2")
    had = before.ip
    network.delete(before, pod="default/web-0", uid="uid-1")
    network.add(after, pod="default/web-0", uid="uid-3")
    assert after.ip == had
    assert after.reaches(other) == had
    assert [(event["kind"], event["podUID"]) for event in ours.history(had)] == [
        ("Allocated", "uid-1"),
        ("Released", "uid-1"),
        ("Allocated", "uid-3"),
    ]
    ours.verify()


def test_the_late_del_of_an_old_sandbox_leaves_the_new_one_alone(
    node: Node, network: Network, ours: Ours
) -> None:
    """kubelet recreates a sandbox, and the DEL of the old container id comes, and comes again, after the ADD."""
    old, new = node.sandbox(), node.sandbox()
    network.add(old)
    had = old.ip
    old.namespace.delete()
    network.add(new)
    assert new.ip == had
    network.delete(old, netns="")
    network.delete(old, netns="")
    assert ours.holder(had) == new.container
    assert network.check(new).code == 0
    network.delete(new)
    assert ours.holder(had) is None
    ours.verify()


def test_a_dual_stack_pod_is_reached_by_both_families(node: Node, ours: Ours) -> None:
    """A pool with subs of both families gives one address of each, and a gateway and a default route for each."""
    ours.apply(
        {"range": f"{ours.ip(10)}-{ours.ip(20)}/24", "netmaskBits": 24, "gateway": ours.gateway},
        {"range": "fd00:10:19::10-fd00:10:19::ffff/64", "netmaskBits": 64, "gateway": "fd00:10:19::1"},
    )
    network = make_network(node, ours, "bridge")
    web, db = node.sandbox(), node.sandbox()
    result = network.add(web, pod="default/web-0")
    network.add(db, pod="default/db-0")
    assert sorted(ip["address"] for ip in result["ips"]) == sorted(web.namespace.addresses())
    assert {route["dst"] for route in result["routes"]} == {"0.0.0.0/0", "::/0"}
    for sandbox in (web, db):
        for ip in sandbox.result["ips"]:
            assert ours.holder(ip["address"].partition("/")[0]) == sandbox.container
    v4, v6 = sorted((ip.partition("/")[0] for ip in web.namespace.addresses()), key=len)
    assert db.reaches(web, at=v4) in db.holds
    assert db.reaches(web, at=v6) in db.holds
    for sandbox, pod in ((web, "default/web-0"), (db, "default/db-0")):
        network.delete(sandbox, pod=pod)
    assert ours.holder(v4) is None
    assert ours.holder(v6) is None


def test_many_pods_at_once(node: Node, ours: Ours) -> None:
    """Sandboxes started at one moment, as after a reboot: as many different addresses."""
    network = make_network(node, ours, "bridge")
    pods = {f"default/web-{n}": node.sandbox() for n in range(16 if ours.agent else 6)}
    with ThreadPoolExecutor(len(pods)) as threads:
        list(threads.map(lambda pod: network.add(pods[pod], pod=pod), pods))
        assert len({sandbox.ip for sandbox in pods.values()}) == len(pods)
        list(threads.map(lambda pod: network.delete(pods[pod], pod=pod), pods))
    ours.verify()
