"""Whatever is killed, cut, compacted or doubled: no running pod loses its address, and the status converges."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ledger.errors import LedgerError
from tests.servers.agent import Agent
from tests.servers.apiserver import ControlPlane
from tests.servers.keeper import Keeper
from tests.servers.postgres import PostgresServer
from tests.sync.scene import Scene, delete_pod, pod, wait_for


class Churn:
    """Pods that come and go in the API server and in the book; some run through it all."""

    def __init__(self, scene: Scene, lanes: int = 3) -> None:
        self.scene = scene
        self.steady = {f"steady-{n}x": "" for n in range(5)}
        for name in self.steady:
            self.steady[name] = scene.take(name, pod(scene.cluster, scene.namespace, name))
        self._stop = threading.Event()
        self._lanes = [threading.Thread(target=self._run, args=(lane,)) for lane in range(lanes)]

    def _run(self, lane: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            name = f"c{lane}-{count}x"
            try:
                uid = pod(self.scene.cluster, self.scene.namespace, name)
                self.scene.take(name, uid)
                time.sleep(random.uniform(0, 0.05))
                if count % 4:  # every fourth ends without a DEL
                    self.scene.give_back(name, uid)
                delete_pod(self.scene.cluster, self.scene.namespace, name)
            except (OSError, LedgerError, AssertionError, Exception):
                time.sleep(0.05)  # the API server or the database is away: so is everybody's kubelet

    @contextmanager
    def running(self) -> Iterator[None]:
        for lane in self._lanes:
            lane.start()
        try:
            yield
        finally:
            self._stop.set()
            for lane in self._lanes:
                lane.join()

    def leaked(self) -> list[str]:
        """Who has an address and is no pod of the API server any more."""
        path = f"/api/v1/namespaces/{self.scene.namespace}/pods"
        there = {raw["metadata"]["name"] for raw in self.scene.cluster.request("GET", path)["items"]}
        has = self.scene.figures_at(2**60)["dynamicReservations"].get(self.scene.namespace, {})
        return sorted(has.keys() - there)

    def check(self) -> None:
        """No running pod's address was ever freed: asserted from the ledger, for its whole length."""
        for kind, ip, name, reason in self.scene.events():
            if name in self.steady and kind != "Allocated":
                raise AssertionError(f"{ip} of {name}, which runs, was {kind}: {reason}")


def converged(scene: Scene) -> bool:
    status = scene.status()
    position = len(scene.events())
    wanted = scene.figures_at(position)
    return status.get("ledgerSeq") == position and {key: status[key] for key in wanted} == wanted


@pytest.fixture
def busy(scene: Scene) -> Scene:
    scene.pool(sub={"range": "10.9.0.0/24"})
    return scene


def test_the_api_server_is_killed_during_churn_and_its_history_compacted(
    busy: Scene, cluster: ControlPlane
) -> None:
    worker = busy.sync(RECLAIM_SHARE="1")
    wait_for(busy.ready)
    churn = Churn(busy)
    with churn.running():
        time.sleep(1)
        cluster.kill9_apiserver()
        wait_for(lambda: worker.page("/readyz")[0] == 503, why="it says what is wrong")
        assert "cannot be reached" in worker.page("/readyz")[1]
        cluster.compact()
        cluster.start_apiserver()
        time.sleep(1)
    wait_for(lambda: worker.page("/readyz")[0] == 200)
    wait_for(lambda: converged(busy))
    wait_for(lambda: not churn.leaked(), why="leaks are found")
    churn.check()
    assert worker.process.alive


def test_the_worker_is_killed_again_and_again_between_database_and_status(busy: Scene) -> None:
    worker = busy.sync(RECLAIM_SHARE="1", LEASE_SECONDS="3")
    wait_for(busy.ready)
    churn = Churn(busy)
    positions: list[int] = []
    with churn.running():
        for _ in range(3):
            time.sleep(random.uniform(0.8, 1.6))
            worker.kill9()
            positions.append(busy.status()["ledgerSeq"])
            worker.start()
    # the lease of the killed one has to run out, as nobody released it
    wait_for(lambda: converged(busy))
    positions.append(busy.status()["ledgerSeq"])
    assert positions == sorted(positions)
    churn.check()


def test_two_leaders_by_accident_do_no_harm(busy: Scene) -> None:
    """Each has a lease of its own, so both work all the time on the same pools and the same ledger."""
    workers = [busy.sync(namespace=name, RECLAIM_SHARE="1") for name in ("default", "kube-system")]
    for worker in workers:
        wait_for(lambda worker=worker: worker.page("/readyz")[1] == "ok (leading)\n")  # type: ignore[misc]
    wait_for(busy.ready)
    churn = Churn(busy)
    seen: list[dict[str, Any]] = []
    with churn.running():
        until = time.monotonic() + 3
        while time.monotonic() < until:
            seen.append(busy.status())
            time.sleep(0.03)
    positions = [each["ledgerSeq"] for each in seen]
    assert positions == sorted(positions), "it never goes back"
    for status in seen[:: max(1, len(seen) // 20)]:
        wanted = busy.figures_at(status["ledgerSeq"])
        assert {key: status[key] for key in wanted} == wanted
    wait_for(lambda: not churn.leaked(), why="leaks are found")
    wait_for(lambda: converged(busy))
    churn.check()
    reclaimed = [each for each in busy.events() if each[0] == "Reclaimed"]
    assert len({(ip, name) for _, ip, name, _ in reclaimed}) == len(reclaimed), "each once"


def test_one_works_the_other_waits_and_takes_over(busy: Scene) -> None:
    first = busy.sync(LEASE_SECONDS="120")
    wait_for(busy.ready)
    second = busy.sync(LEASE_SECONDS="120")
    wait_for(lambda: "standby" in second.page("/readyz")[1])
    assert first.stop() == 0  # it lets go of the lease
    busy.take("p", pod(busy.cluster, busy.namespace, "p"))
    wait_for(lambda: busy.status().get("allocated") == 1)
    assert "leading" in second.page("/readyz")[1]


def test_the_database_is_away_for_a_while(
    cluster: ControlPlane,
    keeper: Keeper,
    agents: Callable[..., Agent],
    namespace: str,
    postgres_server: PostgresServer,
) -> None:
    scene = Scene(cluster, keeper, agents, namespace, postgres_server.url("ledger"))
    try:
        worker = scene.sync()
        scene.pool()
        wait_for(scene.ready)
        ip = scene.take("p", pod(cluster, namespace, "p"))
        wait_for(lambda: scene.status().get("allocated") == 1)
        postgres_server.kill9()
        wait_for(lambda: worker.page("/readyz")[0] == 503)
        assert "cannot be reached" in worker.page("/readyz")[1]
        scene.pool("late", sub={"range": "10.8.0.0/24"})
        postgres_server.start()
        wait_for(lambda: scene.ready("late"))
        wait_for(lambda: worker.page("/readyz")[0] == 200)
        assert scene.status()["dynamicReservations"] == {namespace: {"p": ip}}
    finally:
        scene.close()
