"""A part of the bench, the rows that it contributes, and their goals. Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.series import Series

if TYPE_CHECKING:
    from bench.stage import Stage


class Missing(Exception):
    """This machine lacks something: the message says what, and how to get it."""


@dataclass(frozen=True)
class Goal:
    """``figure`` should be at most (or at least) ``limit``, both in ``unit``: "s", or words such as "× host-local"."""

    figure: float | None
    limit: float
    unit: str
    most: bool

    @property
    def met(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure <= self.limit if self.most else self.figure >= self.limit


def at_most(limit: float, figure: float | None, unit: str = "s") -> Goal:
    return Goal(figure, limit, unit, most=True)


def at_least(limit: float, figure: float | None, unit: str) -> Goal:
    return Goal(figure, limit, unit, most=False)


@dataclass(frozen=True)
class Row:
    """A line of the table: how long it took, or how many a second, and what was wanted of it.

    ``note``: what kept it from being measured.
    """

    what: str
    time: Series | None = None
    rate: Series | None = None
    goals: tuple[Goal, ...] = ()
    note: str = ""


Run = Generator[None, None, list[Row]]


@dataclass(frozen=True)
class Part:
    """``run(stage)`` is a generator: it sets up, measures one round before each ``yield``, and returns its rows.

    ::

        def run(stage):
            thing = Series("thing")
            for _ in range(stage.rounds):
                thing.add(...)
                yield
            return [Row("a thing", time=thing, goals=(at_most(0.012, thing.p50),))]

    It may raise Missing, or give up its turns early by returning. What it started it ends itself (``with`` around
    the loop), or leaves to the stage, which ends all that it lent. ``about``: one line for ``--list``, with the goal.
    ``long``: it takes minutes, so it runs by itself after the others, on a stage of its own.
    """

    name: str
    about: str
    run: Callable[[Stage], Run]
    long: bool = False
