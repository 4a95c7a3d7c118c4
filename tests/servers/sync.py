"""A real sync worker as its own process."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.servers.agent import installed
from tests.servers.keeper import Keeper
from tests.servers.page import page
from tests.servers.postgres import free_port
from tests.servers.process import Process

QUICK = {
    "IPAM_LEDGER_FOLLOW_SECONDS": "0.1",
    "IPAM_LEDGER_LEASE_SECONDS": "6",
    "IPAM_LEDGER_LEASE_RENEW_SECONDS": "1",
    "IPAM_LEDGER_RECLAIM_GRACE": "1",
    "IPAM_LEDGER_SWEEP_SECONDS": "0.5",
}
"""Impatient, for tests."""


class SyncWorker:
    """``ipam-ledger sync``. ``start`` · ``stop`` · ``kill9`` · ``restart``."""

    def __init__(
        self,
        url: str,
        kubeconfig: Path,
        *,
        keeper: Keeper,
        namespace: str = "default",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ipam-ledger-sync-", dir="/tmp"))
        keeper.remove(self.folder)
        self.port = free_port()
        program = [installed("ipam-ledger"), "sync", "--db", url, "--kubeconfig", str(kubeconfig)]
        self.process = Process(
            [*program, "--namespace", namespace, "--listen", f"127.0.0.1:{self.port}"],
            log=self.folder / "stderr",
            keeper=keeper,
            env={**os.environ, **QUICK, **(env or {})},
            stop_signal=signal.SIGTERM,
        )

    def start(self) -> None:
        self.process.start(lambda: "ready: competing" in self.process.output())

    def stop(self) -> int:
        return self.process.stop()

    def kill9(self) -> None:
        self.process.kill9()

    def restart(self) -> None:
        self.process.kill9()
        self.start()

    def close(self) -> None:
        """End it for good. What it logged is printed: pytest shows that when the test failed."""
        self.process.kill9()
        print(f"--- sync ---\n{self.process.output(since_start=False)}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def page(self, path: str) -> tuple[int, str]:
        """What ``/readyz``, ``/healthz`` or ``/metrics`` says."""
        return page(self.port, path)
