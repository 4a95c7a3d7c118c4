"""Behind bridge, ptp and macvlan, our addresses carry traffic, and everything that a runtime does to a plugin goes well."""

from __future__ import annotations

import pytest

from tests.system.conftest import make_network
from tests.system.ipam import Ipam
from tests.system.node import Network, Node

pytestmark = pytest.mark.root

most = pytest.mark.parametrize(
    ("main", "ipam"),
    [
        ("bridge", "host-local"),
        ("bridge", "agent"),
        ("bridge", "agentless"),
        ("ptp", "host-local"),
        ("ptp", "agent"),  # agentless behind ptp is slow and shows nothing new; traffic it carries below
    ],
    indirect=True,
)


def test_two_pods_get_addresses_and_reach_each_other(node: Node, network: Network, ipam: Ipam) -> None:
    web, db = node.sandbox(), node.sandbox()
    for name, sandbox in (("default/web-0", web), ("default/db-0", db)):
        result = network.add(sandbox, pod=name)
        assert [ip["address"] for ip in result["ips"]] == sandbox.namespace.addresses()
        assert [ip["gateway"] for ip in result["ips"]] == [ipam.gateway]
        assert ipam.holder(sandbox.ip) == sandbox.container
    assert web.ip != db.ip
    assert web.reaches(db) == web.ip
    assert db.reaches(web) == db.ip


@most
def test_check_agrees_until_the_address_is_gone(node: Node, network: Network, ipam: Ipam) -> None:
    sandbox = node.sandbox()
    network.add(sandbox)
    assert network.check(sandbox).code == 0
    ipam.forget(sandbox.ip)
    answer = network.check(sandbox)
    assert answer.code == 1
    assert answer.json["code"] == ipam.absent


@most
def test_del_frees_and_may_come_again_and_again(node: Node, network: Network, ipam: Ipam) -> None:
    """As kubelet does it: with netns and prevResult, again without both, and after the namespace has gone."""
    sandbox = node.sandbox()
    network.add(sandbox)
    ip = sandbox.ip
    network.delete(sandbox, extra={"prevResult": sandbox.result})
    assert ipam.holder(ip) is None
    assert sandbox.namespace.addresses() == []
    network.delete(sandbox)
    network.delete(sandbox, netns="")
    sandbox.namespace.delete()
    network.delete(sandbox)
    assert ipam.holder(ip) is None


@most
def test_del_without_netns_frees(node: Node, network: Network, ipam: Ipam) -> None:
    """After a reboot the namespace is gone, but the address must come back."""
    sandbox = node.sandbox()
    network.add(sandbox)
    ip = sandbox.ip
    sandbox.namespace.delete()
    network.delete(sandbox, netns="")
    assert ipam.holder(ip) is None


def test_a_full_pool_is_told_by_the_main_plugin(node: Node, ipam: Ipam) -> None:
    """The error passes through bridge as it is, nothing stays behind, and one DEL later there is room."""
    ipam.limit(11)
    network = make_network(node, ipam, "bridge")
    first, second, third = node.sandbox(), node.sandbox(), node.sandbox()
    network.add(first, pod="default/web-0")
    network.add(second, pod="default/web-1")
    answer = network.call("ADD", third, pod="default/web-2")
    assert answer.code == 1
    assert answer.json["code"] == ipam.full
    assert third.namespace.addresses() == []
    # A runtime answers a failed ADD with a DEL.
    network.delete(third, pod="default/web-2")
    freed = second.ip
    network.delete(second, pod="default/web-1")
    network.add(third, pod="default/web-2")
    assert third.ip == freed
    assert {ipam.holder(ipam.ip(n)) for n in (10, 11)} == {first.container, third.container}


@pytest.mark.parametrize("ipam", ["host-local", "agent"], indirect=True)
@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_the_result_has_the_shape_that_was_asked(node: Node, ipam: Ipam, version: str) -> None:
    network = make_network(node, ipam, "bridge", version)
    sandbox = node.sandbox()
    result = network.add(sandbox)
    assert result["cniVersion"] == version
    (ip,) = result["ips"]
    assert [ip["address"]] == sandbox.namespace.addresses()
    assert ip.get("version") == (None if version == "1.0.0" else "4")
    assert {"dst": "0.0.0.0/0"}.items() <= result["routes"][0].items()
    network.delete(sandbox)


@most
def test_a_fixed_address_is_had_once(node: Node, network: Network, ipam: Ipam) -> None:
    """``IP=`` in CNI_ARGS, as ``podman --ip`` and Kubernetes annotations hand it down."""
    first, second = node.sandbox(), node.sandbox()
    wanted = ipam.ip(77)
    fixed = f"IgnoreUnknown=1;IP={wanted};K8S_POD_NAMESPACE=default;K8S_POD_NAME="
    network.add(first, CNI_ARGS=fixed + "web-0")
    assert first.ip == wanted
    answer = network.call("ADD", second, CNI_ARGS=fixed + "web-1")
    assert answer.code == 1
    assert wanted in answer.json["msg"]
    assert ipam.holder(wanted) == first.container
