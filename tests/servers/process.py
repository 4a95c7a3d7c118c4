"""One program that a test started: its log, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.servers.keeper import Keeper, children


class DidNotStart(Exception):
    """The program ended or did not answer in time; the message carries its log."""


class Process:
    """A program in the foreground, restartable, with stdout and stderr in ``log``.

    ``user``: run as this user (only root may ask). ``stop_signal``: what ends it gracefully.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        keeper: Keeper,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self.env = env
        self._keeper = keeper
        self._user = user
        self._stop_signal = stop_signal
        self._running: subprocess.Popen[bytes] | None = None
        self._mark = 0

    @property
    def pid(self) -> int:
        assert self._running is not None, f"{self.argv[0]} is not running"
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def start(self, ready: Callable[[], bool], *, seconds: float = 30) -> None:
        """Start, and return once ``ready()`` says so."""
        assert not self.alive, f"{self.argv[0]} is running already"
        with self.log.open("ab") as log:
            self._mark = log.tell()
            self._running = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd="/",
                user=self._user,
                group=_group(self._user),
                extra_groups=None if self._user is None else [],
                start_new_session=True,
            )
        self._keeper.kill(self._running.pid)
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive:
                raise DidNotStart(f"{self.argv[0]} ended with {self._running.returncode}:\n{self.output()}")
            if time.monotonic() > deadline:
                self.kill9()
                raise DidNotStart(f"{self.argv[0]} was not ready after {seconds} s:\n{self.output()}")
            time.sleep(0.02)

    def stop(self, *, seconds: float = 30) -> int:
        """End it gracefully; its exit status. What does not end in time is killed, and that is an error."""
        if not self.alive:
            return self._reap()
        os.kill(self.pid, self._stop_signal)
        try:
            self._wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise AssertionError(
                f"{self.argv[0]} did not stop within {seconds} s:\n{self.output()}"
            ) from None
        return self._reap()

    def kill9(self) -> None:
        """Kill it and all its children at one moment, as a crash of the machine would."""
        if self.alive:
            # Stopped first, so that it can neither start another child nor see one die.
            os.kill(self.pid, signal.SIGSTOP)
            family = [self.pid, *children(self.pid)]
            for pid in family[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._reap()

    def wait(self, *, seconds: float = 30) -> int:
        """Wait for an end that came by itself; the exit status (negative: the signal)."""
        self._wait(seconds)
        return self._reap()

    def output(self, *, since_start: bool = True) -> str:
        """What it wrote, since its last start or since the first."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[self._mark if since_start else 0 :].decode(errors="replace")

    def _wait(self, seconds: float) -> None:
        if self._running is not None:
            self._running.wait(seconds)

    def _reap(self) -> int:
        if self._running is None:
            return 0
        status = self._running.wait(30)
        self._running = None
        return status


def _group(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid
