"""Executing a CNI plugin as a runtime does: a fresh process, its environment, the configuration on stdin."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Call:
    """One execution to come."""

    program: str
    env: Mapping[str, str]
    stdin: bytes
    args: Sequence[str] = ()


@dataclass(frozen=True)
class Done:
    """One execution: seconds from before the fork until it was reaped, exit status, stdout."""

    seconds: float
    status: int
    stdout: bytes

    def __bool__(self) -> bool:
        return self.status == 0


class _Running:
    def __init__(self, call: Call) -> None:
        stdin, feed = os.pipe()
        self.stdout, out = os.pipe()
        self._out: list[bytes] = []
        os.write(feed, call.stdin)  # far less than a pipe holds
        os.close(feed)
        actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, out, 1)]
        self._begun = time.perf_counter()
        # glibc's posix_spawn is a vfork: this process's size does not count.
        self._pid = os.posix_spawn(
            call.program, [call.program, *call.args], {"PATH": PATH, **call.env}, file_actions=actions
        )
        os.close(stdin)
        os.close(out)

    def read(self) -> bool:
        """What is there now; False at the end."""
        data = os.read(self.stdout, 65536)
        self._out.append(data)
        return bool(data)

    def end(self) -> Done:
        _, status = os.waitpid(self._pid, 0)
        seconds = time.perf_counter() - self._begun
        os.close(self.stdout)
        return Done(seconds, os.waitstatus_to_exitcode(status), b"".join(self._out))


def run(call: Call) -> Done:
    """One, from its start to its end."""
    running = _Running(call)
    while running.read():
        pass
    return running.end()


def must(call: Call) -> float:
    """The seconds that it took. Raises AssertionError where it fails."""
    done = run(call)
    if not done:
        raise AssertionError(f"{call.program} failed with status {done.status}: {done.stdout.decode()}")
    return done.seconds


def together(calls: Sequence[Call]) -> tuple[float, list[Done]]:
    """All at once: the seconds from the first start to the last end, and each by itself."""
    begun = time.perf_counter()
    done = []
    with contextlib.closing(selectors.EpollSelector()) as selector:
        for call in calls:
            running = _Running(call)
            selector.register(running.stdout, selectors.EVENT_READ, running)
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.read():
                    selector.unregister(key.fd)
                    done.append(key.data.end())
    return time.perf_counter() - begun, done
