"""What a caller asks of the book, and what it gets. Pure.

``Claim`` is one ADD: one or several pools, one address of each family from each, all or nothing.
``Allocation`` is one address that the claim got, with what a runtime needs to configure it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.errors import InvalidRequest
from ledger.events import Attachment, Event, Owner, storable, unstorable


@dataclass(frozen=True, slots=True)
class Node:
    """Where the claim comes from, for the choice of a sub.

    ``labels`` is None where they are not known; a sub with a ``nodeSelector`` is then never chosen.
    ``addresses``: the node's own, as text; a sub whose subnet contains one is preferred.
    """

    name: str | None = None
    addresses: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """One ADD. ``asked``: addresses wanted by ``IP=`` and the like; each must lie in one of the pools.

    ``reason`` is None for a pod (the book then says how it chose), a person's words for a claim by hand.
    """

    pools: tuple[str, ...]
    owner: Owner
    attachment: Attachment
    node: Node = Node()
    asked: tuple[str, ...] = ()
    reason: str | None = None

    def check(self) -> None:
        """Raise InvalidRequest for what no pool could settle, whatever its spec."""
        if not self.pools:
            raise InvalidRequest("pools", (), "names no pool")
        if len(set(self.pools)) < len(self.pools):
            raise InvalidRequest("pools", self.pools, "names a pool twice")
        owner, attachment = self.owner, self.attachment
        if not attachment.container_id:
            raise InvalidRequest("containerID", "", "is empty")
        for name, text in (
            *(("pools", pool) for pool in self.pools), ("namespace", owner.namespace), ("pod", owner.pod), ("podUID", owner.uid),
            ("containerID", attachment.container_id), ("ifName", attachment.if_name), ("network", attachment.network),
            ("node", self.node.name), ("reason", self.reason),
        ):  # fmt: skip
            if text is not None and not storable(text):
                raise InvalidRequest(name, text, unstorable(text))
        # A slash parts namespace and pod in an owner's key: with one elsewhere, two owners could share a key.
        for name, text in (("namespace", owner.namespace), ("pod", owner.pod)):
            if owner.is_pod and ("/" in str(text) or not text):
                raise InvalidRequest(name, text, "is no name that Kubernetes gives")
        if not owner.is_pod and "/" in attachment.container_id:
            raise InvalidRequest("containerID", attachment.container_id, "holds a slash")


@dataclass(frozen=True, slots=True)
class Allocation:
    """One address that a claim holds: ``ip`` with ``prefix_length`` (0–32 or 0–128) and ``gateway`` (or None).

    ``event`` is the event that gave it, or None when this attachment held it already (ADD is idempotent).
    """

    pool: str
    ip: str
    prefix_length: int
    gateway: str | None
    event: Event | None = None
