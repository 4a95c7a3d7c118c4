"""IPPool objects of the k8s-ipam plugin: pods and their addresses are read, whatever else stands there is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.adoption.found import Unsaid
from tests.ledger.adopting import example, page, read, wrong


def pool(status: Any, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ipam.k8s.io/v1alpha1",
        "kind": "IPPool",
        "metadata": {"name": "ippool"},
        "status": status,
    } | more


def test_a_list_as_kubectl_prints_it() -> None:
    reading = read("k8s-ipam", example("k8s-ipam").read_bytes())
    assert page(reading) == [
        "10.19.120.17 default/shop-st-0 adopted:defa/eth0/ k8s-ipam ippool ippool",
        "10.19.121.200 default/web-6d4b75cb6d-hxk2f adopted:defa/eth0/ k8s-ipam ippool ippool",
        "10.19.122.8 jobs/report-28412-x7z9q adopted:jobs/eth0/ k8s-ipam ippool ippool",
        "10.19.123.3 default/shop-st-1 adopted:defa/eth0/ k8s-ipam ippool ippool",
    ]
    assert wrong(reading) == []
    assert {each.pool for each in reading.found} == {"ippool"}
    assert list(reading.specs) == ["ippool"]


def test_what_the_records_do_not_say_is_as_one_says() -> None:
    [found] = read(
        "k8s-ipam",
        pool({"DynamicReservations": {"ns": {"a": "10.0.0.1"}}}),
        Unsaid("net1", "podnet", "node1"),
    ).found
    assert (
        found.attachment.container_id,
        found.attachment.if_name,
        found.attachment.network,
        found.node,
    ) == (
        "adopted:ns/a",
        "net1",
        "podnet",
        "node1",
    )


@pytest.mark.parametrize("key", ["DynamicReservations", "dynamicReservations", "dynamicreservations"])
def test_the_case_of_the_field_does_not_matter(key: str) -> None:
    assert [each.ip for each in read("k8s-ipam", pool({key: {"ns": {"a": "10.0.0.1"}}})).found] == [
        "10.0.0.1"
    ]


def test_our_own_status_has_several_addresses_of_a_pod_in_one_text() -> None:
    status = {"dynamicReservations": {"ns": {"a": "10.0.0.1,2001:db8::1"}}}
    assert [each.ip for each in read("k8s-ipam", pool(status)).found] == ["10.0.0.1", "2001:db8::1"]


def test_a_yaml_file_and_several_documents() -> None:
    text = """
apiVersion: ipam.k8s.io/v1alpha1
kind: IPPool
metadata: {name: a}
status: {DynamicReservations: {ns: {a: 10.0.0.1}}}
---
apiVersion: ipam.k8s.io/v1alpha1
kind: IPPool
metadata: {name: b}
status: {DynamicReservations: {ns: {a: 10.1.0.1}}}
"""
    assert [(each.pool, each.ip) for each in read("k8s-ipam", text).found] == [
        ("a", "10.0.0.1"),
        ("b", "10.1.0.1"),
    ]


def test_a_typed_list_whose_items_do_not_say_their_kind() -> None:
    item = {"metadata": {"name": "p"}, "status": {"DynamicReservations": {"ns": {"a": "10.0.0.1"}}}}
    whole = {"apiVersion": "ipam.k8s.io/v1alpha1", "kind": "IPPoolList", "items": [item]}
    assert len(read("k8s-ipam", whole).found) == 1


@pytest.mark.parametrize("status", [None, {}, {"DynamicReservations": None}, {"DynamicReservations": {}}])
def test_a_pool_that_has_given_out_nothing(status: Any) -> None:
    reading = read("k8s-ipam", pool(status))
    assert (reading.found, reading.problems) == ([], [])


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ("x", "status: must be an object (got 'x')"),
        ({"DynamicReservations": ["a"]}, "status.DynamicReservations: must be an object (got 'list of 1')"),
        ({"DynamicReservations": {"ns": "a"}}, "status.DynamicReservations.ns: must be an object (got 'a')"),
        ({"DynamicReservations": {"ns": {"a": 7}}}, "status.DynamicReservations.ns.a: must be an IP address as text (got 7)"),
        ({"DynamicReservations": {"ns": {"a": ""}}}, "status.DynamicReservations.ns.a: is not an IP address: "),
        ({"DynamicReservations": {"ns": {"a": "10.0.0.256"}}}, "status.DynamicReservations.ns.a: is not an IP address: "),
        ({"DynamicReservations": {"ns": {"a": "::ffff:10.0.0.1"}}}, "status.DynamicReservations.ns.a: is an IPv4-mapped address: "),
        ({"DynamicReservations": {"ns": {"a/b": "10.0.0.1"}}}, "status.DynamicReservations.ns.a/b: is no name of a pod"),
        ({"DynamicReservations": {"N S": {"a": "10.0.0.1"}}}, "status.DynamicReservations.N S.a: is no name of a pod"),
        ({"DynamicReservations": {"ns": {"a" * 300: "10.0.0.1"}}}, "status.DynamicReservations.ns.aaa"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_and_keeps_the_rest_from_nothing(status: Any, problem: str) -> None:
    if isinstance(status, dict) and isinstance(status["DynamicReservations"], dict):
        status["DynamicReservations"]["good"] = {"pod": "10.0.0.9"}
    reading = read("k8s-ipam", pool(status))
    [said] = wrong(reading)
    assert said.startswith(f"k8s-ipam ippool ippool | {problem}")
    assert [each.ip for each in reading.found] == (
        ["10.0.0.9"] if isinstance(status, dict) and "good" in str(status) else []
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "Pod"}, "kind: is no IPPool of the k8s-ipam plugin"),
        ({"apiVersion": "ipam.k8s.io/v2"}, "apiVersion: must be ipam.k8s.io/v1alpha1: no other is known (got 'ipam.k8s.io/v2')"),
        ({"apiVersion": 3}, "kind: is no IPPool of the k8s-ipam plugin"),
        ({"apiVersion": "whereabouts.cni.cncf.io/v1alpha1"}, "kind: is no IPPool of the k8s-ipam plugin; read it with --from whereabouts"),
        ({"metadata": None}, "metadata.name: is no name of an IPPool"),
        ({"metadata": {"name": "A b"}}, "metadata.name: is no name of an IPPool (got 'A b')"),
    ],
)  # fmt: skip
def test_an_object_that_is_none_of_the_plugin(change: dict[str, Any], problem: str) -> None:
    reading = read("k8s-ipam", {"kind": "List", "items": [pool({}) | change, None, 5]})
    assert wrong(reading)[0].startswith(f"FILE items[0] | {problem}")
    assert len(reading.problems) == 3
    assert reading.found == []


def test_a_status_that_is_cut_says_so() -> None:
    status = {"conditions": [{"type": "ReservationsTruncated", "status": "True"}]}
    assert wrong(read("k8s-ipam", pool(status))) == [
        "k8s-ipam ippool ippool | status.conditions: says that reservations were left out (got 'ReservationsTruncated')"
    ]


def test_reservations_beside_a_status_that_the_sync_worker_writes_may_be_old() -> None:
    status = {"DynamicReservations": {"ns": {"a": "10.0.0.1"}}, "ledgerSeq": 7}
    assert "perhaps long ago" in wrong(read("k8s-ipam", pool(status)))[0]


def test_a_pool_that_comes_twice() -> None:
    reading = read("k8s-ipam", json.dumps(pool({})) * 2)
    assert wrong(reading) == ["k8s-ipam ippool ippool | metadata.name: comes twice (got 'ippool')"]
