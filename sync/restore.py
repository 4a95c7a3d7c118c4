"""Recovery between ledger and cluster, for ``ipam-ledger restore``, which finds this by name.

The ledger is lost: ``from_cluster`` reads what IPPool status and the running pods say, as records that ``ledger.adoption``
compares and adopts; ``settled`` lets the sync worker write on, once that is done. The cluster is lost: ``to_cluster`` writes the
IPPools from the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ledger import pools
from ledger.addresses import canonical
from ledger.adoption.found import Found, Problem, Reading, placeholder
from ledger.errors import InvalidInput
from ledger.events import Attachment, Owner
from ledger.pools import PoolSpec
from sync.errors import Conflict, NotFound, Refused
from sync.kube import IPPOOLS, MERGE, Api, pool_path, reached
from sync.objects import FINALIZER, IPPool
from sync.project import condition
from sync.survey import RunningPod, Survey, survey


def look(kubeconfig: str | None = None) -> None:
    """Whether this machine knows a way to the API server; connects to nothing. Raises NotReached."""
    with reached(kubeconfig):
        pass


def from_cluster(kubeconfig: str | None = None) -> Reading:
    """Every IPPool, and every address of their ranges that somebody has. Raises NotReached."""
    with reached(kubeconfig) as api:
        return read(survey(api))


def settled(kubeconfig: str | None = None) -> list[str]:
    """Adoption is done: the pools' status may begin anew at the new ledger's positions. The names of those that had one."""
    with reached(kubeconfig) as api:
        return forget_positions(api)


def to_cluster(
    specs: Iterable[PoolSpec], kubeconfig: str | None = None, *, dry_run: bool = False
) -> list[Written]:
    """Write the ledger's pools as IPPools where there are none. One that is there is left alone, whatever it says.

    One that the API server refuses keeps none of the others from being written. Raises NotReached.
    """
    with reached(kubeconfig) as api:
        return [write(api, spec, dry_run=dry_run) for spec in specs]


# -- the ledger is lost --------------------------------------------------------------------------------


def read(seen: Survey) -> Reading:
    """What a survey says about who has which address. Pure.

    What a running pod says of itself is the fact. What a status says counts beside it, also of a pod that is not listed: its
    address is adopted and, if the pod is really gone, taken back later on evidence; only where a running pod shows the very
    address is the entry of a pod that does not run, or shows another one, old.
    """
    reading = Reading(problems=[Problem("the API server", "", None, sentence) for sentence in seen.unread])
    specs: dict[str, PoolSpec] = {}
    for name, pool in seen.pools.items():
        raw = pool.raw.get("spec")
        reading.specs[name] = raw if isinstance(raw, Mapping) else {}
        try:
            specs[name] = pools.from_object(pool.raw)
        except InvalidInput as error:
            reading.problems.append(Problem.of(error, f"ippool {name}"))
    shown: dict[tuple[str, str], list[RunningPod]] = {}
    for pod in seen.pods.values():
        for interface in pod.interfaces:
            for ip in interface.ips:
                for name in [name for name, spec in specs.items() if spec.sub_of(ip)]:
                    shown.setdefault((name, ip), []).append(pod)
                    reading.found.append(
                        Found(
                            ip,
                            Owner(pod.namespace, pod.name, pod.uid),
                            Attachment(
                                placeholder(pod.namespace, pod.name), interface.name, interface.network
                            ),
                            name,
                            f"pod {pod.key}",
                            name,
                            pod.node,
                        )
                    )
    for name, pool in seen.pools.items():
        reading.problems += _truncated(pool)
        for namespace, pods in pool.reservations.items():
            for named, ips in pods.items():
                for text in ips:
                    try:
                        ip = canonical(text, f"status.dynamicReservations.{namespace}.{named}")
                    except InvalidInput as error:
                        reading.problems.append(Problem.of(error, f"ippool {name}"))
                        continue
                    running = seen.pods.get(f"{namespace}/{named}")
                    others = [each for each in shown.get((name, ip), []) if each is not running]
                    if others and (running is None or (running.ips and ip not in running.ips)):
                        continue
                    reading.found.append(
                        Found(
                            ip,
                            Owner(namespace, named, running.uid if running else None),
                            Attachment(placeholder(namespace, named), "eth0", ""),
                            name,
                            f"ippool {name}",
                            name,
                            running.node if running else None,
                        )
                    )
    return reading


def _truncated(pool: IPPool) -> list[Problem]:
    if condition(pool.status, "ReservationsTruncated").get("status") != "True":
        return []
    return [
        Problem(
            f"ippool {pool.meta.name}",
            "status.conditions",
            "ReservationsTruncated",
            "reservations were left out: only what running pods show of this pool is known",
        )
    ]


def forget_positions(api: Api) -> list[str]:
    """Take the lost ledger's positions from every IPPool's status, so that the new one is not behind them."""
    names = []
    for items, _ in api.pages(IPPOOLS):
        for raw in items:
            pool = IPPool.from_raw(raw)
            if pool.ledger_seq:
                api.call(
                    "PATCH",
                    pool_path(pool.meta.name) + "/status",
                    {"status": {"ledgerSeq": None}},
                    kind=MERGE,
                )
                names.append(pool.meta.name)
    return names


# -- the cluster is lost -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one pool: "created", "unchanged", "differs" (the object is there and says something else) or "refused"."""

    pool: str
    became: str
    why: str | None = None
    """What the API server said to one that it refused."""


def write(api: Api, spec: PoolSpec, *, dry_run: bool = False) -> Written:
    """Raises ApiAway."""
    try:
        return _write(api, spec, dry_run=dry_run)
    except Refused as error:
        return Written(spec.name, "refused", str(error))


def _write(api: Api, spec: PoolSpec, *, dry_run: bool) -> Written:
    try:
        there = IPPool.from_raw(api.call("GET", pool_path(spec.name)))
    except NotFound:
        body = spec.to_object()
        body["metadata"]["finalizers"] = [FINALIZER]  # addresses are in use before any worker has seen it
        query = {"dryRun": "All"} if dry_run else None
        try:
            api.call("POST", IPPOOLS.path, body, query=query)
        except Conflict:
            return _write(api, spec, dry_run=dry_run)
        return Written(spec.name, "created")
    try:
        same = pools.same(spec, pools.from_object(there.raw))
    except InvalidInput:
        same = False
    return Written(spec.name, "unchanged" if same else "differs")
