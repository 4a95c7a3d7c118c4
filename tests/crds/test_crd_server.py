"""A real API server takes the IPPool's definition, explains it, and refuses what its rules forbid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.servers.apiserver import ApiError, ControlPlane

EXAMPLES = Path(__file__).parents[2] / "crds" / "examples"
POOLS = "/apis/ipam.k8s.io/v1alpha1/ippools"
SUB = {"range": "10.9.0.1-10.9.0.9/24"}


def pool(sub: dict[str, Any] | None = None, name: str = "tried", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ipam.k8s.io/v1alpha1",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"ipPoolSubs": [SUB if sub is None else sub], **spec},
    }


def tried(cluster: ControlPlane, what: dict[str, Any]) -> Any:
    """Create it as a dry run: validated and defaulted, but not kept."""
    return cluster.request("POST", f"{POOLS}?dryRun=All&fieldValidation=Strict", what)


def test_the_definition_is_in_order(cluster: ControlPlane) -> None:
    crd = json.loads(cluster.kubectl("get", "crd", "ippools.ipam.k8s.io", "-o", "json").stdout)
    conditions = {each["type"]: (each["status"], each["reason"]) for each in crd["status"]["conditions"]}
    assert conditions["Established"][0] == conditions["NamesAccepted"][0] == "True"
    assert "NonStructuralSchema" not in conditions
    # a group under k8s.io must say where it was approved; ours says openly that it was not
    assert conditions["KubernetesAPIApprovalPolicyConformant"] == ("False", "UnapprovedAnnotation")


@pytest.mark.parametrize("file", sorted(EXAMPLES.iterdir()), ids=lambda file: str(file.name))
def test_every_example_applies_unchanged(cluster: ControlPlane, file: Path) -> None:
    said = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(file)).stdout
    assert "created (server dry run)" in said


def test_defaults_are_filled_in_and_an_old_objects_status_is_kept(cluster: ControlPlane) -> None:
    made = tried(cluster, pool())
    assert made["spec"] == {
        "ipPoolSubs": [SUB],
        "addressSpace": "default",
        "pickStrategy": "Random",
        "cooldownSeconds": 0,
        "retainFor": ["StatefulSet"],
    }
    cluster.request("POST", POOLS, pool(name="old"))
    old = {"status": {"DynamicReservations": {"default": {"web-0": "10.9.0.1"}}}}
    kept = cluster.request("PATCH", f"{POOLS}/old/status", old)
    assert kept["status"] == old["status"]
    cluster.request("DELETE", f"{POOLS}/old")


def test_kubectl_shows_the_figures(cluster: ControlPlane) -> None:
    cluster.request("POST", POOLS, pool(name="shown"))
    status = {
        "capacity": 9,
        "allocated": 4,
        "free": 4,
        "usedPercent": 55,
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    cluster.request("PATCH", f"{POOLS}/shown/status", {"status": status})
    head, line = cluster.kubectl("get", "ipp", "shown").stdout.splitlines()
    assert head.split() == ["NAME", "CAPACITY", "ALLOCATED", "FREE", "USED%", "READY", "AGE"]
    assert line.split()[:6] == ["shown", "9", "4", "4", "55", "True"]
    assert "ippool.ipam.k8s.io/shown" in cluster.kubectl("get", "ipam", "-o", "name").stdout
    # the status is a subresource: the object's own door leaves it alone
    cluster.request("PATCH", f"{POOLS}/shown", {"status": {"capacity": 1}})
    assert cluster.request("GET", f"{POOLS}/shown")["status"]["capacity"] == 9
    cluster.request("DELETE", f"{POOLS}/shown")


def test_kubectl_explains_every_field(cluster: ControlPlane) -> None:
    crd = json.loads(cluster.kubectl("get", "crd", "ippools.ipam.k8s.io", "-o", "json").stdout)
    silent: list[str] = []

    def walk(schema: dict[str, Any], path: str) -> None:
        if path and path not in ("metadata",) and not schema.get("description"):
            silent.append(path)
        for key, inner in schema.get("properties", {}).items():
            walk(inner, f"{path}.{key}".lstrip("."))
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                walk(schema[key], f"{path}[]")

    walk(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "")
    assert silent == []
    said = cluster.kubectl("explain", "ippool.spec.ipPoolSubs.range").stdout
    assert "first-last/prefix" in said


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no sub": ({**pool(), "spec": {"ipPoolSubs": []}}, "spec.ipPoolSubs"),
    "too many subs": (
        {**pool(), "spec": {"ipPoolSubs": [{"range": f"10.9.{n}.0/24"} for n in range(65)]}},
        "must have at most 64 items",
    ),
    "no range": (pool({"gateway": "10.9.0.1"}), "spec.ipPoolSubs[0].range: Required value"),
    "a range of words": (pool({"range": "all of them"}), "spec.ipPoolSubs[0].range: Invalid value"),
    "no prefix at all": (pool({"range": "10.9.0.1-10.9.0.9"}), "the prefix length is missing"),
    "two prefixes": (pool({**SUB, "netmaskBits": 22}), "contradicts the prefix of range"),
    "no address": (pool({"range": "10.9.0.1-10.9.0.999/24"}), "holds what is no IP address"),
    "an IPv4 prefix too long": (pool({"range": "10.9.0.1/33"}), "a prefix length is 1 to 32 for IPv4"),
    "an IPv6 prefix too long": (pool({"range": "fd00::1-fd00::9/129"}), "a prefix length is 1 to 32 for IPv4, 1 to 128"),
    "netmaskBits of IPv6": (pool({"range": "10.9.0.1", "netmaskBits": 64}), "is 1 to 32 for IPv4"),
    "netmaskBits of nothing": (pool({"range": "fd00::1", "netmaskBits": 129}), "less than or equal to 128"),
    "two subnets": (pool({"range": "10.9.0.1-10.9.1.9/24"}), "the first and the last address are not in one subnet"),
    "host bits": (pool({"range": "10.9.0.1/24"}), "has host bits set"),
    "a gateway of words": (pool({**SUB, "gateway": "router"}), "spec.ipPoolSubs[0].gateway"),
    "a gateway that is no address": (pool({**SUB, "gateway": "10.9.0"}), "is no IP address"),
    "a gateway elsewhere": (pool({**SUB, "gateway": "10.8.0.1"}), "is outside the subnet of range"),
    "a reserved range of words": (pool({**SUB, "reservedRanges": ["x"]}), "spec.ipPoolSubs[0].reservedRanges[0]"),
    "too many reserved ranges": (pool({**SUB, "reservedRanges": ["10.9.0.1"] * 257}), "must have at most 256 items"),
    "too many labels": (
        pool({**SUB, "nodeSelector": {f"l{n}": "v" for n in range(65)}}),
        "nodeSelector: Too many: 65",
    ),
    "a static reservation of words": (
        pool(staticReservations={"default": {"web-0": "any"}}),
        "spec.staticReservations.default.web-0",
    ),
    "a space with capitals": (pool(addressSpace="Mine"), "spec.addressSpace"),
    "another strategy": (pool(pickStrategy="Best"), 'supported values: "Random", "Lowest"'),
    "a cooldown of years": (pool(cooldownSeconds=31_536_001), "spec.cooldownSeconds"),
    "a kind in small letters": (pool(retainFor=["statefulset"]), "spec.retainFor[0]"),
    "a kind twice": (pool(retainFor=["StatefulSet", "StatefulSet"]), "Duplicate value"),
    "an unknown field, asked to be strict": (pool(cooldown=3), 'unknown field "spec.cooldown"'),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_rules_forbid_is_refused_at_the_field(cluster: ControlPlane, case: str) -> None:
    what, message = REFUSED[case]
    with pytest.raises(ApiError) as refused:
        tried(cluster, what)
    assert refused.value.code in (400, 422)
    assert message in refused.value.status["message"]


def test_the_address_space_cannot_be_changed(cluster: ControlPlane) -> None:
    cluster.request("POST", POOLS, pool(name="spaced", addressSpace="one"))
    with pytest.raises(ApiError, match="cannot be changed; make another pool"):
        cluster.request("PATCH", f"{POOLS}/spaced", {"spec": {"addressSpace": "two"}})
    cluster.request("PATCH", f"{POOLS}/spaced", {"spec": {"cooldownSeconds": 5}})
    cluster.request("DELETE", f"{POOLS}/spaced")
