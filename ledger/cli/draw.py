"""Drawings of a pool for a terminal: a map of its addresses as a block of cells, and a line of its utilisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.addresses import to_int
from ledger.events import State
from ledger.poolspec import Sub

CELLS: Final = 1024
"""Cells of a map at most; a larger range has several addresses a cell."""
LARGEST: Final = 1 << 16
"""Addresses of a range above which no map is drawn: a cell would tell nothing."""
BARS: Final = "▁▂▃▄▅▆▇█"
SHADES: Final = "░▒▓█"


@dataclass(frozen=True, slots=True)
class Cell:
    """One character of a map, and its style."""

    char: str
    style: str


ALLOCATED: Final = Cell("█", "green")
HELD: Final = Cell("▓", "yellow")
COOLING: Final = Cell("▒", "cyan")
FREE: Final = Cell("░", "dim")
NEVER: Final = Cell("·", "dim")
_OF: Final[Mapping[State, Cell]] = {
    State.ALLOCATED: ALLOCATED,
    State.HELD: HELD,
    State.COOLING: COOLING,
    State.FREE: FREE,
}


@dataclass(frozen=True, slots=True)
class Map:
    """The cells of one range in the order of its addresses, and how many addresses each stands for."""

    cells: tuple[Cell, ...]
    each: int

    def lines(self, width: int) -> Iterator[tuple[int, tuple[Cell, ...]]]:
        """Lines of cells, each with the number of its first address within the range."""
        for start in range(0, len(self.cells), width):
            yield start * self.each, self.cells[start : start + width]


def map_of(sub: Sub, in_use: Mapping[str, State]) -> Map | None:
    """The map of a sub's range; None where it is too large for one."""
    size = sub.range.size
    if size > LARGEST:
        return None
    states: dict[int, State] = {}
    for ip, state in in_use.items():
        family, address = to_int(ip)
        if family == sub.family and sub.range.contains(address):
            states[address - sub.range.first] = state
    each = -(-size // CELLS)
    cells = []
    for start in range(0, size, each):
        part = range(start, min(start + each, size))
        given = [n for n in part if sub.range.first + n in sub.given]
        found = [states[n] for n in part if n in states]
        cells.append(_cell(given, found))
    return Map(tuple(cells), each)


def _cell(given: Sequence[int], found: Sequence[State]) -> Cell:
    if not given and not found:
        return NEVER
    if len(given) <= 1:
        return _OF[found[0]] if found else FREE
    share = min(1.0, len(found) / len(given))
    if not found:
        return FREE
    style = "red" if share > 0.95 else "yellow" if share > 0.8 else "green"
    return Cell(SHADES[min(3, 1 + int(share * 3))] if share < 1 else "█", style)


def sparkline(values: Sequence[float]) -> str:
    """The values as bars, the lowest of them at the bottom."""
    low = min(values)
    height = max(values) - low or 1
    return "".join(BARS[round((value - low) / height * (len(BARS) - 1))] for value in values)
