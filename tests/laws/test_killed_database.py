"""PostgreSQL is killed in mid-ADD, again and again: what was answered is in the ledger, and the writers go on by themselves."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import Any

import pytest

from ledger import pools
from ledger.book import Book
from ledger.store import Database
from tests.laws import crowd
from tests.laws.crowd import Answer, ByBook, Life
from tests.servers.postgres import WRITER, PostgresServer

WRITERS = 8
KILLS = 3
CAPACITY = 253
POOL = {"ipPoolSubs": [{"range": "10.77.0.0/24", "netmaskBits": 24, "gateway": "10.77.0.254"}]}


@pytest.mark.timeout(180)
def test_writers_outlive_a_killed_postgresql(postgres_server: PostgresServer) -> None:
    """Nothing but TryAgain reaches them meanwhile: any other error would end a writer, and the test."""
    answers: list[Answer] = []
    ended = Event()
    with (
        closing(Database(postgres_server.url("ledger", user=WRITER))) as one,
        closing(Database(postgres_server.url("ledger", user=WRITER))) as other,
        ThreadPoolExecutor(WRITERS) as threads,
    ):
        books = Book(one, actor="one"), Book(other, actor="other")
        books[0].apply_pool(pools.from_spec("p", POOL))

        def live(number: int) -> None:
            Life(f"w{number}", [ByBook(books[number % 2])], answers.append).churn(
                1_000_000, lambda: not ended.is_set()
            )

        running = [threads.submit(live, number) for number in range(WRITERS)]
        try:
            for _ in range(KILLS):
                everybody_is_answered(answers)
                time.sleep(random.uniform(0.05, 0.3))
                postgres_server.kill9()
                time.sleep(random.uniform(0, 0.2))
                postgres_server.restart()
            everybody_is_answered(answers)
        finally:
            ended.set()
        for each in running:
            each.result()
    assert sum(each.tries > 1 for each in answers) >= KILLS, "nobody was in the middle of anything"
    assert crowd.wrong(answers, CAPACITY) == []
    with closing(Database(postgres_server.url("ledger"))) as database:
        assert crowd.unlike(database, answers) == []
        assert crowd.proved(database) == []


@pytest.mark.timeout(120)
def test_killed_just_before_and_just_after_the_commit(postgres_server: PostgresServer) -> None:
    """Before: nothing of the ADD is there. After, but before the answer: the same ADD finds what was committed."""
    with closing(Database(postgres_server.url("ledger", user=WRITER))) as database:
        book = Book(database, actor="test")
        book.apply_pool(pools.from_spec("p", POOL))
        add = ByBook(book).add

        with postgres_server.connect("ledger") as db:
            db.execute(
                "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); END $$"
            )
            db.execute("""
                CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW EXECUTE FUNCTION dawdle()
            """)
            killed_while(postgres_server, db, "PgSleep", lambda: add("ns/before", "box-1"))
        with postgres_server.connect("ledger") as db:
            db.execute("DROP FUNCTION dawdle() CASCADE")
            assert committed(db) == []

            # A commit that waits for a standby which never comes is on the disk already
            db.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            db.execute("SELECT pg_reload_conf()")
            while db.execute("SHOW synchronous_standby_names").fetchone() != ("nobody",):
                time.sleep(0.01)
            killed_while(postgres_server, db, "SyncRep", lambda: add("ns/after", "box-2"))
        with postgres_server.connect("ledger") as db:
            db.execute("ALTER SYSTEM RESET synchronous_standby_names")
            db.execute("SELECT pg_reload_conf()")
            [(ip, container)] = committed(db)
            assert container == "box-2"
            while db.execute("SHOW synchronous_standby_names").fetchone() != ("",):
                time.sleep(0.01)
            assert add("ns/after", "box-2") == ip
            assert committed(db) == [(ip, "box-2")]
            assert add("ns/before", "box-1") not in (None, ip)
    with closing(Database(postgres_server.url("ledger"))) as database:  # without the connections that died
        assert crowd.proved(database) == []


def killed_while(server: PostgresServer, db: Any, waits: str, ask: Callable[[], object]) -> None:
    """Ask, kill the server once somebody waits for that, start it again; the asker is told to ask again."""
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask)
        deadline = time.monotonic() + 60
        while not db.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = %s", (waits,)).fetchone():
            assert time.monotonic() < deadline, f"nobody waits for {waits}"
            time.sleep(0.01)
        server.kill9()
        with pytest.raises(crowd.Again):
            asked.result()
    server.restart()


def committed(db: Any) -> list[tuple[str, str]]:
    return list(db.execute("SELECT host(ip), container_id FROM ledger WHERE ip IS NOT NULL ORDER BY seq"))


def everybody_is_answered(answers: list[Answer], times: int = 5, seconds: float = 60) -> None:
    """Wait until each writer has had so many more answers."""
    start = len(answers)
    deadline = time.monotonic() + seconds
    while True:
        since = Counter(each.owner.split("-")[0] for each in answers[start:])
        if len(since) == WRITERS and min(since.values()) >= times:
            return
        assert time.monotonic() < deadline, f"some writers do not go on: {since}"
        time.sleep(0.01)
