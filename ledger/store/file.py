"""An SQLite ledger's file: opened as far as this user may, and in words what he may not.

A reader, too, needs two files beside it, ``-wal`` and ``-shm``. Where SQLite may not make them, the file is read by itself
(``immutable``), which is right only while all of the ledger stands in it: if no log does when it is opened, and if it is
still as it was when the answer is complete.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

Stand = tuple[int, int, int, int]
"""How a file stood that was read by itself; another one means that somebody wrote it."""

BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
READONLY = "SQLITE_READONLY"


def connect(
    path: Path, patience: float, *args: Any, **options: Any
) -> tuple[sqlite3.Connection, Stand | None]:
    """A connection, and how the file stands if it is read by itself. ``args``, ``options``: the driver's.

    Raises sqlite3.Error, OSError.
    """
    try:
        return _use_wal(sqlite3.connect(*args, **options), patience), None
    except sqlite3.OperationalError as error:
        if not error.sqlite_errorname.startswith((READONLY, "SQLITE_CANTOPEN")):
            raise
        if not path.exists() or not os.access(path, os.R_OK, effective_ids=True):
            raise (PermissionError(why) if (why := missing_right(path)) else error) from error
        found = stand(path)
        if found is None:
            raise PermissionError(
                f"{missing_right(path) or error}, and without that SQLite cannot read what stands in {path.name}-wal; "
                f"copy {path.name} and {path.name}-wal to where it may be, and ask there"
            ) from error
        return sqlite3.connect(f"file:{quote(str(path.resolve()))}?immutable=1", uri=True, **options), found


def stand(path: Path) -> Stand | None:
    """How the file stands; None if it is gone, or something of it may stand in a log beside it. Raises OSError."""
    file = path.resolve()
    for end in ("-wal", "-journal"):
        try:
            if Path(f"{file}{end}").stat().st_size:
                return None
        except FileNotFoundError:
            pass
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def missing_right(path: Path) -> str | None:
    """What keeps this user from writing the file (from reading it, if not even that), in words; None if nothing does."""
    file, user = path.resolve(), f"uid {os.geteuid()}"
    if file.exists() and not os.access(file, os.R_OK, effective_ids=True):
        return f"the file may not be read by {user}"
    if file.parent.exists() and os.statvfs(file.parent).f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only"
    for what, where in (("the file", file), ("its folder", file.parent)):
        if where.exists() and not os.access(where, os.W_OK, effective_ids=True):
            there = "" if file.exists() else "there is no such file, and "
            return f"{there}{what} may not be written by {user}"
    return None


def _use_wal(connection: sqlite3.Connection, patience: float) -> sqlite3.Connection:
    """Only the first connection to a new file has anything to do. SQLite's busy handler is not asked when several are the first."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return connection
        except sqlite3.Error as error:
            if not error.sqlite_errorname.startswith(BUSY) or time.monotonic() > deadline:
                connection.close()
                raise
        time.sleep(0.01)  # in place of the busy handler
