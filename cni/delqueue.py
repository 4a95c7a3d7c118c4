"""The DELs that could not be recorded, kept on disk until they are.

A runtime forgets a container once its DEL succeeded, and repeats a failed one for as long as the node lives. So while
the database is away a DEL is written down here and answered with success. One file for each attachment: written
under another name, synced, renamed, and the folder synced, so that a crash at any point leaves the whole file or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from ledger.events import Attachment
from ledger.files import sync

log = logging.getLogger(__name__)

SUFFIX = ".del"
BROKEN = ".broken"


class DelQueue:
    """``folder`` is made when the first DEL comes.

    Callers see to it that nothing else happens to a container while its DELs are put, applied or dropped. Raises
    OSError where the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._guard = Lock()
        self._waiting: dict[str, dict[Attachment, Path]] = {}
        self._load()

    def put(self, attachment: Attachment) -> None:
        """Keep this DEL, durably. The same one twice is one."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / (_name(attachment) + SUFFIX)
        if not path.exists():
            temporary = path.with_suffix(".tmp")
            said = {
                "network": attachment.network,
                "containerID": attachment.container_id,
                "ifName": attachment.if_name,
            }
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                with os.fdopen(fd, "w") as file:
                    json.dump(said, file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        # Before what may be refused: a file that only the next agent finds would free what was given out meanwhile.
        with self._guard:
            self._waiting.setdefault(attachment.container_id, {})[attachment] = path
        # Also where it was there already: the one who wrote it may not have come this far.
        sync(self.folder)
        sync(self.folder.parent)

    def containers(self) -> list[str]:
        """Whose DELs wait."""
        with self._guard:
            return list(self._waiting)

    def waits(self, container_id: str) -> bool:
        """Whether this container's do."""
        return container_id in self._waiting

    def apply(self, container_id: str, release: Callable[[Attachment], object]) -> int:
        """Record this container's DELs, and forget each that was; how many. An error of ``release`` ends it there.

        Before an ADD of the same container, too: a DEL that came late would free the new address. Hence the
        sync: a file that came back after a power cut would do the same.
        """
        with self._guard:
            entries = list(self._waiting.get(container_id, {}).items())
        for attachment, path in entries:
            release(attachment)
            path.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                sync(self.folder)
            with self._guard:
                left = self._waiting[container_id]
                del left[attachment]
                if not left:
                    del self._waiting[container_id]
        return len(entries)

    def __len__(self) -> int:
        with self._guard:
            return sum(map(len, self._waiting.values()))

    def _load(self) -> None:
        try:
            paths = [path for path in self.folder.iterdir() if path.is_file()]
        except FileNotFoundError:
            return
        for path in paths:
            if path.suffix == ".tmp":  # its writer died before the rename, and so before it answered
                path.unlink(missing_ok=True)
            elif path.suffix == SUFFIX:
                try:
                    attachment = _read(path)
                except (OSError, ValueError, RecursionError) as error:
                    aside = path.with_suffix(BROKEN)
                    log.error("a queued DEL cannot be read and is set aside as %s: %s", aside, error)
                    with contextlib.suppress(OSError):
                        path.replace(aside)
                    continue
                self._waiting.setdefault(attachment.container_id, {})[attachment] = path


def _name(attachment: Attachment) -> str:
    text = "\0".join((attachment.network, attachment.container_id, attachment.if_name))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(path: Path) -> Attachment:
    said = json.loads(path.read_text())
    if not isinstance(said, dict):
        raise ValueError("not an object")
    values = [str(said.get(key)) for key in ("containerID", "ifName", "network")]
    attachment = Attachment(*values)
    if path.stem != _name(attachment):
        raise ValueError("its name does not fit what it says")
    return attachment
