"""``seal``: fold what is new into the Merkle tree, and sign its head."""

from __future__ import annotations

from pathlib import Path

import click

from ledger.cli.everywhere import Invocation, actor, everywhere
from ledger.cli.keyfiles import checkpoint_option, key_option


@click.command()
@key_option
@checkpoint_option
@click.option("--unsigned", is_flag=True, help="Fold only; sign nothing.")
@everywhere
def command(invocation: Invocation, /, key: Path | None, checkpoint: Path | None, unsigned: bool) -> int:
    """Fold new events into the Merkle tree and sign a checkpoint of its head.

    The checkpoint is stored in the ledger and in the file of --checkpoint, which is best kept on another machine. It is made
    if it is not there; an empty one is refused, for it may have held a checkpoint. Nothing is signed if the ledger does not
    extend what was signed last: then it was changed, or restored to an earlier day.

    \b
    Examples:
      ipam-ledger keys generate && ipam-ledger seal
      ipam-ledger seal --key /etc/ipam-ledger/seal.key --checkpoint /mnt/elsewhere/checkpoint

    Exit status: 0 sealed, or there was nothing new, 1 nothing was signed, and why is said, 2 wrong usage, no key, or
    a file that is no checkpoint.
    """
    from ledger.keys import default_checkpoint, default_key, load_signer
    from ledger.seal import OutsideFile, Sealer

    signer = None if unsigned else load_signer(key or default_key())
    outside = None if unsigned else OutsideFile(checkpoint or default_checkpoint())
    with invocation.database() as database, invocation.progress("sealing") as done:
        sealed = Sealer(database, key=signer, outside=outside, actor=actor()).seal(done)
    answer = {
        "events": sealed.events,
        "size": sealed.size,
        "root": sealed.root.hex(),
        "signed": sealed.note is not None,
        "checkpoint": sealed.note,
    }
    invocation.printer.one(answer, lambda: click.echo(sealed.sentence().capitalize() + "."))
    return 0
