"""Eight writers fill a /24 to its last address and go on in it: no address has two owners, none is lost, and full means full."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any

import pytest

from ledger import pools
from ledger.book import Book
from ledger.errors import PoolExhausted
from ledger.store import Database
from tests.laws import crowd
from tests.laws.crowd import Answer, ByBook, Life
from tests.laws.writer import parsed, writers
from tests.servers.keeper import Keeper

WRITERS = 8
CAPACITY = 253  # of 256: without the network, the broadcast and the gateway
POOL: dict[str, Any] = {
    "ipPoolSubs": [{"range": "10.77.0.0/24", "netmaskBits": 24, "gateway": "10.77.0.254"}]
}
DUAL: dict[str, Any] = {"ipPoolSubs": [*POOL["ipPoolSubs"], {"range": "fd77::/120", "netmaskBits": 120}]}


@pytest.fixture
def book(db_url: str) -> Iterator[Book]:
    with closing(Database(db_url)) as database:
        book = Book(database, actor="test")
        book.apply_pool(pools.from_spec("p", POOL))
        yield book


def test_threads_of_one_book(book: Book) -> None:
    answers: list[Answer] = []

    def live(number: int) -> None:
        life = Life(f"w{number}", [ByBook(book)], answers.append)
        life.fill()
        life.churn(120)
        life.end_all()

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(live, range(WRITERS)))
    judge(book, answers)


def test_processes_with_a_book_each(book: Book, keeper: Keeper) -> None:
    url = book.database.url.render_as_string(hide_password=False)
    jobs = [{"url": url, "name": f"w{n}", "does": "live", "rounds": 30} for n in range(WRITERS)]
    with writers(jobs, keeper) as started:
        for each in started:
            each.tell("go")
        with ThreadPoolExecutor(WRITERS) as threads:  # nobody waits because nobody reads
            said = list(threads.map(lambda each: each.rest(), started))
        assert [each.process.wait() for each in started] == [0] * WRITERS
    judge(book, [answer for each in said for answer in parsed(each)])


def judge(book: Book, answers: list[Answer]) -> None:
    assert crowd.wrong(answers, CAPACITY) == []
    assert crowd.unlike(book.database, answers) == []
    assert crowd.proved(book.database) == []
    # It was a crowd: everybody got some, everybody was there when the pool was full
    assert len({each.ip for each in answers if each.ip}) == CAPACITY
    assert len({each.owner.split("-")[0] for each in answers if each.full}) == WRITERS
    # Everybody has gone, and nothing is lost
    figures = book.pool("p")
    assert (figures.allocated, figures.free) == (0, CAPACITY)
    outcomes = book.allocate_many([crowd.claim(f"ns/again-{n}", f"again-{n}") for n in range(CAPACITY + 1)])
    given = {outcome[0].ip for outcome in outcomes if isinstance(outcome, tuple)}
    [full] = [outcome for outcome in outcomes if isinstance(outcome, PoolExhausted)]
    assert (len(given), full.allocated) == (CAPACITY, CAPACITY)
    assert crowd.proved(book.database) == []


@pytest.mark.parametrize("spec", [POOL, DUAL], ids=["one family", "two families"])
@pytest.mark.parametrize("same", ["pod", "attachment"])
def test_two_books_asked_for_one_thing_give_one_answer(db_url: str, same: str, spec: dict[str, Any]) -> None:
    """Both for one attachment: one event. Both for one pod, in two sandboxes: one address, which the second takes over."""
    rounds, families = 30, len(spec["ipPoolSubs"])
    together = Barrier(2, timeout=60)

    def ask(number: int, book: Book) -> list[set[str]]:
        got = []
        try:
            for n in range(rounds):
                container = f"c{n}" if same == "attachment" else f"c{n}-{number}"
                together.wait()
                got.append({each.ip for each in book.allocate(crowd.claim(f"ns/pod-{n}", container))})
        except BaseException:
            together.abort()  # the other one need not wait
            raise
        return got

    with closing(Database(db_url)) as one, closing(Database(db_url)) as other:
        books = Book(one, actor="one"), Book(other, actor="other")
        books[0].apply_pool(pools.from_spec("p", spec))
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(ask, range(2), books)
        assert first == second
        assert all(len(each) == families for each in first)
        assert len(set().union(*first)) == rounds * families
        with one.read() as tx:
            count = tx.connection.exec_driver_sql("SELECT count(*) FROM ledger WHERE ip IS NOT NULL").scalar()
        assert count == rounds * families * (1 if same == "attachment" else 2)
        assert books[0].pool("p").allocated == rounds * families
        assert crowd.proved(one) == []
