"""The reference IPAM plugin, host-local, as the peer: one node, files in a folder, no fsync."""

from __future__ import annotations

import ipaddress
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from bench.part import Missing
from bench.plugin import Call

FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
HOW = "install the reference CNI plugins (Debian, Ubuntu: apt-get install containernetworking-plugins)"
NETWORK = "bench"
FIRST = ipaddress.IPv4Address("10.30.0.2")  # .1 is the gateway


def find() -> str:
    """Its path. Raises Missing."""
    found = shutil.which("host-local", path=":".join(FOLDERS))
    if found is None:
        raise Missing(f"host-local is missing: {HOW}")
    return found


class HostLocal:
    """host-local with ``held`` addresses given out, its files written as itself writes them."""

    def __init__(self, folder: Path, held: int = 0) -> None:
        self.program = find()
        store = folder / NETWORK
        store.mkdir(parents=True)
        for n in range(held):
            (store / str(FIRST + n)).write_bytes(f"{n:064x}\r\neth0".encode())
        if held:
            (store / "last_reserved_ip.0").write_text(str(FIRST + held - 1))
        ipam = {"type": "host-local", "dataDir": str(folder), "ranges": [[{"subnet": "10.30.0.0/16"}]]}
        conf = {"cniVersion": "1.0.0", "name": NETWORK, "type": "bridge", "ipam": ipam}
        self._stdin = json.dumps(conf).encode()

    def call(self, env: Mapping[str, str]) -> Call:
        return Call(self.program, env, self._stdin)
