"""Loading events into an empty database: ledger, seals, checkpoints, and then the state that they make.

Events come with their seals, so that whoever is interrupted goes on where the seals end. Until the last transaction there is
no pool to allocate from, and the first raises the fence.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ledger import pools, walk
from ledger.addresses import to_int, to_text
from ledger.archive.order import BATCHES
from ledger.checkpoint import Checkpoint
from ledger.errors import InvalidRequest
from ledger.events import Cursor, Kind
from ledger.merkle import HASH, GrowingTree
from ledger.pools import PoolSpec, Sub
from ledger.store import Database, Tx, fences, load, rows, seals
from ledger.store.rows import Place
from ledger.store.stream import POOL, SEQ, Row


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded: all events, how many of them in this run, and the tree's root over all."""

    events: int
    now: int
    root: bytes


class Loader:
    """Loads one stream of events, ``with`` it open: what came since the last :meth:`commit` is gone if that ends in an error.

    Raises InvalidRequest if the database holds something else already.
    """

    def __init__(self, database: Database, *, reason: str, actor: str) -> None:
        self._database = database
        self._reason = reason
        self._actor = actor
        self._tree = GrowingTree()
        self._checkpoints: list[tuple[Checkpoint, str]] = []
        self._newest = 0

    def __enter__(self) -> Loader:
        with ExitStack() as stack:
            self._tx = tx = stack.enter_context(self._database.begin())
            if not load.is_empty(tx) and not load.unfinished(tx):
                raise InvalidRequest(
                    "database",
                    self._database.label,
                    "is not empty; make a new database and import into that",
                )
            if not load.may_load(tx):
                raise InvalidRequest(
                    "database", self._database.label, "must be written by the owner of its tables for this"
                )
            self._before, _ = seals.end(tx)
            newest = fences.turns(tx)
            if not newest or not newest[0].raised:
                fences.turn(tx, raised=True, reason=self._reason, actor=self._actor)
            load.prepare(tx)
            self._pools = load.pool_ids(tx)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def add(
        self, rows: Sequence[Row], hashes: bytes, checkpoints: Sequence[tuple[Checkpoint, str]] = ()
    ) -> None:
        """The next events in tree order, with the joined hashes of their leaves."""
        self._checkpoints += checkpoints
        # The cursor is behind whatever has come so far: an earlier chunk of the same transaction may hold higher positions
        self._newest = max([self._newest, *(row[SEQ] for row in rows)])
        skip = min(max(self._before - self._tree.size, 0), len(rows))
        if skip:
            self._skip(hashes[: skip * HASH])
        self._write(rows[skip:], hashes[skip * HASH :])

    @property
    def size(self) -> int:
        """How many events came."""
        return self._tree.size

    def commit(self) -> None:
        """What came is in the database; another import of the same goes on behind it."""
        self._open.close()
        with ExitStack() as stack:
            self._tx = stack.enter_context(self._database.begin())
            self._open = stack.pop_all()

    def finish(self) -> Loaded:
        """Everything came: make the state."""
        if self._tree.size < self._before:
            self._foreign()
        load.finish(self._tx)
        rebuild(self._tx)
        return Loaded(self._tree.size, self._tree.size - self._before, self._tree.root())

    def _write(self, rows: Sequence[Row], hashes: bytes) -> None:
        first = self._tree.size
        nodes = self._tree.extend(hashes)
        tx = self._tx
        if rows:
            for name in dict.fromkeys(row[POOL] for row in rows):
                if name not in self._pools:
                    self._pools[name] = load.create_pool(tx, name)
            xid = load.insert(tx, rows, self._pools)
            cursor = Cursor(xid, self._newest)
            seqs = [row[SEQ] for row in rows]
            seals.add(tx, seals.in_tiles(first, seqs, hashes, lambda _: cursor), nodes)
        self._keep_checkpoints(tx)

    def _keep_checkpoints(self, tx: Tx) -> None:
        ready = [(c, note) for c, note in self._checkpoints if c.size <= self._tree.size]
        self._checkpoints = [(c, note) for c, note in self._checkpoints if c.size > self._tree.size]
        for checkpoint, note in ready:
            if not seals.has_checkpoint(tx, checkpoint.origin, checkpoint.size):
                seals.add_checkpoint(tx, checkpoint.origin, checkpoint.size, checkpoint.root, note)

    def _skip(self, hashes: bytes) -> None:
        """What an interrupted import has loaded must be the beginning of this one."""
        first = self._tree.size
        self._tree.extend(hashes)
        stored = b""
        while len(stored) < len(hashes):  # another file may have been cut into other batches
            at = first + len(stored) // HASH
            batches = seals.batches(self._tx, at, BATCHES)
            if not batches or batches[0].first > at:
                break
            stored += b"".join(batch.hashes for batch in batches)[(at - batches[0].first) * HASH :]
        if stored[: len(hashes)] != hashes:
            self._foreign()

    def _foreign(self) -> None:
        raise InvalidRequest(
            "database",
            self._database.label,
            f"holds {self._before:,} events of another import; begin with a new database",
        )


def rebuild(tx: Tx) -> None:
    """Pools and addresses out of the ledger alone, where there are none yet."""
    load.begin_state(tx)
    for pool_id, name, version, kind, raw in load.newest_pool_events(tx):
        spec = pools.from_spec(name, raw)
        live = kind != Kind.POOL_DELETED
        rows.update_pool(
            tx,
            pool_id,
            {
                "address_space": spec.address_space,
                "cooldown_seconds": spec.cooldown_seconds,
                "version": version,
                "live": live,
                "spec": raw,
            },
        )
        if live:
            _place(tx, pool_id, spec)
    load.end_state(tx)


def _place(tx: Tx, pool_id: int, spec: PoolSpec) -> None:
    """Rows in the picking order: whole subs; of larger ones the first, and all that were ever used."""
    used: list[tuple[Sub, int]] = []
    if any(sub.capacity > walk.WHOLE for sub in spec.subs):
        known = ((spec.sub_of(ip), to_int(ip)[1]) for ip in load.used_addresses(tx, pool_id))
        used = [(sub, at) for sub, at in known if sub is not None]
    for sub in spec.subs:
        count = walk.first_walk(sub)
        at_first = dict.fromkeys(walk.steps(spec, sub, 0, count))
        at_first |= dict.fromkeys(at for of, at in used if of is sub)
        load.place(
            tx,
            pool_id,
            (
                Place(to_text(sub.family, at), sub.family, sub.ordinal, walk.rnd_of(spec, sub, at))
                for at in at_first
            ),
        )
        rows.set_walked(tx, pool_id, sub.ordinal, count)
