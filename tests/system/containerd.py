"""containerd with its CRI plugin on a node, and a kubelet's calls to it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers import kubeprograms, need
from tests.servers.keeper import Keeper
from tests.servers.process import Process
from tests.system.node import Node, plugins_folder

IMAGE = "localhost/pause:1"

CONF = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{folder}/sock"
[ttrpc]
  address = "{folder}/ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  # Without CAP_SYS_RESOURCE, as in a virtual machine, nobody may lower a score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/bin"
    conf_dir = "{folder}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
"""


def requirements() -> tuple[str, str, str]:
    """containerd, ctr and crisandbox; skip without them."""
    how = "apt-get install containerd runc"
    need.program("runc", how)
    need.program("containerd-shim-runc-v2", how)
    [crisandbox] = kubeprograms.programs("crisandbox")
    if crisandbox is None:
        need.missing("a client of the CRI", "install Go, of which the tests then build one")
    return need.program("containerd", how), need.program("ctr", how), str(crisandbox)


def as_image(pause: Path, folder: Path) -> Path:
    """An image with one file, as ``ctr images import`` reads it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(pause, "pause")
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    files = {
        "layer.tar": layer.getvalue(),
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    with tarfile.open(folder / "image.tar", "w") as tar:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return folder / "image.tar"


class Refused(Exception):
    """The runtime did not do it; the message is its own."""


class Containerd:
    """A runtime on a node, with one network named ``podnet``, asked as a kubelet asks."""

    def __init__(
        self, node: Node, keeper: Keeper, pause: Path, ipam: dict[str, Any], plugins: Sequence[Path]
    ) -> None:
        containerd, self._ctr, self._crisandbox = requirements()
        self.folder = Path(f"/tmp/ipam-ledger-{node.host.name}")
        self.folder.mkdir(mode=0o700)
        keeper.remove(self.folder)
        binaries, networks = self.folder / "bin", self.folder / "net.d"
        binaries.mkdir()
        networks.mkdir()
        for folder in (plugins_folder(), *plugins):
            for program in folder.iterdir():
                link = binaries / program.name
                link.unlink(missing_ok=True)
                link.symlink_to(program)
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "ipam": ipam}
        network = {"cniVersion": "1.0.0", "name": "podnet", "plugins": [bridge]}
        (networks / "podnet.conflist").write_text(json.dumps(network))
        (self.folder / "config.toml").write_text(CONF.format(folder=self.folder, image=IMAGE))
        self.socket = self.folder / "sock"
        self.process = Process(
            node.host.argv(containerd, "-c", str(self.folder / "config.toml"), "--log-level", "info"),
            log=self.folder / "log",
            keeper=keeper,
        )
        self.process.start(self._ready)
        ctr = f"{self._ctr} -a {self.socket} -n k8s.io"
        kill = f"[ -S {self.socket} ] || exit; "  # in the end it is gone, unless this run was killed
        keeper.run("sh", "-c", f"{kill}for id in $({ctr} tasks ls -q); do {ctr} tasks kill -s KILL $id; done")
        subprocess.run(
            [self._ctr, "-a", str(self.socket), "-n", "k8s.io", "images", "import",
             "--snapshotter=native", str(as_image(pause, self.folder))],
            check=True, capture_output=True,
        )  # fmt: skip
        self._sandboxes: list[str] = []

    def run(self, pod: str, uid: str, *, attempt: int = 0) -> str:
        """RunPodSandbox; the sandbox's id. Raises Refused."""
        namespace, _, name = pod.partition("/")
        meta = {"name": name, "namespace": namespace, "uid": uid, "attempt": attempt}
        config = {"metadata": meta, "log_directory": str(self.folder / "logs"), "linux": {}}
        sandbox = self._cri("run", json.dumps(config))
        self._sandboxes.append(sandbox)
        return sandbox

    def stop(self, sandbox: str) -> None:
        self._cri("stop", sandbox)

    def remove(self, sandbox: str) -> None:
        self._cri("remove", sandbox)
        self._sandboxes.remove(sandbox)

    def ip(self, sandbox: str) -> str:
        """The address that the kubelet would write into the pod's status."""
        return str(json.loads(self._cri("status", sandbox))["network"]["ip"])

    def close(self) -> None:
        for sandbox in list(self._sandboxes):
            for verb in ("stop", "remove"):
                subprocess.run(
                    [self._crisandbox, str(self.socket), verb, sandbox], check=False, capture_output=True
                )
        self.process.kill9()
        print(f"--- containerd ---\n{self.process.output()[-4000:]}")
        for mount in sorted(_mounts(self.folder), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _cri(self, *args: str) -> str:
        done = subprocess.run(
            [self._crisandbox, str(self.socket), *args], capture_output=True, text=True, timeout=90
        )
        if done.returncode:
            raise Refused(done.stderr.strip())
        return done.stdout.strip()

    def _ready(self) -> bool:
        try:
            conditions = json.loads(self._cri("ready"))
        except Refused:
            time.sleep(0.1)
            return False
        return all(each.get("status") for each in conditions)


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]
