"""Ledger pages and API objects in a few words, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ledger.events import Attachment, Event, Kind, Owner, State

SPEC: dict[str, Any] = {"ipPoolSubs": [{"range": "10.9.0.1-10.9.0.10/24"}]}
STATES = {
    Kind.ALLOCATED: State.ALLOCATED,
    Kind.ADOPTED: State.ALLOCATED,
    Kind.RELEASED: State.FREE,
    Kind.RECLAIMED: State.FREE,
    Kind.FREED: State.FREE,
    Kind.HELD: State.HELD,
}


def page(text: str, pool: str = "p") -> list[Event]:
    """Events from lines such as ``Allocated .1 default/web-0 uid-a`` (address, owner, UID) or ``PoolCreated``."""
    versions: dict[str, int] = {}
    events = []
    for seq, line in enumerate((each.split() for each in text.strip().splitlines()), 1):
        kind, *rest = line
        about = rest[0] if rest else ""
        versions[about] = versions.get(about, 0) + 1
        events.append(event(kind, *rest, pool=pool, seq=seq, version=versions[about]))
    return events


def event(
    kind: str,
    ip: str = "",
    owner: str = "",
    uid: str | None = None,
    *,
    pool: str = "p",
    seq: int = 1,
    version: int = 1,
    state: State | None = None,
    until: datetime | None = None,
) -> Event:
    named = Kind(kind)
    namespace, slash, pod = owner.partition("/")
    return Event(
        seq=seq,
        at=datetime(2026, 11, 24, 10, 0, seq % 60, tzinfo=UTC),
        kind=named,
        pool=pool,
        ip=f"10.9.0{ip}" if ip.startswith(".") else ip or None,
        version=version,
        state=None if named.of_pool else state or STATES[named],
        owner=Owner(namespace, pod, uid) if slash else Owner(None, owner or None, None),
        attachment=Attachment(f"sandbox-{owner}-{uid}", "eth0", "net"),
        node="n1",
        until=until,
        reason=None,
        actor="test",
        spec=SPEC if named.of_pool else None,
    )


def ippool(name: str = "p", spec: Any = None, **metadata: Any) -> dict[str, Any]:
    status = metadata.pop("status", {})
    return {
        "apiVersion": "ipam.k8s.io/v1alpha1",
        "kind": "IPPool",
        "metadata": {"name": name, "uid": "u", "resourceVersion": "1", "generation": 1, **metadata},
        "spec": SPEC if spec is None else spec,
        "status": status,
    }
