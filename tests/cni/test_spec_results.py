"""Results, errors and versions in the shape of the version that was asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cni import spec
from cni.spec import VERSIONS, Address, Conf, Dns, Refusal, Route

V4 = Address("10.0.0.7", 24, "10.0.0.1")
V6 = Address("fd00::7", 64, "fd00::1")
OLD, MIDDLE, NEW = VERSIONS[:2], VERSIONS[2:5], VERSIONS[5:]


def result(version: str, *addresses: Address, **conf: Any) -> Any:
    return json.loads(spec.result(Conf(version, "podnet", ("p",), **conf), addresses))


@pytest.mark.parametrize("version", OLD)
def test_before_0_3_one_object_for_each_family(version: str) -> None:
    assert result(version, V6, V4) == {
        "cniVersion": version,
        "ip4": {"ip": "10.0.0.7/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]},
        "ip6": {"ip": "fd00::7/64", "gateway": "fd00::1", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
        "dns": {},
    }  # fmt: skip
    assert set(result(version, V4)) == {"cniVersion", "ip4", "dns"}


@pytest.mark.parametrize("version", OLD)
def test_before_0_3_two_of_one_family_cannot_be_said(version: str) -> None:
    with pytest.raises(Refusal) as caught:
        result(version, V4, Address("10.1.0.7", 24, None))
    assert (caught.value.code, caught.value.version) == (7, version)
    assert "use 0.3.0 or later" in caught.value.msg


@pytest.mark.parametrize("version", MIDDLE)
def test_from_0_3_a_list_with_the_version_of_each(version: str) -> None:
    assert result(version, V4, V6) == {
        "cniVersion": version,
        "ips": [
            {"version": "4", "address": "10.0.0.7/24", "gateway": "10.0.0.1"},
            {"version": "6", "address": "fd00::7/64", "gateway": "fd00::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "::/0", "gw": "fd00::1"}],
        "dns": {},
    }


@pytest.mark.parametrize("version", NEW)
def test_from_1_0_a_list_without_it(version: str) -> None:
    assert result(version, V4, V6) == {
        "cniVersion": version,
        "ips": [
            {"address": "10.0.0.7/24", "gateway": "10.0.0.1"},
            {"address": "fd00::7/64", "gateway": "fd00::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "::/0", "gw": "fd00::1"}],
        "dns": {},
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_an_ipam_result_has_no_interfaces(version: str) -> None:
    text = json.dumps(result(version, V4))
    assert "interface" not in text


def test_no_gateway_no_default_route() -> None:
    assert result("1.0.0", Address("10.0.0.7", 24, None)) == {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.0.0.7/24"}],
        "routes": [],
        "dns": {},
    }


def test_two_pools_of_a_family_make_one_default_route() -> None:
    assert result("1.0.0", Address("10.9.0.7", 24, None), V4, Address("10.1.0.7", 24, "10.1.0.1"))["routes"] == [
        {"dst": "0.0.0.0/0", "gw": "10.0.0.1"}
    ]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_an_explicit_list_wins_also_an_empty_one(version: str) -> None:
    routes = (Route("10.0.0.0/8", "10.0.0.9"), Route("::/0"))
    said = result(version, V4, V6, routes=routes)
    if version in OLD:
        assert said["ip4"]["routes"] == [{"dst": "10.0.0.0/8", "gw": "10.0.0.9"}]
        assert said["ip6"]["routes"] == [{"dst": "::/0"}]
        assert result(version, V4, routes=())["ip4"]["routes"] == []
    else:
        assert said["routes"] == [{"dst": "10.0.0.0/8", "gw": "10.0.0.9"}, {"dst": "::/0"}]
        assert result(version, V4, routes=())["routes"] == []


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_the_numbers_of_a_route_came_with_1_1(version: str) -> None:
    numbers = {"mtu": 1400, "advmss": 1360, "priority": 0, "table": 200, "scope": 253}
    (route,) = result(version, V4, routes=(Route("::/0", None, tuple(numbers.items())),))["routes"]
    assert route == ({"dst": "::/0", **numbers} if version == "1.1.0" else {"dst": "::/0"})


@pytest.mark.parametrize("version", VERSIONS)
def test_dns_is_passed_on(version: str) -> None:
    dns = Dns(("10.0.0.2",), "example.org", ("a", "b"), ("ndots:5",))
    assert result(version, V4, dns=dns)["dns"] == {
        "nameservers": ["10.0.0.2"],
        "domain": "example.org",
        "search": ["a", "b"],
        "options": ["ndots:5"],
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_has_the_version_that_was_asked(version: str) -> None:
    error = Refusal(100, "full", "x", version=version)
    assert json.loads(error.to_json()) == {"cniVersion": version, "code": 100, "msg": "full", "details": "x"}
    assert "details" not in json.loads(Refusal(7, "no", version=version).to_json())


@pytest.mark.parametrize(("asked", "said"), [(v, v) for v in VERSIONS] + [("9.0.0", "1.1.0")])
def test_version_answers_in_the_version_of_the_input(asked: str, said: str) -> None:
    assert json.loads(spec.versions(asked)) == {"cniVersion": said, "supportedVersions": list(VERSIONS)}


def test_answers_are_ascii_on_one_line() -> None:
    raw = Refusal(7, "Gr\u00fc\u00dfe\n\u2028", "\U0001f600").to_json()
    assert raw.isascii()
    assert raw.count(b"\n") == 1
