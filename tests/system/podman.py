"""podman with its CNI backend, on a node of its own: its own storage, network folder and settings.

``default_ulimits``, ``runc`` and ``cgroupfs``: so that it also runs in a virtual machine without
CAP_SYS_RESOURCE and without systemd.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import need
from tests.system.node import Node, plugins_folder

PAUSE = """
#include <signal.h>
#include <unistd.h>
static void end(int signal) { _exit(0); }
int main(void) { signal(SIGTERM, end); for (;;) pause(); }
"""
"""All that a container of these tests does. As process 1 it must ask for SIGTERM, or it would not get it."""

CONF = """
[containers]
default_ulimits = []
[network]
network_backend = "cni"
cni_plugin_dirs = {plugins}
network_config_dir = "{networks}"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""


def requirements() -> None:
    """Skip, unless podman with the CNI backend is here, and what makes an image for it."""
    podman = need.program("podman", "apt-get install podman")
    for name, how in (("runc", "apt-get install runc"), ("gcc", "apt-get install gcc libc6-dev")):
        need.program(name, how)
    said = subprocess.run([podman, "--version"], capture_output=True, text=True, check=True).stdout
    if int(said.split()[-1].partition(".")[0]) >= 5:
        need.missing("a podman with the CNI backend", f"podman 3 or 4 (this is {said.strip()})")


def build_image(folder: Path) -> Path:
    """A tar with one static binary, to be imported as an image: no registry is asked."""
    (folder / "pause.c").write_text(PAUSE)
    built = subprocess.run(
        ["gcc", "-static", "-Os", "-s", "-o", "pause", "pause.c"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        need.missing(
            "a C compiler that links statically", f"apt-get install gcc libc6-dev ({built.stderr.strip()})"
        )
    with tarfile.open(folder / "image.tar", "w") as tar:
        tar.add(folder / "pause", "pause")
    return folder / "image.tar"


@dataclass(frozen=True)
class Failed(Exception):
    """podman refused."""

    stderr: str


class Podman:
    """podman on a node, with one network named ``podnet``."""

    def __init__(self, node: Node, image: Path, ipam: dict[str, Any], plugins: Sequence[Path]) -> None:
        self._node = node
        # Not in pytest's folder: conmon makes a unix socket with a long name below it.
        self.folder = Path(f"/tmp/ipam-ledger-{node.host.name}")
        self.folder.mkdir(mode=0o700)
        networks = self.folder / "net.d"
        networks.mkdir()
        folders = [*map(str, plugins), str(plugins_folder())]
        conf = self.folder / "containers.conf"
        conf.write_text(CONF.format(plugins=json.dumps(folders), networks=networks))
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "ipam": ipam}
        # 0.4.0: what podman writes itself. It takes no 1.1.0.
        network = {"cniVersion": "0.4.0", "name": "podnet", "plugins": [bridge]}
        (networks / "podnet.conflist").write_text(json.dumps(network))
        self._env = {**os.environ, "CONTAINERS_CONF": str(conf)}
        self("import", "--quiet", "--change", 'ENTRYPOINT ["/pause"]', str(image), "pause")

    @property
    def argv(self) -> list[str]:
        folders = [f"--{option}={self.folder / option}" for option in ("root", "runroot", "tmpdir")]
        return self._node.host.argv("podman", *folders, "--storage-driver=vfs")

    def __call__(self, *argv: str) -> str:
        """Run podman; what it printed. Raises Failed."""
        done = subprocess.run(
            [*self.argv, *argv], capture_output=True, text=True, timeout=60, env=self._env, check=False
        )
        if done.returncode:
            raise Failed(done.stderr)
        return done.stdout.strip()

    def run(self, name: str, *options: str) -> str:
        """Run a container in the background; its id."""
        return self("run", "--detach", "--name", name, "--network", "podnet", *options, "pause")

    def ip(self, name: str) -> str:
        """The address that podman believes a container has."""
        networks = json.loads(self("inspect", name, "--format", "{{json .NetworkSettings.Networks}}"))
        return str(networks["podnet"]["IPAddress"])

    def inside(self, name: str) -> list[str]:
        """The addresses that a container really has on eth0."""
        namespace = self("inspect", name, "--format", "{{.NetworkSettings.SandboxKey}}")
        told = subprocess.run(
            ["nsenter", f"--net={namespace}", "ip", "-json", "-4", "address", "show", "eth0"],
            capture_output=True,
            text=True,
            check=True,
        )
        return [info["local"] for link in json.loads(told.stdout) for info in link.get("addr_info", [])]

    def close(self) -> None:
        """End every container and remove everything."""
        try:
            self("rm", "--all", "--force", "--time", "0")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
