"""A real API server takes the IPPool's definition, explains it to kubectl, and shows a pool's figures in columns.

That each rule is broken once is in ``test_rules``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.servers.apiserver import ApiError, ControlPlane
from tests.sync.scene import wait_for

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


def test_defaults_are_filled_in(cluster: ControlPlane) -> None:
    assert tried(cluster, pool())["spec"] == {
        "ipPoolSubs": [SUB],
        "addressSpace": "default",
        "pickStrategy": "Random",
        "cooldownSeconds": 0,
        "retainFor": ["StatefulSet"],
    }


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
    # What explain reads is published a moment after the definition is established.
    said = wait_for(lambda: cluster.kubectl("explain", "ippool.spec.ipPoolSubs.range", check=False).stdout)
    assert "first-last/prefix" in said


def test_a_field_that_is_misspelt_is_told_to_whoever_wants_to_know(cluster: ControlPlane) -> None:
    with pytest.raises(ApiError, match=r'unknown field "spec\.cooldown"'):
        tried(cluster, pool(cooldown=3))
