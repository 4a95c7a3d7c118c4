"""A cluster, a ledger, workers and agents; and the kubelet, played by the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ledger.book import Book
from ledger.claims import Claim
from ledger.events import Attachment, Owner
from ledger.store import Database
from tests.servers.agent import Agent, Answer, cni_env, k8s_ipam
from tests.servers.apiserver import ApiError, ControlPlane
from tests.servers.keeper import Keeper
from tests.servers.sync import SyncWorker

POOLS = "/apis/ipam.k8s.io/v1alpha1/ippools"
SUB = {"range": "10.9.0.1-10.9.0.10/24"}


class Scene:
    """``book`` writes as an agent would; ``add`` and ``delete`` go through a real agent and the real plugin."""

    def __init__(
        self, cluster: ControlPlane, keeper: Keeper, agents: Callable[..., Agent], namespace: str, url: str
    ) -> None:
        self.cluster, self.namespace, self.url = cluster, namespace, url
        self.database = Database(url)
        self.book = Book(self.database, actor="agent/test")
        self.workers: list[SyncWorker] = []
        self._keeper, self._agents = keeper, agents
        self._agent: Agent | None = None

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.database.close()
        for raw in self.cluster.request("GET", POOLS)["items"]:
            path = f"{POOLS}/{raw['metadata']['name']}"
            self.cluster.request("PATCH", path, {"metadata": {"finalizers": None}})
            try:
                self.cluster.request("DELETE", path)
            except ApiError as error:
                assert error.code == 404, error

    # the worker

    def sync(
        self, *, start: bool = True, namespace: str | None = None, kubeconfig: Path | None = None, **env: str
    ) -> SyncWorker:
        """Another worker; all of a scene compete for one lease, unless it has a ``namespace`` of its own.

        ``kubeconfig``: whose rights it has, the admin's if none is named.
        """
        worker = SyncWorker(
            self.url,
            kubeconfig or self.cluster.kubeconfig,
            keeper=self._keeper,
            namespace=namespace or self.namespace,
            env={f"IPAM_LEDGER_{key}": value for key, value in env.items()},
        )
        self.workers.append(worker)
        if start:
            worker.start()
        return worker

    # pools

    def pool(self, name: str = "pool", sub: Mapping[str, Any] | None = None, **spec: Any) -> str:
        """Apply an IPPool with kubectl."""
        return self.cluster.apply(
            {
                "apiVersion": "ipam.k8s.io/v1alpha1",
                "kind": "IPPool",
                "metadata": {"name": name},
                "spec": {"ipPoolSubs": [dict(SUB if sub is None else sub)], **spec},
            }
        )

    def status(self, name: str = "pool") -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.request("GET", f"{POOLS}/{name}").get("status") or {}
        return found

    def condition(self, kind: str, name: str = "pool") -> dict[str, Any]:
        found = [each for each in self.status(name).get("conditions", []) if each["type"] == kind]
        return found[0] if found else {}

    def ready(self, name: str = "pool") -> bool:
        """Whether the pool's present generation is in the ledger, and its status says so."""
        raw = self.cluster.request("GET", f"{POOLS}/{name}")
        status = raw.get("status") or {}
        return (
            status.get("observedGeneration") == raw["metadata"]["generation"]
            and self.condition("Ready", name).get("status") == "True"
        )

    # the kubelet

    @property
    def agent(self) -> Agent:
        if self._agent is None:
            self._agent = self._agents(self.url, options=["--evidence", f"cluster:{self.cluster.kubeconfig}"])
        return self._agent

    def add(self, pod: str, uid: str, *, sandbox: str, pool: str = "pool") -> str:
        """The kubelet's runtime asks for an address: the address, or the error's code as text."""
        answer = self._verb("ADD", pod, uid, sandbox, pool)
        if answer.code:
            return str(answer.json["code"])
        return str(answer.json["ips"][0]["address"].partition("/")[0])

    def delete(self, pod: str, uid: str, *, sandbox: str, pool: str = "pool") -> None:
        answer = self._verb("DEL", pod, uid, sandbox, pool)
        assert answer.code == 0, answer

    def collect(self, *, keep: Sequence[str]) -> None:
        """The GC of a real agent on node1: these sandboxes are there, and no others."""
        valid = [{"containerID": sandbox, "ifname": "eth0"} for sandbox in keep]
        conf = {**self.agent.config(pool="pool", version="1.1.0"), "cni.dev/valid-attachments": valid}
        assert k8s_ipam(cni_env("GC", pod=None), conf).code == 0

    def _verb(self, verb: str, pod: str, uid: str, sandbox: str, pool: str) -> Answer:
        env = cni_env(verb, container=sandbox, pod=f"{self.namespace}/{pod}", uid=uid)
        return k8s_ipam(env, self.agent.config(pool=pool))

    def take(self, pod: str, uid: str = "u", *, pool: str = "pool") -> str:
        """The same past the agent, straight into the book, for tests that need many."""
        return self.book.allocate(claim(f"{self.namespace}/{pod}", uid, pool))[0].ip

    def give_back(self, pod: str, uid: str = "u") -> None:
        self.book.release(claim(f"{self.namespace}/{pod}", uid, "").attachment)

    # the ledger

    def events(self) -> list[tuple[str, str, str, str]]:
        """Kind, address, pod, reason: the whole ledger in its order."""
        with self.database.read() as tx:
            rows = tx.connection.exec_driver_sql("SELECT kind, ip, pod, reason FROM ledger ORDER BY seq")
            return [tuple(str(part or "") for part in row) for row in rows]  # type: ignore[misc]

    def figures_at(self, position: int, pool: str = "pool") -> dict[str, Any]:
        """Counts and owners of a pool at a position, by the plainest query there is."""
        newest: dict[str, tuple[str, str, str]] = {}
        with self.database.read() as tx:
            for ip, state, namespace, pod in tx.connection.exec_driver_sql(
                "SELECT l.ip, l.state, l.namespace, l.pod FROM ledger l JOIN pool p ON p.id = l.pool_id "
                f"WHERE p.name = '{pool}' AND l.ip IS NOT NULL AND l.seq <= {position} ORDER BY l.version"
            ):
                newest[str(ip)] = (state, namespace, pod)
        owners: dict[str, dict[str, str]] = {}
        for ip, (state, namespace, pod) in newest.items():
            if state == "allocated" and namespace:
                owners.setdefault(namespace, {})[pod] = ip
        counts = {
            state: sum(1 for each, _, _ in newest.values() if each == state)
            for state in ("allocated", "held", "cooling")
        }
        return {**counts, "dynamicReservations": owners}


def claim(owner: str, uid: str, pool: str) -> Claim:
    namespace, _, name = owner.partition("/")
    return Claim((pool,), Owner(namespace, name, uid), Attachment(f"sandbox-{owner}-{uid}", "eth0", "podnet"))


def pod(cluster: ControlPlane, namespace: str, name: str, phase: str | None = None, **metadata: Any) -> str:
    """Create a pod as a user would, and, as its kubelet, say its phase. Its UID."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    made = cluster.request(
        "POST",
        path,
        {
            "metadata": {"name": name, **metadata},
            "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "pause"}]},
        },
    )
    if phase:
        set_phase(cluster, namespace, name, phase)
    uid: str = made["metadata"]["uid"]
    return uid


def set_phase(cluster: ControlPlane, namespace: str, name: str, phase: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
    cluster.request("PATCH", path, {"status": {"phase": phase}})


def delete_pod(cluster: ControlPlane, namespace: str, name: str) -> None:
    """Gone at once, as when its kubelet has confirmed its end."""
    body = {"gracePeriodSeconds": 0}
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", body)


def wait_for(what: Callable[[], Any], *, seconds: float = 60.0, why: str = "") -> Any:
    """Whatever ``what`` says once it is true. An AssertionError of its own counts as not yet."""
    until = time.monotonic() + seconds
    while True:
        failed: AssertionError | None = None
        found = None
        try:
            found = what()
        except AssertionError as error:
            failed = error
        if found:
            return found
        if time.monotonic() > until:
            raise failed or AssertionError(f"not within {seconds} s: {why or what}")
        time.sleep(0.1)
