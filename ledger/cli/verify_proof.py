"""``verify-proof``: check a proof without a database."""

from __future__ import annotations

import click

from ledger.cli import keyfiles
from ledger.cli.everywhere import Invocation, everywhere


@click.command()
@click.argument("file")
@keyfiles.verifier_option
@everywhere
def command(invocation: Invocation, /, file: str, verifier: str | None) -> int:
    """Check the proof in FILE (- is stdin) with the public key alone, and say what it proves.

    \b
    Example:
      ipam-ledger verify-proof event-42.json --key seal.key.pub

    Exit status: 0 proven, 1 it does not hold, 2 it is no proof at all.
    """
    from ledger.files import read_bounded
    from ledger.merkle import NotProven
    from ledger.proof import MAX_PROOF, verify_proof

    key = keyfiles.verifier(verifier)
    try:
        document = read_bounded(file, MAX_PROOF)
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
