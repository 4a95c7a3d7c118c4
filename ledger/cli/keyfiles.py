"""The options that name key and checkpoint files, the same for every command that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ledger.note import VerifierKey

key_option = click.option(
    "--key", type=click.Path(dir_okay=False, path_type=Path), envvar="IPAM_LEDGER_KEY", metavar="FILE",
    help="The signer key. Default: IPAM_LEDGER_KEY, else seal.key beside the embedded ledger.",
)  # fmt: skip
checkpoint_option = click.option(
    "--checkpoint", type=click.Path(dir_okay=False, path_type=Path), envvar="IPAM_LEDGER_CHECKPOINT", metavar="FILE",
    help="The newest checkpoint, outside the database. Default: IPAM_LEDGER_CHECKPOINT, else checkpoint beside the embedded ledger.",
)  # fmt: skip
verifier_option = click.option(
    "--key", "verifier", envvar="IPAM_LEDGER_VERIFIER", metavar="KEY",
    help="The public key, as its line or its file. Default: IPAM_LEDGER_VERIFIER, else this machine's own.",
)  # fmt: skip


def verifier(named: str | None) -> VerifierKey:
    """The public key that somebody named; without a name, this machine's own.

    One that is not there is asked for. To make one would be no help: it has signed nothing.
    """
    from ledger.keys import default_key, load_verifier, public_path

    own = public_path(default_key())
    if named is None and not own.exists():
        raise click.UsageError("say whose seal it is: --key with the public key of whoever sealed the ledger")
    if named is not None and "+" not in named and not Path(named).exists():
        raise click.BadParameter(
            f"{named!r} is no key (NAME+ID+KEY), and no file that is there", param_hint="--key"
        )
    return load_verifier(named or str(own))
