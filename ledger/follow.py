"""Following the ledger: what a projection reads, once and in order, each piece with the position it brings it to.

A sequence is not commit order (design.md, "Order of events"): the follower reads by the cursor ``(xid, seq)``, and
hands an event out only when every lower position is settled too. So whoever has folded everything up to the
position it is given has exactly the ledger up to there, and may say so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ledger.events import Cursor, Event, State
from ledger.store import Database, follow, stream

LIMIT = 5_000
"""Events a query: some MB at most."""


class Follower:
    """One reader of one ledger. Not to be shared between threads.

    ``position``: everything up to it has been handed out. Raises TryAgain like the book, and then goes on from where it was.
    """

    def __init__(self, database: Database) -> None:
        self.position = 0
        self._database = database
        self._cursor = Cursor()
        self._waiting: dict[int, Event] = {}
        self._marks: deque[tuple[int, int]] = (
            deque()
        )  # a position, and the transaction below which all must be over

    def start(self) -> Iterator[Event]:
        """The newest event of each live pool and each address that was ever used, as of one moment; pools first. Read it to its end.

        What ``step`` brings next may have been seen here already: compare versions. ``position`` is 0 until the first step.
        """
        self._waiting.clear()
        self._marks.clear()
        self.position = 0
        with self._database.read() as tx:
            self._cursor = follow.from_here(tx)
            yield from follow.newest_pools(tx)
            yield from follow.used_addresses(tx)

    def step(self) -> list[Event]:
        """The events that came since, in the order of their positions; ``position`` has moved on with them."""
        with self._database.read() as tx:
            newest = follow.newest_seq(tx)
        if newest > (self._marks[-1][0] if self._marks else self.position):
            # After that: whoever has a position at or below ``newest`` had begun to write.
            self._marks.append((newest, follow.newest_begun(self._database)))
        with self._database.read() as tx:
            oldest = follow.oldest_open(tx)
            while True:
                rows = stream.after(tx, self._cursor, LIMIT)
                for row in rows:
                    self._waiting[row[stream.SEQ]] = stream.event_of(row)
                if rows:
                    self._cursor = stream.cursor_of(rows[-1])
                if len(rows) < LIMIT:
                    break
        while self._marks and self._marks[0][1] <= oldest:
            self.position = max(self.position, self._marks.popleft()[0])
        settled = sorted(seq for seq in self._waiting if seq <= self.position)
        return [self._waiting.pop(seq) for seq in settled]


def holders(database: Database, *states: State) -> Iterator[Event]:
    """The newest event of each address in these states, as of one moment."""
    with database.read() as tx:
        yield from follow.used_addresses(tx, states)
