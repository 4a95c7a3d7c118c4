"""containerd with its CRI plugin, on a machine of its own: namespaces for network, mounts and processes.

The machine's first process holds it together. When that is killed, the kernel ends everything on the machine,
so nothing can stay behind; and a reboot is that and a new first process: ``/run`` is empty again, the disk as it was.

``restrict_oom_score_adj``: so that it also runs in a virtual machine without CAP_SYS_RESOURCE. The ``native``
snapshotter works on every file system.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import kubeprograms, need
from tests.servers.keeper import Keeper, children
from tests.servers.process import Process
from tests.system import podman
from tests.system.node import Namespace, Node, Sandbox, plugins_folder

IMAGE = "localhost/pause:1"
MANAGED = "io.cri-containerd.image=managed"
"""The label of images that the CRI plugin knows."""

FIRST_PROCESS = """
set -e
mount -t tmpfs tmpfs /run
mount --bind "$1" /var/lib/cni
trap '' CHLD
echo ready
exec sleep infinity
"""
"""libcni keeps its cache in one place only, which here is the machine's own. Ignoring SIGCHLD reaps orphans."""

CONF = """
version = 2
root = "{folder}/root"
state = "/run/containerd"
disabled_plugins = [{without}]
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{folder}/cni-bin"
conf_dir = "{folder}/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"""

WITHOUT = ("aufs", "btrfs", "devmapper", "overlayfs", "zfs")
"""Snapshotters that it need not try at each start."""

WITNESS = """#!{python} -IS
import json, os, sys
call = [os.environ.get("CNI_" + name, "") for name in ("COMMAND", "CONTAINERID", "NETNS", "ARGS")]
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(call) + "\\n")
conf = json.load(sys.stdin)
if call[0] == "ADD":
    print(json.dumps(conf["prevResult"]))
"""
"""A plugin that stands behind bridge in the network and writes down how it is called."""


def requirements() -> Path:
    """Skip, unless containerd is here, and what makes an image and a client for it; that client."""
    for name, package in (
        ("containerd", "containerd"),
        ("ctr", "containerd"),
        ("runc", "runc"),
        ("gcc", "gcc libc6-dev"),
        ("unshare", "util-linux"),
    ):
        need.program(name, f"apt-get install {package}")
    (crisandbox,) = kubeprograms.KUBE.programs("crisandbox")
    return crisandbox or need.missing("a client of the CRI", "install Go, of which the tests then build one")


def build_image(folder: Path) -> Path:
    """An image with one static binary, in Docker's archive format, which ``ctr`` imports: no registry is asked."""
    layer = podman.build_image(folder).read_bytes()
    config = {
        "os": "linux",
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    with tarfile.open(folder / "archive.tar", "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return folder / "archive.tar"


class Refused(Exception):
    """The runtime did not do it; the message is its own."""


@dataclass(frozen=True)
class Call:
    """One execution of the network's plugins: the verb, the netns (empty: none was named), and CNI_ARGS."""

    verb: str
    container: str
    netns: str
    args: dict[str, str]


class PodNamespace(Namespace):
    """A network namespace that the runtime made."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)

    @property
    def path(self) -> str:
        return self.name


@dataclass
class PodSandbox(Sandbox):
    """A sandbox that the runtime made: its one process, by the machine's own numbers, and its netns there."""

    pid: str = ""
    netns: str = ""


class Containerd:
    """containerd on a node, with one network named ``podnet``: bridge with an IPAM plugin.

    ``client``: the program that speaks CRI. ``plugins``: folders with IPAM plugins.
    """

    def __init__(
        self,
        node: Node,
        image: Path,
        client: Path,
        ipam: dict[str, Any],
        plugins: Sequence[Path],
        keeper: Keeper,
    ) -> None:
        self._name, self._image, self._client, self._keeper = node.host.name, image, client, keeper
        for cgroup in self._cgroups():
            keeper.remove(cgroup)
        # Not in pytest's folder: a unix socket's path may have 107 bytes.
        self.folder = Path(f"/tmp/ipam-ledger-{self._name}")
        self.folder.mkdir(mode=0o700)
        keeper.remove(self.folder)
        self._calls = self.folder / "calls"
        self._calls.touch()
        self._configure(ipam, plugins)
        disk = self.folder / "cni-cache"
        disk.mkdir()
        Path("/var/lib/cni").mkdir(parents=True, exist_ok=True)  # only to be mounted over
        unshare = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
        self._machine = Process(
            node.host.argv(*unshare, "sh", "-c", FIRST_PROCESS, "sh", str(disk)),
            log=self.folder / "machine.log",
            keeper=keeper,
        )
        self._containerd: Process | None = None

    def boot(self) -> None:
        """Start the machine, and containerd on it."""
        self._machine.start(lambda: "ready" in self._machine.output())
        (self._first,) = children(self._machine.pid)
        self._containerd = Process(
            self._on_machine("containerd", "--config", str(self.folder / "config.toml")),
            log=self.folder / "containerd.log",
            keeper=self._keeper,
        )
        self.start()

    def start(self) -> None:
        """Start containerd, and return once it takes pods."""
        assert self._containerd is not None
        self._containerd.start(self._ready)
        if IMAGE not in self._ctr("images", "ls"):
            self._ctr("images", "import", "--snapshotter", "native", str(self._image))
            until(lambda: MANAGED in self._ctr("images", "ls"))  # the CRI plugin hears of it by an event

    def kill9(self) -> None:
        """Kill containerd; its sandboxes go on."""
        if self._containerd is not None:
            self._containerd.kill9()

    def cut_power(self) -> None:
        """End everything on the machine at one moment."""
        self.kill9()
        self._machine.kill9()

    def close(self) -> None:
        """Remove everything. What containerd logged is printed: pytest shows that when the test failed."""
        self.cut_power()
        for log in ("machine.log", "containerd.log"):
            if (self.folder / log).exists():
                print(f"--- {log} ---\n{(self.folder / log).read_text(errors='replace')}")
        for cgroup in self._cgroups():
            until(lambda cgroup=cgroup: _removed(cgroup))  # it is empty when the last process is really gone
        until(lambda: _removed(self.folder))

    def run(self, pod: str, uid: str, *, attempt: int = 0) -> PodSandbox:
        """Run a pod's sandbox as kubelet does; ``attempt`` counts those that this pod had before. Raises Refused."""
        namespace, _, name = pod.partition("/")
        config = {
            "metadata": {"namespace": namespace, "name": name, "uid": uid, "attempt": attempt},
            "hostname": name,
            "dns_config": {"servers": ["192.0.2.53"]},  # without one, containerd copies the machine's own
            "linux": {"cgroup_parent": f"/{self._name}"},
        }
        container = self._cri("run", json.dumps(config))
        (netns,) = (
            call.netns for call in self._all_calls() if (call.verb, call.container) == ("ADD", container)
        )
        (pid,) = (line.split()[1] for line in self._ctr("tasks", "ls").splitlines() if container in line)
        seen = PodNamespace(Path(f"/proc/{self._first}/root{netns}"))
        return PodSandbox(seen, container, pid=pid, netns=netns)

    def stop(self, sandbox: Sandbox) -> None:
        """StopPodSandbox."""
        self._cri("stop", sandbox.container)

    def remove(self, sandbox: Sandbox) -> None:
        """RemovePodSandbox."""
        self._cri("remove", sandbox.container)

    def ip(self, sandbox: Sandbox) -> str:
        """The address that kubelet would write into the pod's status."""
        return str(self._status(sandbox)["network"]["ip"])

    def runs(self, sandbox: Sandbox) -> bool:
        """Whether the runtime believes that a sandbox runs."""
        return not self._status(sandbox).get("state")  # SANDBOX_READY is 0 and left out

    def kill_sandbox(self, sandbox: PodSandbox) -> None:
        """Kill the sandbox's one process, as running out of memory does."""
        _run(*self._on_machine("sh", "-c", f"kill -9 {sandbox.pid}"))

    def lose_netns(self, sandbox: PodSandbox) -> None:
        """Take the network namespace away behind the runtime's back."""
        _run(*self._on_machine("umount", sandbox.netns))
        _run(*self._on_machine("rm", sandbox.netns))

    def calls(self, sandbox: Sandbox) -> list[Call]:
        """How the network's plugins were called for this sandbox, in order."""
        return [call for call in self._all_calls() if call.container == sandbox.container]

    def _all_calls(self) -> list[Call]:
        calls = map(json.loads, self._calls.read_text().splitlines())
        return [Call(*call, dict(arg.split("=", 1) for arg in args.split(";"))) for *call, args in calls]

    @property
    def _socket(self) -> Path:
        return self.folder / "containerd.sock"

    def _configure(self, ipam: dict[str, Any], plugins: Sequence[Path]) -> None:
        """containerd's settings, the network, and all plugins in one folder: it looks in no second one."""
        without = ", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in WITHOUT)
        (self.folder / "config.toml").write_text(
            CONF.format(folder=self.folder, image=IMAGE, without=without)
        )
        programs, networks = self.folder / "cni-bin", self.folder / "net.d"
        programs.mkdir()
        for folder in (*plugins, plugins_folder()):
            for program in folder.iterdir():
                if not (programs / program.name).is_symlink():
                    (programs / program.name).symlink_to(program)
        witness = programs / "witness"
        witness.write_text(WITNESS.format(python=sys.executable, calls=str(self._calls)))
        witness.chmod(0o755)
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "ipam": ipam}
        network = {"cniVersion": "1.0.0", "name": "podnet", "plugins": [bridge, {"type": "witness"}]}
        networks.mkdir()
        (networks / "podnet.conflist").write_text(json.dumps(network))

    def _ready(self) -> bool:
        try:
            conditions = json.loads(self._cri("ready"))
        except Refused:
            return False
        return all(condition.get("status") for condition in conditions)

    def _status(self, sandbox: Sandbox) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self._cri("status", sandbox.container))
        return status

    def _cri(self, *argv: str) -> str:
        done = subprocess.run(
            [self._client, self._socket, *argv], capture_output=True, text=True, timeout=90, check=False
        )
        if done.returncode:
            raise Refused(done.stderr.strip())
        return done.stdout.strip()

    def _ctr(self, *argv: str) -> str:
        ctr = ["ctr", "--address", str(self._socket), "--namespace", "k8s.io"]
        return _run(*ctr, *argv)

    def _on_machine(self, *argv: str) -> list[str]:
        return ["nsenter", f"--target={self._first}", "--net", "--mount", "--pid", *argv]

    def _cgroups(self) -> list[Path]:
        """Where the sandboxes' cgroups are, under a name of our own: one place in version 2, many in version 1."""
        root = Path("/sys/fs/cgroup")
        return [top / self._name for top in (root, *root.iterdir()) if top.is_mount()]


def until(true: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.02)


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
