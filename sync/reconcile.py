"""What was seen -> what the book should do. Pure.

Pools, the sweep, and the retention of StatefulSets' addresses are each one decision: state in, commands or a plan
out. ``sync.worker`` performs them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ledger import pools
from ledger.errors import InvalidInput, LedgerError, PoolInUse, PoolOverlap
from ledger.events import Event, State
from ledger.pools import PoolSpec
from sync.objects import FINALIZER, IPPool, StatefulSet, set_of

LOST: Final = "LedgerLost"
"""The reason of ``Ready=False`` where the object shows addresses in use of a pool that the ledger never heard of."""

# -- pools ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Keep the object until the ledger has let go of the pool."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Make the ledger's pool what the object says."""

    spec: PoolSpec


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the ledger's pool; refused while addresses are in use."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """The ledger has let go; so may the API server. Only after ``Delete`` went well."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pool's object is not what the ledger has: the reason (one word) and message of ``Ready=False``."""

    reason: str
    message: str


Command = AddFinalizer | Apply | Delete | RemoveFinalizer | Refusal


def pool_commands(seen: IPPool, in_ledger: PoolSpec | None) -> tuple[Command, ...]:
    """What to do about one IPPool. The finalizer comes first, so that no pool is in use without one."""
    ours = FINALIZER in seen.meta.finalizers
    if seen.meta.deleting:
        # Also where our picture has no such pool: it may be late, and then nobody would delete the pool any more.
        return (Delete(), RemoveFinalizer()) if ours else ()
    try:
        spec = pools.from_object(seen.raw)
    except InvalidInput as error:
        return (refusal_of(error),)
    if in_ledger is None and (claims := seen.claims):
        return (
            Refusal(
                LOST,
                f"this object shows {claims} addresses in use, but the ledger does not know the pool; nothing is given "
                "out until that is settled: run `ipam-ledger restore --from-cluster`",
            ),
        )
    out: list[Command] = [] if ours else [AddFinalizer()]
    if in_ledger is None or not pools.same(in_ledger, spec):
        out.append(Apply(spec))
    return tuple(out)


def refusal_of(error: LedgerError) -> Refusal:
    """The condition that an error of the book means to whoever wrote the object."""
    for kind, reason in (
        (InvalidInput, "InvalidSpec"),
        (PoolOverlap, "Overlap"),
        (PoolInUse, "AddressesInUse"),
    ):
        if isinstance(error, kind):
            return Refusal(reason, str(error))
    return Refusal("Refused", str(error))


def only_in_ledger(known: Iterable[str], seen: Collection[str]) -> list[str]:
    """Pools without an object in the API server. They are left alone (the object may come back), and reported."""
    return sorted(name for name in known if name not in seen)


# -- the sweep -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """When the sweep may ask for an owner's end, and when it must not act at all."""

    grace: float = 60.0
    """Seconds between the first time an owner was missed and the question; it must be missed twice at least."""

    at_most: int = 100
    """Owners asked about in one round: a bounded load on the API server."""

    share: float = 0.5
    """Above this share of a cluster's pod owners missing at once, nothing is reclaimed: more likely our view is
    wrong than the cluster gone."""

    floor: int = 10
    """So many missing owners are never too many, whatever their share: small clusters do change that much."""

    shrink: float = 0.5
    """A list of pods shorter than this share of what it was counts as suddenly small."""

    settle: int = 10
    """After so many rounds a smaller list is taken for the new normal."""


Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Memory:
    """What a round of the sweep leaves to the next: since when each owner is missing, and how long the list was."""

    since: Mapping[Key, float] = field(default_factory=dict, hash=False)
    pods: int = 0
    low: int = 0


@dataclass(frozen=True, slots=True)
class Sweep:
    """The plan of one round: whose end to ask for now. ``suspended``: why nobody's, in words."""

    ask: tuple[Event, ...]
    missing: int
    suspended: str | None
    memory: Memory = field(compare=False)


def plan_sweep(
    holders: Iterable[Event],
    running: Mapping[str, bytes],
    pack: Callable[[str], bytes],
    memory: Memory,
    now: float,
    limits: SweepLimits = SweepLimits(),
) -> Sweep:
    """Compare who holds addresses with which pods run.

    ``holders``: the newest event of each allocated address. ``running``: "namespace/pod" → packed UID.
    ``pack``: packs a UID alike. Owners that are not pods are never missed.
    Nothing here is evidence: whom this names is asked about, live, before anything is taken back.
    """
    since: dict[Key, float] = {}
    ripe: list[tuple[float, Event]] = []
    pods = 0
    for holder in holders:
        owner = holder.owner
        if not owner.is_pod or holder.ip is None:
            continue
        pods += 1
        found = running.get(f"{owner.namespace}/{owner.pod}")
        if found is not None and (not owner.uid or not found or found == pack(owner.uid)):
            continue
        key = (holder.pool, holder.ip, holder.version)
        first = memory.since.get(key)
        since[key] = now if first is None else first
        if first is not None and now - first >= limits.grace:
            ripe.append((first, holder))
    suspended = _suspicion(len(running), pods, len(since), bool(ripe), memory, limits)
    small = len(running) < limits.shrink * memory.pods
    if small and since and memory.low < limits.settle:
        after = Memory(since, memory.pods, memory.low + 1)
    else:
        after = Memory(since, len(running), 0)
    if suspended:
        return Sweep((), len(since), suspended, after)
    ripe.sort(key=lambda each: (each[0], each[1].seq))
    return Sweep(tuple(holder for _, holder in ripe[: limits.at_most]), len(since), None, after)


def _suspicion(
    running: int, holders: int, missing: int, ripe: bool, memory: Memory, limits: SweepLimits
) -> str | None:
    if not ripe:
        return None
    if running == 0:
        return f"the API server lists no pod at all, while {holders} hold addresses"
    if running < limits.shrink * memory.pods and memory.low < limits.settle:
        return f"the list of pods shrank suddenly from {memory.pods} to {running}"
    if missing > max(limits.floor, limits.share * holders):
        return (
            f"{missing} of {holders} pods that hold addresses are not listed, more than the cap "
            f"({limits.share:.0%}); if they are really gone, raise IPAM_LEDGER_RECLAIM_SHARE"
        )
    return None


# -- retention -----------------------------------------------------------------------------------------

Retention = Literal["hold", "free"]


def wants_set(event: Event, retain_for: Collection[str]) -> tuple[str, str] | None:
    """The namespace and name of the StatefulSet that decides about this address, or None if none does.

    ``event``: the newest of an address that nobody has allocated now.
    """
    owner = event.owner
    if event.state in (None, State.ALLOCATED) or owner.namespace is None or owner.pod is None:
        return None
    if event.state is not State.HELD and "StatefulSet" not in retain_for:
        return None
    named = set_of(owner.pod)
    return (owner.namespace, named[0]) if named else None


def retention(
    event: Event, retain_for: Collection[str], found: StatefulSet | None
) -> tuple[Retention, str] | None:
    """Hold or free a gone pod's address, and why; None: leave it as it is.

    ``found``: the StatefulSet that ``wants_set`` named, asked of the API server just now; None: it is not there.
    """
    if event.owner.pod is None or (named := set_of(event.owner.pod)) is None:
        return None
    name, ordinal = named
    if event.state is State.HELD:
        if "StatefulSet" not in retain_for:
            return "free", "the pool retains no StatefulSet's addresses any more"
        if found is None:
            return "free", f"StatefulSet {name} is gone"
        if not found.has(ordinal):
            return "free", f"StatefulSet {name} has no ordinal {ordinal} any more"
        return ("hold", f"StatefulSet {name} exists") if event.until is not None else None
    free = event.state in (State.FREE, State.COOLING)
    if free and found is not None and not found.deleting and found.has(ordinal):
        return "hold", f"StatefulSet {name} exists"
    return None
