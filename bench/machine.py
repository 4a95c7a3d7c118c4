"""Where it was measured: without that, a figure says nothing."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import hostlocal
from bench.part import Missing
from bench.series import percentile
from tests.servers import postgres

ROOT = Path(__file__).parent.parent


def facts() -> dict[str, Any]:
    """What the figures depend on, in JSON's types; None where it is not to be had."""
    return {
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "system": _system(),
        "filesystem": _filesystem(),
        "fsync_us": round((_fsync() or 0) * 1e6),
        "python": platform.python_version(),
        "python_build": " ".join(platform.python_compiler().split()),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": _postgresql(),
        "sqlalchemy": version("sqlalchemy"),
        "psycopg": version("psycopg"),
        "host_local": _host_local(),
        "ipam_ledger": version("ipam-ledger"),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(
            _git("status", "--porcelain", "--untracked-files=no", "--", "ledger", "cni", "bench")
        ),
    }


def sentence(said: dict[str, Any]) -> str:
    """The facts that a reader of the table wants, in a line."""
    return (
        f"{said['cpus']} × {said['cpu']}, {said['memory_gib']:g} GiB, {said['system']}, Linux {said['kernel']}, "
        f"fsync {said['fsync_us']} µs on {said['filesystem']}, Python {said['python']}, "
        f"PostgreSQL {said['postgresql'] or '(none)'}, SQLite {said['sqlite']}, load {said['load_before']:.1f} before"
    )


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found[1].strip() if found else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", sys.platform)
    except OSError:
        return sys.platform


def _filesystem() -> str | None:
    done = subprocess.run(
        ["stat", "-f", "-c", "%T", tempfile.gettempdir()], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def _fsync() -> float | None:
    """Seconds for a page to be on the disk: where it is next to nothing, commits cost nothing either."""
    samples = []
    with tempfile.TemporaryFile() as file:
        for _ in range(50):
            file.seek(0)
            file.write(os.urandom(8192))
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            samples.append(time.perf_counter() - begun)
    return percentile(samples, 50)


def _postgresql() -> str | None:
    programs = postgres.find()
    if programs is None:
        return None
    said = subprocess.run(
        [programs.folder / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"\d+(\.\d+)*", said.stdout)
    return found[0] if found else None


def _host_local() -> str | None:
    try:
        path = hostlocal.find()
    except Missing:
        return None
    try:
        done = subprocess.run(["dpkg-query", "-S", path], capture_output=True, text=True, check=True)
        package = done.stdout.partition(":")[0]
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${Version}", package],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return path
    return done.stdout


def _git(*args: str) -> str | None:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
