"""What this node has seen of the ledger, so that a database which went back in time is found out.

The newest event that the agent wrote is remembered with every ADD and DEL, and on disk every few seconds. If the
ledger does not hold it any more, addresses may be in use that it knows nothing of: the agent raises the fence.
A memory that is older than the ledger is fine, so the file may lag, and the agent may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Final

from ledger import fence, marks
from ledger.errors import DatabaseAway, InvalidInput, SchemaMismatch, TryAgain
from ledger.events import Event, parse_rfc3339, rfc3339
from ledger.files import replace_file
from ledger.marks import Mark, Sight
from ledger.store import Database
from ledger.words import counted

log = logging.getLogger(__name__)

NAME: Final = "memory.json"
MOST: Final = 64
"""Marks kept between two looks. One each few seconds is some fifteen; more only if no look succeeds for long."""


class Memory:
    """One agent's. ``folder`` is where it survives a reboot; ``node`` and ``actor`` say who raised the fence.

    Not one mark but several, until the ledger was looked at: the newest alone would hide that the ledger was set
    back if this node and others then wrote past the place where it was. A new mark is begun whenever the last
    one was saved, or the database was away.
    """

    def __init__(self, folder: Path, database: Database, *, node: str, actor: str) -> None:
        self._path = folder / NAME
        self._database = database
        self._node = node
        self._actor = actor
        self._guard = Lock()
        self._looking = Lock()
        self._saving = Lock()
        self._open = False  # whether the last mark may be replaced by a newer one
        self._unsaved = False
        self._doubtful = True
        self._behind: datetime | None = None
        self._marks: list[Mark] = []
        self._load()

    # While it serves ----------------------------------------------------------------------------

    def note(self, events: Iterable[Event]) -> None:
        """Remember the newest of these. They are committed. No input or output."""
        newest = max(events, key=lambda event: event.seq, default=None)
        if newest is None:
            return
        with self._guard:
            kept = self._marks
            if kept and newest.seq <= kept[-1].seq:
                return
            if self._open:
                kept[-1] = Mark.of(newest)
            else:
                kept.append(Mark.of(newest))
                self._open = True
            if len(kept) > MOST:
                del kept[1]
            self._unsaved = True

    def failed(self, error: Exception) -> None:
        """An error that the database answered with: when it is back, it may be another."""
        if isinstance(error, DatabaseAway | SchemaMismatch):
            self.doubt()

    def doubt(self) -> None:
        with self._guard:
            self._doubtful = True
            self._open = False

    def settle(self) -> None:
        """Before anything is given out: look, if the database was away. Raises TryAgain or SchemaMismatch if it still is."""
        if self._doubtful:
            with self._looking:
                said = self._look() if self._doubtful else None
            if said:
                log.warning("%s", said)

    def reconnected(self) -> None:
        """Before anything is repeated on a new connection, whose database may be another."""
        self.doubt()
        self.settle()

    # Now and then -------------------------------------------------------------------------------

    def check(self) -> str | None:
        """Look whether the ledger holds what was seen; if not, raise the fence. A sentence for the log, or None.

        Raises TryAgain, SchemaMismatch.
        """
        with self._looking:
            return self._look()

    def save(self) -> None:
        """Write down what changed, durably. Raises TryAgain if the disk refuses."""
        with self._saving:
            with self._guard:
                if not self._unsaved:
                    return
                self._unsaved = self._open = False
                said = {
                    "marks": [mark.to_json() for mark in self._marks],
                    "behind": self._behind and rfc3339(self._behind),
                }
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace_file(self._path, json.dumps(said), mode=0o600)
            except (InvalidInput, OSError) as error:
                with self._guard:
                    self._unsaved = True
                raise TryAgain(f"what was seen of the ledger cannot be written down: {error}") from error

    # --------------------------------------------------------------------------------------------

    def _look(self) -> str | None:
        with self._guard:
            asked = list(self._marks)
            doubtful, self._doubtful = self._doubtful, False
        try:
            sight = self._read(asked)
            lost = [each for each in sight.missing if not sight.settled(each.mark, self._behind)]
            if lost and sight.raised is None:
                sight = self._raise(str(lost[-1]), sight, asked)
        except BaseException:
            with self._guard:
                self._doubtful = True
            raise
        return self._conclude(asked, sight, {each.mark for each in lost}, doubtful)

    def _read(self, asked: list[Mark]) -> Sight:
        try:
            return marks.look(self._database, asked)
        except DatabaseAway as away:
            if not getattr(away.__cause__, "connection_invalidated", False):
                raise
        return marks.look(self._database, asked)  # that connection had died in the pool

    def _raise(self, what: str, sight: Sight, asked: list[Mark]) -> Sight:
        reason = (
            f"the ledger went back in time or is another one: node {self._node} wrote {what};"
            " if it is this ledger that you want, compare and lift the fence"
        )
        if fence.raise_fence(self._database, reason=reason, actor=self._actor):
            log.error("the fence is raised: %s", reason)
        return marks.look(self._database, asked)

    def _conclude(self, asked: list[Mark], sight: Sight, lost: set[Mark], doubtful: bool) -> str | None:
        missing = {each.mark for each in sight.missing}
        held = [mark for mark in asked if mark not in missing]
        gone = missing - lost
        behind = sight.raised.at if lost and sight.raised else None
        with self._guard:
            looked = set(asked) - lost - set(held[-1:])
            kept = [mark for mark in self._marks if mark not in looked]
            news = doubtful or behind != self._behind
            self._unsaved |= kept != self._marks or behind != self._behind
            self._open = self._open and bool(kept)
            self._marks, self._behind = kept, behind
        if gone:
            return "the fence was lifted: what this node saw of the ledger before is forgotten"
        if lost and news:
            return f"the ledger does not hold what this node saw ({counted(len(lost), 'event')}); the fence stands"
        return None

    def _load(self) -> None:
        for left in self._path.parent.glob(f".{NAME}.*.new"):  # its writer died before the rename
            left.unlink(missing_ok=True)
        try:
            said = json.loads(self._path.read_text(encoding="utf-8"))
            self._marks = sorted(map(Mark.from_json, said["marks"]), key=lambda mark: mark.seq)
            self._behind = parse_rfc3339(said["behind"]) if said["behind"] else None
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._marks, aside = [], self._path.with_suffix(".broken")
            log.error("what was seen of the ledger cannot be read and is set aside as %s: %s", aside, error)
            with contextlib.suppress(OSError):
                self._path.replace(aside)
