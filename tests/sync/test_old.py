"""What other IPAMs keep in a real API server is read whole, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from ledger.adoption import whereabouts
from ledger.adoption.found import Unsaid
from ledger.cli import main
from ledger.errors import LedgerError
from sync import old
from sync.kube import IPPOOLS
from tests.ledger.adopting import example, page
from tests.servers.apiserver import CRDS, ControlPlane

GROUP = "whereabouts.cni.cncf.io"


def definition(kind: str) -> dict[str, Any]:
    """whereabouts' own, but for the schema."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


@pytest.fixture
def both(cluster: ControlPlane) -> Iterator[list[dict[str, Any]]]:
    """whereabouts is installed; the objects of the example are there."""
    definitions = [definition("IPPool"), definition("OverlappingRangeIPReservation")]
    cluster.apply(*definitions)
    names = [f"crd/{each['metadata']['name']}" for each in definitions]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    items = json.loads(example("whereabouts").read_text())["items"]
    for item in items:
        item["metadata"] = {key: item["metadata"][key] for key in ("name", "namespace")}
    cluster.kubectl("create", "namespace", "kube-system", check=False)
    cluster.apply(*items)
    yield definitions
    for name in names:
        cluster.kubectl("delete", name, "--ignore-not-found")


def test_whereabouts_in_a_cluster_is_what_kubectl_prints(
    cluster: ControlPlane, both: list[dict[str, Any]]
) -> None:
    reading = whereabouts.read(old.read("whereabouts", str(cluster.kubeconfig)), Unsaid("net1"))
    assert reading.problems == []
    assert [line.partition(" ")[0] for line in page(reading)] == [
        "10.30.0.1",
        "10.30.0.1",
        "10.30.0.199",
        "10.30.0.9",
        "10.30.1.2",
        "2001:db8:30::1:0:0",
    ]
    # an old whereabouts has no reservations of the second kind
    cluster.request("DELETE", f"{CRDS}/overlappingrangeipreservations.{GROUP}")
    cluster.kubectl("wait", "--for=delete", "--timeout=30s", f"crd/overlappingrangeipreservations.{GROUP}")
    assert len(whereabouts.read(old.read("whereabouts", str(cluster.kubeconfig)), Unsaid("net1")).found) == 4


def test_a_cluster_without_whereabouts(cluster: ControlPlane) -> None:
    with pytest.raises(LedgerError, match="is that IPAM installed"):
        list(old.read("whereabouts", str(cluster.kubeconfig)))


def test_a_pool_of_the_k8s_ipam_plugin_moves_over_while_it_stands_there(
    cluster: ControlPlane, sqlite_url: str
) -> None:
    [item] = json.loads(example("k8s-ipam").read_text())["items"]
    name = "moving"
    cluster.request("POST", IPPOOLS.path, {**item, "metadata": {"name": name}})
    try:
        cluster.request("PATCH", f"{IPPOOLS.path}/{name}/status", {"status": item["status"]})
        words = ["--db", sqlite_url, "adopt", "--from", "k8s-ipam", "cluster", "--kubeconfig", str(cluster.kubeconfig),
                 "--only", name, "--apply-pools"]  # fmt: skip
        done = CliRunner().invoke(main, words, catch_exceptions=False)
        assert (done.exit_code, done.stderr) == (
            0,
            "Pool moving: created (995 addresses).\n4 adopted, 0 already so, 0 disagree, 0 cannot be read.\n",
        )
    finally:
        cluster.request("DELETE", f"{IPPOOLS.path}/{name}")


def test_an_api_server_that_is_away(tmp_path: Any, sqlite_url: str) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    where = {"server": "https://127.0.0.1:1"}
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "c", "cluster": where}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )  # fmt: skip
    words = ["--db", sqlite_url, "adopt", "--from", "k8s-ipam", "cluster", "--kubeconfig"]
    for file, why in ((kubeconfig, "cannot be reached"), (tmp_path / "none", "no way to the API server")):
        done = CliRunner().invoke(main, [*words, str(file)], catch_exceptions=False)
        assert done.exit_code == 1
        assert "the objects of k8s-ipam cannot be read" in done.stderr
        assert why in done.stderr
