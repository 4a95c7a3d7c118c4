"""Where the programs of a Kubernetes control plane come from.

The order is envtest's: the folder that ``KUBEBUILDER_ASSETS`` names, else a cache outside the checkout, else a
build of the Go modules that ``kube/go.mod`` pins, into that cache. The build takes some minutes, once a machine;
``python -m tests.servers.kubeprograms`` does it ahead of the tests and says where things are.
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
from dataclasses import dataclass
from pathlib import Path

MODULE = Path(__file__).parent / "kube"
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


@dataclass(frozen=True)
class Programs:
    """The path of each program of a control plane."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    kubectl: Path


def find() -> Programs | None:
    """Every program of a control plane, built if need be; None if one is missing and cannot be built here."""
    found = programs(*PACKAGES)
    if found[0] is None and (debian := shutil.which("etcd")):
        found[0] = Path(debian)
    there = [path for path in found if path is not None]
    return Programs(*there) if len(there) == len(PACKAGES) else None


def programs(*names: str) -> list[Path | None]:
    """Where each is, built if need be and if it can be."""
    if any(_find(name) is None for name in names) and shutil.which("go"):
        _build([name for name in names if _find(name) is None])
    return [_find(name) for name in names]


def _find(name: str) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for folder in (*([Path(assets)] if assets else []), cache()):
        if os.access(folder / name, os.X_OK):
            return folder / name
    return None


def release() -> str:
    """The pinned release, such as ``v1.36.3``."""
    match = re.search(r"^\s*k8s\.io/kubernetes (v[\d.]+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert match, "go.mod requires no k8s.io/kubernetes"
    return match[1]


def cache() -> Path:
    """The cache of what was built from exactly these modules for this kind of machine."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipam-ledger"
    ours = (MODULE / name for name in ("go.mod", "go.sum", "crisandbox/main.go"))
    modules = hashlib.sha256(b"".join(file.read_bytes() for file in ours)).hexdigest()
    return root / f"kube-{release()}-{platform.system().lower()}-{platform.machine()}-{modules[:12]}"


def _build(names: list[str]) -> None:
    """Build these into the cache. Two test processes that both want them build them once."""
    target = cache()
    target.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(target.suffix + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [name for name in names if not (target / name).exists()]
        if not missing:
            return
        print(f"building {', '.join(missing)} {release()} into {target} …", file=sys.stderr, flush=True)
        major, minor = release().removeprefix("v").split(".")[:2]
        version = " ".join(
            f"-X {package}.git{key}={value}"
            for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
            for key, value in (("Version", release()), ("Major", major), ("Minor", minor))
        )
        build = ["go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
        with tempfile.TemporaryDirectory(dir=target) as made:
            for name in missing:
                package = {**PACKAGES, **OURS}[name]
                subprocess.run(
                    [*build, "-ldflags", f"-s -w {version}", "-o", f"{made}/{name}", package],
                    cwd=MODULE,
                    env={**os.environ, "CGO_ENABLED": "0"},
                    check=True,
                )
                # A program appears in the cache whole, or not at all.
                Path(made, name).rename(target / name)


def main() -> None:
    programs = find()
    if programs is None:
        sys.exit(f"no Kubernetes control plane here: {HOW}")
    print(programs.apiserver.parent)


if __name__ == "__main__":
    main()
