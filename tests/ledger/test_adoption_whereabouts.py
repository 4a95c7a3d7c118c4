"""whereabouts' objects: distances become addresses, and an address that is said twice is said once."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.adoption.found import Unsaid
from tests.ledger.adopting import example, page, read, wrong

ID = "0c85206ce40fd429c62d1499c91f0fd5cb183fd610db3c4c458f167eaa0ee190"


def pool(allocations: Any, span: Any = "10.0.0.0/24", **more: Any) -> dict[str, Any]:
    meta = {"name": "10.0.0.0-24", "namespace": "kube-system"}
    spec = {"range": span, "allocations": allocations}
    return {
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1",
        "kind": "IPPool",
        "metadata": meta,
        "spec": spec,
    } | more


def reservation(name: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "kube-system"}
    kind = "OverlappingRangeIPReservation"
    return {"apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def test_a_list_as_kubectl_prints_it() -> None:
    reading = read("whereabouts", example("whereabouts").read_bytes(), Unsaid("net1", "podnet"))
    assert wrong(reading) == []
    assert page(reading) == [
        "10.30.0.1 default/web-0 0c85206ce40f/net1/podnet whereabouts ippool kube-system/10.30.0.0-16",
        "10.30.0.1 default/web-0 adopted:defa/net1/podnet whereabouts overlappingrangeipreservation kube-system/10.30.0.1",
        "10.30.0.199 container 2329905a30130454f502c64ad531af3bc3fb38395708f521161b0ea8373001c5"
        " 2329905a3013/net1/podnet whereabouts ippool kube-system/10.30.0.0-16",
        "10.30.0.9 jobs/report-x7z9q 6442798c086a/net1/podnet whereabouts overlappingrangeipreservation kube-system/10.30.0.9",
        "10.30.1.2 default/web-0 c37586753ac8/net2/podnet whereabouts ippool kube-system/10.30.0.0-16",
        "2001:db8:30::1:0:0 default/web-0 0c85206ce40f/net1/podnet whereabouts ippool kube-system/2001-db8-30--64",
    ]


@pytest.mark.parametrize(
    ("span", "offset", "ip"),
    [
        ("10.0.0.0/24", "0", "10.0.0.0"),
        ("10.0.0.0/24", "255", "10.0.0.255"),
        ("192.168.2.225/28", "5", "192.168.2.230"),  # whereabouts counts from the address as it is written
        ("2001:db8::/32", str(2**96 - 1), "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("10.0.0.7/32", "0", "10.0.0.7"),
    ],
)
def test_an_address_is_its_distance_from_the_first(span: str, offset: str, ip: str) -> None:
    assert [
        each.ip for each in read("whereabouts", pool({offset: {"id": ID, "podref": "ns/a"}}, span)).found
    ] == [ip]


@pytest.mark.parametrize(
    ("name", "ip"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("podnet-10.0.0.5", "10.0.0.5"),
        ("pod-net-2-10.0.0.5", "10.0.0.5"),
        ("2001-db8--5", "2001:db8::5"),
        ("2001-db8--0", "2001:db8::"),
    ],
)
def test_a_reservation_is_named_after_its_address(name: str, ip: str) -> None:
    assert [each.ip for each in read("whereabouts", reservation(name, podref="ns/a")).found] == [ip]


@pytest.mark.parametrize("name", ["podnet", "podnet-2001-db8--5", "10.0.0.500", "1-2-3"])
def test_a_reservation_that_is_not(name: str) -> None:
    [said] = wrong(read("whereabouts", reservation(name, podref="ns/a")))
    assert said.startswith(
        f"whereabouts overlappingrangeipreservation kube-system/{name} | metadata.name: is not "
    )


@pytest.mark.parametrize(
    ("offset", "allocation", "problem"),
    [
        ("x", {"id": ID}, "spec.allocations[x]: is no distance from the first address"),
        ("-1", {"id": ID}, "spec.allocations[-1]: is no distance"),
        ("٣", {"id": ID}, "spec.allocations[٣]: is no distance"),
        ("9" * 60, {"id": ID}, f"spec.allocations[{'9' * 60}]: is no distance"),
        ("256", {"id": ID}, "spec.allocations[256]: lies outside 10.0.0.0/24"),
        (str(2**40), {"id": ID}, f"spec.allocations[{2**40}]: lies outside 10.0.0.0/24"),
        ("5", "x", "spec.allocations[5]: must be an object (got 'x')"),
        ("5", {}, "spec.allocations[5].id: is missing, and no pod is named either"),
        ("5", {"id": "a/b"}, "spec.allocations[5].id: is no container id"),
        ("5", {"id": 5}, "spec.allocations[5].id: must be text (got 5)"),
        (
            "5",
            {"id": ID, "podref": "web-0"},
            "spec.allocations[5].podref: must be namespace/name (got 'web-0')",
        ),
        ("5", {"id": ID, "podref": "a/b/c"}, "spec.allocations[5].podref: is no name of a pod"),
        (
            "5",
            {"id": ID, "podref": "ns/a", "ifname": "a b"},
            "spec.allocations[5].ifname: is no interface name",
        ),
        ("5", {"id": ID, "ipamclaimref": "ns/vm"}, "spec.allocations[5].ipamclaimref: belongs to a claim"),
    ],
)
def test_an_allocation_that_cannot_be_read_is_named_and_keeps_the_rest_from_nothing(
    offset: str, allocation: Any, problem: str
) -> None:
    reading = read("whereabouts", pool({offset: allocation, "9": {"id": ID, "podref": "ns/a"}}))
    [said] = wrong(reading)
    assert said.startswith(f"whereabouts ippool kube-system/10.0.0.0-24 | {problem}")
    assert [each.ip for each in reading.found] == ["10.0.0.9"]


@pytest.mark.parametrize(
    "span", [None, 5, "", "10.0.0.0", "10.0.0.0/33", "10.0.0.1-10.0.0.9/24", "x" * 4000 + "/8"]
)
def test_a_range_that_cannot_be_read(span: Any) -> None:
    reading = read("whereabouts", pool({"1": {"id": ID}}, span))
    assert reading.found == []
    assert "spec.range: " in wrong(reading)[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"apiVersion": "whereabouts.cni.cncf.io/v2"}, "apiVersion: must be whereabouts.cni.cncf.io/v1alpha1: no other is known"),
        ({"apiVersion": "ipam.k8s.io/v1alpha1"}, "apiVersion: is no object of whereabouts; read it with --from k8s-ipam"),
        ({"kind": "Other"}, "kind: is no kind of whereabouts that holds addresses"),
        ({"metadata": {}}, "metadata.name: is missing"),
        ({"metadata": {"name": 5}}, "metadata.name: must be text"),
        ({"spec": []}, "spec: must be an object"),
    ],
)  # fmt: skip
def test_an_object_that_is_none_of_whereabouts(change: dict[str, Any], problem: str) -> None:
    [said] = wrong(read("whereabouts", pool({}) | change))
    assert f"| {problem}" in said


def test_node_slices_hold_no_address() -> None:
    reading = read("whereabouts", pool({}) | {"kind": "NodeSlicePool", "spec": {"range": "10.0.0.0/8"}})
    assert (reading.found, reading.problems) == ([], [])
