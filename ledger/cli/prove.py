"""``prove``: a proof that stands alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ledger.cli.everywhere import Invocation, everywhere_to_file
from ledger.cli.params import MOST


@click.command()
@click.argument("seq", type=click.IntRange(1), required=False)
@click.option(
    "--since",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CHECKPOINT",
    help="Prove instead that the newest checkpoint extends this older one.",
)
@everywhere_to_file
def command(invocation: Invocation, /, seq: int | None, since: Path | None, output: str) -> None:  # fmt: skip
    """Write a proof that event SEQ is in the ledger, or with --since that nothing sealed before was changed.

    The proof is one JSON object; `ipam-ledger verify-proof` checks it without a database.

    \b
    Examples:
      ipam-ledger prove 42 -o event-42.json
      ipam-ledger prove --since last-weeks-checkpoint -o growth.json

    Exit status: 0 proven, 1 there is no such event or it is not sealed yet, 2 wrong usage.
    """
    from ledger.errors import InvalidRequest, LedgerError
    from ledger.files import replace_file
    from ledger.prove import prove, prove_growth

    if (seq is None) is (since is None):
        raise click.UsageError("give either SEQ or --since CHECKPOINT")
    with invocation.database() as database:
        document: dict[str, Any]
        if seq is None:
            document = prove_growth(database, _text(since))
        else:
            try:
                document = prove(database, min(seq, MOST))
            except InvalidRequest as error:  # a good question about what is not there
                raise LedgerError(f"this ledger has no event {seq}", seq=seq) from error
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if output == "-":
        click.echo(text, nl=False)
    else:
        replace_file(Path(output), text)


def _text(path: Path | None) -> str:
    assert path is not None
    try:
        with path.open("rb") as source:
            return source.read(1_000_001).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: cannot be read: {error}") from error
