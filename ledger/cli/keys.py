"""``keys``: the key pair that signs checkpoints."""

from __future__ import annotations

from pathlib import Path

import click

from ledger.cli.everywhere import Invocation, everywhere, options
from ledger.cli.keyfiles import key_option
from ledger.cli.lazy import Group


@click.group(cls=Group)
@options
def command() -> None:
    """Make and show the keys that sign checkpoints.

    The signer key stays where the sealer runs. The verifier key is for anybody who checks proofs; hand it to them by
    another way than the proofs.

    \b
    Examples:
      ipam-ledger keys generate --name ledger.example.org/cluster-1
      ipam-ledger keys show
    """


@command.command()
@key_option
@click.option(
    "--name", metavar="NAME", help="The log's name in every checkpoint. Default: made from the host's name."
)
@everywhere
def generate(invocation: Invocation, /, key: Path | None, name: str | None) -> None:
    """Make a key pair. Never overwrites one.

    \b
    Example:
      ipam-ledger keys generate --name ledger.example.org/cluster-1

    Exit status: 0 made, 1 a file cannot be written, 2 wrong usage or a key that is there already.
    """
    from ledger.keys import default_key, generate, public_path

    path = key or default_key()
    verifier = generate(path, name)
    answer = {"name": verifier.name, "id": verifier.id.hex(), "verifier": str(verifier), "file": str(path)}

    def tell() -> None:
        click.echo(f"Signer key:   {path} (keep it secret; only its owner may read it)")
        click.echo(f"Verifier key: {public_path(path)}\n{verifier}")

    invocation.printer.one(answer, tell)


@command.command(short_help="Show the verifier key, for whoever checks proofs.")
@key_option
@everywhere
def show(invocation: Invocation, /, key: Path | None) -> None:
    """Show the verifier key: one line to give to whoever checks proofs.

    \b
    Example:
      ipam-ledger keys show

    Exit status: 0 shown, 2 wrong usage or no such key.
    """
    from ledger.keys import default_key, load_verifier, public_path

    path = key or default_key()
    verifier = load_verifier(str(public_path(path) if public_path(path).exists() else path))
    answer = {"name": verifier.name, "id": verifier.id.hex(), "verifier": str(verifier), "file": str(path)}
    invocation.printer.one(answer, lambda: click.echo(str(verifier)))
