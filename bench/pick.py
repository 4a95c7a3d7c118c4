"""Picking an address from a pool that is nearly full, beside picking one from an empty pool."""

from __future__ import annotations

import time

from bench.part import Missing, Part, Row, Run, at_most
from bench.series import Series, ratio
from bench.stage import ENGINES, LABEL, LEVELS, Stage, claim, fresh
from ledger.book import Book
from ledger.store import Database

TIMES = 250


def pick(book: Book) -> float:
    each = claim(fresh())
    begun = time.perf_counter()
    book.allocate(each)
    seconds = time.perf_counter() - begun
    book.release(each.attachment)
    return seconds


def run(stage: Stage) -> Run:
    rows: list[Row] = []
    books = {}
    for engine in ENGINES:
        try:
            for held, label in ((LEVELS[0], "empty"), (LEVELS[-1], "99 % full")):
                series = Series(f"pick by the book, {LABEL[engine]}, {label}")
                books[engine, held] = Book(Database(stage.database(engine, held)), actor="bench"), series
        except Missing as missing:
            rows.append(Row(f"pick by the book, {LABEL[engine]}", note=str(missing)))
    for book, _ in books.values():
        pick(book)  # opens the connection
    for _ in range(stage.rounds):
        samples: dict[str, list[float]] = {}
        for _ in range(TIMES):
            for book, series in books.values():
                samples.setdefault(series.name, []).append(pick(book))
        for _, series in books.values():
            series.add(samples[series.name])
        yield
    for (engine, held), (book, series) in books.items():
        book.database.close()
        goals = (at_most(1.3, ratio(series, books[engine, 0][1]), "× empty"),) if held else ()
        rows.append(Row(series.name, series, goals=goals))
    return rows


PART = Part("pick", "pick at 99 % fill: ≤ 1.3 × that of an empty pool", run)
