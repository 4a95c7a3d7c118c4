"""What is written in the ledger: kinds, states, owners, and the event itself. Pure.

An event carries the *whole resulting state* of its address, so that replay is "the newest version of
each address" and nothing needs to be folded. Events are never rewritten; older shapes are upcast at read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What happened. The names are stored; never rename one."""

    POOL_CREATED = "PoolCreated"
    POOL_UPDATED = "PoolUpdated"
    POOL_DELETED = "PoolDeleted"
    ALLOCATED = "Allocated"
    RELEASED = "Released"
    RECLAIMED = "Reclaimed"
    HELD = "Held"
    FREED = "Freed"
    ADOPTED = "Adopted"

    @property
    def of_pool(self) -> bool:
        """Whether the event is about a pool rather than an address."""
        return self in (Kind.POOL_CREATED, Kind.POOL_UPDATED, Kind.POOL_DELETED)


class State(StrEnum):
    """What an address is after an event."""

    FREE = "free"
    ALLOCATED = "allocated"
    COOLING = "cooling"
    HELD = "held"


class Reason(StrEnum):
    """Why an address was given out or taken back, when no person gave a reason in words."""

    RANDOM = "random"
    LOWEST = "lowest"
    REASSIGNED = "reassigned"  # a relaunched pod of the same name took over the address it still held
    STATIC = "static"
    REQUESTED = "requested"
    RETURNING = "returning"
    DEL = "del"
    GC = "gc"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds an address: a pod (namespace and name, fenced by UID) or a bare container.

    ``namespace`` is None for an owner that is not a pod; such an owner is its container, and is never
    swept on evidence about pods. ``pod`` may then still carry a name for people to read.
    """

    namespace: str | None = None
    pod: str | None = None
    uid: str | None = None

    @property
    def is_pod(self) -> bool:
        return self.namespace is not None and self.pod is not None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a runtime attaches: one interface of one container to one network (the CNI SPEC's triple).

    An owner by hand has its name as ``container_id``, too, perhaps an ``if_name``, and no ``network``.
    """

    container_id: str
    if_name: str = ""
    network: str = ""

    @property
    def storable(self) -> bool:
        """Whether the ledger can hold it; one that is not holds nothing."""
        return all(map(storable, (self.container_id, self.if_name, self.network)))


LONGEST = 512
"""Bytes of a name or a reason in the ledger. Kubernetes' names have 253 at most; three of these fit into an index's row."""


def storable(text: str) -> bool:
    """Whether both databases can keep the text: no NUL, no half of a surrogate pair, not too long."""
    if text.isascii():
        return "\0" not in text and len(text) <= LONGEST
    return "\0" not in text and len(text.encode("utf-8", "replace")) <= LONGEST and not _HALVES.search(text)


def unstorable(text: str) -> str:
    """Why a text is not storable."""
    size = len(text.encode("utf-8", "replace"))
    if size > LONGEST:
        return f"is too long: make it {LONGEST} bytes at most; it has {size:,}"
    return "holds a character that no database stores (a NUL, half of a surrogate pair): leave it out"


_HALVES = re.compile("[\ud800-\udfff]")


def owner_key(owner: Owner, attachment: Attachment) -> str:
    """What makes two requests the same owner: ``namespace/pod``, else the container id.

    The two never collide: Kubernetes names and the SPEC's container ids hold no slash.
    """
    return f"{owner.namespace}/{owner.pod}" if owner.is_pod else attachment.container_id


def holder(owner: Owner, attachment: Attachment) -> str:
    """Who holds an address, for a message: ``namespace/pod``, a container, or an owner by hand as its name was typed."""
    if owner.is_pod:
        return f"{owner.namespace}/{owner.pod}"
    if owner.pod == attachment.container_id and not attachment.network:
        return f"owner {attachment.container_id!r}"
    return f"container {owner.pod or attachment.container_id}"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the ledger.

    ``seq`` position; ``at`` when, by the database clock; ``version`` the number within the stream of this
    address (or, for pool kinds, of this pool) from 1 without gaps. ``ip``, ``state`` and the owner are None for
    pool kinds; ``spec`` is None for address kinds. For a free, cooling or held address the owner is the
    last one, which is what lets a returning pod have its address again. ``until``: when cooling or a
    timed hold ends; None otherwise. A field missing in a stored event means None.
    """

    seq: int
    at: datetime
    kind: Kind
    pool: str
    ip: str | None
    version: int
    state: State | None
    owner: Owner
    attachment: Attachment
    node: str | None
    until: datetime | None
    reason: str | None
    actor: str | None
    spec: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The event as interface.md shows it: camelCase keys, RFC 3339 times in UTC with microseconds."""
        out: dict[str, Any] = {
            "seq": self.seq,
            "at": rfc3339(self.at),
            "kind": self.kind.value,
            "pool": self.pool,
            "ip": self.ip,
            "version": self.version,
            "state": self.state.value if self.state else None,
            "namespace": self.owner.namespace,
            "pod": self.owner.pod,
            "podUID": self.owner.uid,
            "containerID": self.attachment.container_id or None,
            "ifName": self.attachment.if_name or None,
            "network": self.attachment.network or None,
            "node": self.node,
            "until": rfc3339(self.until) if self.until else None,
            "reason": self.reason,
            "actor": self.actor,
        }
        if self.spec is not None:
            out["spec"] = dict(self.spec)
        return out


@dataclass(frozen=True, slots=True)
class Holding:
    """One span in which somebody held an address: from ``since`` (included) to ``until`` (excluded; None while it lasts)."""

    event: Event
    until: datetime | None

    @property
    def since(self) -> datetime:
        return self.event.at

    def to_json(self) -> dict[str, Any]:
        out = self.event.to_json()
        out["from"] = out.pop("at")
        out["until"] = rfc3339(self.until) if self.until else None
        return out


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a follower of the ledger stands: everything up to ``(xid, seq)`` has been seen.

    A sequence is not commit order, so ``seq`` alone loses events (design.md, "Order of events"). On
    SQLite ``xid`` is always 0 and ``seq`` is commit order.
    """

    xid: int = 0
    seq: int = 0


def rfc3339(moment: datetime) -> str:
    """``2026-11-24T10:00:00.123456Z``: always UTC, always microseconds, so that text order is time order."""
    if moment.tzinfo is None:
        raise ValueError("a moment must be aware")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    """The inverse of :func:`rfc3339`; takes any offset. Raises ValueError for a time without one."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset (write {text}Z for UTC)")
    return moment.astimezone(UTC)


def from_json(raw: Mapping[str, Any]) -> Event:
    """The inverse of :meth:`Event.to_json`. Raises KeyError or ValueError for what is no event."""
    for name in (
        "pool",
        "ip",
        "namespace",
        "pod",
        "podUID",
        "containerID",
        "ifName",
        "network",
        "node",
        "reason",
        "actor",
    ):
        if not isinstance(raw.get(name), str | None):
            raise ValueError(f"{name} is not text")
    kind = Kind(raw["kind"])
    return Event(
        seq=int(raw["seq"]),
        at=parse_rfc3339(raw["at"]),
        kind=kind,
        pool=raw["pool"],
        ip=raw.get("ip"),
        version=int(raw["version"]),
        state=State(raw["state"]) if raw.get("state") else None,
        owner=Owner(raw.get("namespace"), raw.get("pod"), raw.get("podUID")),
        attachment=Attachment(
            raw.get("containerID") or "", raw.get("ifName") or "", raw.get("network") or ""
        ),
        node=raw.get("node"),
        until=parse_rfc3339(raw["until"]) if raw.get("until") else None,
        reason=raw.get("reason"),
        actor=raw.get("actor"),
        spec=raw.get("spec"),
    )
