"""Work on millions of events: read ahead in order, and ended cleanly whatever ends it."""

from __future__ import annotations

import gc
import io
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from ledger import pools
from ledger.archive import order
from ledger.archive.writer import export
from ledger.book import Book
from ledger.bulk import ahead, bulk, together
from ledger.claims import Claim
from ledger.events import Attachment, Owner
from ledger.store import Database


@pytest.mark.parametrize("alone", [True, False])
def test_items_come_in_their_order(alone: bool) -> None:
    with ahead(iter(range(100)), alone=alone) as items:
        assert list(items) == list(range(100))


def test_one_item_is_made_ahead_by_another_thread() -> None:
    made: list[int] = []
    second = threading.Event()

    def make() -> Iterator[int]:
        for n in range(3):
            assert threading.current_thread() is not threading.main_thread()
            made.append(n)
            if n == 1:
                second.set()
            yield n

    with ahead(make()) as items:
        assert next(items) == 0
        assert second.wait(30), "nothing was made while the first was in use"
        time.sleep(0.05)  # for a third, if it were made
        assert made == [0, 1], "more than one was made ahead"
        assert list(items) == [1, 2]


def test_jobs_are_done_together_and_their_results_come_in_order() -> None:
    both = threading.Barrier(2)

    def job(n: int) -> int:
        both.wait(30)  # breaks unless another job runs at the same time
        time.sleep(0.02 * (n % 2))
        return n

    with together((partial(job, n) for n in range(6)), threads=2) as made:
        assert list(made) == list(range(6))


def test_what_the_maker_raises_is_raised_where_its_item_should_come() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with ahead(make()) as items:
        assert next(items) == 1
        with pytest.raises(LookupError, match="no more"):
            next(items)


def test_nothing_is_made_any_more_once_it_ended() -> None:
    running = threading.Event()
    ended: list[bool] = []

    def make() -> Iterator[int]:
        yield 1
        running.set()
        time.sleep(0.3)  # the interrupt comes meanwhile
        ended.append(True)
        yield 2

    with pytest.raises(KeyboardInterrupt), ahead(make()) as items:
        for _ in items:
            assert running.wait(30)
            raise KeyboardInterrupt
    assert ended == [True]


def test_the_interpreter_is_left_as_it_was() -> None:
    was = sys.getswitchinterval(), gc.isenabled()
    with pytest.raises(KeyboardInterrupt), bulk():
        assert not gc.isenabled()
        with bulk():
            pass
        assert not gc.isenabled()
        raise KeyboardInterrupt
    assert (sys.getswitchinterval(), gc.isenabled()) == was


def test_an_interrupted_export_leaves_the_database_to_others(
    db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "CHUNK", 2)
    database = Database(db_url, pool_size=1)
    book = Book(database, actor="test")
    book.apply_pool(pools.from_spec("p", {"ipPoolSubs": [{"range": "10.0.0.0/24"}]}))
    book.allocate_many(
        [Claim(("p",), Owner("ns", f"pod-{n}", None), Attachment(f"c{n}", "eth0", "net")) for n in range(20)]
    )

    def stop(events: int) -> None:
        raise KeyboardInterrupt

    for _ in range(8):  # more often than the pool has connections
        with pytest.raises(KeyboardInterrupt):
            export(database, io.BytesIO(), stop)
    assert export(database, io.BytesIO()).events == 21
    database.close()
