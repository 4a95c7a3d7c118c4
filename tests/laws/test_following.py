"""Who follows the ledger by the cursor ``(xid, seq)`` misses nothing, however late a writer commits.

Beside it runs a reader that asks for ``seq > last``, which is what everybody writes first. It misses events in the same
run: so the test would see it if the cursor did.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing

from ledger import pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.errors import TryAgain
from ledger.events import Attachment, Cursor, Event, Kind, Owner, State
from ledger.store import Database, rows, stream
from tests.laws import laws

SECONDS = 3.0
POOL = pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.0/24"}]})


class Reader(threading.Thread):
    """Reads again and again with ``step`` until it is told to end, and then until nothing new comes."""

    def __init__(self, step: Callable[[], list[int]]) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.ended = threading.Event()
        self._step = step
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                self.seen += self._step()
                time.sleep(random.uniform(0, 0.01))
            while new := self._step():
                self.seen += new
        except BaseException as error:
            self._error = error

    def done(self) -> list[int]:
        self.ended.set()
        self.join(60)
        if self._error:
            raise self._error
        assert not self.is_alive(), "there is always something new"
        return self.seen


def by_cursor(database: Database) -> Callable[[], list[int]]:
    cursor = [Cursor()]

    def step() -> list[int]:
        with database.read() as tx:
            found = stream.after(tx, cursor[0], 50)
        if found:
            cursor[0] = stream.cursor_of(found[-1])
        return [row[stream.SEQ] for row in found]

    return step


def by_seq(database: Database) -> Callable[[], list[int]]:
    last = [0]

    def step() -> list[int]:
        with database.read() as tx:
            query = f"SELECT seq FROM ledger WHERE seq > {last[0]} ORDER BY seq LIMIT 50"
            found = [int(seq) for seq in tx.connection.exec_driver_sql(query).scalars()]
        last[0] = found[-1] if found else last[0]
        return found

    return step


def dawdle(database: Database, name: str, ended: threading.Event) -> None:
    """Writes an event, sleeps, and commits only then."""
    number = 0
    while not ended.is_set():
        number += 1
        try:
            with database.begin() as tx:
                pool = rows.find_pool(tx, "p")
                assert pool is not None
                row = rows.pick_free(tx, pool.id, 0, random.getrandbits(62))
                assert row is not None
                owner, attachment = (
                    Owner("ns", f"{name}-{number}", None),
                    Attachment(f"{name}-{number}", "e", "n"),
                )
                for version, kind, state in (
                    (row.version + 1, Kind.ALLOCATED, State.ALLOCATED),
                    (row.version + 2, Kind.RELEASED, State.FREE),
                ):
                    at = max(tx.clock(), row.since) if row.since else tx.clock()
                    rows.append(
                        tx, pool.id,
                        Event(0, at, kind, "p", row.ip, version, state, owner, attachment, None, None, None, None),
                    )  # fmt: skip
                    time.sleep(random.choice((0.0, 0.01, 0.1)))
        except TryAgain:
            continue


def churn(database: Database, name: str, ended: threading.Event) -> None:
    book = Book(database, actor=name)
    number = 0
    while not ended.is_set():
        number += 1
        claim = Claim(("p",), Owner("ns", f"{name}-{number}", None), Attachment(f"{name}-{number}", "e", "n"))
        try:
            book.allocate(claim)
            book.release(claim.attachment)
        except TryAgain:
            continue


def missed(database: Database, seen: list[int]) -> bool:
    """Whether something has come that a reader was past already."""
    told = set(seen)
    newest = max(told, default=0)
    with database.read() as tx:
        query = f"SELECT seq FROM ledger WHERE seq <= {newest}"
        return not told.issuperset(int(seq) for seq in tx.connection.exec_driver_sql(query).scalars())


def test_the_cursor_misses_nothing_and_a_sequence_does(db_url: str) -> None:
    with closing(Database(db_url, pool_size=16)) as database:
        Book(database, actor="test").apply_pool(POOL)
        readers = [Reader(step) for step in (by_cursor(database), by_cursor(database), by_seq(database))]
        ended = threading.Event()
        slow = 1 if database.sqlite else 3
        writers = [
            *(threading.Thread(target=churn, args=(database, f"quick-{n}", ended)) for n in range(3)),
            *(threading.Thread(target=dawdle, args=(database, f"slow-{n}", ended)) for n in range(slow)),
        ]
        for thread in (*readers, *writers):
            thread.start()
        begun = time.monotonic()
        while (lasted := time.monotonic() - begun) < SECONDS or (
            # On a busy machine it may take longer until there is something to see
            lasted < 60
            and not (len(readers[0].seen) > 50 and (database.sqlite or missed(database, readers[-1].seen)))
        ):
            time.sleep(0.05)
        ended.set()
        for thread in writers:
            thread.join()
        first, second, naive = [reader.done() for reader in readers]
        lines, _, _ = laws.read(database)
        everything = {line.seq for line in lines}
        assert len(everything) > 50, "hardly anything happened"
        for seen in (first, second):
            assert len(seen) == len(set(seen)), "something came twice"
            assert set(seen) == everything
            order: dict[object, int] = {}
            version = {line.seq: ((line.pool_id, line.ip), line.version) for line in lines}
            for seq in seen:
                key, number = version[seq]
                assert number == order.get(key, 0) + 1, "a stream out of order"
                order[key] = number
        if database.sqlite:
            assert naive == sorted(everything), "on SQLite seq is commit order"
        else:
            assert first != sorted(first), "nobody committed late"
            assert set(naive) < everything, (
                "the slow writers were not slow enough for this test to prove anything"
            )
        assert laws.broken(database) == []


def test_the_cursor_waits_behind_an_open_transaction_and_goes_on_after_it(postgres_url: str) -> None:
    with closing(Database(postgres_url)) as database:
        book = Book(database, actor="test")
        book.apply_pool(POOL)
        step = by_cursor(database)
        assert first_of(step) == [1]
        with database.begin() as tx:
            tx.connection.exec_driver_sql("SELECT pg_current_xact_id()")
            book.allocate(Claim(("p",), Owner("ns", "a", None), Attachment("c1", "e", "n")))
            assert step() == [], "what is open may still write something that comes before"
        assert first_of(step) == [2]
        assert step() == []


def first_of(step: Callable[[], list[int]]) -> list[int]:
    """What comes first. Others' transactions are waited for as well: an autovacuum has one now and then."""
    deadline = time.monotonic() + 30
    while not (found := step()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found
