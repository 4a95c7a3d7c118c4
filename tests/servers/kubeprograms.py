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


def find(*, build: bool = True) -> Programs | None:
    """Every program, built if need be; None if one is missing and cannot be built here."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    found: dict[str, Path] = {}
    for name in PACKAGES:
        if assets and os.access(Path(assets) / name, os.X_OK):
            found[name] = Path(assets) / name
        elif os.access(cache() / name, os.X_OK):
            found[name] = cache() / name
    if len(found) < len(PACKAGES) and build and shutil.which("go"):
        _build()
        return find(build=False)
    if "etcd" not in found and (debian := shutil.which("etcd")):
        found["etcd"] = Path(debian)
    if len(found) < len(PACKAGES):
        return None
    return Programs(
        found["etcd"], found["kube-apiserver"], found["kube-controller-manager"], found["kubectl"]
    )


def release() -> str:
    """The pinned release, such as ``v1.36.3``."""
    match = re.search(r"^\s*k8s\.io/kubernetes (v[\d.]+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert match, "go.mod requires no k8s.io/kubernetes"
    return match[1]


def cache() -> Path:
    """The cache of what was built from exactly these modules for this kind of machine."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipam-ledger"
    modules = hashlib.sha256((MODULE / "go.mod").read_bytes() + (MODULE / "go.sum").read_bytes()).hexdigest()
    return root / f"kube-{release()}-{platform.system().lower()}-{platform.machine()}-{modules[:12]}"


def _build() -> None:
    """Build what the cache lacks. Two test processes that both want it build it once."""
    target = cache()
    target.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(target.suffix + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [name for name in PACKAGES if not (target / name).exists()]
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
                subprocess.run(
                    [*build, "-ldflags", f"-s -w {version}", "-o", f"{made}/{name}", PACKAGES[name]],
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
