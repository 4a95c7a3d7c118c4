"""Evidence that an owner has ended: the only ground on which somebody's address may be taken back.

Positive evidence only. An error, a time-out, or silence is *no* evidence, and an adapter that meets
one returns None. The book asks at the moment of a reclaim, outside any transaction.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ledger.errors import InvalidInput
from ledger.events import Event, rfc3339

log = logging.getLogger(__name__)

FAILURES: Final = (OSError, ValueError, subprocess.SubprocessError)
"""What a source raises that cannot be asked."""


class Evidence(Protocol):
    """Something that can tell whether the owner of an address has ended."""

    def ended(self, holder: Event) -> str | None:
        """Why the holder of ``holder.ip`` has ended, in a few words for the ledger, or None if that is not known.

        ``holder`` is the newest event of an allocated address. Must not raise, and must keep its own deadline.
        """


class Source(ABC):
    """Evidence that is had from somewhere, which may fail. For a reclaim an error is no evidence; who looks by hand is told."""

    @abstractmethod
    def ask(self, holder: Event) -> str | None:
        """As ``ended``, but raises what went wrong: OSError, ValueError, SubprocessError."""

    def ended(self, holder: Event) -> str | None:
        try:
            return self.ask(holder)
        except FAILURES as error:
            log.warning("no evidence from %s: %s", self, error)
            return None


class NeverGone(Source):
    """No evidence at all: a full pool stays full until somebody releases."""

    def ask(self, holder: Event) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class _Listed:
    """What one reading of the file said; ``stamp`` tells whether it changed since."""

    stamp: tuple[int, int, int]
    pods: frozenset[tuple[str, str | None]]
    containers: frozenset[str]


class FileEvidence(Source):
    """A file that lists owners known to have ended.

    Each line is ``namespace/pod``, ``namespace/pod uid``, or a container id; empty lines and those that begin with
    ``#`` are passed over. A last line without its line break is being written still, and is not taken. A
    file that cannot be read, is too large, or has any other line is no evidence at all. Read at the moment of asking.
    """

    LIMIT = 16 << 20

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listed: _Listed | None = None

    def __str__(self) -> str:
        return str(self._path)

    def ask(self, holder: Event) -> str | None:
        listed = self._read()
        owner = holder.owner
        pod = f"{owner.namespace}/{owner.pod}" if owner.is_pod else None
        if pod is not None and (pod, None) in listed.pods:
            return f"{pod} is listed in {self._path.name}"
        if pod is not None and owner.uid is not None and (pod, owner.uid) in listed.pods:
            return f"{pod} with uid {owner.uid} is listed in {self._path.name}"
        if holder.attachment.container_id in listed.containers:
            return f"container {holder.attachment.container_id} is listed in {self._path.name}"
        return None

    def _read(self) -> _Listed:
        if self._path.is_fifo():  # who opens one waits for its writer
            raise ValueError("it is a pipe")
        with self._path.open("rb") as file:
            about = os.fstat(file.fileno())
            stamp = (about.st_ino, about.st_mtime_ns, about.st_size)
            if self._listed is not None and self._listed.stamp == stamp:
                return self._listed
            raw = file.read(self.LIMIT + 1)
        if len(raw) > self.LIMIT:
            raise ValueError(f"it has more than {self.LIMIT} bytes")
        pods, containers = set(), set()
        for number, line in enumerate(raw.decode().split("\n")[:-1], 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            owner, uid = words[0], words[1] if len(words) == 2 else None
            names = owner.split("/")
            if (
                len(words) > 2
                or len(names) > 2
                or not all(names)
                or not "".join(words).isprintable()
                or (uid and len(names) < 2)
            ):
                raise ValueError(f"line {number} is neither NAMESPACE/POD [UID] nor a container id")
            if len(names) == 2:
                pods.add((owner, uid))
            else:
                containers.add(owner)
        self._listed = _Listed(stamp, frozenset(pods), frozenset(containers))
        return self._listed


class CommandEvidence(Source):
    """A command that is asked about one holder at a time.

    The holder is in ``IPAM_LEDGER_HOLDER_NAMESPACE``, ``_POD``, ``_UID``, ``_CONTAINER_ID``, ``_IF_NAME``,
    ``_NETWORK``, ``_NODE``, ``_POOL``, ``_IP`` and ``_SINCE`` (RFC 3339); what is not known is empty. Only exit status 0
    together with ``gone`` as the first word on stdout is evidence; what follows it on that line goes into the
    ledger. ``seconds``: its deadline, after which it and its children are killed.
    """

    def __init__(self, argv: list[str], *, seconds: float = 5.0) -> None:
        self._argv = argv
        self._seconds = seconds

    def __str__(self) -> str:
        return self._argv[0]

    def ask(self, holder: Event) -> str | None:
        status, said = self._run(_about(holder))
        first, _, _ = said.partition("\n")
        word, _, why = first.strip().partition(" ")
        if status != 0 or word != "gone":
            return None
        why = "".join(c for c in why if c.isprintable()).strip()[:200]
        return f"{Path(self._argv[0]).name}: gone {why}".rstrip()

    def _run(self, about: dict[str, str]) -> tuple[int, str]:
        process = subprocess.Popen(
            self._argv,
            env={**os.environ, **about},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that the deadline ends its children too
        )
        with process:
            try:
                out, _ = process.communicate(timeout=self._seconds)
            except BaseException:  # not reaped yet, so that the group is still this one
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        return process.returncode, out[:4096].decode(errors="replace")


def parse_evidence(text: str, others: str = "") -> Source:
    """``never``, ``file:/path`` or ``command:program arguments`` (quoted as for a shell). Raises InvalidInput.

    ``others``: what else the caller takes, for the error.
    """
    kind, _, rest = text.partition(":")
    rest = rest.strip()
    if text == "never":
        return NeverGone()
    if kind == "file" and rest.startswith("/"):
        return FileEvidence(Path(rest))
    if kind == "command" and rest:
        try:
            return CommandEvidence(shlex.split(rest))
        except ValueError as error:
            raise InvalidInput("evidence", text, f"cannot be split into words: {error}") from error
    raise InvalidInput(
        "evidence", text, f"must be never, {others}file:/ABSOLUTE/PATH or command:PROGRAM [ARGUMENTS]"
    )


def _about(holder: Event) -> dict[str, str]:
    facts = {
        "NAMESPACE": holder.owner.namespace,
        "POD": holder.owner.pod,
        "UID": holder.owner.uid,
        "CONTAINER_ID": holder.attachment.container_id,
        "IF_NAME": holder.attachment.if_name,
        "NETWORK": holder.attachment.network,
        "NODE": holder.node,
        "POOL": holder.pool,
        "IP": holder.ip,
        "SINCE": rfc3339(holder.at),
    }
    return {f"IPAM_LEDGER_HOLDER_{key}": value or "" for key, value in facts.items()}
