"""Work on millions of events at once: how the interpreter is best used for it."""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice, repeat
from typing import TypeVar, cast

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

    When it ends nothing is being made any more. ``alone``: this thread makes them after all. So it is where SQLite is written:
    its driver and two threads at one interpreter are slower than one after the other.
    """
    if alone:
        yield items
        return
    with together(repeat(partial(next, items, None)), threads=1) as made:
        yield cast(Iterator[T], iter(partial(next, made), None))


@contextmanager
def together(jobs: Iterable[Callable[[], T]], *, threads: int) -> Iterator[Iterator[T]]:
    """What each job returns, in their order, while so many threads work on the next ones."""
    with ThreadPoolExecutor(threads, "bulk") as makers:
        yield _in_order(iter(jobs), threads, makers)


def _in_order(jobs: Iterator[Callable[[], T]], depth: int, makers: ThreadPoolExecutor) -> Iterator[T]:
    coming = deque(makers.submit(job) for job in islice(jobs, depth))
    while coming:
        item = coming.popleft().result()
        coming.extend(makers.submit(job) for job in islice(jobs, 1))
        yield item
