"""The book as the agent's handlers see it: no DEL is lost."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Sequence

from cni.delqueue import DelQueue
from cni.memory import Memory
from cni.turns import Turns
from ledger.book import Book, Outcome
from ledger.catalog import PoolFigures
from ledger.claims import Allocation, Claim
from ledger.errors import LedgerError, LockTimeout, SchemaMismatch, TryAgain
from ledger.events import Attachment, Event

log = logging.getLogger(__name__)

AWAY = (TryAgain, SchemaMismatch)
"""Errors that say nothing about the request: the database is away, busy, or waits for its upgrade."""


class AgentDesk:
    """The durable queue before ``book``, and the memory beside it.

    What allocates and releases is called in the container's turn (``containers``), which the retries of queued DELs
    take as well.
    """

    def __init__(
        self,
        book: Book,
        queue: DelQueue,
        containers: Turns,
        memory: Memory,
        released: Callable[[Sequence[Event]], None] = lambda events: None,
    ) -> None:
        """``released`` hears what a DEL or the GC gave back; it must not raise."""
        self._book = book
        self._released = released
        self._memory = memory
        self._queue = queue
        self._containers = containers

    def allocate(self, claim: Claim) -> tuple[Allocation, ...]:
        with self._noticing():
            self._memory.settle()
            self._queue.apply(claim.attachment.container_id, self._release)
            given = self._book.allocate(claim)
        self._memory.note(each.event for each in given if each.event)
        return given

    def release(self, attachment: Attachment) -> None:
        """Record the DEL, in the ledger or else in the queue. Raises TryAgain where neither can be written."""
        try:
            with self._noticing():
                self._queue.apply(attachment.container_id, self._release)
                self._release(attachment)
        except AWAY as error:
            self._keep(attachment, error)

    def waits(self, container_id: str) -> bool:
        """Whether a DEL of this container is queued: the forms for many at a time are not for it."""
        return self._queue.waits(container_id)

    def allocate_many(self, claims: Sequence[Claim]) -> list[Outcome]:
        try:
            with self._noticing():
                self._memory.settle()
        except AWAY as error:
            return [error] * len(claims)
        outcomes = self._book.allocate_many(claims)
        for outcome in outcomes:
            if isinstance(outcome, LedgerError):
                self._memory.failed(outcome)
        self._memory.note(
            each.event
            for outcome in outcomes
            if not isinstance(outcome, LedgerError)
            for each in outcome
            if each.event
        )
        return outcomes

    def release_many(self, attachments: Sequence[Attachment]) -> list[TryAgain | None]:
        """As ``release``; what it would raise is each one's outcome."""
        try:
            with self._noticing():
                given = self._book.release_many(attachments)
        except AWAY as error:
            return [self._kept(attachment, error) for attachment in attachments]
        freed = [event for events in given for event in events]
        self._memory.note(freed)
        self._released(freed)
        return [None] * len(attachments)

    def _kept(self, attachment: Attachment, error: Exception) -> TryAgain | None:
        try:
            self._keep(attachment, error)
        except TryAgain as neither:
            return neither
        return None

    def _keep(self, attachment: Attachment, error: Exception) -> None:
        try:
            self._queue.put(attachment)
        except OSError as full:
            raise TryAgain(f"{error}; and the DEL cannot be queued: {full}") from error
        log.warning("DEL of %s %s is queued: %s", attachment.container_id, attachment.if_name, error)

    def _release(self, attachment: Attachment) -> list[Event]:
        events = self._book.release(attachment)
        self._memory.note(events)
        self._released(events)
        return events

    @contextlib.contextmanager
    def _noticing(self) -> Iterator[None]:
        """That the database went away."""
        try:
            yield
        except AWAY as error:
            self._memory.failed(error)
            raise

    def held_by(self, attachment: Attachment) -> tuple[Allocation, ...]:
        return self._book.held_by(attachment)

    def collect(self, *, network: str, node: str, keep: Collection[Attachment]) -> list[Event]:
        freed = self._book.collect(network=network, node=node, keep=keep)
        self._memory.note(freed)
        self._released(freed)
        return freed

    def pool(self, name: str) -> PoolFigures:
        return self._book.pool(name)

    def ready(self) -> None:
        with self._noticing():
            self._book.ready()
            self._memory.settle()

    def unfenced(self) -> None:
        self._book.unfenced()

    def retry_queued(self) -> str | None:
        """Record the DELs that wait; a sentence for the log, or None if none waits. Raises TryAgain, SchemaMismatch."""
        done, busy = 0, None
        for container_id in self._queue.containers():
            try:
                with self._containers(container_id), self._noticing():
                    done += self._queue.apply(container_id, self._release)
            except LockTimeout as error:
                busy = error  # somebody may never let go of it: the others are recorded nevertheless
        if busy:
            raise busy
        return f"{done} queued DEL(s) recorded" if done else None

    def sweep(self) -> str | None:
        """Free what cooled down; a sentence for the log, or None if nothing did."""
        with self._noticing():
            freed = self._book.sweep()
        self._memory.note(freed)
        return f"{len(freed)} address(es) cooled down or no longer held" if freed else None
