"""``verify-proof``: check a proof without a database."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ledger.cli import keyfiles
from ledger.cli.everywhere import Invocation, everywhere


@click.command()
@click.argument("file")
@keyfiles.verifier_option
@everywhere
def command(invocation: Invocation, /, file: str, verifier: str | None) -> int:
    """Check the proof in FILE (- is stdin) with the public key alone, and say what it proves.

    Exit status 0: proven. 1: it does not hold. 2: it is no proof at all.

    \b
    Example:
      ipam-ledger verify-proof event-42.json --key seal.key.pub
    """
    from ledger.merkle import NotProven
    from ledger.proof import MAX_PROOF, verify_proof

    key = keyfiles.verifier(verifier)
    try:
        if file == "-":
            document = sys.stdin.buffer.read(MAX_PROOF + 1)
        else:
            with Path(file).open("rb") as source:
                document = source.read(MAX_PROOF + 1)
    except OSError as error:
        raise click.UsageError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        proven = verify_proof(document, key)
    except NotProven as error:
        if invocation.human:
            raise click.ClickException(f"not proven: {error}") from error
        invocation.printer.one({"proven": False, "why": str(error)})
        return 1
    invocation.printer.one(proven.to_json(), lambda: click.echo(f"Proven. {proven.sentence}"))
    return 0
