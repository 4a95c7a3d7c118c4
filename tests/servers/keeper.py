"""Undoes what a test run left behind, however it ended.

The keeper is a small process at the other end of a pipe. The test run tells it what must be undone; when
the pipe closes, because the run ended, was interrupted or was killed, it undoes that. Everything it
is told is safe to undo twice, so nothing is ever taken back from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def started(pid: int) -> str | None:
    """When a process started, in ticks since boot: with the pid, its identity. None when it is gone."""
    try:
        # The command's name may hold blanks and brackets; the fields after the last bracket may not.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def children(pid: int) -> list[int]:
    """The children of a process, of all its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, task.read_text().split())
    return found


class Keeper:
    """The test run's end of the pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # the terminal's Ctrl-C is for the run, not for who cleans up after it
            cwd="/",
        )

    def kill(self, pid: int) -> None:
        """Kill this process in the end, unless it has gone."""
        if (since := started(pid)) is not None:
            self._tell(kill=pid, since=since)

    def remove(self, folder: Path) -> None:
        """Remove this folder in the end."""
        self._tell(remove=str(folder))

    def run(self, *argv: str) -> None:
        """Run this command in the end; nobody looks at how it went."""
        self._tell(run=argv)

    def close(self) -> None:
        self._process.communicate()

    def _tell(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()


def _undo(order: dict[str, Any]) -> None:
    if "kill" in order:
        pid = order["kill"]
        if started(pid) == order["since"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    elif "run" in order:
        subprocess.run(order["run"], check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    else:
        for _ in range(20):  # the children of what was just killed may still be writing there
            shutil.rmtree(order["remove"], ignore_errors=True)
            if not Path(order["remove"]).exists():
                break
            time.sleep(0.1)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = [json.loads(line) for line in sys.stdin]
    for order in reversed(orders):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _undo(order)


if __name__ == "__main__":
    main()
