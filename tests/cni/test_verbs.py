"""What each verb does to the ledger and says to the runtime, over the agent's socket, on both databases."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cni.spec import VERSIONS
from ledger.claims import Claim, Node
from ledger.events import Attachment, Owner
from ledger.pools import from_spec
from tests.cni.conftest import Said, Served
from tests.servers.agent import cni_env

EMPTY = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": "", "CNI_ARGS": ""}


def checked(served: Served, conf: dict[str, Any], result: Any, **env: str) -> Said:
    return served.call(cni_env("CHECK", **env), {**conf, "prevResult": result})


# ADD ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_add_answers_in_every_version(on_sqlite: Served, version: str) -> None:
    said = on_sqlite.add(on_sqlite.conf("dual", version=version))
    assert (said.status, said.json["cniVersion"]) == (0, version)
    if version in ("0.1.0", "0.2.0"):
        assert set(said.json) == {"cniVersion", "ip4", "ip6", "dns"}
        assert said.json["ip4"]["ip"].endswith("/24")
        assert said.json["ip6"]["routes"] == [{"dst": "::/0", "gw": "fd00:77::1"}]
    else:
        assert set(said.json) == {"cniVersion", "ips", "routes", "dns"}
        assert [entry["gateway"] for entry in said.json["ips"]] == ["10.77.0.1", "fd00:77::1"]
        assert ["version" in entry for entry in said.json["ips"]] == [version < "1.0.0"] * 2


def test_add_again_is_the_same_answer_and_no_event(served: Served) -> None:
    first, second = served.add(served.conf()), served.add(served.conf())
    assert (first.status, first.raw) == (0, second.raw)
    assert served.book.pool("ippool").allocated == 1


def test_a_relaunched_pod_gets_its_address_and_the_late_del_leaves_it_alone(served: Served) -> None:
    """A StatefulSet's pod on another sandbox: the old sandbox's DEL comes after the new one's ADD."""
    old = served.add(served.conf(), container="old", uid="1")
    new = served.add(served.conf(), container="new", uid="2")
    assert new.ips == old.ips
    assert served.delete(served.conf(), container="old", uid="1").raw == b""
    assert checked(served, served.conf(), new.json, container="new").status == 0


def test_a_pod_that_comes_back_gets_its_address(served: Served) -> None:
    first = served.add(served.conf(), container="one")
    served.delete(served.conf(), container="one")
    assert served.add(served.conf(), container="two").ips == first.ips


def test_two_interfaces_of_a_pod_are_two_attachments(served: Served) -> None:
    eth0 = served.add(served.conf())
    net1 = served.add(served.conf(), CNI_IFNAME="net1")
    assert eth0.ips != net1.ips
    served.delete(served.conf(), CNI_IFNAME="net1")
    assert served.add(served.conf()).raw == eth0.raw


def test_outside_kubernetes_the_owner_is_the_container(served: Served) -> None:
    """podman gives only a name; two containers of one name are two owners."""
    one = served.add(served.conf(), container="a", CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web")
    two = served.add(served.conf(), container="b", CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web")
    assert one.ips != two.ips
    none = served.add(served.conf(), container="c", CNI_ARGS="")
    assert none.status == 0


def test_one_address_from_each_of_several_pools(served: Served) -> None:
    said = served.add(served.conf(None, ipPoolNames=["ippool", "other"]))
    assert [entry["gateway"] for entry in said.json["ips"]] == ["10.19.123.254", "172.16.9.1"]
    assert said.json["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.19.123.254"}]
    served.delete(served.conf(None, ipPoolNames=["ippool", "other"]))
    assert [served.book.pool(name).allocated for name in ("ippool", "other")] == [0, 0]


def test_several_pools_may_have_long_names(served: Served) -> None:
    names = [f"{'long-' * 12}name.{'long-' * 12}name.{n}" for n in range(6)]
    for n, name in enumerate(names):
        served.book.apply_pool(from_spec(name, {"ipPoolSubs": [{"range": f"10.70.{n}.1-10.70.{n}.1/24"}]}))
    said = served.add(served.conf(None, ipPoolNames=names))
    assert said.ips == [f"10.70.{n}.1" for n in range(6)]


def test_an_old_version_that_cannot_carry_two_addresses_gets_none(served: Served) -> None:
    said = served.add(served.conf(None, ipPoolNames=["ippool", "other"], version="0.2.0"))
    assert (said.code, said.json["cniVersion"]) == (7, "0.2.0")
    assert [served.book.pool(name).allocated for name in ("ippool", "other")] == [0, 0]


def test_one_pool_of_two_is_unknown_or_full_and_none_is_given(served: Served) -> None:
    assert served.add(served.conf(None, ipPoolNames=["ippool", "nowhere"])).code == 7
    for i in range(2):
        served.add(served.conf("tiny"), container=f"c{i}", pod=f"default/p{i}")
    assert served.add(served.conf(None, ipPoolNames=["ippool", "tiny"])).code == 100
    assert served.book.pool("ippool").allocated == 0


@pytest.mark.parametrize("way", ["IP=", "args", "runtimeConfig"])
def test_an_address_may_be_asked_for_in_three_ways(served: Served, way: str) -> None:
    conf = served.conf()
    env = {}
    if way == "IP=":
        env = {"CNI_ARGS": "IgnoreUnknown=1;IP=10.19.120.9;K8S_POD_NAME=x"}
    elif way == "args":
        conf["args"] = {"cni": {"ips": ["10.19.120.9/22"]}}
    else:
        conf["runtimeConfig"] = {"ips": ["10.19.120.9/22"]}
    assert served.add(conf, **env).ips == ["10.19.120.9"]


def test_one_of_each_family_may_be_asked_for(served: Served) -> None:
    conf = served.conf("dual", more={"runtimeConfig": {"ips": ["fd00:77::99", "10.77.0.99"]}})
    assert served.add(conf).ips == ["10.77.0.99", "fd00:77::99"]


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("10.19.122.240", "never given out"),
        ("10.19.123.254", "never given out"),
        ("10.19.120.0", "never given out"),
        ("10.20.0.1", "which has 10.19.120.0-10.19.123.254"),
        ("fd00::1", "outside"),
    ],
)
def test_an_address_that_cannot_be_had(served: Served, ip: str, why: str) -> None:
    said = served.add(served.conf(), CNI_ARGS=f"IP={ip}")
    assert said.code == 101
    assert ip in said.json["msg"]
    assert why in said.json["msg"]
    assert json.loads(said.json["details"])["ip"] == ip


def test_an_address_that_is_taken_names_who_has_it(served: Served) -> None:
    served.add(
        served.conf(),
        container="a",
        pod="shop/till-0",
        CNI_ARGS="IP=10.19.120.9;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=till-0",
    )
    said = served.add(served.conf(), container="b", CNI_ARGS="IP=10.19.120.9")
    assert said.code == 101
    assert "shop/till-0" in said.json["msg"]


def test_routes_and_dns_are_passed_on(served: Served) -> None:
    said = served.add(
        served.conf(version="1.1.0", routes=[{"dst": "10.0.0.0/8", "mtu": 1400}], dns={"domain": "x"})
    )
    assert said.json["routes"] == [{"dst": "10.0.0.0/8", "mtu": 1400}]
    assert said.json["dns"] == {"domain": "x"}


def compact(conf: Any) -> bytes:
    """An answer, which has more spaces, may then be larger than its question."""
    return json.dumps(conf, separators=(",", ":")).encode()


def test_a_result_that_is_too_large_gives_no_address(on_sqlite: Served) -> None:
    conf = on_sqlite.conf(version="0.4.0", routes=[{"dst": "10.0.0.0/8"}] * 48_000)
    for _ in range(2):
        said = on_sqlite.call(cni_env("ADD"), compact(conf))
        assert (said.code, said.json["cniVersion"]) == (6, "0.4.0")
        assert "fewer routes" in said.json["msg"]
    assert on_sqlite.book.pool("ippool").allocated == 0
    assert on_sqlite.add(on_sqlite.conf()).status == 0


def test_what_an_error_would_repeat_may_be_too_large_for_it(on_sqlite: Served) -> None:
    ips = ["10.19.120.1", "10.19.120.2", *(f"172.16.{i >> 8}.{i & 255}" for i in range(60_000))]
    asking = on_sqlite.conf(more={"args": {"cni": {"ips": ips}}})
    assert on_sqlite.call(cni_env("ADD"), compact(asking)).code == 6
    assert on_sqlite.call(cni_env("STATUS"), on_sqlite.conf("x" * 700_000, version="1.1.0")).code == 6
    assert on_sqlite.add(on_sqlite.conf()).status == 0


def test_a_pool_without_a_gateway_gives_no_route(served: Served) -> None:
    said = served.add(served.conf("bare"))
    assert said.json["routes"] == []
    assert "gateway" not in said.json["ips"][0]


def test_a_full_pool_says_its_figures_at_once(served: Served) -> None:
    for i in range(2):
        assert served.add(served.conf("tiny"), container=f"c{i}", pod=f"default/p{i}").status == 0
    said = served.add(served.conf("tiny"), container="c2", pod="default/p2")
    assert (said.status, said.code) == (1, 100)
    figures = json.loads(said.json["details"])
    assert {key: figures[key] for key in ("capacity", "allocated", "held", "cooling")} == {
        "capacity": 2, "allocated": 2, "held": 0, "cooling": 0,
    }  # fmt: skip


def test_a_full_pool_takes_back_what_ended_by_evidence(served: Served) -> None:
    first = served.add(served.conf("tiny"), container="c0", pod="default/p0")
    served.add(served.conf("tiny"), container="c1", pod="default/p1")
    served.evidence.pods = {"p0"}
    assert served.add(served.conf("tiny"), container="c2", pod="default/p2").ips == first.ips


def test_a_node_that_no_sub_selects_is_told_so(served: Served) -> None:
    spec = {"ipPoolSubs": [{"range": "10.99.0.0/24", "nodeSelector": {"zone": "b"}}]}
    served.book.apply_pool(from_spec("elsewhere", spec))
    said = served.add(served.conf("elsewhere"))
    assert (said.code, "nodeSelector" in said.json["msg"]) == (7, True)


# All verbs that name pools ------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "STATUS"])
@pytest.mark.parametrize("version", ["1.1.0"])
def test_an_unknown_pool_is_named(served: Served, verb: str, version: str) -> None:
    said = served.call(cni_env(verb), served.conf("nowhere", version=version, more={"prevResult": {}}))
    assert (said.code, said.json["cniVersion"]) == (7, version)
    assert "nowhere" in said.json["msg"]


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_an_error_leaves_everything_as_it_was(on_sqlite: Served, verb: str) -> None:
    on_sqlite.add(on_sqlite.conf())
    for stdin in (b"", b"{}", b'{"cniVersion": "9.0.0", "name": "podnet"}', b"[" * 100_000):
        said = on_sqlite.call(cni_env(verb), stdin)
        assert said.code in (1, 6)
    assert on_sqlite.book.pool("ippool").allocated == 1


# DEL ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_del_prints_nothing_however_often(on_sqlite: Served, version: str) -> None:
    conf = on_sqlite.conf(version=version)
    on_sqlite.add(conf)
    for _ in range(3):
        assert on_sqlite.delete(conf) == Said(0, b"")
    assert on_sqlite.book.pool("ippool").allocated == 0


@pytest.mark.parametrize(
    "poor",
    [
        {"cniVersion": "1.0.0", "name": "podnet"},
        {"cniVersion": "1.0.0", "name": "podnet", "ipam": {"ipPoolName": "nowhere", "routes": 1}},
        {"cniVersion": "1.0.0", "name": "podnet", "ipam": None, "prevResult": "nonsense"},
    ],
)
def test_del_needs_only_its_attachment(served: Served, poor: dict[str, Any]) -> None:
    served.add(served.conf())
    env = {"CNI_NETNS": "", "CNI_ARGS": "", "CNI_PATH": ""}
    assert served.call(cni_env("DEL", **env), poor) == Said(0, b"")
    assert served.book.pool("ippool").allocated == 0


@pytest.mark.parametrize("other", [{"container": "other"}, {"CNI_IFNAME": "net1"}, {"network": "othernet"}])
def test_del_of_another_attachment_frees_nothing(served: Served, other: dict[str, str]) -> None:
    served.add(served.conf())
    env = dict(other)
    conf = {**served.conf(), "name": env.pop("network", "podnet")}
    assert served.delete(conf, **env) == Said(0, b"")
    assert served.book.pool("ippool").allocated == 1


# CHECK --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS[4:])
def test_check_of_what_is_there_prints_nothing(served: Served, version: str) -> None:
    conf = served.conf("dual", version=version)
    assert checked(served, conf, served.add(conf).json) == Said(0, b"")


@pytest.mark.parametrize("version", VERSIONS[:4])
def test_check_is_younger_than_these_versions(on_sqlite: Served, version: str) -> None:
    conf = on_sqlite.conf(version=version)
    assert checked(on_sqlite, conf, on_sqlite.add(conf).json).code == 1


def test_check_of_a_result_in_an_older_shape(served: Served) -> None:
    old = served.add(served.conf("dual", version="0.2.0")).json
    assert checked(served, served.conf("dual"), old).status == 0


def test_check_after_del_fails(served: Served) -> None:
    result = served.add(served.conf()).json
    served.delete(served.conf())
    said = checked(served, served.conf(), result)
    assert said.code == 110
    assert "holds no address" in said.json["msg"]


def test_check_of_another_address_fails(served: Served) -> None:
    held = served.add(served.conf(), CNI_ARGS="IP=10.19.120.9").ips[0]
    for ips in ([], ["10.19.120.10/22"], ["10.0.0.1/8"]):
        said = checked(served, served.conf(), {"ips": [{"address": ip} for ip in ips]})
        assert said.code == 110
        assert held in said.json["msg"]


def test_check_of_an_address_too_many_fails_only_if_it_is_ours(served: Served) -> None:
    result = served.add(served.conf(), CNI_ARGS="IP=10.19.120.9").json
    result["ips"].append({"address": "192.0.2.1/24"})
    assert checked(served, served.conf(), result).status == 0
    result["ips"].append({"address": "10.19.120.10/22"})
    assert checked(served, served.conf(), result).code == 110


def test_check_of_another_pool_fails(served: Served) -> None:
    result = served.add(served.conf()).json
    assert checked(served, served.conf("other"), result).code == 110


def test_check_of_an_address_that_a_relaunched_pod_took_over_fails(served: Served) -> None:
    result = served.add(served.conf(), container="old").json
    served.add(served.conf(), container="new")
    assert checked(served, served.conf(), result, container="old").code == 110


# GC -----------------------------------------------------------------------------------------------


def gc(served: Served, *keep: str, network: str = "podnet") -> Said:
    valid = [{"containerID": container, "ifname": "eth0"} for container in keep]
    conf = served.conf(version="1.1.0", more={"cni.dev/valid-attachments": valid, "name": network})
    return served.call(cni_env("GC", **EMPTY), conf)


def holders(served: Served, *containers: str) -> list[str]:
    return [c for c in containers if served.book.held_by(Attachment(c, "eth0", "podnet"))]


def test_gc_frees_what_is_not_listed(served: Served) -> None:
    for name in "abc":
        served.add(served.conf(), container=name, pod=f"default/{name}")
    assert gc(served, "a", "c") == Said(0, b"")
    assert holders(served, *"abc") == ["a", "c"]


def test_an_empty_list_frees_all_of_this_node_and_network(served: Served) -> None:
    served.add(served.conf(), container="a")
    other = {**served.conf(), "name": "othernet"}
    served.add(other, container="b", pod="default/b")
    elsewhere = Claim(("ippool",), Owner("default", "c"), Attachment("c", "eth0", "podnet"), Node("node2"))
    served.book.allocate(elsewhere)
    assert gc(served) == Said(0, b"")
    assert holders(served, "a", "c") == ["c"]
    assert served.book.held_by(Attachment("b", "eth0", "othernet"))


def test_an_absent_list_frees_nothing(served: Served) -> None:
    served.add(served.conf(), container="a")
    assert served.call(cni_env("GC", **EMPTY), served.conf(version="1.1.0")).code == 6
    assert holders(served, "a") == ["a"]


# STATUS -------------------------------------------------------------------------------------------


def test_status_of_a_pool_that_gives(served: Served) -> None:
    assert served.call(cni_env("STATUS", **EMPTY), served.conf(version="1.1.0")) == Said(0, b"")


def test_status_of_a_full_pool(served: Served) -> None:
    for i in range(2):
        served.add(served.conf("tiny"), container=f"c{i}", pod=f"default/p{i}")
    said = served.call(cni_env("STATUS", **EMPTY), served.conf("tiny", version="1.1.0"))
    assert said.code == 51
    assert "only existing addresses are served" in said.json["msg"]
    assert served.add(served.conf("tiny"), container="c0", pod="default/p0").status == 0
    served.delete(served.conf("tiny"), container="c0")
    assert served.call(cni_env("STATUS", **EMPTY), served.conf("tiny", version="1.1.0")).status == 0


def test_status_of_a_pool_that_is_full_in_one_family_of_two(served: Served) -> None:
    served.add(served.conf("lopsided"), container="c0", pod="default/p0")
    said = served.call(cni_env("STATUS", **EMPTY), served.conf("lopsided", version="1.1.0"))
    assert (said.code, "no free IPv4 address" in said.json["msg"]) == (51, True)
    assert served.add(served.conf("lopsided"), container="c1", pod="default/p1").code == 100


# VERSION ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_agent_knows_version_too(on_sqlite: Served, version: str) -> None:
    said = on_sqlite.call({"CNI_COMMAND": "VERSION"}, {"cniVersion": version})
    assert said.json == {"cniVersion": version, "supportedVersions": list(VERSIONS)}
