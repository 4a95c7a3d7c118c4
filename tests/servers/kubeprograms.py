"""Where the programs of a Kubernetes control plane, and Helm, come from.

The order is envtest's: the folder that ``KUBEBUILDER_ASSETS`` names, else a cache outside the checkout, else a
build of the Go modules that ``kube/go.mod`` and ``helm/go.mod`` pin, into that cache. The build takes some minutes, once
a machine; ``python -m tests.servers.kubeprograms`` does it ahead of the tests and says where things are.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
OURS = {"crisandbox": "./crisandbox"}
"""Small programs of the tests' own, in the same module; not part of a control plane."""
HOW = (
    "install Go (the tests then build the pinned kube-apiserver once, in about four minutes), "
    "or name a folder with etcd, kube-apiserver, kube-controller-manager and kubectl in KUBEBUILDER_ASSETS"
)
HELM_HOW = "install Go (the tests then build the pinned Helm once, in about two minutes)"


@dataclass(frozen=True)
class Programs:
    """The path of each program of a control plane."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    kubectl: Path


@dataclass(frozen=True)
class Module:
    """A folder here with a ``go.mod``, and the programs that are built of what it pins."""

    name: str
    """Of the folder, and of the cache."""
    pin: str
    """The Go module whose release it is."""
    packages: Mapping[str, str]
    stamps: tuple[str, ...]
    """Variables that tell a program its version, with ``{release}``, ``{major}`` and ``{minor}``."""
    sources: tuple[str, ...] = ()
    """Files of our own that are built."""

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / self.name

    def release(self) -> str:
        """The pinned release, such as ``v1.36.3``."""
        match = re.search(rf"\s{re.escape(self.pin)} (v[\d.]+)", (self.folder / "go.mod").read_text())
        assert match, f"{self.name}/go.mod requires no {self.pin}"
        return match[1]

    def cache(self) -> Path:
        """The cache of what was built from exactly these modules for this kind of machine."""
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipam-ledger"
        ours = (self.folder / name for name in ("go.mod", "go.sum", *self.sources))
        modules = hashlib.sha256(b"".join(file.read_bytes() for file in ours)).hexdigest()
        machine = f"{platform.system().lower()}-{platform.machine()}"
        return root / f"{self.name}-{self.release()}-{machine}-{modules[:12]}"

    def programs(self, *names: str) -> list[Path | None]:
        """Where each is, built if need be and if it can be."""
        if any(self._find(name) is None for name in names) and shutil.which("go"):
            self._build([name for name in names if self._find(name) is None])
        return [self._find(name) for name in names]

    def _find(self, name: str) -> Path | None:
        assets = os.environ.get("KUBEBUILDER_ASSETS")
        for folder in (*([Path(assets)] if assets else []), self.cache()):
            if os.access(folder / name, os.X_OK):
                return folder / name
        return None

    def _build(self, names: list[str]) -> None:
        """Build these into the cache. Two test processes that both want them build them once."""
        target, release = self.cache(), self.release()
        target.mkdir(parents=True, exist_ok=True)
        with target.with_suffix(target.suffix + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            missing = [name for name in names if not (target / name).exists()]
            if not missing:
                return
            print(f"building {', '.join(missing)} {release} into {target} …", file=sys.stderr, flush=True)
            major, minor = release.removeprefix("v").split(".")[:2]
            stamps = [f"-X {each.format(release=release, major=major, minor=minor)}" for each in self.stamps]
            build = ["go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
            with tempfile.TemporaryDirectory(dir=target) as made:
                for name in missing:
                    subprocess.run(
                        [
                            *build,
                            "-ldflags",
                            " ".join(["-s -w", *stamps]),
                            "-o",
                            f"{made}/{name}",
                            self.packages[name],
                        ],
                        cwd=self.folder,
                        env={**os.environ, "CGO_ENABLED": "0"},
                        check=True,
                    )
                    # A program appears in the cache whole, or not at all.
                    Path(made, name).rename(target / name)


KUBE = Module(
    "kube",
    pin="k8s.io/kubernetes",
    packages={**PACKAGES, **OURS},
    stamps=tuple(
        f"{package}.git{each}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for each in ("Version={release}", "Major={major}", "Minor={minor}")
    ),
    sources=("crisandbox/main.go",),
)
HELM = Module(
    "helm",
    pin="helm.sh/helm/v3",
    packages={"helm": "helm.sh/helm/v3/cmd/helm"},
    stamps=("helm.sh/helm/v3/internal/version.version={release}",),
)


def find() -> Programs | None:
    """Every program of a control plane, built if need be; None if one is missing and cannot be built here."""
    found = KUBE.programs(*PACKAGES)
    if found[0] is None and (debian := shutil.which("etcd")):
        found[0] = Path(debian)
    there = [path for path in found if path is not None]
    return Programs(*there) if len(there) == len(PACKAGES) else None


def main() -> None:
    programs = find()
    if programs is None:
        sys.exit(f"no Kubernetes control plane here: {HOW}")
    (helm,) = HELM.programs("helm")
    if helm is None:
        sys.exit(f"no Helm here: {HELM_HOW}")
    print(programs.apiserver.parent, helm.parent, sep="\n")


if __name__ == "__main__":
    main()
