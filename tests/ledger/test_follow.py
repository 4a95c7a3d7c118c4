"""Who folds what the follower hands out has, at every position it names, exactly the ledger up to there.

Also while slow writers commit late, so that lower positions appear after higher ones.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time

from ledger import pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.errors import LedgerError
from ledger.events import Attachment, Event, Kind, Owner, State
from ledger.follow import Follower, holders
from ledger.store import Database, rows

SPEC = {"ipPoolSubs": [{"range": "10.9.0.1-10.9.0.60/24"}]}


def claim(number: int, sandbox: int = 0) -> Claim:
    return Claim(
        ("p",), Owner("ns", f"pod-{number}", f"u{number}"), Attachment(f"c{number}-{sandbox}", "eth0", "n")
    )


Fold = dict[str, tuple[int, str]]


def take(fold: Fold, event: Event) -> None:
    if event.ip and event.version > fold.get(event.ip, (0, ""))[0]:
        fold[event.ip] = (event.version, str(event.state))


def ledger_until(database: Database, position: int) -> Fold:
    """The state at a position, by the plainest query there is."""
    out: Fold = {}
    with database.read() as tx:
        for ip, version, state in tx.connection.exec_driver_sql(
            f"SELECT ip, version, state FROM ledger WHERE ip IS NOT NULL AND seq <= {position} ORDER BY version"
        ):
            out[str(ip)] = (version, state)
    return out


def test_it_starts_from_what_is_and_goes_on_from_there(db_url: str) -> None:
    database = Database(db_url)
    book = Book(database, actor="test")
    book.apply_pool(pools.from_spec("p", SPEC))
    book.allocate(claim(1))
    book.allocate(claim(2))
    book.release(claim(2).attachment)
    follower = Follower(database)
    seen = list(follower.start())
    assert [(each.kind, each.state) for each in seen[:1]] == [(Kind.POOL_CREATED, None)]
    assert sorted((each.owner.pod, each.state) for each in seen[1:]) == [
        ("pod-1", State.ALLOCATED), ("pod-2", State.FREE),
    ]  # fmt: skip
    deadline = (
        time.monotonic() + 30
    )  # others' transactions are waited for: an autovacuum has one now and then
    while follower.position < 4 and time.monotonic() < deadline:
        assert follower.step() == []
    assert follower.position == 4
    book.release(claim(1).attachment)
    while not (events := follower.step()) and time.monotonic() < deadline:
        pass
    (event,) = events
    assert (event.seq, event.kind, event.version, follower.position) == (5, Kind.RELEASED, 2, 5)
    assert follower.step() == []
    assert sorted(str(each.owner.pod) for each in holders(database, State.FREE)) == ["pod-1", "pod-2"]
    database.close()


def test_a_lower_position_of_a_later_transaction_is_waited_for(postgres_url: str) -> None:
    """Two are open; the one that began first writes last, and is over first. The snapshot then ends below the other."""
    database = Database(postgres_url)
    Book(database, actor="test").apply_pool(pools.from_spec("p", SPEC))
    follower = Follower(database)
    assert list(follower.start())
    with contextlib.ExitStack() as open_ones:
        early = open_ones.enter_context(contextlib.ExitStack())
        first, second = early.enter_context(database.begin()), open_ones.enter_context(database.begin())
        xids = [
            tx.connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one()
            for tx in (first, second)
        ]
        assert int(xids[0]) < int(xids[1])
        for tx, ip in ((second, "10.9.0.2"), (first, "10.9.0.1")):
            pool = rows.find_pool(tx, "p")
            assert pool is not None
            owner, sandbox = Owner("ns", ip, "u"), Attachment(ip, "eth0", "n")
            rows.append(
                tx, pool.id,
                Event(0, tx.clock(), Kind.ALLOCATED, "p", ip, 1, State.ALLOCATED, owner, sandbox, None, None, None, None),
            )  # fmt: skip
        early.close()
        for _ in range(3):
            assert follower.step() == [] and follower.position < 2
    told: list[Event] = []
    deadline = time.monotonic() + 30
    while follower.position < 3 and time.monotonic() < deadline:
        told += follower.step()
    assert [(event.seq, event.ip) for event in told] == [(2, "10.9.0.2"), (3, "10.9.0.1")]
    database.close()


def test_every_position_it_names_is_whole_while_slow_writers_commit_late(postgres_url: str) -> None:
    database = Database(postgres_url, pool_size=12)
    book = Book(database, actor="test")
    book.apply_pool(pools.from_spec("p", SPEC))
    ended = threading.Event()
    late = [0]

    def churn(lane: int) -> None:
        mine = Book(database, actor=f"churn-{lane}")
        while not ended.is_set():
            number = lane * 10 + random.randrange(5)
            try:
                mine.allocate(claim(number))
            except LedgerError:
                continue
            mine.release(claim(number).attachment)

    def dawdle() -> None:
        """Writes an event and commits it only when others have committed higher positions."""
        with database.read() as tx:
            pool = rows.find_pool(tx, "p")
        assert pool is not None
        while not ended.is_set():
            with database.begin() as tx:
                row = rows.pick_free(tx, pool.id, 0, random.getrandbits(60))
                if row is None:
                    continue
                owner, sandbox = (
                    Owner("ns", f"slow-{late[0]}", "u"),
                    Attachment(f"slow-{late[0]}", "eth0", "n"),
                )
                for version, kind, state in (
                    (row.version + 1, Kind.ALLOCATED, State.ALLOCATED),
                    (row.version + 2, Kind.RELEASED, State.FREE),
                ):
                    rows.append(
                        tx, pool.id,
                        Event(0, tx.clock(), kind, "p", row.ip, version, state, owner, sandbox, None, None, None, None),
                    )  # fmt: skip
                time.sleep(random.uniform(0.0, 0.15))
            late[0] += 1

    follower = Follower(database)
    fold: Fold = {}
    for each in follower.start():
        take(fold, each)
    threads = [threading.Thread(target=churn, args=(lane,)) for lane in range(1, 4)]
    threads.append(threading.Thread(target=dawdle))
    for thread in threads:
        thread.start()
    seen: list[tuple[int, Fold]] = []
    events: list[Event] = []
    begun = time.monotonic()
    try:
        while (lasted := time.monotonic() - begun) < 4 or (
            lasted < 60 and not (len(events) > 300 and late[0] > 10)
        ):
            for each in follower.step():
                events.append(each)
                take(fold, each)
            seen.append((follower.position, dict(fold)))
            time.sleep(0.01)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    for each in follower.step():
        events.append(each)
        take(fold, each)
    seen.append((follower.position, dict(fold)))
    assert len(events) > 300 and late[0] > 10
    assert len({each.seq for each in events}) == len(events)
    assert [each.seq for each in events] == sorted(each.seq for each in events)
    told = [(position, folded) for position, folded in seen if position]
    for position, folded in random.sample(told, min(40, len(told))) + told[-1:]:
        assert folded == ledger_until(database, position), position
    database.close()
