"""How an event looks in a table, and its keys in CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ledger.cli.output import Column
from ledger.cli.times import shown

FIELDS: Final = (
    "seq", "at", "kind", "pool", "ip", "version", "state", "namespace", "pod", "podUID", "containerID", "ifName",
    "network", "node", "until", "reason", "actor", "spec",
)  # fmt: skip
"""The keys of an event in interface.md's order, ``spec`` (of pools' events) last."""


def owner(row: Mapping[str, Any]) -> str:
    """``namespace/pod``; else the name, or the container's id."""
    if row.get("namespace") is not None and row.get("pod") is not None:
        return f"{row['namespace']}/{row['pod']}"
    return str(row.get("pod") or row.get("containerID") or "")


COLUMNS: Final = (
    Column("SEQ", "seq", right=True),
    Column("TIME", lambda row: shown(row["at"])),
    Column("KIND", "kind"),
    Column("POOL", "pool"),
    Column("ADDRESS", "ip"),
    Column("OWNER", owner),
    Column("NODE", "node"),
    Column("REASON", "reason"),
    Column("ACTOR", "actor"),
)
