"""A writer is killed in mid-batch: of each address either all of its change is there or nothing, and what was answered is."""

from __future__ import annotations

import random
import time
from contextlib import closing
from typing import Any

from ledger import pools
from ledger.book import Book
from ledger.store import Database
from tests.laws import crowd, laws
from tests.laws.writer import writers
from tests.servers.keeper import Keeper

SIZE = 64
KILLS = 5
POOL = {"ipPoolSubs": [{"range": "10.76.0.0/22", "netmaskBits": 22}]}


def test_killed_in_mid_batch(db_url: str, keeper: Keeper) -> None:
    with closing(Database(db_url)) as database:
        book = Book(database, actor="test")
        book.apply_pool(pools.from_spec("p", POOL))
        known: dict[str, str] = {}  # container -> its address, as answered
        middles = 0
        names = [f"k{number}" for number in range(KILLS)]
        jobs = [{"url": named(db_url, name), "name": name, "does": "batches", "size": SIZE} for name in names]
        with writers(jobs, keeper) as started:
            for name, writer in zip(names, started, strict=True):
                writer.tell("go")
                said = [writer.hear() for _ in range(4 * random.randrange(1, 4) + random.choice([1, 3]))]
                time.sleep(random.uniform(0, 0.02))  # it has just begun with a batch
                writer.process.kill()
                said += writer.rest()
                until_gone(database, name)
                middles += recovered(book, said, known)
        assert middles >= 1, "never in the middle of a batch"
        assert book.pool("p").allocated == len(known)
        assert crowd.proved(database) == []


def named(url: str, name: str) -> str:
    """PostgreSQL shows who is connected by this name."""
    return f"{url}&application_name={name}" if url.startswith("postgresql") else url


def until_gone(database: Database, name: str) -> None:
    """PostgreSQL ends what a client that died had begun, and only then its session."""
    query = f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{name}'"
    deadline = time.monotonic() + 60
    while not database.sqlite:
        with database.read() as tx:
            if tx.connection.exec_driver_sql(query).first() is None:
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def recovered(book: Book, said: list[dict[str, Any]], known: dict[str, str]) -> bool:
    """Compare the ledger with what a killed writer said; repeat what it had not finished. Whether it was in the middle."""
    for begun, done in zip(said[::2], said[1::2], strict=False):
        if "adding" in begun:
            assert None not in done["added"]
            for container, ip in zip(begun["adding"], done["added"], strict=True):
                assert ip not in known.values()
                known[container] = ip
        else:
            for container in begun["leaving"]:
                del known[container]
    unfinished = said[-1] if len(said) % 2 else {}
    table = held(book.database)
    leaving = set(unfinished.get("leaving", ()))
    assert {c: ip for c, ip in known.items() if c not in leaving and table.get(c) != ip} == {}, "lost"
    extra = set(table) - set(known)
    assert extra <= set(unfinished.get("adding", ())), "leaked"
    assert crowd.proved(book.database) == []
    if adding := unfinished.get("adding"):
        outcomes: list[Any] = book.allocate_many([crowd.claim(f"ns/{each}", each) for each in adding])
        for container, [given] in zip(adding, outcomes, strict=True):
            assert given.ip == table.get(container, given.ip)
            assert (given.event is None) == (container in table)
            assert given.ip not in known.values()
            known[container] = given.ip
    if leaving:
        events = book.release_many([crowd.attachment(each) for each in sorted(leaving)])
        for container, released in zip(sorted(leaving), events, strict=True):
            assert {event.ip for event in released} == ({known[container]} if container in table else set())
            del known[container]
    return bool(unfinished)


def held(database: Database) -> dict[str, str]:
    _, addresses, _ = laws.read(database)
    return {row.container_id: row.ip for row in addresses if row.state == "allocated"}
