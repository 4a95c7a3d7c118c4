"""The check of an export in a process of its own, beside its loading: two threads would share one interpreter."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from ledger.archive.reader import Checked, check_file
from ledger.errors import LedgerError

SMALL = 1 << 20
"""Bytes of a file that is checked at once: another interpreter takes longer to start."""


class Checking:
    """Reads the first ``size`` bytes of a file as :func:`ledger.archive.reader.check_file` does. Ends with its ``with``, finished or not."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._checked: Checked | None = None
        self._process: multiprocessing.process.BaseProcess | None = None

    def __enter__(self) -> Checking:
        if self._size <= SMALL:
            self._checked = check_file(self._path, size=self._size)
            return self
        spawn = multiprocessing.get_context("spawn")
        self._result, theirs = spawn.Pipe(duplex=False)
        self._process = spawn.Process(
            target=_check, args=(self._path, self._size, theirs, os.getpid()), daemon=True
        )
        # A person's Ctrl-C is for this process, which then ends that one: that begins without hearing any. The tracker first,
        # whose start would let the signal through again.
        resource_tracker.ensure_running()
        heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._result.close()

    def checked(self) -> Checked | None:
        """What the file holds; None while it is still being read. Raises what the check raises."""
        if self._checked is None and self._result.poll():
            return self.wait()
        return self._checked

    def wait(self) -> Checked:
        """The same, when it is read."""
        if self._checked is None:
            try:
                found = self._result.recv()
            except EOFError:
                raise LedgerError(
                    f"the process that checks {self._path} was ended (out of memory?); import it again"
                ) from None
            if isinstance(found, Exception):
                raise found
            self._checked = found
        return self._checked


def _check(path: Path, size: int, result: Connection, parent: int) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a person's Ctrl-C is the parent's, who then ends this process

    def orphaned(_: int) -> None:
        if os.getppid() != parent:
            os._exit(1)

    found: Checked | Exception
    try:
        found = check_file(path, orphaned, size=size)
    except (LedgerError, OSError) as error:
        found = error
    result.send(found)
