"""``export``: the ledger as one compressed file that can be checked and imported."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.cli.everywhere import Invocation, everywhere_to_file
from ledger.words import counted

if TYPE_CHECKING:
    from ledger.archive.writer import Follow


@click.command()
@click.option(
    "--follow",
    is_flag=True,
    help="Go on: append events as they are committed, each batch flushed to the disk.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.05),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="With --follow: how often to look.",
)
@everywhere_to_file
def command(invocation: Invocation, /, output: str, follow: bool, interval: float) -> None:  # fmt: skip
    """Write the whole ledger as JSON lines, compressed with zstd: one event a line, with the hashes that prove it whole.

    With --follow the file grows with the ledger, so that what can be lost with the database is the last second; it may
    be killed at any time, and started again on the same file.

    \b
    Examples:
      ipam-ledger export -o ledger.zst
      ipam-ledger export --follow -o /mnt/elsewhere/ledger.zst
      ipam-ledger export | zstd -dc | jq 'select(.ip == "10.19.120.7")'

    Exit status: 0 all of it is written, 1 it is not, and why is said, 2 wrong usage.
    """
    from ledger.archive.writer import Follow, export, total

    if follow and output == "-":
        raise click.UsageError("--follow needs a file: -o FILE")
    if output == "-" and (sys.stdout is None or sys.stdout.isatty()):
        raise click.UsageError("this is not for a terminal: -o FILE, or pipe it")
    with invocation.database() as database:
        if follow:
            following = Follow(database, Path(output))
            try:
                _forever(following, interval)
            finally:
                following.close()
            return
        with invocation.progress("exporting", total(database)) as done:
            if output == "-":
                written = export(database, sys.stdout.buffer, done)
            elif Path(output).exists() and not Path(output).is_file():  # a pipe, a device
                with Path(output).open("wb") as out:
                    written = export(database, out, done)
            else:
                beside = Path(f"{Path(output).resolve()}.partial")
                try:
                    with beside.open("wb") as out:
                        written = export(database, out, done)
                        out.flush()
                        os.fsync(out.fileno())
                    beside.replace(Path(output).resolve())
                except OSError as error:  # not of a file that nobody asked for
                    raise click.ClickException(f"{output}: cannot be written: {error.strerror}") from error
                finally:
                    beside.unlink(missing_ok=True)
    click.echo(f"Exported {counted(written.events, 'event')}; root {written.root.hex()}.", err=True)


def _forever(following: Follow, interval: float) -> None:
    click.echo(f"Following from event {following.events:,} on; interrupt to stop.", err=True)
    told = None
    while True:
        said = _cycle(following)
        if said and said != told:  # what is waited for is told once
            click.echo(said, err=True)
        told = said
        time.sleep(interval)


def _cycle(following: Follow) -> str | None:
    """Append what is new; a sentence if something is to be told."""
    from ledger.errors import TryAgain

    try:
        written = following.step()
    except TryAgain as error:
        return f"Waiting: {error}"
    return f"{counted(written, 'event')} written, {following.events:,} in all." if written else None
