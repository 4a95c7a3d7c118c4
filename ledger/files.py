"""Files that people name: written so that a crash leaves the old content or the new, and read no further than makes sense."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from ledger.errors import InvalidInput


def replace_file(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write beside, fsync, rename, fsync the folder. Raises InvalidInput naming the path if it cannot be written.

    Of a link it is the file it leads to, which may be on another machine, that is written. A pipe or a device stays one.
    """
    real = Path(os.path.realpath(path))
    beside = real.with_name(f".{real.name}.{os.getpid()}.new")
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        real.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(real)
        sync(real.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise InvalidInput("file", str(path), f"cannot be written: {error}") from error


def sync(path: Path) -> None:
    """This file or folder alone, to the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_bounded(name: str, most: int) -> bytes:
    """What a file holds, or stdin (``-``); of one that is larger than ``most``, a byte more than that. Raises OSError."""
    if name == "-":
        return sys.stdin.buffer.read(most + 1)
    with Path(name).open("rb") as file:
        return file.read(most + 1)
