"""The options that name key and checkpoint files, the same for every command that takes them."""

from __future__ import annotations

from pathlib import Path

import click

key_option = click.option(
    "--key", type=click.Path(dir_okay=False, path_type=Path), envvar="IPAM_LEDGER_KEY", metavar="FILE",
    help="The signer key. Default: IPAM_LEDGER_KEY, else seal.key beside the embedded ledger.",
)  # fmt: skip
checkpoint_option = click.option(
    "--checkpoint", type=click.Path(dir_okay=False, path_type=Path), envvar="IPAM_LEDGER_CHECKPOINT", metavar="FILE",
    help="The newest checkpoint, outside the database. Default: IPAM_LEDGER_CHECKPOINT, else beside the key.",
)  # fmt: skip
verifier_option = click.option(
    "--key", "verifier", envvar="IPAM_LEDGER_VERIFIER", metavar="KEY",
    help="The public key, as its line or its file. Default: IPAM_LEDGER_VERIFIER, else this machine's own.",
)  # fmt: skip
