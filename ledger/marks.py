"""What somebody outside saw of the ledger, and whether it still holds it.

A ledger never loses an event. If one is missing, or another stands in its place, the database went back in time, or
is another one: then nobody knows what else was given out, and the fence is for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.events import Event, parse_rfc3339, rfc3339
from ledger.store import Database, fences, history
from ledger.store.fences import Fence


@dataclass(frozen=True, slots=True)
class Mark:
    """An event, by what no other one has in common with it. ``ip`` is None for an event of the pool itself."""

    seq: int
    at: datetime
    pool: str
    ip: str | None
    version: int

    @classmethod
    def of(cls, event: Event) -> Mark:
        return cls(event.seq, event.at, event.pool, event.ip, event.version)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Mark:
        """Raises KeyError, TypeError or ValueError for what is none."""
        ip = raw["ip"]
        return cls(
            int(raw["seq"]), parse_rfc3339(raw["at"]), str(raw["pool"]), ip and str(ip), int(raw["version"])
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "at": rfc3339(self.at),
            "pool": self.pool,
            "ip": self.ip,
            "version": self.version,
        }

    def __str__(self) -> str:
        subject = f"{self.ip} in pool {self.pool!r}" if self.ip else f"pool {self.pool!r}"
        return f"event {self.seq}, version {self.version} of {subject} at {rfc3339(self.at)}"


@dataclass(frozen=True, slots=True)
class Missing:
    """A mark that the ledger does not hold, and what it has instead: an event in its place, or else its newest."""

    mark: Mark
    instead: Mark | None
    newest: Mark | None

    def __str__(self) -> str:
        if self.instead:
            there = f"in its place there is version {self.instead.version} of {self.instead.ip or 'the pool'} in pool"
            there += f" {self.instead.pool!r} at {rfc3339(self.instead.at)}"
        elif self.newest:
            there = f"the newest here is event {self.newest.seq} of {rfc3339(self.newest.at)}"
        else:
            there = "there is no event here"
        return f"{self.mark}, and {there}"


@dataclass(frozen=True, slots=True)
class Sight:
    """What the ledger held at one moment: the ``missing`` marks, in the order asked, and the fence's turns, newest first."""

    missing: list[Missing]
    turns: list[Fence]

    @property
    def raised(self) -> Fence | None:
        """The turn that raised the fence, while it is raised."""
        return self.turns[0] if self.turns and self.turns[0].raised else None

    def settled(self, mark: Mark, behind: datetime | None) -> bool:
        """Whether somebody lifted the fence after this mark was made, and so answered for whatever is missing.

        ``behind``: when the fence was raised that was up as the mark was missed first (None: none was seen). That one's
        end counts whatever the clocks say: the restored database may run on another machine.
        """
        if not self.turns or self.turns[0].raised:
            return False
        ended = self.turns[1].at if len(self.turns) > 1 else None
        return self.turns[0].at > mark.at or (behind is not None and ended == behind)


def look(database: Database, marks: Sequence[Mark]) -> Sight:
    """Whether the ledger holds these, all at one moment."""
    with database.read() as tx:
        events = history.by_seq(tx, [mark.seq for mark in marks])
        found = {seq: Mark.of(event) for seq, event in events.items()}
        newest: Mark | None = None
        lost = [mark for mark in marks if found.get(mark.seq) != mark]
        if lost:
            newest = next((Mark.of(event) for event in history.last(tx, 1)[0]), None)
        return Sight([Missing(mark, found.get(mark.seq), newest) for mark in lost], fences.turns(tx, 2))
