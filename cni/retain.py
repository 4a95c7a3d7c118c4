"""What a DEL or the GC leaves for a moment: the address of a pod that its StatefulSet may make anew."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from ledger.book import Book
from ledger.errors import LedgerError
from ledger.events import Event, Kind, State

log = logging.getLogger(__name__)

SECONDS: Final = 60
"""How long such an address is kept from others if no sync worker says more. It takes a second or so to."""

_ORDINAL = re.compile(r".+-(0|[1-9][0-9]{0,9})")
"""The name of a pod that a StatefulSet makes."""


class Retention:
    """Holds what such pods give back, in pools that retain StatefulSets' addresses.

    Whether the set is there and wants the pod again, the sync worker asks; it then holds the address for good, or frees it.
    Until it has, nobody else may have it: on a full pool the next pod that asks would, and the set's own be stuck.
    """

    def __init__(self, book: Book) -> None:
        self._book = book

    def __call__(self, events: Sequence[Event]) -> None:
        for event in events:
            try:
                if self._wanted(event):
                    self._hold(event)
            except LedgerError as error:
                # The DEL is done; that the address may be lost to another is no reason to fail it.
                log.warning("%s of %s is not held: %s", event.ip, event.owner.pod, error)

    def _wanted(self, event: Event) -> bool:
        owner = event.owner
        if event.state is not State.FREE or not owner.is_pod or not _ORDINAL.fullmatch(owner.pod or ""):
            return False  # one that cools down is kept from others anyway
        return "StatefulSet" in self._book.spec(event.pool).retain_for

    def _hold(self, event: Event) -> None:
        assert event.ip is not None
        until = event.at + timedelta(seconds=SECONDS)  # by the database's clock, like everything in it
        reason = "a StatefulSet may make the pod anew"
        self._book.transfer(event.pool, event.ip, event.version, Kind.HELD, reason=reason, until=until)
