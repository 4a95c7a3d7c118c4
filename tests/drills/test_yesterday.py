"""The database is restored to yesterday while pods live on: the fence rises, what lives is adopted, nobody gets an address twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from ledger import fence
from ledger.errors import Fenced
from tests.drills.conftest import POOL, Stage, address, claim
from tests.servers.agent import Agent, cni_env, k8s_ipam
from tests.servers.apiserver import ControlPlane
from tests.sync.scene import POOLS, pod


def test_a_ledger_of_yesterday_gives_nothing_out(
    stages: Callable[[str], Stage], sqlite_url: str, agents: Callable[..., Agent], tmp_path: Path
) -> None:
    stage = stages(sqlite_url)
    file = Path(str(make_url(sqlite_url).database))
    stage.key()
    book = stage.book()
    for n in range(10):
        address(book, n)
    stage.run("seal")
    stage.tell("A backup is made, and life goes on: ten more pods, and a seal.")
    book.database.close()
    shutil.copyfile(file, tmp_path / "backup.db")
    for n in range(10, 20):
        address(book, n)
    stage.run("seal")
    stage.tell("The backup is put back. The sealer sees that it has signed more than there is.")
    book.database.close()
    for extra in tmp_path.glob(file.name + "-*"):
        extra.unlink()
    shutil.copyfile(tmp_path / "backup.db", file)
    said = stage.run("seal", expect=1)
    assert (
        "the ledger went back in time: a checkpoint of 21 entries was signed, but only 11 are sealed here"
        in said
    )
    stage.tell("The fence is raised: ADD is told to try again later, STATUS that nothing is available.")
    assert "The fence is raised since" in stage.run("fence", "status")
    agent = agents(sqlite_url)
    refused = k8s_ipam(cni_env("ADD", container="new", pod="default/new"), agent.config(pool="podnet"))
    assert (
        refused.json["code"] == 11
        and "nothing is given out: the ledger went back in time" in refused.json["msg"]
    )
    status = k8s_ipam(
        {"CNI_COMMAND": "STATUS", "CNI_PATH": "/opt/cni/bin"}, agent.config(pool="podnet", version="1.1.0")
    )
    assert status.json["code"] == 50


@pytest.mark.kube
def test_what_lives_is_adopted_before_the_fence_is_lifted(
    stages: Callable[[str], Stage], sqlite_url: str, cluster: ControlPlane, namespace: str
) -> None:
    stage = stages(sqlite_url)
    book = stage.book()
    stage.tell(
        "Yesterday's ledger: web-1 and web-2 have an address each. Today web-2 is gone, and web-3 has its address."
    )
    from dataclasses import replace

    from ledger.events import Owner

    def mine(n: int) -> object:
        return replace(claim(n), owner=Owner(namespace, f"web-{n}", uids.get(n)))

    uids: dict[int, str] = {}
    uids[1] = pod(cluster, namespace, "web-1")
    one, two = (book.allocate(mine(n))[0].ip for n in (1, 2))  # type: ignore[arg-type]
    uids[3], uids[4] = pod(cluster, namespace, "web-3"), pod(cluster, namespace, "web-4")
    other = next(f"10.40.1.{n}" for n in range(1, 9) if f"10.40.1.{n}" not in (one, two))
    for name, ip in (("web-1", one), ("web-3", two), ("web-4", other)):
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
        cluster.request("PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": status})
    cluster.request("POST", POOLS, POOL)
    try:
        stage.run("fence", "raise", "--reason", "restored to yesterday")
        with pytest.raises(Fenced):
            book.allocate(claim(9))
        stage.run(
            "fence", "lift", "--kubeconfig", str(cluster.kubeconfig), "--reason", "compared with the cluster"
        )
    finally:
        cluster.request("DELETE", f"{POOLS}/podnet")
    assert fence.status(book.database).raised is False  # type: ignore[union-attr]
    owner = {ip: stage.ask("who-had", ip)["pod"] for ip in (one, two, other)}
    assert owner == {one: "web-1", two: "web-3", other: "web-4"}
    kinds = [event["kind"] for event in stage.ask("history", two)]
    assert kinds == ["Allocated", "Reclaimed", "Adopted"]
    stage.run("verify")
    given = {book.allocate(claim(100 + n))[0].ip for n in range(50)}
    assert not given & {one, two, other}
