"""The IPAM plugins that the system tests run behind a main plugin: ours twice, and ``host-local``."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from tests.ledger.cli import Cli
from tests.servers.agent import Agent


class Ipam(ABC):
    """One way to hand out the addresses ``first``–``last`` of a /24 and its gateway ``.1``."""

    full: int
    """The error code of a full pool."""
    absent: int
    """The error code of a CHECK for what is not held."""

    def __init__(self, folder: Path, subnet: str) -> None:
        self.folder = folder
        self.subnet = subnet
        self.first, self.last = 10, 250

    def ip(self, number: int) -> str:
        return f"{self.subnet}.{number}"

    @property
    def gateway(self) -> str:
        return self.ip(1)

    @property
    def path(self) -> list[Path]:
        """Folders with plugins, beside the reference plugins' own."""
        return []

    def limit(self, last: int) -> None:
        """Make the pool end earlier. Only before the first ``section``."""
        self.last = last

    @abstractmethod
    def section(self) -> dict[str, Any]:
        """The ``ipam`` section of a network configuration."""

    @abstractmethod
    def holder(self, ip: str) -> str | None:
        """The container that holds an address, None if nobody does."""

    @abstractmethod
    def forget(self, ip: str) -> None:
        """Take an address away behind the runtime's back."""


class HostLocal(Ipam):
    """The reference: files in a folder, this node only."""

    full = 999
    absent = 999

    def section(self) -> dict[str, Any]:
        span = {
            "subnet": f"{self.subnet}.0/24",
            "rangeStart": self.ip(self.first),
            "rangeEnd": self.ip(self.last),
            "gateway": self.gateway,
        }
        return {
            "type": "host-local",
            "dataDir": str(self.folder / "host-local"),
            "ranges": [[span]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }

    def holder(self, ip: str) -> str | None:
        for file in self.folder.glob(f"host-local/*/{ip}"):
            return file.read_text().split()[0]
        return None

    def forget(self, ip: str) -> None:
        for file in self.folder.glob(f"host-local/*/{ip}"):
            file.unlink()


class Ours(Ipam):
    """``k8s-ipam``, as ``install-cni`` puts it down, through an agent or (``agent`` None) writing the ledger itself."""

    full = 100
    absent = 110

    def __init__(self, folder: Path, subnet: str, url: str, agent: Agent | None) -> None:
        super().__init__(folder, subnet)
        self.url = url
        self.agent = agent
        self._applied = False
        self.bin = folder / "cni-bin"
        self.bin.mkdir()
        self.ledger("install-cni", "--to", str(self.bin))

    @property
    def path(self) -> list[Path]:
        return [self.bin]

    def section(self) -> dict[str, Any]:
        if not self._applied:
            self._applied = True
            self.apply(
                {
                    "range": f"{self.ip(self.first)}-{self.ip(self.last)}/24",
                    "netmaskBits": 24,
                    "gateway": self.gateway,
                }
            )
        where = {"socket": str(self.agent.socket)} if self.agent else {"ledger": self.url}
        return {"type": "k8s-ipam", "ipPoolName": "ippool", **where}

    def apply(self, *subs: dict[str, Any], **spec: Any) -> None:
        """Apply the pool ``ippool`` with these subs."""
        self._applied = True
        pool = {
            "apiVersion": "ipam.k8s.io/v1alpha1",
            "kind": "IPPool",
            "metadata": {"name": "ippool"},
            "spec": {"ipPoolSubs": list(subs), **spec},
        }
        self.ledger("pool", "apply", "-f", "-", stdin=json.dumps(pool))

    def who_had(self, ip: str) -> dict[str, Any] | None:
        """Who holds an address now, as ``who-had`` tells it."""
        told: dict[str, Any] | None = json.loads(self.ledger("who-had", ip, "-o", "json"))
        return told if told and told["until"] is None else None

    def history(self, ip: str) -> list[dict[str, Any]]:
        """The events of an address, oldest first."""
        told: list[dict[str, Any]] = json.loads(self.ledger("history", ip, "-o", "json"))
        return told

    def verify(self) -> None:
        """The ledger replays to the live state."""
        self.ledger("verify")

    def holder(self, ip: str) -> str | None:
        told = self.who_had(ip)
        return told["containerID"] if told else None

    def forget(self, ip: str) -> None:
        self.ledger("release", ip, "--reason", "a test takes it away")

    def ledger(self, *argv: str, stdin: str | None = None) -> str:
        """What ``ipam-ledger`` prints, run within the test's process."""
        return Cli(self.url)(*argv, stdin=stdin).out
