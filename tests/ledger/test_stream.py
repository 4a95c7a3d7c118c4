"""Whatever text an event carries, both databases give back the same event and the same leaf."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.canonical import leaf
from ledger.events import Cursor
from ledger.merkle import leaf_hash
from ledger.schema import ledger, pool
from ledger.store import Database, leaves, stream

STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NASTY = st.sampled_from(
    [
        "",
        "\\",
        "\\N",
        "\\\\N",
        "a\tb",
        "a\nb",
        "a\rb",
        "\b\f\v",
        "\x1f\x7f",
        'q"q',
        "é𝄞\u2028",
        "\\x41",
        "\\.",
    ]
)
TEXT = STORABLE | NASTY
COLUMNS = ("namespace", "pod", "pod_uid", "container_id", "if_name", "network", "node", "reason", "actor")
_numbers = itertools.count(1)


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    database = Database(db_url)
    yield database
    database.close()


def put(database: Database, **values: object) -> int:
    """An event straight into the table, as only a test may."""
    with database.begin() as tx:
        if not tx.execute(sa.select(pool.c.id)).first():
            row = {
                "name": "p\\N\t",
                "address_space": "s",
                "cooldown_seconds": 0,
                "version": 1,
                "live": True,
                "spec": {},
            }
            tx.execute(sa.insert(pool).values(id=1, **row))
        values = {
            "pool_id": 1,
            "ip": "10.0.0.1",
            "version": next(_numbers),
            "kind": "Allocated",
            "state": "allocated",
        } | values
        values |= {"at": tx.clock(), "xid": 0 if tx.sqlite else sa.func.pg_current_xact_id()}
        return tx.execute(sa.insert(ledger).values(**values).returning(ledger.c.seq)).scalar_one()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.tuples(*[st.none() | TEXT for _ in COLUMNS]))
def test_text_comes_back_as_it_was_written(database: Database, texts: tuple[str | None, ...]) -> None:
    seq = put(database, **dict(zip(COLUMNS, texts, strict=True)))
    with database.read() as tx:
        (row,) = stream.by_seq(tx, [seq]).values()
        (sealed,) = leaves.by_seq(tx, [seq]).values()
        (following,) = leaves.after(tx, Cursor(row[stream.XID], seq - 1), 10).data
        (digest,) = leaves.hashes_by_seq(tx, [seq]).values()
    event = stream.event_of(row)
    owner, at = event.owner, event.attachment
    got = (
        owner.namespace,
        owner.pod,
        owner.uid,
        at.container_id,
        at.if_name,
        at.network,
        event.node,
        event.reason,
        event.actor,
    )
    assert got == tuple(
        (t or "") if c in ("container_id", "if_name", "network") else t
        for c, t in zip(COLUMNS, texts, strict=True)
    )
    assert sealed == following == leaf(event)
    assert digest == leaf_hash(sealed)
    assert event.pool == "p\\N\t"


@pytest.mark.parametrize("spec", [{}, {"a": ["\\N", "\t\n", None, True, 1]}, {"é": {"b": "x" * 5000}}])
def test_a_spec_comes_back_too(database: Database, spec: object) -> None:
    seq = put(database, ip=None, state=None, kind="PoolUpdated", spec=spec)
    with database.read() as tx:
        (row,) = stream.by_seq(tx, [seq]).values()
        (sealed,) = leaves.by_seq(tx, [seq]).values()
        (digest,) = leaves.hashes_by_seq(tx, [seq]).values()
    assert row[17] == spec
    assert sealed == leaf(stream.event_of(row))
    assert digest == leaf_hash(sealed)


def test_events_far_apart_are_found_by_their_positions(database: Database) -> None:
    seqs = [put(database) for _ in range(30)]
    with database.read() as tx:
        wanted = [seqs[20], seqs[3]]
        assert set(stream.by_seq(tx, [*wanted, 10**9])) == set(wanted)
        assert set(leaves.by_seq(tx, wanted)) == set(wanted)
        assert stream.by_seq(tx, []) == {} == leaves.by_seq(tx, [])


def test_a_cursor_skips_what_it_would_read(database: Database) -> None:
    seqs = [put(database) for _ in range(5)]
    with database.read() as tx:
        rows = stream.after(tx, Cursor(), 10)
        assert [row[stream.SEQ] for row in rows] == seqs
        for count, row in enumerate(rows, start=1):
            assert stream.skip(tx, Cursor(), count) == stream.cursor_of(row)
        assert stream.skip(tx, stream.cursor_of(rows[1]), 2) == stream.cursor_of(rows[3])
        assert stream.skip(tx, Cursor(), 6) is None
