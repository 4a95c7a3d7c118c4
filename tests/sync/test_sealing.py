"""The leader seals, and keeps the newest checkpoint in the cluster: a database that went back in time is found out there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from ledger import fence, keys
from ledger.checkpoint import open_checkpoint
from ledger.errors import InvalidInput
from ledger.note import SignerKey
from ledger.seal import OutsideFile, Sealer
from ledger.seal_checks import checks
from ledger.store import Database, seals
from ledger.verify import verify
from sync.kube import Api
from sync.sealing import OutsideConfigMap
from sync.settings import from_environment
from tests.servers.agent import Agent
from tests.servers.apiserver import ApiError, ControlPlane
from tests.servers.keeper import Keeper
from tests.sync.scene import Scene, pod, wait_for

NAME = "ipam-ledger-checkpoint"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "seal.key"
    keys.generate(path, "example.org/test")
    return path


def config_map(cluster: ControlPlane, namespace: str, name: str = NAME) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = cluster.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    except ApiError as error:
        assert error.code == 404, error
        return None
    return found


def kept(scene: Scene, key: Path, namespace: str | None = None) -> int:
    """How many entries the checkpoint in the ConfigMap signs; 0 while there is none."""
    found = config_map(scene.cluster, namespace or scene.namespace)
    return open_checkpoint(found["data"]["checkpoint"], keys.load_verifier(str(key))).size if found else 0


def sealed(scene: Scene, key: Path, namespace: str | None = None) -> bool:
    return kept(scene, key, namespace) == len(scene.events())


def signed(database: Database) -> list[int]:
    with database.read() as tx:
        return [each.size for each in seals.checkpoints(tx)]


def test_the_leader_seals_and_keeps_the_checkpoint_in_a_config_map(scene: Scene, key: Path, api: Api) -> None:
    worker = scene.sync(KEY=str(key), SEAL_SECONDS="1")
    scene.pool()
    wait_for(scene.ready)
    scene.take("a")
    wait_for(lambda: sealed(scene, key))
    scene.take("b")
    wait_for(lambda: sealed(scene, key))
    report = verify(
        scene.database,
        checks([keys.load_verifier(str(key))], OutsideConfigMap(api, scene.namespace, NAME)),
    )
    assert [each.what for checked in report.checked for each in checked.findings] == []
    assert worker.page("/readyz") == (200, "ok (leading)\n")
    # what a person, or a tool, has written beside it stays
    path = f"/api/v1/namespaces/{scene.namespace}/configmaps/{NAME}"
    scene.cluster.request("PATCH", path, {"metadata": {"labels": {"team": "net"}}, "data": {"note": "ours"}})
    scene.take("c")
    wait_for(lambda: sealed(scene, key))
    found = scene.cluster.request("GET", path)
    assert (found["metadata"]["labels"], found["data"]["note"]) == ({"team": "net"}, "ours")
    # whoever deletes it has it back with the next seal
    scene.cluster.request("DELETE", path)
    wait_for(lambda: sealed(scene, key))


def test_in_a_file_if_one_is_named(scene: Scene, key: Path, tmp_path: Path) -> None:
    scene.sync(KEY=str(key), SEAL_SECONDS="1", CHECKPOINT=str(tmp_path / "checkpoint"))
    scene.pool()
    wait_for(scene.ready)
    outside = OutsideFile(tmp_path / "checkpoint")
    public = keys.load_verifier(str(key))
    wait_for(lambda: (note := outside.read()) and open_checkpoint(note, public).size == 1)
    assert config_map(scene.cluster, scene.namespace) is None


def test_without_a_key_nothing_is_sealed(scene: Scene) -> None:
    scene.sync(SEAL_SECONDS="1")
    scene.pool()
    wait_for(scene.ready)
    wait_for(lambda: scene.status().get("ledgerSeq") == 1)
    assert signed(scene.database) == []
    assert config_map(scene.cluster, scene.namespace) is None


def test_a_key_that_is_missing_is_said_and_everything_else_goes_on(scene: Scene, key: Path) -> None:
    away = key.rename(key.with_name("away"))
    worker = scene.sync(KEY=str(key), SEAL_SECONDS="1")
    scene.pool()
    wait_for(scene.ready)
    wait_for(lambda: worker.page("/readyz")[0] == 503)
    assert "seal: key file: is not there" in worker.page("/readyz")[1]
    scene.take("a", pod(scene.cluster, scene.namespace, "a"))
    wait_for(lambda: scene.status().get("allocated") == 1)
    away.rename(key)  # as a Secret that is mounted later
    wait_for(lambda: sealed(scene, key))
    wait_for(lambda: worker.page("/readyz")[0] == 200)


def test_a_database_that_went_back_in_time_is_not_signed_and_gives_nothing_out(
    cluster: ControlPlane,
    keeper: Keeper,
    agents: Callable[..., Agent],
    namespace: str,
    key: Path,
    postgres_url: str,
    fresh_postgres: Callable[..., str],
) -> None:
    now = Scene(cluster, keeper, agents, namespace, postgres_url)
    try:
        worker = now.sync(KEY=str(key), SEAL_SECONDS="1")
        now.pool()
        wait_for(now.ready)
        now.take("a", pod(cluster, namespace, "a"))
        wait_for(lambda: sealed(now, key))
        assert worker.stop() == 0
        now.database.close()
        yesterday = fresh_postgres(make_url(postgres_url).database)
        worker.start()
        now.take("b", pod(cluster, namespace, "b"))
        wait_for(lambda: sealed(now, key))
        signed_last = config_map(cluster, namespace)
        assert worker.stop() == 0
    finally:
        now.close()

    restored = Scene(cluster, keeper, agents, namespace, yesterday)
    try:
        before = signed(restored.database)
        restored.pool()
        worker = restored.sync(KEY=str(key), SEAL_SECONDS="1")
        wait_for(lambda: fence.status(restored.database))
        turn = fence.status(restored.database)
        assert turn is not None and turn.raised and turn.actor.startswith("sync/")
        assert "went back in time: a checkpoint of 3 entries was signed, but only 2 are sealed" in turn.reason
        assert restored.add("c", pod(cluster, namespace, "c"), sandbox="c") == "11"
        wait_for(lambda: "seal: the ledger went back in time" in worker.page("/readyz")[1])
        # the rest of the worker goes on
        assert restored.pool("late", sub={"range": "10.8.0.0/24"})
        wait_for(lambda: restored.ready("late"))
        assert signed(restored.database) == before
        found = config_map(cluster, namespace)
        assert found and signed_last and found["data"] == signed_last["data"]
        # with the old key the fence is raised again; with a new one, of a new name, the restored ledger goes its own way
        assert fence.lift(restored.database, reason="compared", actor="test")
        wait_for(lambda: (turn := fence.status(restored.database)) and turn.raised)
        worker.stop()
        cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")
        key.unlink()
        key.with_name("seal.key.pub").unlink()
        keys.generate(key, "example.org/restored")
        assert fence.lift(restored.database, reason="compared", actor="test")
        worker.start()
        wait_for(lambda: sealed(restored, key))
        assert restored.add("c", pod(cluster, namespace, "c2"), sandbox="c2") != "11"
    finally:
        restored.close()


def test_two_leaders_make_one_tree(scene: Scene, key: Path) -> None:
    """Each leads by a lease of its own, and keeps what both have signed."""
    second = f"{scene.namespace}-second"
    scene.cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": second}})
    workers = [
        scene.sync(namespace=name, KEY=str(key), SEAL_SECONDS="1", RECLAIM_GRACE="3600")
        for name in (scene.namespace, second)
    ]
    scene.pool(sub={"range": "10.9.0.0/24"})
    wait_for(scene.ready)
    for number in range(30):
        scene.take(f"p{number}")
        threading.Event().wait(0.1)
    wait_for(lambda: sealed(scene, key) and sealed(scene, key, second))
    sizes = signed(scene.database)
    assert sizes == sorted(set(sizes)) and sizes[-1] == 31
    report = verify(scene.database, checks([keys.load_verifier(str(key))]))
    assert report.ok, report
    for worker in workers:
        wait_for(lambda worker=worker: worker.page("/readyz")[0] == 200)  # type: ignore[misc]


def test_sealers_at_once_never_put_an_older_checkpoint_over_a_newer(
    scene: Scene, api: Api, key: Path
) -> None:
    scene.pool(sub={"range": "10.9.0.0/24"})
    worker = scene.sync()
    wait_for(scene.ready)
    worker.stop()
    signer = keys.load_signer(key)
    over = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        while not over.is_set():
            try:
                outside = OutsideConfigMap(api, scene.namespace, NAME)
                Sealer(scene.database, key=signer, outside=outside).seal()
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    seen = []
    for thread in threads:
        thread.start()
    for number in range(250):
        scene.take(f"p{number}")
        seen.append(kept(scene, key))
        if number >= 60 and seen[-1] > seen[0]:
            break
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert seen == sorted(seen) and seen[-1] > seen[0]
    Sealer(scene.database, key=signer, outside=OutsideConfigMap(api, scene.namespace, NAME)).seal()
    assert sealed(scene, key)
    assert fence.status(scene.database) is None


def test_only_what_was_read_is_replaced(api: Api, cluster: ControlPlane, namespace: str) -> None:
    one, two = (OutsideConfigMap(api, namespace, NAME) for _ in range(2))
    assert (one.read(), two.read()) == (None, None)
    one.write("first")
    two.write("made meanwhile")
    assert two.read() == "first"
    two.write("second")
    one.write("from what was there before")
    assert one.read() == "second"
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")
    one.write("deleted meanwhile")
    assert one.read() is None
    one.write("third")
    assert two.read() == "third"


def test_a_checkpoint_of_another_key_is_never_replaced(scene: Scene, key: Path, tmp_path: Path) -> None:
    worker = scene.sync(KEY=str(key), SEAL_SECONDS="1")
    scene.pool()
    wait_for(lambda: sealed(scene, key) and kept(scene, key) == 1)
    worker.stop()
    other = SignerKey.generate("example.org/other")
    (tmp_path / "other.key").write_text(other.encoded())
    (tmp_path / "other.key").chmod(0o600)
    worker = scene.sync(KEY=str(tmp_path / "other.key"), SEAL_SECONDS="1")
    wait_for(lambda: "kept outside is not of this key" in worker.page("/readyz")[1])
    assert kept(scene, key) == 1


def test_the_settings_of_sealing() -> None:
    assert from_environment({}).seal.key is None
    seal = from_environment(
        {
            "IPAM_LEDGER_KEY": "/k",
            "IPAM_LEDGER_SEAL_SECONDS": "5",
            "IPAM_LEDGER_CHECKPOINT": "/c",
            "IPAM_LEDGER_CHECKPOINT_CONFIGMAP": "name",
        }
    ).seal
    assert (seal.key, seal.interval) == (Path("/k"), 5.0)
    assert (seal.checkpoint, seal.config_map) == (Path("/c"), "name")
    with pytest.raises(InvalidInput, match="IPAM_LEDGER_SEAL_SECONDS"):
        from_environment({"IPAM_LEDGER_SEAL_SECONDS": "0"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another, and become another")
def test_a_secret_that_is_mounted_for_the_pods_group_is_a_key_that_nobody_else_reads(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key.chmod(0o440)  # what the kubelet makes of defaultMode 0400 for an fsGroup
    with pytest.raises(InvalidInput, match="others may read it"):
        keys.load_signer(key)
    monkeypatch.setattr(os, "geteuid", lambda: 65532)
    assert keys.load_signer(key).name == "example.org/test"
    key.chmod(0o444)
    with pytest.raises(InvalidInput, match="others may read it"):
        keys.load_signer(key)
