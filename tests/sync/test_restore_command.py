"""`ipam-ledger restore`, `fence lift` and `check --against-cluster` as a person runs them, against a real API server."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.servers.agent import installed
from tests.sync.scene import POOLS, Scene, pod, wait_for


def ledger(scene: Scene, url: str, *args: str) -> tuple[int, Any, str]:
    """Exit status, the answer as JSON, and what was said on stderr."""
    done = subprocess.run(
        [installed("ipam-ledger"), *args, "--db", url, "-o", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(scene.cluster.folder),
            "KUBECONFIG": str(scene.cluster.kubeconfig),
        },
    )
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def shown(scene: Scene, name: str, ip: str) -> None:
    pod(scene.cluster, scene.namespace, name)
    path = f"/api/v1/namespaces/{scene.namespace}/pods/{name}/status"
    scene.cluster.request(
        "PATCH", path, {"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}}
    )


def test_the_ledger_is_lost_and_restored_and_what_disagrees_keeps_the_fence(
    scene: Scene, empty_sqlite_url: str
) -> None:
    scene.pool()
    status = {"allocated": 1, "ledgerSeq": 900, "dynamicReservations": {scene.namespace: {"a": "10.9.0.1"}}}
    scene.cluster.request("PATCH", f"{POOLS}/pool/status", {"status": status})
    pod(scene.cluster, scene.namespace, "a")
    shown(scene, "b", "10.9.0.2")
    shown(scene, "c", "10.9.0.3")
    shown(scene, "twin", "10.9.0.3")

    code, rows, _ = ledger(scene, empty_sqlite_url, "restore", "--from-cluster", "--dry-run")
    assert (code, len(rows)) == (1, 4)
    assert ledger(scene, empty_sqlite_url, "fence", "status")[0] == 1, "there is no ledger yet"
    code, rows, _ = ledger(scene, empty_sqlite_url, "restore", "--from-cluster")
    assert code == 1
    assert sorted((row["verdict"], row["ip"], row["pod"]) for row in rows) == [
        ("adopted", "10.9.0.1", "a"),
        ("adopted", "10.9.0.2", "b"),
        ("two owners", "10.9.0.3", "c"),
        ("two owners", "10.9.0.3", "twin"),
    ]
    assert ledger(scene, empty_sqlite_url, "fence", "status")[1]["raised"] is True
    found = ledger(scene, empty_sqlite_url, "check", "--against-cluster")[1]["findings"]
    assert [each["kind"] for each in found] == ["ledger behind", "not in the ledger", "not in the ledger"]

    # one of the two is ended by a person
    scene.cluster.kubectl("delete", "pod", "-n", scene.namespace, "twin", "--force")
    code, rows, _ = ledger(scene, empty_sqlite_url, "restore", "--from-cluster")
    assert (code, [row["verdict"] for row in rows]) == (0, ["already so", "already so", "adopted"])
    assert ledger(scene, empty_sqlite_url, "fence", "status")[1]["raised"] is False
    assert "ledgerSeq" not in scene.status()
    assert ledger(scene, empty_sqlite_url, "check", "--against-cluster")[1]["findings"] == []

    # behind the fence a pod ends, which the status goes on showing: its address is taken back, and not adopted again
    scene.cluster.request("PATCH", f"{POOLS}/pool/status", {"status": status})
    scene.cluster.kubectl("delete", "pod", "-n", scene.namespace, "a", "--force")
    ledger(scene, empty_sqlite_url, "fence", "raise", "--reason", "x")
    code, lifted, _ = ledger(scene, empty_sqlite_url, "fence", "lift", "--reason", "x")
    assert (code, lifted["reclaimed"], lifted["adopted"], lifted["raised"]) == (0, 1, 0, False)
    assert ledger(scene, empty_sqlite_url, "who-had", "10.9.0.1")[1] is None

    # the other way round: the cluster loses its pools
    scene.cluster.request("PATCH", f"{POOLS}/pool", {"metadata": {"finalizers": None}})
    scene.cluster.kubectl("delete", "ippool", "pool")
    assert ledger(scene, empty_sqlite_url, "restore", "--to-cluster")[:2] == (
        0,
        [{"pool": "pool", "result": "created", "why": None}],
    )
    assert ledger(scene, empty_sqlite_url, "restore", "--to-cluster")[1] == [
        {"pool": "pool", "result": "unchanged", "why": None}
    ]
    wait_for(lambda: scene.cluster.request("GET", f"{POOLS}/pool")["spec"]["ipPoolSubs"])


def test_wrong_usage_and_a_cluster_that_is_away(scene: Scene, empty_sqlite_url: str) -> None:
    code, _, said = ledger(scene, empty_sqlite_url, "restore")
    assert code == 2 and "--from-cluster or --to-cluster" in said
    nowhere = scene.cluster.write_kubeconfig("away", "token")
    nowhere.write_text(nowhere.read_text().replace(str(scene.cluster.port), "1"))
    code, _, said = ledger(scene, empty_sqlite_url, "restore", "--to-cluster", "--kubeconfig", str(nowhere))
    assert code == 1 and "there is no ledger at" in said
    code, _, said = ledger(scene, empty_sqlite_url, "restore", "--from-cluster", "--kubeconfig", str(nowhere))
    assert code == 1 and "cannot be reached" in said
    code, _, said = ledger(scene, empty_sqlite_url, "restore", "--to-cluster", "--kubeconfig", str(nowhere))
    assert code == 0, "no pools, nothing to write"
    # half-way: nothing is given out until somebody has looked
    assert ledger(scene, empty_sqlite_url, "fence", "status")[1]["raised"] is True
