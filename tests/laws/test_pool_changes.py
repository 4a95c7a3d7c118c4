"""Pools change while addresses are given out: whoever comes second sees what the first did.

First the moments that matter, one by one, held still by a lock of our own; then everything at once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ledger import pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.errors import LedgerError, PoolExhausted, PoolInUse, TryAgain, UnknownPool
from ledger.events import Attachment, Kind, Owner
from ledger.pools import PoolSpec
from ledger.settings import BookSettings
from ledger.store import Database, Tx, quick
from tests.laws import laws
from tests.servers.postgres import PostgresServer

X = "10.9.0.1"


def spec(range_: str = "10.9.0.1-10.9.0.9/24", **more: Any) -> PoolSpec:
    return pools.from_spec("p", {"ipPoolSubs": [{"range": range_}], "pickStrategy": "Lowest", **more})


def claim(name: str, *, asked: str | None = None) -> Claim:
    return Claim(
        ("p",), Owner("ns", name, None), Attachment(f"c-{name}", "e", "n"), asked=(asked,) if asked else ()
    )


class Scene:
    """A book on PostgreSQL, and somebody who keeps the row of ``X`` locked until ``let_go``."""

    def __init__(self, server: PostgresServer, book: Book, threads: ThreadPoolExecutor) -> None:
        self.book = book
        self._threads = threads
        name = str(book.database.url.database)
        self._lock = server.connect(name, autocommit=False)
        self._watch = server.connect(name)
        self._waiting = 0

    def lock(self) -> None:
        self._lock.execute("SELECT 1 FROM address WHERE ip = %s FOR UPDATE", (X,))

    def begins(self, ask: Callable[[], Any]) -> Future[Any]:
        """Start it in a thread, and return once it waits for a lock."""
        started = self._threads.submit(ask)
        self._waiting += 1
        deadline = time.monotonic() + 30
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while self._watch.execute(query).fetchone() != (self._waiting,):
            assert not started.done(), started.result()
            assert time.monotonic() < deadline, "it does not wait"
            time.sleep(0.005)
        return started

    def let_go(self) -> None:
        self._lock.rollback()

    def close(self) -> None:
        self._lock.close()
        self._watch.close()


@pytest.fixture
def scene(postgres: PostgresServer, postgres_url: str) -> Iterator[Scene]:
    with closing(Database(postgres_url)) as database, ThreadPoolExecutor(4) as threads:
        book = Book(database, actor="test")
        book.apply_pool(spec())
        with closing(Scene(postgres, book, threads)) as scene:
            yield scene
        assert laws.broken(database) == []


def quickly(tx: Tx, book: Book, name: str, *, start: int = -1) -> str:
    """An ADD's one statement, which begins behind ``start`` in the picking order; the address."""
    pool = book._pool(tx, "p")
    picks = quick.Picks(
        pool_id=pool.id, pool="p", version=pool.version, family=4, sub=0, subs=[0], start=start, reason="lowest", actor="t"
    )  # fmt: skip
    (settled,) = quick.allocate(tx, picks, [(0, claim(name))])
    return settled.ip


@contextmanager
def uncommitted_add(book: Book, name: str) -> Iterator[None]:
    """An ADD that has taken its address and has not committed yet."""
    with book.database.begin() as tx:
        assert quickly(tx, book, name) == X
        yield


@pytest.mark.parametrize(
    "change",
    [lambda book: book.delete_pool("p"), lambda book: book.apply_pool(spec("10.9.0.2-10.9.0.9/24"))],
    ids=["deleted", "shrunk"],
)
def test_a_pool_is_not_changed_under_an_add_that_is_about_to_commit(
    scene: Scene, change: Callable[[Book], object]
) -> None:
    with uncommitted_add(scene.book, "a"):
        changing = scene.begins(lambda: change(scene.book))
    with pytest.raises(PoolInUse) as refused:
        changing.result(30)
    assert refused.value.ip == X
    assert scene.book.pool("p").allocated == 1


@pytest.mark.parametrize("change", ["delete", "shrink", "reserve"])
def test_a_returning_pod_does_not_get_what_left_the_pool_while_it_waited(scene: Scene, change: str) -> None:
    """Its one statement began before the change was committed, and had its address's lock only after."""
    book = scene.book
    book.allocate(claim("a"))
    book.release(claim("a").attachment)
    changes: dict[str, Callable[[], object]] = {
        "delete": lambda: book.delete_pool("p"),
        "shrink": lambda: book.apply_pool(spec("10.9.0.2-10.9.0.9/24")),
        "reserve": lambda: book.apply_pool(spec(staticReservations={"ns": {"b": X}})),
    }
    scene.lock()
    changing = scene.begins(changes[change])
    adding = scene.begins(lambda: book.allocate(claim("a")))
    scene.let_go()
    changing.result(30)
    if change == "delete":
        with pytest.raises(UnknownPool):
            adding.result(30)
    else:
        assert adding.result(30)[0].ip == "10.9.0.2"


def test_an_address_asked_for_keeps_its_pool(scene: Scene) -> None:
    book = scene.book
    book.allocate(claim("a"))
    book.release(claim("a").attachment)
    scene.lock()
    adding = scene.begins(lambda: book.allocate(claim("b", asked=X)))
    deleting = scene.begins(lambda: book.delete_pool("p"))
    scene.let_go()
    assert adding.result(30)[0].ip == X
    with pytest.raises(PoolInUse):
        deleting.result(30)


def test_an_add_that_came_second_finds_no_pool(scene: Scene) -> None:
    book = scene.book
    book.allocate(claim("a"))
    book.release(claim("a").attachment)
    scene.lock()
    deleting = scene.begins(lambda: book.delete_pool("p"))
    adding = scene.begins(lambda: book.allocate(claim("b", asked=X)))
    scene.let_go()
    deleting.result(30)
    with pytest.raises(UnknownPool):
        adding.result(30)


def test_a_hold_keeps_its_pool_too(scene: Scene) -> None:
    book = scene.book
    book.allocate(claim("a"))
    book.release(claim("a").attachment)
    scene.lock()
    deleting = scene.begins(lambda: book.delete_pool("p"))
    holding = scene.begins(lambda: book.transfer("p", X, 2, Kind.HELD, reason="its set is there"))
    scene.let_go()
    deleting.result(30)
    with pytest.raises(UnknownPool):
        holding.result(30)


def test_a_returning_pod_does_not_get_what_another_got_while_it_waited(scene: Scene) -> None:
    book, other = scene.book, Book(scene.book.database, actor="other")
    book.allocate(claim("a"))
    book.release(claim("a").attachment)
    scene.lock()
    asking = scene.begins(lambda: other.allocate(claim("b", asked=X)))
    returning = scene.begins(lambda: book.allocate(claim("a")))
    scene.let_go()
    assert asking.result(30)[0].ip == X
    assert returning.result(30)[0].ip == "10.9.0.2"


def test_a_del_that_waited_does_not_free_what_the_relaunched_pod_got(scene: Scene) -> None:
    book = scene.book
    book.allocate(claim("a"))
    again = replace(claim("a"), attachment=Attachment("c-again", "e", "n"))
    scene.lock()
    adding = scene.begins(lambda: book.allocate(again))
    deleting = scene.begins(lambda: book.release(claim("a").attachment))
    scene.let_go()
    assert adding.result(30)[0].ip == X
    assert deleting.result(30) == []
    assert [each.ip for each in book.held_by(again.attachment)] == [X]


@pytest.mark.parametrize("start", [-1, 2**62], ids=["from the beginning", "from the end"])
def test_an_add_passes_over_what_another_is_about_to_give_out(scene: Scene, start: int) -> None:
    with uncommitted_add(scene.book, "a"), scene.book.database.begin() as tx:
        assert quickly(tx, scene.book, "b", start=start) == "10.9.0.2"


def test_a_sweep_passes_over_what_another_is_at(scene: Scene) -> None:
    """Its owner may be about to have it back."""
    book = scene.book
    book.allocate(claim("a"))
    book.transfer("p", X, 1, Kind.HELD, reason="its set is there", until=datetime(2020, 1, 1, tzinfo=UTC))
    scene.lock()
    assert book.sweep() == []
    scene.let_go()
    [freed] = book.sweep()
    assert (freed.ip, freed.reason) == (X, "held until 2020-01-01T00:00:00Z")
    with book.database.read() as tx:  # in the order in which the ledger is followed it is the last
        order = "SELECT seq FROM ledger ORDER BY xid DESC, seq DESC LIMIT 1"
        assert tx.connection.exec_driver_sql(order).scalar() == freed.seq


def test_a_free_address_that_somebody_looks_at_is_not_exhaustion(scene: Scene) -> None:
    """Its lock is let go without a change: then it is there for the taking, and no owner was asked about meanwhile."""
    patient = BookSettings(attempts=200)
    book = Book(scene.book.database, actor="test", settings=patient)
    book.apply_pool(spec(f"{X}-10.9.0.2/24"))
    book.allocate(claim("a", asked="10.9.0.2"))
    scene.lock()
    letting_go = threading.Timer(0.15, scene.let_go)
    letting_go.start()
    assert book.allocate(claim("b"))[0].ip == X
    letting_go.join()


def test_a_free_address_that_somebody_keeps_locked_is_not_exhaustion_either(scene: Scene) -> None:
    book = scene.book
    book.apply_pool(spec(f"{X}-10.9.0.2/24"))
    book.allocate(claim("a", asked="10.9.0.2"))
    scene.lock()
    with pytest.raises(TryAgain):
        book.allocate(claim("b"))
    scene.let_go()
    assert book.allocate(claim("b"))[0].ip == X
    with pytest.raises(PoolExhausted):
        book.allocate(claim("c"))


# Everything at once -------------------------------------------------------------------------------

SPECS = [
    spec("10.9.0.1-10.9.0.30/24"),
    spec("10.9.0.1-10.9.0.20/24", pickStrategy="Random"),
    spec("10.9.0.11-10.9.0.40/24", pickStrategy="Random"),
    spec("10.9.0.1-10.9.0.30/24", staticReservations={"ns": {"w0-0": "10.9.0.11", "w1-1": "10.9.0.12"}}),
    spec("10.9.0.1-10.9.0.30/24", cooldownSeconds=1),
    pools.from_spec(
        "p", {"ipPoolSubs": [{"range": "10.9.0.16-10.9.0.30/24"}, {"range": "10.9.0.1-10.9.0.15/24"}]}
    ),
]
SECONDS = 4.0


def test_adds_and_dels_while_the_pool_comes_changes_and_goes(db_url: str) -> None:
    ended = threading.Event()
    done = {"added": 0, "changed": 0, "deleted": 0, "refused": 0}

    def live(number: int) -> None:
        mine = random.Random(number)
        book = Book(databases[number % 2], actor=f"w{number}")
        while not ended.is_set():
            one = claim(
                f"w{number}-{mine.randrange(6)}",
                asked=mine.choice((None, None, f"10.9.0.{mine.randrange(1, 41)}")),
            )
            try:
                book.allocate(one)
                done["added"] += 1
            except LedgerError as error:
                assert not isinstance(error, TryAgain), error
            if mine.random() < 0.95:
                book.release(one.attachment)
                time.sleep(mine.uniform(0, 0.04))

    def change() -> None:
        mine = random.Random(99)
        book = Book(databases[0], actor="changer")
        while not ended.is_set():
            try:
                if mine.random() < 0.4:
                    book.delete_pool("p")
                    done["deleted"] += 1
                else:
                    book.release_many([claim(f"w{n}-{k}").attachment for n in range(4) for k in range(6)])
                    book.apply_pool(mine.choice(SPECS))
                    done["changed"] += 1
            except (PoolInUse, UnknownPool):
                done["refused"] += 1
            time.sleep(mine.uniform(0, 0.02))

    def sweep() -> None:
        book = Book(databases[1], actor="sweeper")
        while not ended.is_set():
            book.sweep()
            time.sleep(0.05)

    with closing(Database(db_url)) as one, closing(Database(db_url)) as other:
        databases = one, other
        Book(one, actor="test").apply_pool(SPECS[0])
        with ThreadPoolExecutor(8) as threads:
            running = [threads.submit(live, number) for number in range(4)]
            running += [threads.submit(change), threads.submit(sweep)]
            begun = time.monotonic()
            while (lasted := time.monotonic() - begun) < SECONDS or (min(done.values()) <= 3 and lasted < 60):
                if any(each.done() for each in running):  # by an error: the others may end too
                    break
                time.sleep(0.05)
            ended.set()
            for each in running:
                each.result()
        assert min(done.values()) > 3, done
        assert laws.broken(one) == []
        assert outside(one) == []


def outside(database: Database) -> list[object]:
    """What is allocated and not of its pool, by the pool's own newest event."""
    _, addresses, found = laws.read(database)
    [(_, name, _, _, live, raw)] = found
    given = pools.from_spec(name, laws._parsed(raw)) if live else None
    return [
        row
        for row in addresses
        if row.state in ("allocated", "held") and (given is None or given.sub_of(row.ip) is None)
    ]
