"""IPPools, inward: what the objects want is told to the book."""

from __future__ import annotations

import logging
from typing import Any

from ledger.book import Book
from ledger.errors import LedgerError, PoolInUse, TryAgain, UnknownPool
from sync import reconcile
from sync.errors import Conflict, NotFound
from sync.kube import MERGE, Api, pool_path
from sync.objects import FINALIZER, IPPool
from sync.reconcile import Refusal
from sync.watch import Mirror
from sync.worker.agenda import Agenda, Key
from sync.worker.pictures import Pictures

log = logging.getLogger(__name__)


class IPPools:
    """``refusals``: what stands between an object and the ledger now; ``observed``: the generations that were looked at.

    ``again``: seconds until what was refused is tried again. Another pool's range or an address may be free by then, of which
    no change of this object would tell.
    """

    def __init__(
        self, api: Api, book: Book, agenda: Agenda, pictures: Pictures, seen: Mirror[IPPool], again: float
    ) -> None:
        self.refusals: dict[str, Refusal] = {}
        self.observed: dict[str, int] = {}
        self._api, self._book, self._agenda, self._pictures, self._seen = api, book, agenda, pictures, seen
        self._again = again
        self._strangers: list[str] = []

    def get(self, name: str) -> IPPool | None:
        return self._seen.get(name)

    def look(self, key: Key) -> None:
        """Make the ledger's pool what the object says, or note why not. Raises KubeError, LedgerError."""
        seen = self._seen.get(key.pool)
        if seen is None:
            self.observed.pop(key.pool, None)
            self.refusals.pop(key.pool, None)
            return
        with self._pictures.look(key.pool) as (picture, _):
            in_ledger = picture.spec
        refusal: Refusal | None = None
        for command in reconcile.pool_commands(seen, in_ledger):
            if isinstance(command, reconcile.AddFinalizer):
                seen = self._finalizers(seen, (*seen.meta.finalizers, FINALIZER))
            elif isinstance(command, reconcile.RemoveFinalizer):
                self._finalizers(seen, tuple(each for each in seen.meta.finalizers if each != FINALIZER))
                return
            elif isinstance(command, Refusal):
                refusal = command
            else:
                refusal = self._tell_book(command, seen)
            if refusal is not None:
                break
        if refusal is None:
            self.refusals.pop(key.pool, None)
        else:
            self.refusals[key.pool] = refusal
            self._agenda.pool(key.pool, self._again)
        self.observed[key.pool] = seen.meta.generation
        self._agenda.status(key.pool)

    def _tell_book(self, command: reconcile.Apply | reconcile.Delete, seen: IPPool) -> Refusal | None:
        try:
            if isinstance(command, reconcile.Apply):
                change = self._book.apply_pool(
                    command.spec, reason=f"IPPool generation {seen.meta.generation}"
                )
                if change.event:
                    log.info("pool %s %s at position %d", command.spec.name, change.action, change.event.seq)
            else:
                event = self._book.delete_pool(seen.meta.name, reason="IPPool deleted")
                log.info("pool %s deleted at position %d", event.pool, event.seq)
        except TryAgain:
            raise
        except UnknownPool:
            return None
        except LedgerError as error:
            if isinstance(error, PoolInUse) and isinstance(command, reconcile.Delete):
                return Refusal("AddressesInUse", f"deletion waits: {error}")
            return reconcile.refusal_of(error)
        return None

    def _finalizers(self, seen: IPPool, wanted: tuple[str, ...]) -> IPPool:
        body = {"metadata": {"resourceVersion": seen.meta.version, "finalizers": list(wanted)}}
        raw = self.patch(seen.meta.name, body)
        return IPPool.from_raw(raw) if raw else seen

    def patch(self, name: str, body: dict[str, Any], sub: str = "") -> Any:
        """Patch an IPPool, or its status; what we know is then what the answer says. None if it is gone.

        On a conflict it is read anew. Raises KubeError.
        """
        try:
            raw = self._api.call("PATCH", pool_path(name) + sub, body, kind=MERGE)
        except NotFound:
            return None
        except Conflict:
            try:
                self._seen.put(self._api.call("GET", pool_path(name)))
            except NotFound:
                return None
            raise
        self._seen.put(raw, tell=False)
        return raw

    def report_strangers(self) -> None:
        """Say which pools only the ledger has, when that changes."""
        if not self._seen.listed.is_set():
            return
        strangers = reconcile.only_in_ledger(self._pictures.pools(), set(self._seen.keys()))
        if strangers != self._strangers:
            self._strangers = strangers
            if strangers:
                log.warning("only in the ledger, without an IPPool, and left alone: %s", ", ".join(strangers))
