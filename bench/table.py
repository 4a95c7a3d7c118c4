"""The rows as a table for people and as JSON for programs. Pure but for the console."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.part import Goal, Row

WIDTH = 150
"""Where the output is no terminal."""


def show(rows: Iterable[Row], *, console: Console) -> None:
    table = Table(title_justify="left", header_style="bold", pad_edge=False)
    for name in ("what", "rate", "p50", "p99", "goal", "is", ""):
        table.add_column(
            name, justify="right" if name in ("rate", "p50", "p99", "is") else "left", overflow="fold"
        )
    for row in rows:
        if row.note:
            table.add_row(row.what, "", "", "", f"[yellow]{row.note}[/]", "", "[yellow]–[/]")
            continue
        first = [
            row.what,
            figure(row.rate.p50, "/s") if row.rate else "",
            figure(row.time.p50, "s") if row.time else "",
            figure(row.time.p99, "s") if row.time else "",
        ]
        for goal in row.goals or (None,):
            table.add_row(*first, *(_goal(goal) if goal else ("", "", "")))
            first = [""] * 4
    console.print(table)


def to_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [
        {
            "what": row.what,
            **({"note": row.note} if row.note else {}),
            **({"time": row.time.to_json()} if row.time else {}),
            **({"rate": row.rate.to_json()} if row.rate else {}),
            "goals": [
                {
                    "figure": goal.figure, "unit": goal.unit, "most" if goal.most else "least": goal.limit, "met": goal.met,
                }
                for goal in row.goals
            ],
        }
        for row in rows
    ]  # fmt: skip


def figure(value: float | None, unit: str) -> str:
    """A duration in the unit that fits, a rate, or a plain number with three digits that count."""
    if value is None:
        return "?"
    if unit == "/s":
        return f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s"
    if unit == "s":
        for size, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if value >= size:
                return f"{value / size:.3g} {name}"
        return f"{value / 1e-9:.0f} ns"
    return f"{value:.3g}"


def _goal(goal: Goal) -> tuple[str, str, str]:
    sign = "≤" if goal.most else "≥"
    limit = figure(goal.limit, "s") if goal.unit == "s" and goal.limit else f"{goal.limit:g} {goal.unit}"
    mark = {True: "[green]met[/]", False: "[bold red]MISSED[/]", None: "[yellow]–[/]"}[goal.met]
    return f"{sign} {limit}", figure(goal.figure, goal.unit), mark
