"""StatefulSets keep the addresses of their pods."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ledger.book import Book
from ledger.events import Kind, State
from sync import reconcile
from sync.errors import NotFound
from sync.kube import Api, statefulset_path
from sync.objects import StatefulSet
from sync.watch import Mirror
from sync.worker.agenda import Agenda, Key
from sync.worker.pictures import Pictures

log = logging.getLogger(__name__)


class Retention:
    """Holds a gone pod's address while its set wants the pod again, and frees it when not. ``leading``: asked before either."""

    def __init__(
        self,
        api: Api,
        book: Book,
        agenda: Agenda,
        pictures: Pictures,
        sets: Mirror[StatefulSet],
        leading: Callable[[], bool],
    ) -> None:
        self._api, self._book, self._agenda, self._pictures = api, book, agenda, pictures
        self._sets, self._leading = sets, leading

    def look(self, key: Key) -> None:
        """Raises KubeError, LedgerError."""
        loose = self._pictures.loose(key.pool, key.ip)
        if loose is None:
            return
        if not self._sets.listed.is_set():
            self._agenda.add(key, 0.5)
            return
        event, retain_for = loose
        wanted = reconcile.wants_set(event, retain_for)
        if wanted is None or reconcile.retention(event, retain_for, self._sets.get("/".join(wanted))) is None:
            return
        if event.state is not State.HELD:
            with self._pictures.look(key.pool) as (picture, _):
                if picture.holds_elsewhere(event):
                    return
        # The picture says that something is to be done; whether it is so, the API server says now.
        found: StatefulSet | None
        try:
            found = StatefulSet.from_raw(self._api.call("GET", statefulset_path(*wanted)))
        except NotFound:
            found = None
        decided = reconcile.retention(event, retain_for, found)
        if decided is None or not self._leading():
            return
        kind = Kind.HELD if decided[0] == "hold" else Kind.FREED
        if self._book.transfer(key.pool, key.ip, event.version, kind, reason=decided[1]):
            log.info("%s of pool %s: %s, %s", key.ip, key.pool, kind.value, decided[1])
