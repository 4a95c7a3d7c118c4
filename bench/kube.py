"""The sync worker beside a real API server: how late the status is, what it asks, what it weighs, how long its first list takes."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

from bench.part import Missing, Part, Row, Run, at_most
from bench.series import Series
from bench.stage import POOL, POOL_OBJECT, Stage, claim, fresh
from ledger.book import Book
from ledger.store import Database
from sync.kube import IPPOOLS, Api
from tests.servers import kubeprograms
from tests.servers.apiserver import ControlPlane
from tests.servers.keeper import Keeper
from tests.servers.sync import SyncWorker

ROOT = Path(__file__).parents[1]
USER = "system:serviceaccount:ipam-ledger:ipam-ledger-sync"
POOLS = "/apis/ipam.k8s.io/v1alpha1/ippools"

EVENTS = 200
"""A second, while the lag is measured."""
SECONDS = 10
"""… in each round."""
WRITERS = 8
IDLE = 60
LEVELS = (10_000, 50_000, 150_000)
"""Pods in the API server, while the worker's memory is measured."""

DEFAULT_PACE = {f"IPAM_LEDGER_{key}": "" for key in (
    "FOLLOW_SECONDS", "LEASE_SECONDS", "LEASE_RENEW_SECONDS", "RECLAIM_GRACE", "SWEEP_SECONDS",
)}  # fmt: skip
"""The worker as it runs in a cluster, and not as impatient as the tests have it."""


def run(stage: Stage) -> Run:
    programs = kubeprograms.find()
    if programs is None:
        raise Missing(f"a Kubernetes control plane is missing: {kubeprograms.HOW}")
    with contextlib.ExitStack() as exits:
        keeper = Keeper()
        exits.callback(keeper.close)
        stage.say("the API server")
        cluster = ControlPlane(programs, keeper, audit=True)
        exits.callback(cluster.close)
        cluster.start()
        cluster.kubectl("apply", "-k", str(ROOT / "deploy"))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/ippools.ipam.k8s.io")
        kubeconfig = cluster.kubeconfig_for("ipam-ledger", "ipam-ledger-sync")
        database = Database(stage.empty("postgresql"))
        exits.callback(database.close)
        url = database.url.render_as_string(hide_password=False)

        worker = started(exits, url, kubeconfig, keeper)
        cluster.request("POST", POOLS, POOL_OBJECT)
        until(lambda: (cluster.request("GET", f"{POOLS}/{POOL}").get("status") or {}).get("capacity"), 30)
        lag, patches, asked = Series("status lag"), Series("status patches", "/s"), Series("requests", "/s")
        for _ in range(stage.rounds):
            before, begun = len(cluster.audited(USER)), time.monotonic()
            lag.add(measure_lag(cluster, database))
            during, took = cluster.audited(USER)[before:], time.monotonic() - begun
            patches.add([during.count(("patch", "ippools/status")) / took])
            asked.add([len(during) / took])
            yield
        stage.say(f"what an idle worker asks in {IDLE} s")
        time.sleep(2)
        before = len(cluster.audited(USER))
        time.sleep(IDLE)
        idle = len(cluster.audited(USER)) - before
        worker.stop()

        rows = [
            Row(
                f"status behind the ledger, {EVENTS} events/s, PostgreSQL",
                lag,
                goals=(at_most(1.0, lag.p50), at_most(2.0, lag.p99)),
            ),
            Row("status patches of that pool", rate=patches, goals=(at_most(2, patches.p50, "a second"),)),
            Row("all requests of the worker meanwhile", rate=asked),
            Row("requests of an idle worker", goals=(at_most(10, idle * 60 / IDLE, "a minute"),)),
        ]
        rows += weigh(stage, exits, cluster, url, kubeconfig, keeper)
    return rows


def started(exits: contextlib.ExitStack, url: str, kubeconfig: Path, keeper: Keeper) -> SyncWorker:
    worker = SyncWorker(url, kubeconfig, keeper=keeper, namespace="ipam-ledger", env=DEFAULT_PACE)
    exits.callback(worker.process.kill9)
    worker.start()
    until(lambda: "listed" in worker.process.output() and "follow: started" in worker.process.output(), 60)
    return worker


def measure_lag(cluster: ControlPlane, database: Database) -> list[float]:
    """From the commit of each event to the moment in which a watcher of the object sees a position at or after it."""
    api = Api.connect(cluster.kubeconfig)
    seen: list[tuple[float, int]] = []
    version = cluster.request("GET", f"{POOLS}?limit=1")["metadata"]["resourceVersion"]
    stream = api.watch(IPPOOLS, version, seconds=600)

    def watch() -> None:
        for change in stream:
            status = (change.get("object") or {}).get("status") or {}
            seen.append((time.perf_counter(), int(status.get("ledgerSeq") or 0)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    done: list[tuple[float, int]] = []
    pace = WRITERS / EVENTS
    begun = time.perf_counter()

    def write(lane: int) -> None:
        book = Book(database, actor="bench")
        due = begun + lane * pace / WRITERS
        held = None
        while due < begun + SECONDS:
            time.sleep(max(0.0, due - time.perf_counter()))
            if held is None:
                held = claim(fresh())
                event = book.allocate(held)[0].event
            else:
                [event] = book.release(held.attachment)
                held = None
            assert event is not None
            done.append((time.perf_counter(), event.seq))
            due += pace

    writers = [threading.Thread(target=write, args=(lane,)) for lane in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    last = max(seq for _, seq in done)
    until(lambda: seen and seen[-1][1] >= last, 30)
    stream.close()
    watcher.join()
    api.close()
    lags = []
    shown = iter(sorted(seen))
    at, position = next(shown)
    for committed, seq in sorted(done, key=lambda each: each[1]):
        while position < seq:
            at, position = next(shown)
        lags.append(max(0.0, at - committed))
    return lags


# What it weighs ---------------------------------------------------------------------------------------


def weigh(
    stage: Stage,
    exits: contextlib.ExitStack,
    cluster: ControlPlane,
    url: str,
    kubeconfig: Path,
    keeper: Keeper,
) -> list[Row]:
    """A fresh worker at each number of pods: its memory when it has listed them all, at its highest, and the time of that list."""
    rows = []
    weights: list[tuple[int, float]] = []
    made = 0
    for level in LEVELS:
        stage.say(f"{level:,} pods in the API server")
        make_pods(cluster, made, level)
        made = level
        worker = started(exits, url, kubeconfig, keeper)
        said = until(lambda worker=worker, level=level: list_line(worker, level), 600)
        seconds = float(said.rsplit(" in ", 1)[1].split()[0])
        time.sleep(35)  # one round of the sweep, which compares them all
        now, peak = (memory(worker.process.pid, key) for key in ("VmRSS", "VmHWM"))
        weights.append((level, now))
        list_time = Series(f"first list, {level}")
        list_time.add([seconds])
        rows.append(
            Row(
                f"worker with {level:,} pods: {now:.0f} MB, at its highest {peak:.0f} MB; its first list",
                list_time,
                goals=(at_most(300, peak, "MB"),) if level == LEVELS[-1] else (),
            )
        )
        worker.stop()
    (few, light), (many, heavy) = weights[0], weights[-1]
    rows.append(Row(f"… which is {(heavy - light) * 1e6 / (many - few):.0f} bytes more for each pod more"))
    return rows


def list_line(worker: SyncWorker, least: int) -> str | None:
    for line in worker.process.output().splitlines():
        if "watch pods: listed " in line and int(line.split("listed ")[1].split()[0]) >= least:
            return line
    return None


def memory(pid: int, key: str) -> float:
    """In MB of a million bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(key)


def make_pods(cluster: ControlPlane, first: int, last: int) -> None:
    """Pods like real ones, written past the API server into its etcd: 150,000 creations through it would take an hour.

    One is made and started by way of the API, and copied as that left it, with its managed fields and all. The API server
    is restarted so that its cache is read anew from etcd.
    """
    namespace = "crowd"
    if first == 0:
        cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    template = real_pod(cluster, namespace, f"pattern-{first}")
    batch: list[dict[str, Any]] = []
    for number in range(first, last):
        raw = json.loads(template)
        name = f"app-{number // 50:05}-7c9d6b5f4d-{number:06}"
        uid = f"{number:08x}-1111-4222-8333-{number:012x}"
        raw["metadata"] |= {"name": name, "uid": uid, "namespace": f"{namespace}-{number % 200}"}
        key = f"/registry/pods/{namespace}-{number % 200}/{name}"
        batch.append({"requestPut": {"key": _b64(key), "value": _b64(json.dumps(raw))}})
        if len(batch) == 100 or number == last - 1:
            cluster.etcd_call("kv/txn", {"success": batch})
            batch = []
    cluster.restart_apiserver()
    cluster.request("GET", "/api/v1/pods?limit=1", seconds=300)


def real_pod(cluster: ControlPlane, namespace: str, name: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/pods"
    cluster.request(
        "POST",
        path,
        {
            "metadata": {
                "name": name,
                "labels": {"app": "shop", "pod-template-hash": "7c9d6b5f4d", "tier": "backend"},
                "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
            },
            "spec": {
                "nodeName": "node1",
                "containers": [
                    {
                        "name": "app",
                        "image": "registry.example.org/shop/backend:1.2.3",
                        "env": [{"name": f"SETTING_{n}", "value": "some value"} for n in range(10)],
                    }
                ],
            },
        },
    )
    cluster.request(
        "PATCH",
        f"{path}/{name}/status",
        {"status": {"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}]}},
    )
    raw = cluster.request("GET", f"{path}/{name}")
    cluster.request("DELETE", f"{path}/{name}", {"gracePeriodSeconds": 0})
    raw["metadata"].pop("resourceVersion")
    return json.dumps(raw)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def until(what: Any, seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.02)
    return found


PART = Part(
    "kube",
    "the status: ≤ 2 patches a second, about a second late; ≤ 10 requests a minute idle; ≤ 300 MB",
    run,
    long=True,
)
