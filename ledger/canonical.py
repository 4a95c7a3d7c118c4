"""What a leaf is: the RFC 8785 canonical JSON of an event. Pure.

A leaf is ``Event.to_json()`` in canonical form, UTF-8: *every* field that interface.md shows, null where
there is none, and ``spec`` for pool events only. The position ``seq`` is in it; the database's ``xid`` is
not, for it means nothing after a dump and a restore. The place in the tree is commit order, not ``seq``.

Where millions of leaves are made, :mod:`ledger.store.leaves` writes the same bytes by shorter roads; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger.events import Event

FIELDS = (
    "actor", "at", "containerID", "ifName", "ip", "kind", "namespace", "network", "node", "pod", "podUID", "pool", "reason",
    "seq", "state", "until", "version",
)  # fmt: skip
"""The fields of an address's event, in canonical order. A pool's has ``spec`` behind ``seq``."""

MAX_SAFE = 2**53 - 1
"""The largest number that has a canonical form (RFC 8785 section 3.2.2.3)."""


def leaf(event: Event) -> bytes:
    """The canonical form of one event. ValueError for a text that is not Unicode or a number past 2**53."""
    return canonical(event.to_json())


def canonical(fields: Mapping[str, Any]) -> bytes:
    """The same of an event as JSON has it."""
    import rfc8785

    return rfc8785.dumps(dict(fields))
