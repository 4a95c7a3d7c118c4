"""When a pool will be full, from how it filled so far. Pure.

The pace is the median of the slopes between all pairs of samples (Theil and Sen): a deployment that came and went, or a
night, does not bend it as it would bend least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from statistics import median
from typing import Final

ENOUGH: Final = 8
"""Samples below which nothing is said."""
RISING: Final = 0.65
"""The share of pairs that must rise: half of them do in mere noise."""
FAR: Final = 10
"""How many times as far ahead as it has looked back a forecast may reach."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many addresses were in use (allocated, held or cooling) at a moment, in seconds from any origin."""

    at: float
    used: int


def full_in(samples: Sequence[Sample], capacity: int) -> timedelta | None:
    """How long from the last sample until ``capacity`` is reached at the pace of the samples (in order of time).

    None if the pool is not filling, or too slowly or too irregularly for anybody to tell. Zero if it is full.
    """
    if not samples:
        return None
    left = capacity - samples[-1].used
    if left <= 0:
        return timedelta(0)
    if len(samples) < ENOUGH:
        return None
    pairs = [(b.used - a.used) / (b.at - a.at) for a, b in combinations(samples, 2) if b.at > a.at]
    if not pairs or sum(slope > 0 for slope in pairs) < RISING * len(pairs):
        return None
    pace = median(pairs)
    if pace <= 0:
        return None
    seconds = left / pace
    if seconds > FAR * (samples[-1].at - samples[0].at):
        return None
    return timedelta(seconds=seconds)
