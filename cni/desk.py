"""The book as the agent's handlers see it: no DEL is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from cni.delqueue import DelQueue
from cni.keyed import KeyedLock
from ledger.book import Book, Outcome
from ledger.catalog import PoolFigures
from ledger.claims import Allocation, Claim
from ledger.errors import SchemaMismatch, TryAgain
from ledger.events import Attachment, Event

log = logging.getLogger(__name__)

AWAY = (TryAgain, SchemaMismatch)
"""Errors that say nothing about the request: the database is away, busy, or waits for its upgrade."""


class AgentDesk:
    """The durable queue before ``book``.

    What allocates and releases is called with the container's lock held (``containers``), which the retries of
    queued DELs take as well.
    """

    def __init__(
        self,
        book: Book,
        queue: DelQueue,
        containers: KeyedLock,
        released: Callable[[Sequence[Event]], None] = lambda events: None,
    ) -> None:
        """``released`` hears what a DEL gave back; it must not raise."""
        self._book = book
        self._released = released
        self._queue = queue
        self._containers = containers

    def allocate(self, claim: Claim) -> tuple[Allocation, ...]:
        self._queue.apply(claim.attachment.container_id, self._release)
        return self._book.allocate(claim)

    def release(self, attachment: Attachment) -> None:
        """Record the DEL, in the ledger or else in the queue. Raises TryAgain where neither can be written."""
        try:
            self._queue.apply(attachment.container_id, self._release)
            self._release(attachment)
        except AWAY as error:
            self._keep(attachment, error)

    def waits(self, container_id: str) -> bool:
        """Whether a DEL of this container is queued: the forms for many at a time are not for it."""
        return self._queue.waits(container_id)

    def allocate_many(self, claims: Sequence[Claim]) -> list[Outcome]:
        return self._book.allocate_many(claims)

    def release_many(self, attachments: Sequence[Attachment]) -> list[TryAgain | None]:
        """As ``release``; what it would raise is each one's outcome."""
        try:
            given = self._book.release_many(attachments)
        except AWAY as error:
            return [self._kept(attachment, error) for attachment in attachments]
        self._released([event for events in given for event in events])
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
        self._released(events)
        return events

    def held_by(self, attachment: Attachment) -> tuple[Allocation, ...]:
        return self._book.held_by(attachment)

    def collect(self, *, network: str, node: str, keep: Collection[Attachment]) -> list[Event]:
        return self._book.collect(network=network, node=node, keep=keep)

    def pool(self, name: str) -> PoolFigures:
        return self._book.pool(name)

    def ready(self) -> None:
        self._book.ready()
        self._book.unfenced()

    def retry_queued(self) -> str | None:
        """Record the DELs that wait; a sentence for the log, or None if none waits. Raises TryAgain, SchemaMismatch."""
        waiting: Sequence[str] = self._queue.containers()
        done = 0
        for container_id in waiting:
            with self._containers(container_id):
                done += self._queue.apply(container_id, self._release)
        return f"{done} queued DEL(s) recorded" if done else None

    def sweep(self) -> str | None:
        """Free what cooled down; a sentence for the log, or None if nothing did."""
        freed = len(self._book.sweep())
        return f"{freed} address(es) cooled down or no longer held" if freed else None
