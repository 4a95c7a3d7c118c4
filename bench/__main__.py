"""``python -m bench``: the composition root of the bench."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import machine, table
from bench.part import Missing, Part, Row, Run
from bench.parts import PARTS
from bench.stage import Stage
from tests.servers.keeper import Keeper

RESULTS = Path(__file__).parent / "results"


@click.command()
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([part.name for part in PARTS]),
    help="This part (repeat for more).",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Turns that each part gets."
)
@click.option("--quick", is_flag=True, help="Leave out the parts that take minutes (--list marks them).")
@click.option("--list", "listing", is_flag=True, help="Say what parts there are.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the JSON goes. Default: bench/results/, by the time.",
)
def main(only: tuple[str, ...], rounds: int, quick: bool, listing: bool, output: Path | None) -> None:
    """Measure ipam-ledger beside the floors of this machine, and say which goals are met.

    Prints a table and writes JSON. Exits 1 if a part broke; a goal that was missed is a line of the table.
    """
    if listing:
        for part in PARTS:
            click.echo(f"{part.name:10} {part.about}{' (takes minutes)' if part.long else ''}")
        return
    parts = [part for part in PARTS if (part.name in only if only else not (quick and part.long))]
    console = Console(width=None if sys.stdout.isatty() else table.WIDTH)
    began = datetime.now(UTC)
    where = machine.facts()
    rows: list[Row] = []
    broken = False
    for group in [[part for part in parts if not part.long], *([part] for part in parts if part.long)]:
        found, broke = measure(group, rounds)
        rows += found
        broken |= broke
    console.print(machine.sentence(where), highlight=False, soft_wrap=True)
    table.show(rows, console=console)
    seconds = (datetime.now(UTC) - began).total_seconds()
    goals = [goal for row in rows for goal in row.goals]
    missed = sum(goal.met is False for goal in goals)
    output = output or RESULTS / f"{began:%Y%m%dT%H%M%SZ}.json"
    output.parent.mkdir(exist_ok=True)
    said = {
        "at": began.isoformat(),
        "seconds": seconds,
        "rounds": rounds,
        "machine": where,
        "rows": table.to_json(rows),
    }
    output.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    console.print(
        f"{rounds} rounds in {seconds:.0f} s; {sum(goal.met is True for goal in goals)} goals met, {missed} missed, "
        f"{sum(goal.met is None for goal in goals)} not measured; {output}",
        highlight=False,
        soft_wrap=True,
    )
    sys.exit(1 if broken else 0)


def measure(parts: Sequence[Part], rounds: int) -> tuple[list[Row], bool]:
    """All rows, in the parts' order, and whether a part broke. The parts take turns, round after round."""
    done: dict[str, list[Row]] = {}
    broken = False
    with contextlib.ExitStack() as exits:
        keeper = Keeper()
        exits.callback(keeper.close)
        folder = Path(
            exits.enter_context(tempfile.TemporaryDirectory(prefix="ipam-ledger-bench-", dir="/tmp"))
        )
        keeper.remove(folder)
        progress = exits.enter_context(_progress())
        task = progress.add_task("", total=len(parts) * (rounds + 1))
        now = [""]
        stage = Stage(
            rounds,
            folder,
            keeper,
            lambda what: progress.update(task, description=f"{now[0]}: preparing {what}"),
        )
        exits.callback(stage.close)
        running: dict[str, Run] = {part.name: part.run(stage) for part in parts}
        for stage.round in range(rounds + 1):  # at the last turn they return their rows
            for name, turns in list(running.items()):
                now[0] = f"{name}, round {min(stage.round + 1, rounds)} of {rounds}"
                progress.update(task, description=now[0])
                try:
                    next(turns)
                except StopIteration as end:
                    done[name] = end.value
                    del running[name]
                except Missing as missing:
                    done[name] = [Row(name, note=str(missing))]
                    del running[name]
                except Exception as error:
                    traceback.print_exc()
                    done[name] = [Row(name, note=f"broke: {type(error).__name__}: {error}")]
                    broken = True
                    del running[name]
                progress.advance(task)
    return [row for part in parts for row in done.get(part.name, [])], broken


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


if __name__ == "__main__":
    main()
