"""What a caller asks of the book, and what it gets. Pure.

``Claim`` is one ADD: one or several pools, one address of each family from each, all or nothing.
``Allocation`` is one address that the claim got, with what a runtime needs to configure it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.events import Attachment, Event, Owner


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
