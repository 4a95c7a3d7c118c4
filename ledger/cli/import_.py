"""``import``: an export into an empty database, or another IPAM's records into a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ledger.cli.adopt import KINDS, Given, adoption_options, run
from ledger.cli.everywhere import Invocation, actor, everywhere
from ledger.cli.keyfiles import verifier
from ledger.words import counted


@click.command(name="import")
@click.argument("source", metavar="FILE")
@click.option(
    "--key",
    "keys",
    metavar="KEY",
    multiple=True,
    help="The public key that signed the export's checkpoints: refuse an export that it did not sign.",
)
@click.option(
    "--from",
    "kind",
    type=click.Choice(KINDS),
    help="FILE holds another IPAM's records: adopt them, as `ipam-ledger adopt` does.",
)
@adoption_options
@everywhere
def command(invocation: Invocation, /, source: str, keys: tuple[str, ...], kind: str | None, **given: Any) -> int:  # fmt: skip
    """Load an export into an empty database: events, seals, checkpoints and the state that they make.

    Nothing is committed before the whole file is checked; one that was cut or changed is refused, and where is said. An
    import that is interrupted after that goes on where it was. Afterwards the fence is raised: what was given out since the
    export was written is not known, so nothing is given out until `ipam-ledger fence lift`.

    \b
    Examples:
      ipam-ledger import ledger.zst --db sqlite:///new.db
      ipam-ledger import ledger.zst --db postgresql+psycopg://owner@host/ledger --key seal.key.pub
      ipam-ledger import --from k8s-ipam ippools.json --dry-run

    Exit status: 0 all of it is in the ledger, 1 the file is damaged or does not prove itself (with --from: something
    disagrees), 2 wrong usage, a file that is no export, or a database that is not empty.
    """
    if kind is not None:
        return run(invocation, kind, source, Given(**given))
    if strange := sorted(name for name, value in given.items() if value):
        raise click.UsageError(f"--{strange[0].replace('_', '-')} is for --from only")
    return _load(invocation, Path(source), keys)


def _load(invocation: Invocation, path: Path, keys: tuple[str, ...]) -> int:
    from ledger.archive.reader import Checked, peek_header
    from ledger.archive.transfer import import_file
    from ledger.checkpoint import open_checkpoint
    from ledger.merkle import NotProven

    if str(path) == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
        raise click.UsageError(
            "an export is read twice, to check it before it is in the ledger: name a file, not stdin or a pipe"
        )
    verifiers = [verifier(key) for key in keys]

    def signed(checked: Checked) -> None:
        for key in verifiers:
            if checked.checkpoint is None:
                raise NotProven(
                    f"{path} carries no signed checkpoint (one that was followed never does): import it without --key, then "
                    "`ipam-ledger verify --checkpoint` with the one that is kept outside"
                )
            open_checkpoint(checked.checkpoint, key)

    try:
        header = peek_header(path)
        with (
            invocation.database(create=True) as database,
            invocation.progress("loading", header.events) as done,
        ):
            loaded, checked = import_file(database, path, actor=actor(), accept=signed, progress=done)
    except OSError as error:
        raise click.UsageError(f"{path}: cannot be read: {error.strerror}") from error
    answer = {
        "events": loaded.events,
        "loaded": loaded.now,
        "root": loaded.root.hex(),
        "signed": checked.signed,
        "note": checked.note,
        "fence": True,
    }
    invocation.printer.one(answer, lambda: _tell(loaded.events, loaded.now, checked.signed, checked.note))
    return 0


def _tell(events: int, now: int, signed: int | None, note: str | None) -> None:
    resumed = f" ({events - now:,} of them were loaded before)" if now < events else ""
    click.echo(f"Imported {counted(events, 'event')}{resumed}.")
    if signed is not None:
        click.echo(f"The newest signed checkpoint covers {signed:,} of them.")
    if note:
        click.echo(f"Note: {note}.", err=True)
    click.echo(
        "The fence is raised: nothing is given out until `ipam-ledger fence lift`, which compares with the cluster (where there is "
        "none: `--no-cluster`)."
    )
