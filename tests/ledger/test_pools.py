"""An IPPool is read whole or refused whole, and the refusal names the field and the value."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.claims import Node
from ledger.errors import InvalidPool
from ledger.pools import API_VERSION, KIND, PoolSpec, from_object, from_spec, overlap, parse, same

EXAMPLE = """
{"apiVersion": "ipam.k8s.io/v1alpha1", "kind": "IPPool", "metadata": {"name": "ippool"},
 "spec": {"ipPoolSubs": [{"range": "10.19.120.0-10.19.123.254/22",
                          "reservedRanges": ["10.19.122.230-10.19.122.255/22"],
                          "netmaskBits": 22, "gateway": "10.19.123.254"}]}}
"""


def pool(*subs: str | dict[str, Any], name: str = "podpool", **spec: Any) -> PoolSpec:
    """A pool from ranges, or whole subs."""
    entries = [{"range": each} if isinstance(each, str) else each for each in subs]
    return from_spec(name, {"ipPoolSubs": entries, **spec})


def refusal(*subs: str | dict[str, Any], **spec: Any) -> tuple[str, str]:
    with pytest.raises(InvalidPool) as caught:
        pool(*subs, **spec)
    return caught.value.facts()["field"], caught.value.facts()["why"]


# -- the example, by hand -----------------------------------------------------------------------------


def test_the_example_has_995_addresses() -> None:
    [found] = parse(EXAMPLE, "ippool.json")
    assert found.name == "ippool"
    assert found.capacity == 995  # 1023 in the range, less 26 reserved, the gateway, and the network address
    [sub] = found.subs
    assert (sub.family, sub.prefix_length, sub.gateway) == (4, 22, "10.19.123.254")
    assert str(sub.network) == "10.19.120.0/22"
    assert found.families == (4,)
    assert (found.address_space, found.pick_strategy, found.cooldown_seconds) == ("default", "Random", 0)
    assert found.retain_for == ("StatefulSet",)
    assert found.to_object() == json.loads(EXAMPLE)


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("10.19.120.0", "the network address"),
        ("10.19.120.1", None),
        ("10.19.122.229", None),
        ("10.19.122.230", "reserved range 10.19.122.230-10.19.122.255/22"),
        ("10.19.122.255", "reserved range 10.19.122.230-10.19.122.255/22"),
        ("10.19.123.0", None),
        ("10.19.123.253", None),
        ("10.19.123.254", "the gateway"),
        ("10.19.123.255", "outside the range 10.19.120.0-10.19.123.254"),
        ("2001:db8::1", "outside the range 10.19.120.0-10.19.123.254"),
    ],
)
def test_why_an_address_of_the_example_is_not_given(ip: str, why: str | None) -> None:
    [found] = parse(EXAMPLE, "ippool.json")
    assert found.subs[0].why_not(ip) == why
    assert (found.sub_of(ip) is None) == (why is not None)
    assert (found.sub_around(ip) is None) == (why is not None and why.startswith("outside"))


@pytest.mark.parametrize(
    ("sub", "capacity"),
    [
        ("10.0.0.0/24", 254),
        ({"range": "10.0.0.0/24", "gateway": "10.0.0.1"}, 253),
        ({"range": "10.0.0.10-10.0.0.19", "netmaskBits": 24, "gateway": "10.0.0.1"}, 10),
        ({"range": "10.0.0.10", "netmaskBits": 24}, 1),
        ("10.0.0.4/30", 2),
        ("10.0.0.4/31", 2),
        ("10.0.0.4/32", 1),
        ("10.0.0.0-10.0.0.255/16", 255),
        ({"range": "10.0.0.0/8", "gateway": "10.0.0.1"}, 2**24 - 3),
        ({"range": "2001:db8::/64", "gateway": "2001:db8::1"}, 2**64 - 2),
        ({"range": "2001:db8::/64", "gateway": "2001:db8::"}, 2**64 - 1),
        ("2001:db8::/32", 2**96 - 1),
        ("2001:db8::4/126", 3),
        ("2001:db8::4/127", 2),
        ("2001:db8::4/128", 1),
        ({"range": "10.0.0.0/24", "reservedRanges": ["10.0.0.0/28", "10.0.0.8-10.0.0.40", "10.0.0.99"]}, 213),
    ],
)  # fmt: skip
def test_capacity(sub: str | dict[str, Any], capacity: int) -> None:
    found = pool(sub)
    assert found.capacity == capacity == found.subs[0].capacity


def test_a_range_needs_no_prefix_where_netmask_bits_say_it() -> None:
    assert same(pool({"range": "10.0.0.9-10.0.0.99", "netmaskBits": 24}), pool("10.0.0.9-10.0.0.99/24"))


# -- the pool as a whole ------------------------------------------------------------------------------


def test_what_one_sub_keeps_back_no_other_gives_out() -> None:
    """Two ranges of one subnet: the gateway and the reserved range of the first lie in the second."""
    found = pool(
        {
            "range": "10.0.0.2-10.0.0.99/24",
            "gateway": "10.0.0.100",
            "reservedRanges": ["10.0.0.110-10.0.0.119"],
        },
        "10.0.0.100-10.0.0.199/24",
    )
    assert [sub.capacity for sub in found.subs] == [98, 89]
    assert found.subs[1].why_not("10.0.0.100") == "the gateway"
    assert found.subs[1].why_not("10.0.0.115") == "reserved range 10.0.0.110-10.0.0.119"
    assert found.sub_of("10.0.0.120") is found.subs[1]


def test_dual_stack_keeps_the_order_of_families() -> None:
    found = pool("2001:db8::/64", "10.0.0.0/24", "2001:db8:1::/64")
    assert found.families == (6, 4)
    assert found.capacity == 2 * (2**64 - 1) + 254
    assert found.capacity_of(4) == 254
    assert found.sub_of("2001:DB8:1::9") is found.subs[2]


def test_ranges_of_one_pool_may_not_overlap() -> None:
    field, why = refusal("10.0.1.0/24", "10.0.0.0/24", "10.0.1.255-10.0.2.9/16")
    assert field == "spec.ipPoolSubs[2].range"
    assert why == "overlaps spec.ipPoolSubs[0].range 10.0.1.0-10.0.1.255"
    assert refusal("10.0.0.0/24", "10.0.0.0/24")[0] == "spec.ipPoolSubs[1].range"
    assert refusal("10.0.0.0/16", "10.0.9.0/24", "10.0.8.0/24")[0] == "spec.ipPoolSubs[2].range"


@pytest.mark.parametrize(
    ("ours", "theirs", "first"),
    [
        (["10.0.0.0/24"], ["10.0.1.0/24"], None),
        (["10.0.0.0/24"], ["10.0.0.255-10.0.1.9/16"], "10.0.0.255"),
        (["2001:db8::/64", "10.0.0.0/24"], ["10.0.0.7-10.0.0.9/24", "2001:db8::5/128"], "10.0.0.7"),
        (["2001:db8::/32"], ["2001:db8:5::/64"], "2001:db8:5::"),
        (["10.0.0.0/24"], ["::1:a00:0/112"], None),
    ],
)
def test_pools_overlap_by_their_ranges(ours: list[str], theirs: list[str], first: str | None) -> None:
    a, b = pool(*ours, name="a"), pool(*theirs, name="b")
    assert overlap(a, b) == first
    assert overlap(b, a) == first


def test_a_reserved_address_still_overlaps_and_another_space_does_not() -> None:
    a = pool({"range": "10.0.0.0/24", "reservedRanges": ["10.0.0.0/25"]})
    b = pool("10.0.0.9/32", name="b")
    assert overlap(a, b) == "10.0.0.9"
    assert overlap(a, pool("10.0.0.9/32", name="b", addressSpace="lab")) is None


# -- what is refused ----------------------------------------------------------------------------------

GOOD = {"range": "10.0.0.10-10.0.0.20/24"}


@pytest.mark.parametrize(
    ("change", "field", "why"),
    [
        ({"range": None}, "range", "is missing"),
        ({"range": 5}, "range", "must be text"),
        ({"range": "10.0.0.20-10.0.0.10/24"}, "range", "the first address comes after the last"),
        ({"range": "10.0.0.1-2001:db8::1"}, "range", "mixes"),
        ({"range": "10.0.0.1-10.0.0.9"}, "netmaskBits", "is missing, and the range has no prefix either"),
        ({"range": "10.0.0.1-10.0.9.9", "netmaskBits": 24}, "range", "does not fit into one /24 subnet"),
        ({"range": "10.0.0.1-10.0.0.9/0"}, "range", "at least 1"),
        ({"range": "0.0.0.1-0.0.0.9/24"}, "range", "0.0.0.0/8"),
        ({"range": "0.0.0.0/0"}, "range", "at least 1"),
        ({"range": "127.0.0.0/8"}, "range", "loopback"),
        ({"range": "224.0.0.0/24"}, "range", "multicast"),
        ({"range": "255.255.255.0/24"}, "range", "limited broadcast"),
        ({"range": "ff02::/64"}, "range", "multicast"),
        ({"range": "::ffff:10.0.0.0/120"}, "range", "IPv4-mapped"),
        ({"netmaskBits": 22}, "netmaskBits", "contradicts the prefix /24 of range '10.0.0.10-10.0.0.20/24'"),
        ({"range": "10.0.0.0/25", "netmaskBits": 24}, "netmaskBits", "contradicts the prefix /25"),
        ({"netmaskBits": 0}, "netmaskBits", "must be 1 to 32"),
        ({"netmaskBits": 33}, "netmaskBits", "must be 1 to 32"),
        ({"netmaskBits": 24.0}, "netmaskBits", "whole number"),
        ({"netmaskBits": True}, "netmaskBits", "whole number"),
        ({"netmaskBits": "24"}, "netmaskBits", "whole number"),
        ({"range": "2001:db8::/64", "netmaskBits": 129}, "netmaskBits", "must be 1 to 128"),
        ({"gateway": "10.0.1.1"}, "gateway", "is outside its subnet 10.0.0.0/24"),
        ({"gateway": "2001:db8::1"}, "gateway", "is an IPv6 address, the range is IPv4"),
        ({"gateway": "10.0.0.0"}, "gateway", "is the network address of its subnet"),
        ({"gateway": "10.0.0.255"}, "gateway", "is the broadcast address of its subnet"),
        ({"gateway": "10.0.0.1/24"}, "gateway", "host bits"),
        ({"gateway": "10.0.0.1/32"}, "gateway", "must be one address"),
        ({"gateway": "10.0.0.1-10.0.0.2"}, "gateway", "must be one address"),
        ({"gateway": "router"}, "gateway", ""),
        ({"gateway": 7}, "gateway", "must be text"),
        ({"reservedRanges": "10.0.0.11"}, "reservedRanges", "must be a list"),
        ({"reservedRanges": [7]}, "reservedRanges[0]", "must be text"),
        ({"reservedRanges": ["10.0.0.11", "10.0.1.11"]}, "reservedRanges[1]", "is outside the subnet 10.0.0.0/24"),
        ({"reservedRanges": ["10.0.0.11-10.0.1.11"]}, "reservedRanges[0]", "is outside the subnet"),
        ({"reservedRanges": ["2001:db8::1"]}, "reservedRanges[0]", "is IPv6, the range is IPv4"),
        ({"reservedRanges": ["10.0.0.19-10.0.0.11/24"]}, "reservedRanges[0]", "comes after"),
        ({"reservedRanges": ["10.0.0.11"] * 257}, "reservedRanges", "holds more than 256 entries"),
        ({"nodeSelector": "zone=a"}, "nodeSelector", "must be a mapping"),
        ({"nodeSelector": {"zone": 7}}, "nodeSelector.zone", "is no label's value"),
        ({"nodeSelector": {"zone": "a b"}}, "nodeSelector.zone", "is no label's value"),
        ({"nodeSelector": {"": "a"}}, "nodeSelector", "is no label's key"),
        ({"nodeSelector": {"Example.com/zone": "a"}}, "nodeSelector", "is no label's key"),
        ({"nodeSelector": {f"k{n}": "a" for n in range(65)}}, "nodeSelector", "more than 64 labels"),
    ],
)  # fmt: skip
def test_a_bad_sub(change: dict[str, Any], field: str, why: str) -> None:
    found_field, found_why = refusal("10.9.0.0/24", GOOD | change)
    assert found_field == f"spec.ipPoolSubs[1].{field}"
    assert why in found_why


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        ({"ipPoolSubs": None}, "ipPoolSubs", "at least one range"),
        ({"ipPoolSubs": []}, "ipPoolSubs", "at least one range"),
        ({"ipPoolSubs": {}}, "ipPoolSubs", "must be a list"),
        ({"ipPoolSubs": ["10.0.0.0/24"]}, "ipPoolSubs[0]", "must be a mapping"),
        ({"ipPoolSubs": [None]}, "ipPoolSubs[0]", "is missing"),
        ({"ipPoolSubs": [GOOD] * 65}, "ipPoolSubs", "holds more than 64 entries"),
        ({"ipPoolSubs": [GOOD | {"reservedRanges": ["10.0.0.0/24"]}]}, "ipPoolSubs", "no address to give out"),
        ({"addressSpace": ""}, "addressSpace", "DNS label"),
        ({"addressSpace": "Default"}, "addressSpace", "DNS label"),
        ({"addressSpace": "a" * 64}, "addressSpace", "DNS label"),
        ({"addressSpace": 5}, "addressSpace", "DNS label"),
        ({"pickStrategy": "random"}, "pickStrategy", "must be Random or Lowest"),
        ({"pickStrategy": True}, "pickStrategy", "must be Random or Lowest"),
        ({"cooldownSeconds": -1}, "cooldownSeconds", "must be 0 to 31536000"),
        ({"cooldownSeconds": 31_536_001}, "cooldownSeconds", "must be 0 to 31536000"),
        ({"cooldownSeconds": 10**5000}, "cooldownSeconds", "JSON"),
        ({"cooldownSeconds": 1.5}, "cooldownSeconds", "whole number"),
        ({"cooldownSeconds": False}, "cooldownSeconds", "whole number"),
        ({"cooldownSeconds": "60"}, "cooldownSeconds", "whole number"),
        ({"cooldownSeconds": float("nan")}, "cooldownSeconds", "JSON"),
        ({"retainFor": "StatefulSet"}, "retainFor", "must be a list"),
        ({"retainFor": [5]}, "retainFor[0]", "must be a kind"),
        ({"retainFor": ["StatefulSet", "statefulset"]}, "retainFor[1]", "must be a kind"),
        ({"retainFor": ["Job", "Job"]}, "retainFor[1]", "comes twice"),
        ({"retainFor": [f"Kind{n}" for n in range(17)]}, "retainFor", "more than 16"),
        ({"staticReservations": ["a"]}, "staticReservations", "must be a mapping"),
        ({"staticReservations": {"ns": "10.0.0.11"}}, "staticReservations.ns", "must be a mapping"),
        ({"staticReservations": {"No": {}}}, "staticReservations", "is no namespace"),
        ({"staticReservations": {"ns": {"Pod": "10.0.0.11"}}}, "staticReservations.ns", "is no pod's name"),
        ({"staticReservations": {7: {}}}, "staticReservations", "a key that is not text"),
        ({"staticReservations": {"ns": {"a": 7}}}, "staticReservations.ns.a", "must be an address"),
        ({"staticReservations": {"ns": {"a": []}}}, "staticReservations.ns.a", "must be an address"),
        ({"staticReservations": {"ns": {"a": ""}}}, "staticReservations.ns.a", ""),
        ({"staticReservations": {"ns": {"a": "10.0.0.0/24"}}}, "staticReservations.ns.a", "must be one address"),
        ({"staticReservations": {"ns": {"a": "10.0.0.9"}}}, "staticReservations.ns.a", "outside the pool's ranges"),
        ({"staticReservations": {"ns": {"a": "10.0.0.15"}}}, "staticReservations.ns.a", "never given out: the gateway"),
        ({"staticReservations": {"ns": {"a": "10.0.0.16"}}}, "staticReservations.ns.a", "reserved range 10.0.0.16"),
        ({"staticReservations": {"ns": {"a": "10.0.0.11"}, "b": {"c": "10.0.0.11"}}}, "staticReservations.b.c", "is reserved for ns/a already"),
        ({"staticReservations": {"ns": {"a": "10.0.0.11,10.0.0.11"}}}, "staticReservations.ns.a", "one address of each family"),
        ({"staticReservations": {"ns": {"a": "10.0.0.11,10.0.0.12"}}}, "staticReservations.ns.a", "one address of each family"),
        ({"note": "a\0b"}, "note", "no database stores"),
        ({"note": "\ud800"}, "note", "no database stores"),
        ({"note": {"x": object()}}, "note.x", "JSON"),
    ],
)  # fmt: skip
def test_a_bad_spec(spec: dict[str, Any], field: str, why: str) -> None:
    base = {"ipPoolSubs": [GOOD | {"gateway": "10.0.0.15", "reservedRanges": ["10.0.0.16"]}]}
    with pytest.raises(InvalidPool) as caught:
        from_spec("podpool", base | spec)
    assert caught.value.facts()["field"] == f"spec.{field}"
    assert why in caught.value.why
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (["apiVersion"], "v1", "apiVersion"),
        (["apiVersion"], None, "apiVersion"),
        (["apiVersion"], ["ipam.k8s.io/v1alpha1"], "apiVersion"),
        (["kind"], "IPPoolList", "kind"),
        (["metadata"], None, "metadata"),
        (["metadata"], "ippool", "metadata"),
        (["metadata", "name"], None, "metadata.name"),
        (["metadata", "name"], "", "metadata.name"),
        (["metadata", "name"], "IPPool", "metadata.name"),
        (["metadata", "name"], "a_b", "metadata.name"),
        (["metadata", "name"], "a..b", "metadata.name"),
        (["metadata", "name"], "-a", "metadata.name"),
        (["metadata", "name"], "a\n", "metadata.name"),
        (["metadata", "name"], "a" * 254, "metadata.name"),
        (["metadata", "name"], 7, "metadata.name"),
        (["spec"], None, "spec"),
        (["spec"], [], "spec"),
    ],
)
def test_a_bad_object(path: list[str], value: Any, field: str) -> None:
    raw = json.loads(EXAMPLE)
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InvalidPool) as caught:
        from_object(raw)
    assert caught.value.facts()["field"] == field


@pytest.mark.parametrize("raw", [None, 7, "IPPool", [], [("kind", "IPPool")]])
def test_what_is_no_object_at_all(raw: object) -> None:
    with pytest.raises(InvalidPool, match=r"^IPPool: "):
        from_object(raw)


# -- what is taken ------------------------------------------------------------------------------------


def test_an_object_that_the_k8s_ipam_plugin_wrote_back() -> None:
    """Its Go types write every field: null maps, null lists, an empty gateway, status in its own spelling."""
    found = from_object(
        {
            "apiVersion": "ipam.k8s.io/v1alpha1",
            "kind": "IPPool",
            "metadata": {
                "name": "ippool",
                "creationTimestamp": None,
                "managedFields": [{"manager": "k8s-ipam"}],
            },
            "spec": {
                "ipPoolSubs": [
                    {"range": "10.0.0.0/24", "netmaskBits": 24, "gateway": "", "reservedRanges": None},
                ],
                "staticReservations": None,
            },
            "status": {"DynamicReservations": {"default": {"web-0": "10.0.0.7"}}},
        }
    )
    assert found.capacity == 254
    assert found.subs[0].gateway is None
    assert found.static_reservations == {}
    assert "status" not in found.to_object()


def test_static_reservations() -> None:
    found = pool(
        "10.0.0.0/24",
        "2001:db8::/64",
        staticReservations={
            "db": {
                "pg-0": "10.0.0.10",
                "pg-1": "10.0.0.11, 2001:DB8::0b",
                "pg-2": ["2001:db8::c", "10.0.0.12"],
            },
            "empty": {},
            "none": None,
        },
    )
    assert found.static_for("db", "pg-0") == ("10.0.0.10",)
    assert found.static_for("db", "pg-1") == ("10.0.0.11", "2001:db8::b")
    assert found.static_for("db", "pg-2") == ("2001:db8::c", "10.0.0.12")
    assert found.static_for("db", "pg-9") == found.static_for("nowhere", "pg-0") == ()
    assert found.static_owner("2001:db8::b") == ("db", "pg-1")
    assert found.static_owner("10.0.0.13") is None
    assert found.capacity_of(4) == 254


def test_unknown_fields_are_kept() -> None:
    spec = {"ipPoolSubs": [GOOD | {"vlan": 7}], "future": {"a": [1, 2.5, None, True]}}
    found = from_spec("podpool", spec)
    assert found.to_object()["spec"] == spec
    assert found.unknown == {"future": {"a": [1, 2.5, None, True]}, "ipPoolSubs[0].vlan": 7}


def test_a_pool_shares_nothing_with_what_it_was_read_from() -> None:
    raw = json.loads(EXAMPLE)
    before = copy.deepcopy(raw)
    found = from_object(raw)
    raw["spec"]["ipPoolSubs"][0]["range"] = "changed"
    assert found.to_object() == before
    found.to_object()["spec"]["ipPoolSubs"].clear()
    assert found.to_object() == before


def test_names_are_bounded_as_kubernetes_bounds_them() -> None:
    assert pool("10.0.0.0/24", name="a.b-9." + "c" * 200).name.endswith("c")


# -- the same or not ----------------------------------------------------------------------------------

BASE: dict[str, Any] = {
    "ipPoolSubs": [
        {"range": "10.0.0.0/24", "gateway": "10.0.0.1", "reservedRanges": ["10.0.0.8-10.0.0.15"]},
        {"range": "2001:db8::/64"},
    ]
}


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: None,
        lambda spec: spec.update(addressSpace="default", pickStrategy="Random", cooldownSeconds=0),
        lambda spec: spec.update(retainFor=["StatefulSet"], staticReservations={}),
        lambda spec: spec["ipPoolSubs"][0].update(netmaskBits=24, range="10.0.0.0-10.0.0.255"),
        lambda spec: spec["ipPoolSubs"][0].update(reservedRanges=["10.0.0.12/30", "10.0.0.8/30"]),
        lambda spec: spec["ipPoolSubs"][1].update(range="2001:0DB8::/64", nodeSelector={}, gateway=None),
    ],
)
def test_another_spelling_changes_nothing(change: Callable[[dict[str, Any]], None]) -> None:
    changed = copy.deepcopy(BASE)
    change(changed)
    assert same(from_spec("p", BASE), from_spec("p", changed))


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.update(addressSpace="lab"),
        lambda spec: spec.update(pickStrategy="Lowest"),
        lambda spec: spec.update(cooldownSeconds=1),
        lambda spec: spec.update(retainFor=[]),
        lambda spec: spec.update(staticReservations={"a": {"b": "10.0.0.20,2001:db8::9"}}),
        lambda spec: spec.update(staticReservations={"a": {"b": "10.0.0.20"}}),
        lambda spec: spec.update(future=1),
        lambda spec: spec["ipPoolSubs"][0].update(vlan=7),
        lambda spec: spec["ipPoolSubs"][0].update(range="10.0.0.0-10.0.0.254/24"),
        lambda spec: spec["ipPoolSubs"][0].update(gateway="10.0.0.2"),
        lambda spec: spec["ipPoolSubs"][0].pop("gateway"),
        lambda spec: spec["ipPoolSubs"][0].update(reservedRanges=["10.0.0.8-10.0.0.16"]),
        lambda spec: spec["ipPoolSubs"][0].update(nodeSelector={"zone": "a"}),
        lambda spec: spec["ipPoolSubs"].reverse(),
        lambda spec: spec["ipPoolSubs"].pop(),
    ],
)
def test_a_change_is_a_change(change: Callable[[dict[str, Any]], None]) -> None:
    changed = copy.deepcopy(BASE)
    change(changed)
    assert not same(from_spec("p", BASE), from_spec("p", changed))


def test_pools_of_two_names_are_two_pools() -> None:
    assert not same(from_spec("p", BASE), from_spec("q", BASE))


# -- which sub ----------------------------------------------------------------------------------------


def test_a_sub_near_the_node_comes_first_and_a_selector_decides() -> None:
    found = pool(
        "10.0.0.0/24",
        "10.1.0.10-10.1.0.20/16",
        {"range": "10.2.0.0/24", "nodeSelector": {"zone": "a"}},
        {"range": "10.3.0.0/24", "nodeSelector": {"zone": "a", "gpu": "yes"}},
        {"range": "2001:db8::/64", "nodeSelector": {"zone": "b"}},
    )

    def chosen(family: Any, **node: Any) -> list[int]:
        return [sub.ordinal for sub in found.eligible(family, Node(**node))]

    assert chosen(4) == [0, 1]
    assert chosen(4, addresses=("10.1.200.1",)) == [1, 0]
    assert chosen(4, addresses=("node1.example", "fe80::1%eth0", "10.1.200.1")) == [1, 0]
    assert chosen(4, addresses=("10.2.0.9",)) == [0, 1]
    assert chosen(4, labels={}) == [0, 1]
    assert chosen(4, labels={"zone": "c"}) == [0, 1]
    assert chosen(4, labels={"zone": "a"}) == [2]
    assert chosen(4, labels={"zone": "a", "gpu": "yes"}) == [2, 3]
    assert chosen(4, labels={"zone": "a", "gpu": "yes"}, addresses=("10.3.0.1",)) == [3, 2]
    assert chosen(4, labels={"zone": "a"}, addresses=("10.0.0.9",)) == [2]
    assert chosen(6) == []
    assert chosen(6, labels={"zone": "b"}) == [4]


# -- any pool at all ----------------------------------------------------------------------------------


@st.composite
def small_pools(draw: st.DrawFn) -> dict[str, Any]:
    """Up to three disjoint ranges in 10.0.0.0/24 with reserved ranges and gateways anywhere in it."""
    marks = sorted(draw(st.lists(st.integers(0, 255), min_size=2, max_size=6, unique=True)))
    subs = []
    for first, last in zip(marks[::2], marks[1::2], strict=False):
        spans = draw(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=3))
        sub: dict[str, Any] = {
            "range": f"10.0.0.{first}-10.0.0.{last}/24",
            "reservedRanges": [f"10.0.0.{min(span)}-10.0.0.{max(span)}" for span in spans],
        }
        if draw(st.booleans()):
            sub["gateway"] = f"10.0.0.{draw(st.integers(1, 254))}"
        subs.append(sub)
    return {"ipPoolSubs": subs}


def ends(text: str) -> range:
    first, _, last = text.partition("/")[0].partition("-")
    return range(int(first.rpartition(".")[2]), int(last.rpartition(".")[2]) + 1)


@settings(deadline=None)
@given(small_pools())
def test_a_pool_gives_what_counting_says(spec: dict[str, Any]) -> None:
    subs = spec["ipPoolSubs"]
    kept = {0, 255} | {int(sub["gateway"].rpartition(".")[2]) for sub in subs if "gateway" in sub}
    kept |= {host for sub in subs for text in sub["reservedRanges"] for host in ends(text)}
    model = [[host for host in ends(sub["range"]) if host not in kept] for sub in subs]
    if not any(model):
        assert refusal(*subs) == ("spec.ipPoolSubs", "leaves no address to give out")
        return
    found = from_spec("p", spec)
    assert [sub.capacity for sub in found.subs] == [len(hosts) for hosts in model]
    for host in range(256):
        ip = f"10.0.0.{host}"
        sub = found.sub_of(ip)
        assert (sub.ordinal if sub else None) == next(
            (n for n, hosts in enumerate(model) if host in hosts), None
        )
        for number, each in enumerate(found.subs):
            assert (each.why_not(ip) is None) == (host in model[number])
    assert same(found, from_object(json.loads(json.dumps(found.to_object()))))
    assert same(found, parse(yaml.safe_dump(found.to_object()), "round trip")[0])


def test_a_pool_at_all_its_limits_is_read_in_no_time() -> None:
    subs = [
        {
            "range": f"10.{n}.0.0/16",
            "gateway": f"10.{n}.0.1",
            "reservedRanges": [f"10.{n}.{m}.9-10.{n}.{m}.20" for m in range(256)],
        }
        for n in range(64)
    ]
    static = {"ns": {f"pod-{n}": f"10.{n % 64}.{n // 64}.77" for n in range(8192)}}
    spec = {"ipPoolSubs": subs, "staticReservations": static}
    text = json.dumps({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "large"}, "spec": spec})
    start = time.perf_counter()
    [found] = parse(text, "large.json")
    assert found.capacity == 64 * (65536 - 3 - 256 * 12)
    assert time.perf_counter() - start < 10  # seconds, on a busy machine
    one_more = {"ns": static["ns"] | {"pod-8192": "10.0.200.77"}}
    assert refusal(*subs, staticReservations=one_more) == (
        "spec.staticReservations", "holds more than 8192 addresses",
    )  # fmt: skip
