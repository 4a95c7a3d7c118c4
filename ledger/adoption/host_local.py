"""The folder of the reference plugin host-local: a folder for each network, in it a file for each address.

A file is named after its address and holds the container id and, but for old versions, in a second line the interface.
Beside them lie ``lock`` and ``last_reserved_ip.N``. host-local never flushes what it writes: after a crash a file may be
empty, and then nobody knows whose the address is. It knows this node only, and no pods.

The folder may be in use: a file that goes away while it is read was released.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ledger.addresses import canonical
from ledger.adoption.found import Found, Problem, Reading, Unsaid, container_id, interface, network_name
from ledger.errors import InvalidInput, InvalidRequest
from ledger.events import Attachment, Owner

MAX_FILE: Final = 1_024
"""Bytes of one file; an id and an interface need fewer than 300."""
MAX_FILES: Final = 1_000_000


def read(folder: Path, unsaid: Unsaid) -> Reading:
    """``folder``: the data folder, or one network's. Raises InvalidInput if it cannot be listed."""
    reading = Reading()
    alone = [entry for entry in _entries(folder) if _is_address(entry.name)]
    networks = [folder] if alone else [Path(entry.path) for entry in _entries(folder) if _is_folder(entry)]
    for network in sorted(networks):
        try:
            name = folder.resolve().name if network is folder else network.name
            _network(network, network_name(name, "network"), unsaid, reading)
        except InvalidInput as error:
            reading.problems.append(Problem.of(error, f"host-local {network}"))
    return reading


def _network(folder: Path, network: str, unsaid: Unsaid, reading: Reading) -> None:
    origin = f"host-local network {network}" + (f" on {unsaid.node}" if unsaid.node else "")
    for entry in sorted(_entries(folder), key=lambda each: each.name):
        if entry.name == "lock" or entry.name.startswith("last_reserved_ip."):
            continue
        try:
            ip = canonical(entry.name, "file name")
            holder = _holder(Path(entry.path), network, unsaid)
        except InvalidInput as error:
            reading.problems.append(Problem.of(error, f"host-local {entry.path}"))
            continue
        if holder is not None:
            reading.found.append(Found(ip, Owner(), holder, network, origin, None, unsaid.node))


def _holder(file: Path, network: str, unsaid: Unsaid) -> Attachment | None:
    """What the file says; None if it is gone."""
    try:
        # neither a link out of the folder nor a pipe that never answers
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidRequest("file", None, f"cannot be read: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InvalidRequest("file", None, "is no regular file")
        raw = os.read(handle, MAX_FILE + 1)
    except OSError as error:
        raise InvalidRequest("file", None, f"cannot be read: {error.strerror}") from error
    finally:
        os.close(handle)
    if len(raw) > MAX_FILE:
        raise InvalidRequest("file", None, f"is larger than {MAX_FILE} bytes")
    lines = raw.decode("utf-8", "replace").strip().splitlines()
    if not lines:
        raise InvalidRequest("file", None, "is empty: the address is taken, but nobody knows by whom")
    if len(lines) > 2:
        raise InvalidRequest("file", lines[2], "has more than a container id and an interface")
    return Attachment(
        container_id(lines[0], "line 1"),
        interface(lines[1], "line 2") if len(lines) == 2 else unsaid.if_name,
        network,
    )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_FILES:
                    raise InvalidInput("folder", str(folder), f"holds more than {MAX_FILES} files")
                yield entry
    except OSError as error:
        raise InvalidInput("folder", str(folder), f"cannot be listed: {error.strerror}") from error


def _is_address(name: str) -> bool:
    try:
        canonical(name, "file name")
    except InvalidInput:
        return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
