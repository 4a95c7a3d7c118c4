"""``python -m ledger.cli``: the same as ``ipam-ledger``."""

from ledger.cli import main

main(prog_name="ipam-ledger")
