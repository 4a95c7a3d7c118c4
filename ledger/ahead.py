"""Reading while writing: two processors at work on one stream."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def ahead(items: Iterator[T], *, alone: bool = False) -> Iterator[Iterator[T]]:
    """The same items, each made by another thread while this one is busy with the one before.

    When it ends nothing is being made any more. ``alone``: this thread makes them after all. So it must be where SQLite is
    read or written, whose driver lets go of the interpreter at every row: each of them would wait for the other thread.
    """
    if alone:
        yield items
        return
    with ThreadPoolExecutor(1, "ahead") as maker:
        yield _taken(items, maker)


def _taken(items: Iterator[T], maker: ThreadPoolExecutor) -> Iterator[T]:
    coming = maker.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = maker.submit(next, items, None)
        yield item
