"""A real agent as its own process, and the installed ``k8s-ipam`` that speaks to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.keeper import Keeper
from tests.servers.process import Process

READY = re.compile(r"\bready\b")


def installed(name: str) -> str:
    """One of our executables, as it was installed beside this interpreter."""
    return str(Path(sys.executable).parent / name)


class Agent:
    """``ipam-ledger agent`` on a socket of its own. ``start`` · ``stop`` · ``kill9`` · ``restart``.

    ``options``: further command line options; ``env``: further environment variables.
    """

    def __init__(
        self,
        url: str,
        *,
        keeper: Keeper,
        node: str = "node1",
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        # Not below pytest's temporary folder: a unix socket's path may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ipam-ledger-agent-", dir="/tmp"))
        keeper.remove(self.folder)
        self.url = url
        self.node = node
        self.socket = self.folder / "agent.sock"
        self.queue = self.folder / "queue"
        """Where DELs wait while the database is away."""
        argv = [installed("ipam-ledger"), "agent", "--db", url, "--node", node]
        argv += ["--socket", str(self.socket), "--queue-dir", str(self.queue), *options]
        self.process = Process(
            argv,
            log=self.folder / "stderr",
            keeper=keeper,
            env={**os.environ, **(env or {})},
            stop_signal=signal.SIGTERM,
        )

    def start(self) -> None:
        """Start, and return once it said that it is ready and takes connections."""
        self.process.start(self._ready)

    def stop(self) -> int:
        """End it gracefully; its exit status."""
        return self.process.stop()

    def kill9(self) -> None:
        self.process.kill9()

    def restart(self) -> None:
        """Start again, after ``kill9`` or (with a graceful stop first) without."""
        self.process.stop()
        self.start()

    def close(self) -> None:
        """End it for good. What it logged is printed: pytest shows that when the test failed."""
        self.process.kill9()
        print(f"--- agent {self.node} ---\n{self.process.output(since_start=False)}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def config(
        self, *, pool: str = "ippool", network: str = "podnet", version: str = "1.0.0", **ipam: Any
    ) -> dict[str, Any]:
        """A network configuration for ``k8s-ipam`` through this agent; ``ipam``: more keys of its section."""
        section = {"type": "k8s-ipam", "ipPoolName": pool, "socket": str(self.socket), **ipam}
        return {"cniVersion": version, "name": network, "type": "bridge", "ipam": section}

    def _ready(self) -> bool:
        if not READY.search(self.process.output()):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0


@dataclass(frozen=True)
class Answer:
    """What an execution of the plugin gave: exit status, stdout as JSON (None if empty), stderr."""

    code: int
    json: Any
    stderr: str


def cni_env(
    verb: str,
    *,
    container: str = "sandbox1",
    pod: str | None = "default/web-0",
    uid: str = "uid-1",
    **more: str,
) -> dict[str, str]:
    """The environment that a Kubernetes runtime sets for a plugin. ``more``: variables to add or, if empty, leave out.

    ``pod=None``: a container that is not a pod.
    """
    args = "IgnoreUnknown=1"
    if pod is not None:
        namespace, _, name = pod.partition("/")
        args += f";K8S_POD_UID={uid};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_NAMESPACE={namespace}"
    env = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/run/netns/{container}",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": args,
        "CNI_PATH": "/opt/cni/bin",
        **more,
    }
    return {name: value for name, value in env.items() if value}


def k8s_ipam(
    env: Mapping[str, str],
    stdin: Mapping[str, Any] | str | bytes,
    *,
    program: str | None = None,
    root: Path | None = None,
    seconds: float = 60,
) -> Answer:
    """Execute the plugin as a runtime does: this environment and no other, the configuration on stdin.

    ``program``: another executable than the installed one, such as a file that ``install-cni`` wrote. ``root``: the folder that
    is its whole file system.
    """
    if isinstance(stdin, Mapping):
        stdin = json.dumps(stdin)
    if isinstance(stdin, str):
        stdin = stdin.encode()
    done = subprocess.run(
        [*(["chroot", root] if root else []), program or installed("k8s-ipam")],
        input=stdin,
        capture_output=True,
        env={"PATH": os.environ.get("PATH", os.defpath), **env},
        timeout=seconds,
        check=False,
    )
    stderr = done.stderr.decode(errors="replace")
    try:
        answer = json.loads(done.stdout) if done.stdout.strip() else None
    except ValueError:
        raise AssertionError(f"stdout is not one JSON text: {done.stdout!r}\nstderr: {stderr}") from None
    return Answer(done.returncode, answer, stderr)
