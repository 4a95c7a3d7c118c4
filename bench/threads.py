"""The book alone, with SQLAlchemy under it: eight threads of one process, allocating and releasing."""

from __future__ import annotations

import time
from contextlib import nullcontext
from threading import Barrier, Thread

from bench.part import Missing, Part, Row, Run, at_least
from bench.series import Series, ratio
from bench.stage import ENGINES, LABEL, Stage, claim, fresh
from ledger.book import Book
from ledger.store import Database

THREADS = 8
SECONDS = 2.0


def churn(book: Book) -> tuple[float, list[float]]:
    """Events a second, and the seconds of each."""
    barrier = Barrier(THREADS + 1)
    taken: list[list[float]] = []

    def work() -> None:
        mine: list[float] = []
        book.allocate(claim(fresh()))  # connections are open, the pool is known
        barrier.wait()
        while time.perf_counter() < end[0]:
            each = claim(fresh())
            begun = time.perf_counter()
            book.allocate(each)
            between = time.perf_counter()
            book.release(each.attachment)
            mine += (between - begun, time.perf_counter() - between)
        taken.append(mine)

    threads = [Thread(target=work) for _ in range(THREADS)]
    end = [float("inf")]
    for thread in threads:
        thread.start()
    begun = time.perf_counter()
    end[0] = begun + 60  # until all are there
    barrier.wait()
    begun = time.perf_counter()
    end[0] = begun + SECONDS
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    samples = [sample for mine in taken for sample in mine]
    return len(samples) / seconds, samples


def run(stage: Stage) -> Run:
    rows: list[Row] = []
    books = {}
    for engine in ENGINES:
        what = f"book alone, {THREADS} threads, {LABEL[engine]}, events"
        try:
            books[engine] = (
                Book(Database(stage.database(engine)), actor="bench"),
                Series(what),
                Series(what, "/s"),
            )
        except Missing as missing:
            rows.append(Row(what, note=str(missing)))
    floor = Series("F8 beside the book", "/s")
    for _ in range(stage.rounds):
        for engine, (book, seconds, rate) in books.items():
            with stage.beside(8, floor) if engine == "postgresql" else nullcontext():
                per_second, samples = churn(book)
            seconds.add(samples)
            rate.add([per_second])
        yield
    for engine, (book, seconds, rate) in books.items():
        book.database.close()
        goals = (at_least(0.2, ratio(rate, floor), "× F8"),) if engine == "postgresql" else ()
        rows.append(Row(rate.name, seconds, rate, goals))
    return rows


PART = Part("book", f"the book alone, {THREADS} threads: ≥ 0.2 × F8 events a second on PostgreSQL", run)
