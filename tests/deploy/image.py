"""The image of ``deploy/Containerfile``, built by podman without asking a registry, and run as the manifests say.

Its base is made of this machine's own packages: a small Debian with the Python that this machine has, so that the
machine can play the node. The wheels are fetched outside, where the settings of this machine's pip are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.manifests import ROOT
from tests.servers import need
from tests.servers.keeper import Keeper

PYTHON = "/usr/bin/python3"
BASE = ("base-files", "coreutils", "dash", "patchelf", "python3", "python3-venv")
NEVER = re.compile(r"/usr/share/(doc|info|lintian|locale|man)/")
CONF = """
[containers]
default_ulimits = []
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
"""As in ``tests.system.podman``: also in a virtual machine without CAP_SYS_RESOURCE and without systemd."""


def requirements() -> None:
    """Skip, unless the image can be built here."""
    need.root()
    for name in ("podman", "runc", "patchelf"):
        need.program(name, f"apt-get install {name}")
    if shutil.which("dpkg-query") is None:
        pytest.skip("the base is made of Debian's packages, and this is no Debian")
    if said("import sys; print(sys.version_info >= (3, 11))") == "False":
        pytest.skip(f"{PYTHON} is older than 3.11")
    if said("import ensurepip; print(True)") != "True":
        need.missing(f"the venv module of {PYTHON}", "apt-get install python3-venv")


def said(program: str) -> str:
    return subprocess.run([PYTHON, "-c", program], capture_output=True, text=True, check=False).stdout.strip()


class Image:
    """``build`` once; ``run`` a command to its end; ``start`` what stays, and see its ``log``."""

    def __init__(self, keeper: Keeper) -> None:
        # Not in pytest's folder: conmon makes a unix socket with a long name below it.
        self.folder = Path(tempfile.mkdtemp(prefix="ipam-ledger-image-", dir="/tmp"))
        keeper.remove(self.folder)
        (self.folder / "containers.conf").write_text(CONF)
        folders = [f"--{each}={self.folder / each}" for each in ("root", "runroot", "tmpdir")]
        self._env = {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf")}
        self._argv = ["podman", *folders]
        keeper.run(*self._argv, "rm", "--all", "--force", "--time", "0")

    def podman(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self._argv, *argv], capture_output=True, text=True, timeout=200, env=self._env, check=False
        )
        assert not check or done.returncode == 0, f"podman {' '.join(argv)}: {done.stdout}{done.stderr}"
        return done

    def build(self) -> None:
        wheels = self.folder / "wheels"
        fetch(wheels)
        (self.folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /mnt\n")
        self.podman("import", "--quiet", str(pack(self.folder / "base.tar")), "base")
        self.podman(
            "build", "--layers=false", "--network=none", f"--file={ROOT / 'deploy' / 'Containerfile'}",
            "--tag=ipam-ledger", "--build-arg=BASE=base", f"--secret=id=pip.conf,src={self.folder / 'pip.conf'}",
            f"--volume={wheels}:/mnt:ro", str(ROOT),
        )  # fmt: skip

    def run(self, *argv: str, options: list[str], check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.podman("run", "--rm", *options, "ipam-ledger", *argv, check=check)

    def start(self, name: str, *argv: str, options: list[str]) -> None:
        self.podman("run", "--detach", f"--name={name}", *options, "ipam-ledger", *argv)

    def log(self, name: str) -> str:
        done = self.podman("logs", name)
        return done.stdout + done.stderr

    def close(self) -> None:
        try:
            self.podman("rm", "--all", "--force", "--time", "0")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def kubelet(
    pod: Mapping[str, Any], container: Mapping[str, Any], volumes: Mapping[str, Path], **env: str
) -> list[str]:
    """podman's options for a container as its manifest has it. ``volumes``: the folder that each one of the pod is;
    ``env``: the value of each variable, in place of the manifest's own."""
    user, careful = pod.get("securityContext", {}), container["securityContext"]
    options = [f"--cap-drop={each}" for each in careful["capabilities"]["drop"]]
    options += ["--read-only", "--read-only-tmpfs=false"] if careful["readOnlyRootFilesystem"] else []
    options += [] if careful["allowPrivilegeEscalation"] else ["--security-opt=no-new-privileges"]
    options += [f"--user={user['runAsUser']}:0", f"--group-add={user['fsGroup']}"] if user else []
    options += ["--network=host" if pod.get("hostNetwork") else "--network=none"]
    for mount in container["volumeMounts"]:
        mode = "ro" if mount.get("readOnly") else "rw"
        options.append(f"--volume={volumes[mount['name']]}:{mount['mountPath']}:{mode}")
    for each in container.get("env", []):
        options.append(f"--env={each['name']}={env.pop(each['name'], each.get('value'))}")
    return options + [f"--env={name}={value}" for name, value in env.items()]


def fetch(wheels: Path) -> None:
    """What the image installs and is built with, in the versions of ``make install``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    version = said("import sys; print('%d.%d' % sys.version_info[:2])")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={wheels}", "--only-binary=:all:"]
    argv += [f"--python-version={version}", f"--constraint={ROOT / 'constraints.txt'}", *wanted]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        need.missing("a package index", done.stderr.strip().splitlines()[-1])


def pack(tar: Path) -> Path:
    """The files of BASE and of what those packages need, as a root file system."""
    files = subprocess.run(["dpkg-query", "-L", *packages()], capture_output=True, text=True, check=True)
    paths = {Path(f"/{each}") for each in ("bin", "sbin", "lib", "lib32", "lib64", "libx32")}
    for line in files.stdout.splitlines():
        if line.startswith("/") and not NEVER.match(line):
            paths.add(Path(line).parent.resolve() / Path(line).name)  # /bin may be a link
    with tarfile.open(tar, "w") as out:
        for path in sorted(paths):
            if os.path.lexists(path):
                out.add(path, recursive=False)
    return tar


def packages() -> set[str]:
    fields = "${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n"
    listed = subprocess.run(["dpkg-query", "-W", f"-f={fields}"], capture_output=True, text=True, check=True)
    needs: dict[str, str] = {}
    named: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, provides, needs[name] = line.split("\t")
        named |= dict.fromkeys(names(provides, ","), name) | {name: name}
    found: set[str] = set()
    todo = list(BASE)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            for alternatives in needs[name].split(","):
                todo += [named[each] for each in names(alternatives, "|") if each in named][:1]
    return found


def names(text: str, separator: str) -> list[str]:
    """The packages of a list, without versions and architectures."""
    return [re.split(r"[ (:]", each.strip())[0] for each in text.split(separator) if each.strip()]
