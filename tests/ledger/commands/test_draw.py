"""The map of a pool, and the line of its utilisation."""

from __future__ import annotations

from ledger.cli import draw
from ledger.events import State
from ledger.pools import from_spec
from ledger.poolspec import Sub

STATES = {
    "10.8.0.1": State.ALLOCATED,
    "10.8.0.2": State.HELD,
    "10.8.0.3": State.COOLING,
    "fd00::1": State.ALLOCATED,
}


def sub(range_: str, **more: object) -> Sub:
    return from_spec("p", {"ipPoolSubs": [{"range": range_, **more}]}).subs[0]


def chars(found: draw.Map | None) -> str:
    assert found is not None
    return "".join(cell.char for cell in found.cells)


def test_a_small_range_has_a_cell_for_each_address() -> None:
    found = draw.map_of(sub("10.8.0.0/29", gateway="10.8.0.6"), STATES)
    assert chars(found) == "·█▓▒░░··"
    assert [cell.style for cell in found.cells][:4] == ["dim", "green", "yellow", "cyan"]  # type: ignore[union-attr]
    assert list(found.lines(4))[1][0] == 4  # type: ignore[union-attr]


def test_a_larger_range_has_several_addresses_a_cell_shaded_by_how_full_they_are() -> None:
    whole = sub("10.8.0.0/20")
    full = {f"10.8.{n // 256}.{n % 256}": State.ALLOCATED for n in range(8, 16)}
    full |= {"10.8.0.5": State.HELD}
    found = draw.map_of(whole, full)
    assert found is not None and (len(found.cells), found.each) == (1024, 4)
    assert chars(found)[:5] == "░▒██░"
    assert found.cells[2].style == "red" and found.cells[1].style == "green"
    assert [offset for offset, _ in found.lines(512)] == [0, 2048]


def test_a_range_that_no_cell_can_tell_about_has_no_map() -> None:
    assert draw.map_of(sub("fd00::/64"), STATES) is None
    assert draw.map_of(sub("10.0.0.0/15"), {}) is None
    assert draw.map_of(sub("10.0.0.0/16"), {}) is not None


def test_the_other_family_is_not_on_the_map() -> None:
    assert "█" not in chars(draw.map_of(sub("10.9.0.0/29"), STATES))
    assert chars(draw.map_of(sub("fd00::/126"), STATES)) == "·█░░"


def test_a_line_stands_between_its_lowest_and_its_highest() -> None:
    assert draw.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert draw.sparkline([5, 100, 5]) == "▁█▁"
    assert draw.sparkline([3, 3, 3]) == "▁▁▁"
