"""A real API server takes the examples as they are, and refuses each broken rule by field and in words."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.errors import InvalidPool
from ledger.pools import from_object
from tests.crds.crd import EXAMPLES
from tests.servers.apiserver import ApiError, ControlPlane

POOLS = "/apis/ipam.k8s.io/v1alpha1/ippools"
SUBS = "spec.ipPoolSubs"


@pytest.fixture
def server(cluster: ControlPlane) -> ControlPlane:
    return cluster


def an_object(sub: dict[str, Any] | None = None, name: str = "rules", **spec: Any) -> dict[str, Any]:
    subs = [{"range": "10.0.0.0/24"} if sub is None else sub]
    return {
        "apiVersion": "ipam.k8s.io/v1alpha1",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"ipPoolSubs": subs} | spec,
    }


def dry_run(server: ControlPlane, what: dict[str, Any]) -> None:
    server.request("POST", POOLS + "?dryRun=All&fieldValidation=Strict", what)


def test_the_examples_apply_unchanged(server: ControlPlane) -> None:
    for path in EXAMPLES:
        said = server.kubectl("create", "--dry-run=server", "--validate=strict", "-f", str(path)).stdout
        assert said.startswith(f"ippool.ipam.k8s.io/{path.stem} created")


BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"range": "hello"}, ".range", "should match"),
    ({"range": "10.0.0.1-10.0.0.256/24"}, ".range", "holds what is no IP address"),
    ({"range": "::ffff:10.0.0.0/120"}, ".range", "holds what is no IP address"),
    ({"range": "10.0.0.010-10.0.0.20/24"}, ".range", "holds what is no IP address"),
    ({"range": "10.0.0.0/33"}, ".range", "a prefix length is 1 to 32 for IPv4"),
    ({"range": "2001:db8::/129"}, ".range", "a prefix length is 1 to 32 for IPv4, 1 to 128 for IPv6"),
    ({"range": "10.0.0.1-10.0.0.2"}, ".netmaskBits", "the prefix length is missing"),
    ({"range": "10.0.0.1", "netmaskBits": 33}, ".netmaskBits", "is 1 to 32 for IPv4"),
    ({"range": "2001:db8::1", "netmaskBits": 129}, ".netmaskBits", "less than or equal to 128"),
    ({"range": "10.0.0.1-10.0.0.9", "netmaskBits": 0}, ".netmaskBits", "greater than or equal to 1"),
    ({"range": "10.0.0.1-10.0.0.9/24", "netmaskBits": 22}, ".netmaskBits", "contradicts the prefix of range"),
    ({"range": "10.0.0.1-10.0.1.9/24"}, ".range", "not in one subnet"),
    ({"range": "10.0.0.1-2001:db8::1/24"}, ".range", "not in one subnet"),
    ({"range": "10.0.0.1/24"}, ".range", "has host bits set"),
    ({"range": "10.0.0.0/24", "gateway": "10.0.0.256"}, ".gateway", "is no IP address"),
    ({"range": "10.0.0.0/24", "gateway": "10.0.1.1"}, ".gateway", "is outside the subnet of range"),
    ({"range": "10.0.0.0/24", "gateway": "2001:db8::1"}, ".gateway", "is outside the subnet of range"),
    ({"range": "10.0.0.0/24", "reservedRanges": ["x"]}, ".reservedRanges[0]", "should match"),
    ({"range": "10.0.0.0/24", "reservedRanges": ["10.0.0.9"] * 257}, ".reservedRanges", "at most 256"),
    ({"range": "10.0.0.0/24", "nodeSelector": {"zone": "a" * 64}}, ".nodeSelector.zone", "may not be more than 63"),
    ({"gateway": "10.0.0.1"}, ".range", "Required value"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sub", "field", "why"), BROKEN, ids=[f"{field} {why}"[:50] for _, field, why in BROKEN]
)
def test_a_broken_sub_is_refused_there_and_here(
    server: ControlPlane, sub: dict[str, Any], field: str, why: str
) -> None:
    with pytest.raises(ApiError) as refused:
        dry_run(server, an_object(sub))
    assert refused.value.code == 422
    causes = refused.value.status["details"]["causes"]
    assert [each for each in causes if each["field"] == f"{SUBS}[0]{field}" and why in each["message"]], (
        causes
    )
    with pytest.raises(InvalidPool):
        from_object(an_object(sub))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"ipPoolSubs": []}, "ipPoolSubs"),
        ({"ipPoolSubs": [{"range": f"10.0.{n}.0/24"} for n in range(65)]}, "ipPoolSubs"),
        ({"addressSpace": "Lab"}, "addressSpace"),
        ({"pickStrategy": "First"}, "pickStrategy"),
        ({"cooldownSeconds": -1}, "cooldownSeconds"),
        ({"cooldownSeconds": 31_536_001}, "cooldownSeconds"),
        ({"retainFor": ["statefulset"]}, "retainFor[0]"),
        ({"retainFor": ["Job", "Job"]}, "retainFor[1]"),
        ({"staticReservations": {"ns": {"pod": "nowhere"}}}, "staticReservations.ns.pod"),
    ],
)
def test_a_broken_spec_is_refused_there_and_here(
    server: ControlPlane, spec: dict[str, Any], field: str
) -> None:
    with pytest.raises(ApiError) as refused:
        dry_run(server, an_object(**spec))
    assert refused.value.code == 422
    assert f"spec.{field}" in [each["field"] for each in refused.value.status["details"]["causes"]]
    with pytest.raises(InvalidPool):
        from_object(an_object(**spec))


@pytest.mark.parametrize(
    "sub",
    [
        {"range": "10.0.0.0/24", "netmaskBits": 24, "gateway": "", "reservedRanges": None},
        {"range": "10.0.0.10-10.0.0.20", "netmaskBits": 24, "gateway": "10.0.0.1"},
        {"range": "10.0.0.10", "netmaskBits": 24},
        {"range": "10.0.0.10/32"},
        {"range": "2001:DB8::5-2001:db8::ff/64", "gateway": "2001:db8::1", "reservedRanges": ["2001:db8::9"]},
        {"range": "2001:db8::/32"},
    ],
)
def test_what_the_code_takes_the_api_server_takes(server: ControlPlane, sub: dict[str, Any]) -> None:
    assert from_object(an_object(sub)).capacity > 0
    dry_run(server, an_object(sub))


@pytest.mark.parametrize("change", ["prod", None], ids=["another", "left out"])
def test_the_address_space_cannot_be_changed(server: ControlPlane, change: str | None) -> None:
    server.request("POST", POOLS, an_object(name="rules-space", addressSpace="lab"))
    try:
        with pytest.raises(ApiError, match="cannot be changed; make another pool"):
            server.request("PATCH", f"{POOLS}/rules-space", {"spec": {"addressSpace": change}})
    finally:
        server.request("DELETE", f"{POOLS}/rules-space")


def test_an_object_of_the_k8s_ipam_plugin_keeps_its_status(server: ControlPlane) -> None:
    """Its plugin wrote the status in Go's spelling; the API server keeps it, and the table shows our fields."""
    reserved = {"default": {"web-0": "10.0.0.7"}}
    server.request("POST", POOLS, an_object(name="rules-old", staticReservations=None))
    try:
        status = {
            "DynamicReservations": reserved,
            "capacity": 2**63 - 1,
            "allocated": 1,
            "free": 5,
            "usedPercent": 16,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        server.request("PATCH", f"{POOLS}/rules-old/status", {"status": status})
        found = server.request("GET", f"{POOLS}/rules-old")
        assert found["status"] == status
        assert from_object(found).capacity == 254
        header, row = server.kubectl("get", "ipp", "rules-old").stdout.splitlines()
        assert header.split() == ["NAME", "CAPACITY", "ALLOCATED", "FREE", "USED%", "READY", "AGE"]
        assert row.split()[:6] == ["rules-old", str(2**63 - 1), "1", "5", "16", "True"]
    finally:
        server.request("DELETE", f"{POOLS}/rules-old")
