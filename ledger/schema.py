"""The tables, their named constraints and indexes. Alembic's head must equal this metadata (a test holds it).

``ledger`` is the truth and only grows. ``address`` (one row per address, its newest state), ``pool`` and ``sub``
are projections of it, kept in the same transaction. There is no foreign key from ``ledger`` or ``address`` to
``pool``: its check would take a KEY SHARE lock on one hot pool row for every ADD; ``verify`` looks instead.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.types import TypeDecorator, UserDefinedType

from ledger.errors import LedgerCorrupt
from ledger.events import parse_rfc3339, rfc3339

HEAD = "0002"
"""The newest migration. Kept here so that a program can compare it without importing Alembic (0.4 s)."""

UPGRADE_LOCK = 446_307_030
"""PostgreSQL's advisory lock (one arbitrary number) under which a database's schema and privileges are changed."""


class Instant(TypeDecorator[datetime]):
    """An aware moment: ``timestamptz`` on PostgreSQL; on SQLite RFC 3339 text of fixed width, whose order is time order."""

    impl = sa.String(27)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(pg.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(sa.String(27))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return rfc3339(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        try:
            return value.astimezone(UTC) if isinstance(value, datetime) else parse_rfc3339(value)
        except (ValueError, TypeError):  # SQLite stores anything
            raise LedgerCorrupt(f"a stored time is {value!r:.60}; run `ipam-ledger verify`") from None


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id; an integer (always 0) on SQLite."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        return lambda value: None if value is None else int(value)


Ip = sa.String(39).with_variant(pg.INET(), "postgresql")
"""An address: ``inet`` on PostgreSQL, text on SQLite; canonical text in Python either way."""

Json = sa.JSON().with_variant(pg.JSONB(), "postgresql")

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

_BIGSERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _holder() -> list[sa.Column[Any]]:
    """The columns that an event and its address share: who, where, until when."""
    return [
        sa.Column("namespace", sa.Text),
        sa.Column("pod", sa.Text),
        sa.Column("pod_uid", sa.Text),
        sa.Column("container_id", sa.Text),
        sa.Column("if_name", sa.Text),
        sa.Column("network", sa.Text),
        sa.Column("node", sa.Text),
        sa.Column("until", Instant),
    ]


ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("seq", _BIGSERIAL, sa.Identity(always=True), nullable=False),
    sa.Column(
        "xid",
        sa.BigInteger().with_variant(Xid8(), "postgresql"),
        nullable=False,
        comment="the writing transaction, for following in commit order; 0 on SQLite",
    ),
    sa.Column("at", Instant, nullable=False, comment="the database's clock, after the row lock was had"),
    sa.Column("pool_id", sa.Integer, nullable=False),
    sa.Column("ip", Ip, comment="null for events of the pool itself"),
    sa.Column(
        "version",
        sa.Integer,
        nullable=False,
        comment="number within the stream of this address or pool, from 1",
    ),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, comment="of the address after the event"),
    *_holder(),
    sa.Column("reason", sa.Text),
    sa.Column("actor", sa.Text),
    sa.Column("spec", Json, comment="of the pool after the event; null for events of an address"),
    sa.PrimaryKeyConstraint("seq", name="ledger_pk"),
    sa.CheckConstraint("version >= 1", name="version"),
    sa.CheckConstraint("(ip IS NULL) = (state IS NULL)", name="subject"),
    sqlite_autoincrement=True,
)
sa.Index(
    "ledger_stream_key",
    ledger.c.pool_id,
    ledger.c.ip,
    ledger.c.version,
    unique=True,
    postgresql_include=["at"],
)
sa.Index(
    "ledger_pool_stream_key",
    ledger.c.pool_id,
    ledger.c.version,
    unique=True,
    postgresql_where=sa.text("ip IS NULL"),
    sqlite_where=sa.text("ip IS NULL"),
)
sa.Index(
    "ledger_pod_idx",
    ledger.c.namespace,
    ledger.c.pod,
    ledger.c.seq,
    postgresql_where=sa.text("namespace IS NOT NULL"),
    sqlite_where=sa.text("namespace IS NOT NULL"),
)
sa.Index("ledger_at_idx", ledger.c.at, postgresql_using="brin")
sa.Index("ledger_commit_idx", ledger.c.xid, ledger.c.seq)

address = sa.Table(
    "address",
    metadata,
    sa.Column("pool_id", sa.Integer, nullable=False),
    sa.Column("ip", Ip, nullable=False),
    sa.Column("family", sa.SmallInteger, nullable=False, comment="4 or 6"),
    sa.Column(
        "sub",
        sa.SmallInteger,
        nullable=False,
        comment="ordinal of its sub in the pool's spec; -1: no longer in the pool",
    ),
    sa.Column(
        "rnd",
        sa.BigInteger,
        comment="order of picking; null: never picked (static, or no longer in the pool)",
    ),
    sa.Column("version", sa.Integer, nullable=False, comment="of its newest event; 0: never used"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("since", Instant, comment="time of its newest event"),
    sa.Column("owner", sa.Text, comment="namespace/pod or container id; of a free address, the last owner"),
    *_holder(),
    sa.PrimaryKeyConstraint("pool_id", "ip", name="address_pk"),
    sa.CheckConstraint("state IN ('free', 'allocated', 'cooling', 'held')", name="state"),
    sa.CheckConstraint("state = 'free' OR owner IS NOT NULL", name="owner"),
    sa.CheckConstraint("family IN (4, 6)", name="family"),
    postgresql_with={"fillfactor": "80", "autovacuum_vacuum_scale_factor": "0.02"},
)
_FREE = sa.text("state = 'free'")
# Each of the two says what only its own lookups imply. Else PostgreSQL, which takes both for empty while a pool is new, may
# read all of one for what the other would find at once.
_ATTACHED = sa.text("state = 'allocated' AND container_id IS NOT NULL")
_OWNED = sa.text("state = 'allocated' AND owner IS NOT NULL")
_DUE = sa.text("until IS NOT NULL")
_LAST = sa.text("state <> 'allocated' AND owner IS NOT NULL")
sa.Index("address_until_idx", address.c.until, postgresql_where=_DUE, sqlite_where=_DUE)
sa.Index(
    "address_pick_idx",
    address.c.pool_id,
    address.c.sub,
    address.c.rnd,
    postgresql_where=_FREE,
    sqlite_where=_FREE,
)
sa.Index(
    "address_attachment_key",
    *(address.c[name] for name in ("container_id", "if_name", "network", "pool_id", "family")),
    unique=True,
    postgresql_where=_ATTACHED,
    sqlite_where=_ATTACHED,
)
sa.Index(
    "address_owner_key",
    *(address.c[name] for name in ("owner", "if_name", "pool_id", "family")),
    unique=True,
    postgresql_where=_OWNED,
    sqlite_where=_OWNED,
)
sa.Index(
    "address_last_owner_idx",
    *(address.c[name] for name in ("owner", "if_name", "pool_id", "family")),
    postgresql_where=_LAST,
    sqlite_where=_LAST,
)

pool = sa.Table(
    "pool",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("address_space", sa.Text, nullable=False),
    sa.Column("cooldown_seconds", sa.Integer, nullable=False),
    sa.Column(
        "version",
        sa.Integer,
        nullable=False,
        comment="of its newest event; a claim made by an older spec is settled anew",
    ),
    sa.Column(
        "live",
        sa.Boolean,
        nullable=False,
        comment="false once deleted; its streams go on if it is created again",
    ),
    sa.Column("spec", Json, nullable=False),
    sa.UniqueConstraint("name", name="pool_name_key"),
)

sub = sa.Table(
    "sub",
    metadata,
    sa.Column("pool_id", sa.Integer, nullable=False),
    sa.Column("ordinal", sa.SmallInteger, nullable=False),
    sa.Column(
        "walked", sa.BigInteger, nullable=False, comment="how many of its addresses have been given a row"
    ),
    sa.PrimaryKeyConstraint("pool_id", "ordinal", name="sub_pk"),
)

# The past: seals fold the ledger into one Merkle tree (ledger.merkle); all four tables only grow. ------------------

seal = sa.Table(
    "seal",
    metadata,
    sa.Column(
        "first",
        _BIGSERIAL,
        nullable=False,
        autoincrement=False,
        comment="place of its first leaf in the tree, from 0",
    ),
    sa.Column(
        "count", sa.SmallInteger, nullable=False, comment="how many leaves, all within one tile of 256"
    ),
    sa.Column("min_seq", sa.BigInteger, nullable=False),
    sa.Column("max_seq", sa.BigInteger, nullable=False),
    sa.Column("seqs", sa.Text, nullable=False, comment="the events in tree order, as runs: 3,1-2,5-9"),
    sa.Column("hashes", sa.LargeBinary, nullable=False, comment="their leaf hashes, 32 bytes each"),
    sa.Column(
        "xid",
        sa.BigInteger().with_variant(Xid8(), "postgresql"),
        nullable=False,
        comment="with seq: the cursor after this batch, from which the sealer goes on",
    ),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("first", name="seal_pk"),
    sa.CheckConstraint("first >= 0 AND count BETWEEN 1 AND 256", name="batch"),
    sa.CheckConstraint("first / 256 = (first + count - 1) / 256", name="tile"),
)
sa.Index("seal_max_seq_idx", seal.c.max_seq)

seal_node = sa.Table(
    "seal_node",
    metadata,
    sa.Column("level", sa.SmallInteger, nullable=False, comment="1: roots of 256 leaves, 2: of 65,536, …"),
    sa.Column("idx", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("level", "idx", name="seal_node_pk"),
)

checkpoint = sa.Table(
    "checkpoint",
    metadata,
    sa.Column("id", _BIGSERIAL, sa.Identity(always=True), nullable=False),
    sa.Column("origin", sa.Text, nullable=False, comment="the log's name, which is its key's"),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("note", sa.Text, nullable=False, comment="the signed note, as it is kept outside too"),
    sa.Column("at", Instant, nullable=False),
    sa.PrimaryKeyConstraint("id", name="checkpoint_pk"),
    sa.UniqueConstraint("origin", "size", name="checkpoint_origin_size_key"),
)

fence = sa.Table(
    "fence",
    metadata,
    sa.Column("id", _BIGSERIAL, sa.Identity(always=True), nullable=False),
    sa.Column(
        "raised", sa.Boolean, nullable=False, comment="the newest row says whether addresses may be given out"
    ),
    sa.Column("at", Instant, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("id", name="fence_pk"),
)
