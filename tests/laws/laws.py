"""The laws of design.md, read from a database by the plainest queries there are, and by none of the ledger's own code.

``broken(database)`` gives a sentence for each law that does not hold; the tests assert that there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ledger.store import Database

HOLDER = ("namespace", "pod", "pod_uid", "container_id", "if_name", "network", "node", "until")
COLUMNS = ("seq", "at", "pool_id", "ip", "version", "kind", "state", *HOLDER, "reason", "spec")

# kind -> the states that it may come from, and those that it may lead to. None: the address was never used.
LEGAL: dict[str, tuple[set[str | None], set[str]]] = {
    "Allocated": ({None, "free", "allocated", "cooling", "held"}, {"allocated"}),
    "Adopted": ({None, "free", "cooling", "held"}, {"allocated"}),
    "Released": ({"allocated", "held"}, {"free", "cooling"}),
    "Reclaimed": ({"allocated"}, {"free", "cooling"}),
    "Held": ({"free", "allocated", "cooling", "held"}, {"held"}),
    "Freed": ({"cooling", "held"}, {"free"}),
}


@dataclass(frozen=True)
class Line:
    """One event as it is stored."""

    seq: int
    at: Any
    pool_id: int
    ip: str | None
    version: int
    kind: str
    state: str | None
    namespace: str | None
    pod: str | None
    pod_uid: str | None
    container_id: str | None
    if_name: str | None
    network: str | None
    node: str | None
    until: Any
    reason: str | None
    spec: Any

    @property
    def holder(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in HOLDER)

    @property
    def owner(self) -> tuple[str | None, ...]:
        """Who it is for, as ``events.owner_key`` and the interface say: a pod, or else a container."""
        pod = self.namespace, self.pod
        return (*(pod if None not in pod else (self.container_id,)), self.if_name)


def read(database: Database, pools: str = "%") -> tuple[list[Line], list[Any], list[Any]]:
    """The ledger, the address table and the pools, as of one moment; ``pools``: only those whose names are like it."""
    with database.read() as tx:
        run = tx.connection.exec_driver_sql
        where = f"WHERE pool_id IN (SELECT id FROM pool WHERE name LIKE '{pools}')".replace("%", "%%")
        if database.sqlite:
            where = where.replace("%%", "%")
        lines = [
            Line(*row) for row in run(f"SELECT {', '.join(COLUMNS)} FROM ledger {where} ORDER BY seq").all()
        ]
        addresses = run(
            f"SELECT pool_id, ip, version, state, since, owner, {', '.join(HOLDER)} FROM address {where}"
        ).all()
        found = run("SELECT id, name, address_space, version, live, spec FROM pool").all()
    return lines, list(addresses), list(found)


def broken(database: Database, pools: str = "%") -> list[str]:
    """What is wrong, in sentences; empty when every law holds."""
    lines, addresses, found = read(database, pools)
    streams: dict[tuple[int, str | None], list[Line]] = {}
    for line in lines:
        streams.setdefault((line.pool_id, line.ip), []).append(line)
    wrong: list[str] = []
    for key, stream in streams.items():
        stream.sort(key=lambda line: line.version)
        wrong += _stream(stream, key)
    wrong += _rows(streams, addresses)
    wrong += _pools(streams, found)
    wrong += _owners(streams, found)
    return wrong


def _stream(stream: list[Line], key: tuple[int, str | None]) -> Iterator[str]:
    if [line.version for line in stream] != list(range(1, len(stream) + 1)):
        yield f"versions of {key} have gaps: {[line.version for line in stream]}"
    for before, after in pairwise(stream):
        if after.at < before.at:
            yield f"time goes back in {key}: {before.version} at {before.at}, {after.version} at {after.at}"
        if after.seq < before.seq:
            yield f"positions go back in {key}: {before.version} is {before.seq}, {after.version} is {after.seq}"
    if key[1] is None:
        return
    last: Line | None = None
    for line in stream:
        yield from _transition(last, line)
        last = line


def _transition(before: Line | None, after: Line) -> Iterator[str]:
    name = f"{after.ip} version {after.version}: {before.state if before else None} -{after.kind}-> {after.state}"
    origins, ends = LEGAL.get(after.kind, (set(), set()))
    if (before.state if before else None) not in origins or after.state not in ends:
        yield f"{name} is not legal"
    if after.until is not None and after.state not in ("cooling", "held"):
        yield f"{name} has an until"
    if after.state == "cooling" and after.until is None:
        yield f"{name} cools for ever"
    if before is None:
        return
    if after.kind in ("Released", "Reclaimed", "Held", "Freed"):
        if before.holder[:-1] != after.holder[:-1]:
            yield f"{name} changes the owner"
    elif before.state == "allocated" and (before.owner != after.owner or after.reason != "reassigned"):
        yield f"{name} takes it from {before.owner} for {after.owner}"
    elif (
        before.state in ("cooling", "held")
        and before.owner != after.owner
        and after.kind != "Adopted"  # who has it has it; whatever else must have been freed first
    ):
        yield f"{name} gives away what is {before.state}"


def _rows(streams: dict[tuple[int, str | None], list[Line]], addresses: list[Any]) -> Iterator[str]:
    replayed = {key: stream[-1] for key, stream in streams.items() if key[1] is not None}
    for pool_id, ip, version, state, since, owner, *holder in addresses:
        line = replayed.pop((pool_id, ip), None)
        if line is None:
            if (version, state, since, owner, set(holder)) != (0, "free", None, None, {None}):
                yield f"{ip} has changed without an event: {version}, {state}, {owner}"
            continue
        if (version, state, since, tuple(holder)) != (line.version, line.state, line.at, line.holder):
            yield f"{ip} is {(version, state, since, *holder)}, the ledger says {line}"
        key = f"{line.namespace}/{line.pod}" if None not in (line.namespace, line.pod) else line.container_id
        if owner != key:
            yield f"{ip} is filed under {owner}, its owner is {key}"
    for key in replayed:
        yield f"{key} has events and no row"


def _pools(streams: dict[tuple[int, str | None], list[Line]], found: list[Any]) -> Iterator[str]:
    for pool_id, name, _, version, live, spec in found:
        if (pool_id, None) not in streams:
            continue
        last = streams[pool_id, None][-1]
        told = (last.version, last.kind != "PoolDeleted", _parsed(last.spec))
        if (version, bool(live), _parsed(spec)) != told:
            yield f"pool {name} is {(version, live, spec)}, the ledger says {told}"


def _owners(streams: dict[tuple[int, str | None], list[Line]], found: list[Any]) -> Iterator[str]:
    spaces = {pool_id: (space, bool(live)) for pool_id, _, space, _, live, _ in found}
    by_address: dict[tuple[str, str | None], Line] = {}
    by_owner: dict[tuple[Any, ...], Line] = {}
    for (pool_id, ip), stream in streams.items():
        line = stream[-1]
        if ip is None or line.state != "allocated":
            continue
        space, live = spaces[pool_id]
        if not live:
            yield f"{ip} is allocated in a deleted pool"
        for seen, key in (
            (by_address, (space, ip)),
            (by_owner, (pool_id, ":" in ip, line.owner)),
        ):
            other = seen.setdefault(key, line)  # type: ignore[arg-type, attr-defined]
            if other is not line:
                yield f"{key} twice: {other} and {line}"


def _parsed(spec: Any) -> Any:
    return json.loads(spec) if isinstance(spec, str) else spec
