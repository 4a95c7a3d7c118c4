"""The network configuration: what is taken, and which code and field an error names. Nothing is guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cni.spec import VERSIONS, Call, Conf, Dns, Refusal, Route
from tests.servers.agent import cni_env


def conf(ipam: dict[str, Any] | None = None, **top: Any) -> dict[str, Any]:
    return {
        "cniVersion": "1.1.0",
        "name": "podnet",
        "type": "bridge",
        "ipam": {"type": "k8s-ipam", "ipPoolName": "ippool", **(ipam or {})},
        **top,
    }


def read(raw: dict[str, Any] | bytes, verb: str = "ADD") -> Conf:
    stdin = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return Call.from_raw(cni_env(verb), stdin).conf


def refused(raw: dict[str, Any] | bytes, verb: str = "ADD") -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(raw, verb)
    return caught.value


BROKEN = {
    "empty": b"",
    "blank": b" \n\t",
    "half": b'{"cniVersion": "1.0.0", "name": ',
    "two": b"{}{}",
    "list": b"[]",
    "string": b'"name"',
    "null": b"null",
    "number": b"1",
    "not UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": -Infinity}',
    "key twice": b'{"name": "a", "name": "b"}',
    "key twice inside": b'{"name": "a", "ipam": {"ipPoolName": "a", "ipPoolName": "b"}}',
    "deep list": b"[" * 200_000,
    "deep object": b'{"a":' * 100_000,
    "long number": b'{"name": ' + b"9" * 10_000 + b"}",
    "huge": b'{"name": "' + b"x" * (1 << 20) + b'"}',
    "comment": b'{"name": "a"} // b',
    "single quotes": b"{'name': 'a'}",
    "trailing comma": b'{"name": "a",}',
    "control character": b'{"name": "a\nb"}',
    "NUL": b"\0",
}


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_json_is_a_decoding_failure(what: str, verb: str) -> None:
    error = refused(BROKEN[what], verb)
    assert error.code == 6
    assert error.msg.startswith("stdin")
    assert len(error.msg) < 300


@pytest.mark.parametrize("version", ["0.9.9", "1.2.0", "2.0.0", "1.0", "v1.0.0", "1.0.0 ", "\ud800"])
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_an_unsupported_version_is_answered_with_those_there_are(version: str, verb: str) -> None:
    error = refused(conf(cniVersion=version), verb)
    assert error.code == 1
    assert json.loads(error.details) == {"supportedVersions": list(VERSIONS)}
    assert error.version == "1.1.0"


def test_no_version_is_the_first_one() -> None:
    for raw in ({**conf(), "cniVersion": ""}, {k: v for k, v in conf().items() if k != "cniVersion"}):
        assert read(raw).version == "0.1.0"


@pytest.mark.parametrize(("verb", "since"), [("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")])
def test_a_verb_is_not_older_than_its_version(verb: str, since: str) -> None:
    for version in VERSIONS:
        raw = conf(cniVersion=version, prevResult={}, **{"cni.dev/valid-attachments": []})
        if VERSIONS.index(version) < VERSIONS.index(since):
            error = refused(raw, verb)
            assert (error.code, error.version) == (1, version)
            assert f"does not allow {verb}" in error.msg
        else:
            assert read(raw, verb).version == version


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        (conf(cniVersion=1), 6, "cniVersion"),
        (conf(name=""), 6, "name"),
        (conf(name=None), 6, "name"),
        (conf(name=7), 6, "name"),
        (conf(name="-x"), 7, "name"),
        (conf(name="a b"), 7, "name"),
        (conf(name="a\0b"), 7, "name"),
        (conf(name="\ud800"), 7, "name"),
        ({"name": "n"}, 6, "ipam"),
        ({"name": "n", "ipam": None}, 6, "ipam"),
        ({"name": "n", "ipam": "x"}, 6, "ipam"),
        ({"name": "n", "ipam": {}}, 6, "ipam.ipPoolName"),
        (conf({"ipPoolName": 5}), 6, "ipam.ipPoolName"),
        (conf({"ipPoolName": ""}), 7, "ipam.ipPoolName"),
        (conf({"ipPoolName": None}), 7, "ipam.ipPoolName"),
        (conf({"ipPoolNames": "x"}), 6, "ipam.ipPoolNames"),
        (conf({"ipPoolNames": [1]}), 6, "ipam.ipPoolNames[0]"),
        (conf({"ipPoolNames": ["a", ""]}), 7, "ipam.ipPoolName"),
        (conf({"socket": 1}), 6, "ipam.socket"),
        (conf({"ledger": {}}), 6, "ipam.ledger"),
        (conf({"kubeConfig": []}), 6, "ipam.kubeConfig"),
        (conf({"routes": {}}), 6, "ipam.routes"),
        (conf({"routes": ["10.0.0.0/8"]}), 6, "ipam.routes[0]"),
        (conf({"routes": [{}]}), 6, "ipam.routes[0].dst"),
        (conf({"routes": [{"dst": 1}]}), 6, "ipam.routes[0].dst"),
        (conf({"routes": [{"dst": "10.0.0.0"}]}), 7, "ipam.routes[0].dst"),
        (conf({"routes": [{"dst": "10.0.0.0/33"}]}), 7, "ipam.routes[0].dst"),
        (conf({"routes": [{"dst": "10.0.0.0/255.0.0.0"}]}), 7, "ipam.routes[0].dst"),
        (conf({"routes": [{"dst": "default"}]}), 7, "ipam.routes[0].dst"),
        (conf({"routes": [{"dst": "::/0", "gw": "x"}]}), 7, "ipam.routes[0].gw"),
        (conf({"routes": [{"dst": "::/0", "gw": "10.0.0.1"}]}), 7, "ipam.routes[0].gw"),
        (conf({"routes": [{"dst": "::/0", "mtu": "1"}]}), 6, "ipam.routes[0].mtu"),
        (conf({"routes": [{"dst": "::/0", "mtu": True}]}), 6, "ipam.routes[0].mtu"),
        (conf({"routes": [{"dst": "::/0", "scope": -1}]}), 7, "ipam.routes[0].scope"),
        (conf({"dns": []}), 6, "ipam.dns"),
        (conf({"dns": {"nameservers": "10.0.0.1"}}), 6, "ipam.dns.nameservers"),
        (conf({"dns": {"search": [1]}}), 6, "ipam.dns.search[0]"),
        (conf({"dns": {"domain": "a\nb"}}), 7, "ipam.dns.domain"),
        (conf(args=[]), 6, "args"),
        (conf(args={"cni": 1}), 6, "args.cni"),
        (conf(args={"cni": {"ips": "10.0.0.1"}}), 6, "args.cni.ips"),
        (conf(args={"cni": {"ips": ["10.0.0"]}}), 7, "args.cni.ips[0]"),
        (conf(runtimeConfig={"ips": [10]}), 6, "runtimeConfig.ips[0]"),
        (conf(runtimeConfig={"ips": ["10.0.0.1", "::1/129"]}), 7, "runtimeConfig.ips[1]"),
    ],
)
def test_an_error_names_its_field(raw: dict[str, Any], code: int, field: str) -> None:
    error = refused(raw)
    assert (error.code, error.msg.split(": ")[0]) == (code, field)


@pytest.mark.parametrize(
    "raw",
    [
        {"name": "podnet"},
        {"name": "podnet", "ipam": None},
        {"name": "podnet", "ipam": "x"},
        conf({"ipPoolName": 5, "routes": 1, "dns": 1, "socket": 1, "ledger": 1}),
        conf(args=1, runtimeConfig=1, prevResult=1),
    ],
)
def test_del_needs_only_the_network(raw: dict[str, Any]) -> None:
    assert read(raw, "DEL").network == "podnet"


def test_the_whole_section() -> None:
    got = read(
        conf(
            {
                "ipPoolNames": ["b", "a", "ippool"],
                "socket": "/run/x.sock",
                "ledger": "sqlite:////x.db",
                "kubeConfig": "/etc/kube",
                "routes": [{"dst": "10.1.2.3/8", "gw": "10.0.0.1", "mtu": 1400, "priority": 5, "other": 1}, {"dst": "::/0"}],
                "dns": {"nameservers": ["10.0.0.2"], "domain": "x", "search": ["y"], "options": ["ndots:5"]},
                "unknown": {"anything": 1},
            },
            args={"cni": {"ips": ["10.0.0.7/24"]}, "labels": 1},
            runtimeConfig={"ips": ["10.0.0.7", "FD00::7/64"], "mac": "x"},
        )
    )  # fmt: skip
    assert got == Conf(
        version="1.1.0",
        network="podnet",
        pools=("ippool", "b", "a"),
        socket="/run/x.sock",
        ledger="sqlite:////x.db",
        kube_config="/etc/kube",
        routes=(Route("10.1.2.3/8", "10.0.0.1", (("mtu", 1400), ("priority", 5))), Route("::/0")),
        dns=Dns(("10.0.0.2",), "x", ("y",), ("ndots:5",)),
        asked=("10.0.0.7", "fd00::7"),
    )


def test_routes_that_are_absent_are_not_routes_that_are_none() -> None:
    assert read(conf()).routes is None
    assert read(conf({"routes": None})).routes is None
    assert read(conf({"routes": []})).routes == ()


def test_listed_directly_the_keys_stand_at_the_top() -> None:
    got = read({"cniVersion": "1.1.0", "name": "n", "type": "k8s-ipam", "ipPoolName": "p", "routes": []})
    assert (got.pools, got.routes) == (("p",), ())


@pytest.mark.parametrize(
    ("result", "previous"),
    [
        ({}, ()),
        ({"ips": [{"address": "10.0.0.1/24"}, {"address": "fd00:0::1/64"}]}, ("10.0.0.1", "fd00::1")),
        ({"ips": [{"version": "4", "address": "10.0.0.1/24", "interface": 2}]}, ("10.0.0.1",)),
        ({"ip4": {"ip": "10.0.0.1/24"}, "ip6": {"ip": "fd00::1/64"}}, ("10.0.0.1", "fd00::1")),
    ],
)
def test_previous_results_of_every_shape(result: dict[str, Any], previous: tuple[str, ...]) -> None:
    assert read(conf(prevResult=result), "CHECK").previous == previous


@pytest.mark.parametrize(
    ("result", "code", "field"),
    [
        (None, 6, "prevResult"),
        ([], 6, "prevResult"),
        ({"ips": {}}, 6, "prevResult.ips"),
        ({"ips": [1]}, 6, "prevResult.ips[0]"),
        ({"ips": [{"address": "x"}]}, 7, "prevResult.ips[0].address"),
        ({"ips": [{}]}, 7, "prevResult.ips[0].address"),
        ({"ip4": {"ip": "10"}}, 7, "prevResult.ip4.ip"),
    ],
)
def test_check_names_what_is_wrong_with_the_previous_result(result: Any, code: int, field: str) -> None:
    error = refused(conf(prevResult=result), "CHECK")
    assert (error.code, error.msg.split(": ")[0]) == (code, field)


def test_gc_takes_the_list_under_both_its_names_and_keeps_what_either_names() -> None:
    a, b = {"containerID": "a", "ifname": "eth0"}, {"containerID": "b", "ifname": "net1"}
    got = read(conf(**{"cni.dev/valid-attachments": [a], "cni.dev/attachments": [a, b]}), "GC")
    assert got.valid == (("a", "eth0"), ("b", "net1"))


@pytest.mark.parametrize("nothing", [[], None])
def test_an_empty_list_means_that_nothing_is_left(nothing: Any) -> None:
    """null: how libcni writes an empty list (a nil slice of Go)."""
    assert read(conf(**{"cni.dev/valid-attachments": nothing}), "GC").valid == ()


@pytest.mark.parametrize(
    "value",
    [
        {}, "x", ["a"], [{}], [{"containerID": ""}], [{"containerID": 1}], [{"containerID": "a", "ifname": 1}],
        [{"containerID": "a"}], [{"containerID": "a", "ifname": ""}], [{"containerID": "a", "ifName": "eth0"}],
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_read_collects_nothing(value: Any) -> None:
    error = refused(conf(**{"cni.dev/valid-attachments": value}), "GC")
    assert (error.code, error.msg[:25]) == (6, "cni.dev/valid-attachments")


def test_an_absent_list_collects_nothing() -> None:
    assert refused(conf(), "GC").code == 6
