"""Work on millions of events at once: how the interpreter is best used for it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_TURN = 0.000_5
"""Seconds; a thread that let go of the interpreter to write to a socket has it back after this, not after Python's five
milliseconds."""


@contextmanager
def bulk() -> Iterator[None]:
    """For the time of long work: nobody looks for cycles among rows, which have none, and threads take turns more often.

    Both are the whole process's. A fifth of the time of an import.
    """
    collecting, turn = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        if collecting:
            gc.enable()


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
