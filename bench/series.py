"""What was measured, round by round. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Series:
    """Samples of one thing, all in ``unit``: ``"s"`` (durations) or ``"/s"`` (rates, of which a round has one)."""

    name: str
    unit: str = "s"
    rounds: list[list[float]] = field(default_factory=list)

    def add(self, samples: Iterable[float]) -> None:
        """A round's samples."""
        self.rounds.append(list(samples))

    @property
    def samples(self) -> list[float]:
        return [sample for each in self.rounds for sample in each]

    @property
    def p50(self) -> float | None:
        return percentile(self.samples, 50)

    @property
    def p99(self) -> float | None:
        return percentile(self.samples, 99)

    def to_json(self) -> dict[str, object]:
        medians = [percentile(each, 50) for each in self.rounds]
        return {
            "unit": self.unit, "count": len(self.samples), "p50": self.p50, "p99": self.p99, "rounds": medians,
        }  # fmt: skip


def percentile(samples: Sequence[float], q: float) -> float | None:
    """The nearest rank: always a value that was measured. None without samples."""
    if not samples:
        return None
    if q == 50:
        return median(samples)
    return sorted(samples)[max(0, math.ceil(len(samples) * q / 100) - 1)]


def ratio(figure: Series, floor: Series) -> float | None:
    """The median of the rounds' own ratios of medians: what disturbed a round disturbed both."""
    pairs = [
        (percentile(a, 50), percentile(b, 50)) for a, b in zip(figure.rounds, floor.rounds, strict=False)
    ]
    ratios = [a / b for a, b in pairs if a is not None and b]
    return median(ratios) if ratios else None
