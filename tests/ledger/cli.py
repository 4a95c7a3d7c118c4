"""Running commands within the test's process, as ``ipam-ledger`` would, and reading what they print."""

from __future__ import annotations

import csv
import io
import json
import signal
from dataclasses import dataclass
from typing import Any

import yaml
from click.testing import CliRunner

from ledger.cli import main


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        """Of JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def csv(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out)))

    @property
    def yaml(self) -> Any:
        return yaml.safe_load(self.out)


class Cli:
    """``cli("who-had", "10.0.0.1")`` on one ledger."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(
        self, *args: str, status: int | None = 0, stdin: str | None = None, env: dict[str, str] | None = None
    ) -> Said:
        """Run; the status must be that (None: any)."""
        result = CliRunner().invoke(
            main,
            list(args),
            input=stdin,
            env={"IPAM_LEDGER_DB": self.url, "SUDO_USER": None, **(env or {})},
            prog_name="ipam-ledger",
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        said = Said(result.exit_code, result.stdout, result.stderr)
        assert status is None or said.status == status, (
            f"{args} ended with {said.status}: {said.out}{said.err}"
        )
        return said


def hears_interrupts() -> None:
    """For a child before it runs: in what a shell has started in the background they are ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
