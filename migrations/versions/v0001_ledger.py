"""The ledger, its projections, and the guard that makes the ledger append-only in the database itself."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from ledger.errors import LedgerError
from ledger.schema import Instant, Xid8

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

IP = sa.String(39).with_variant(pg.INET(), "postgresql")
JSON = sa.JSON().with_variant(pg.JSONB(), "postgresql")

# Fires also for the table's owner, for a superuser, and (ENABLE ALWAYS) in replica mode.
POSTGRESQL_GUARD = (
    """
    CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the ledger is append-only'
            USING ERRCODE = 'restrict_violation', DETAIL = TG_OP || ' of ' || TG_TABLE_NAME || ' was refused.',
                  HINT = 'Append a correcting event instead.';
    END $$
    """,
    """
    CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()
    """,
    "ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_append_only",
)
# The third guards against INSERT OR REPLACE, whose implicit delete fires no delete trigger.
SQLITE_GUARD = (
    """
    CREATE TRIGGER ledger_append_only_update BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: UPDATE refused'); END
    """,
    """
    CREATE TRIGGER ledger_append_only_delete BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE refused'); END
    """,
    """
    CREATE TRIGGER ledger_append_only_replace BEFORE INSERT ON ledger
    WHEN EXISTS (SELECT 1 FROM ledger WHERE seq = NEW.seq)
      OR EXISTS (SELECT 1 FROM ledger WHERE pool_id = NEW.pool_id AND ip IS NEW.ip AND version = NEW.version)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: this event is there already'); END
    """,
)


def _holder() -> list[sa.Column[Any]]:
    names = ("namespace", "pod", "pod_uid", "container_id", "if_name", "network", "node")
    return [*(sa.Column(name, sa.Text) for name in names), sa.Column("until", Instant)]


def _partial(where: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(where), "sqlite_where": sa.text(where)}


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=True),
            nullable=False,
        ),
        sa.Column(
            "xid",
            sa.BigInteger().with_variant(Xid8(), "postgresql"),
            nullable=False,
            comment="the writing transaction, for following in commit order; 0 on SQLite",
        ),
        sa.Column("at", Instant, nullable=False, comment="the database's clock, after the row lock was had"),
        sa.Column("pool_id", sa.Integer, nullable=False),
        sa.Column("ip", IP, comment="null for events of the pool itself"),
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
        sa.Column("spec", JSON, comment="of the pool after the event; null for events of an address"),
        sa.PrimaryKeyConstraint("seq", name="ledger_pk"),
        sa.CheckConstraint("version >= 1", name=op.f("ledger_version_check")),
        sa.CheckConstraint("(ip IS NULL) = (state IS NULL)", name=op.f("ledger_subject_check")),
        sqlite_autoincrement=True,
    )
    stream = ["pool_id", "ip", "version"]
    op.create_index("ledger_stream_key", "ledger", stream, unique=True, postgresql_include=["at"])
    op.create_index(
        "ledger_pool_stream_key", "ledger", ["pool_id", "version"], unique=True, **_partial("ip IS NULL")
    )
    op.create_index(
        "ledger_pod_idx", "ledger", ["namespace", "pod", "seq"], **_partial("namespace IS NOT NULL")
    )
    op.create_index("ledger_at_idx", "ledger", ["at"], postgresql_using="brin")
    op.create_index("ledger_commit_idx", "ledger", ["xid", "seq"])

    op.create_table(
        "address",
        sa.Column("pool_id", sa.Integer, nullable=False),
        sa.Column("ip", IP, nullable=False),
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
        sa.Column(
            "owner", sa.Text, comment="namespace/pod or container id; of a free address, the last owner"
        ),
        *_holder(),
        sa.PrimaryKeyConstraint("pool_id", "ip", name="address_pk"),
        sa.CheckConstraint(
            "state IN ('free', 'allocated', 'cooling', 'held')", name=op.f("address_state_check")
        ),
        sa.CheckConstraint("state = 'free' OR owner IS NOT NULL", name=op.f("address_owner_check")),
        sa.CheckConstraint("family IN (4, 6)", name=op.f("address_family_check")),
        # Its indexed columns change with every event, so updates are never HOT: leave room, vacuum often.
        postgresql_with={"fillfactor": "80", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    owner = ["owner", "if_name", "pool_id", "family"]
    attachment = ["container_id", "if_name", "network", "pool_id", "family"]
    op.create_index("address_pick_idx", "address", ["pool_id", "sub", "rnd"], **_partial("state = 'free'"))
    op.create_index("address_until_idx", "address", ["until"], **_partial("until IS NOT NULL"))
    # Each of the two says what only its own lookups imply, or a planner that takes both for empty picks either.
    attached = _partial("state = 'allocated' AND container_id IS NOT NULL")
    owned = _partial("state = 'allocated' AND owner IS NOT NULL")
    op.create_index("address_attachment_key", "address", attachment, unique=True, **attached)
    op.create_index("address_owner_key", "address", owner, unique=True, **owned)
    op.create_index(
        "address_last_owner_idx", "address", owner, **_partial("state <> 'allocated' AND owner IS NOT NULL")
    )

    op.create_table(
        "pool",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
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
        sa.Column("spec", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pool_pk"),
        sa.UniqueConstraint("name", name="pool_name_key"),
    )
    op.create_table(
        "sub",
        sa.Column("pool_id", sa.Integer, nullable=False),
        sa.Column("ordinal", sa.SmallInteger, nullable=False),
        sa.Column(
            "walked", sa.BigInteger, nullable=False, comment="how many of its addresses have been given a row"
        ),
        sa.PrimaryKeyConstraint("pool_id", "ordinal", name="sub_pk"),
    )

    postgresql = op.get_context().dialect.name == "postgresql"
    for statement in POSTGRESQL_GUARD if postgresql else SQLITE_GUARD:
        op.execute(sa.text(statement))


def downgrade() -> None:
    if not op.get_context().as_sql and op.get_bind().execute(sa.text("SELECT 1 FROM ledger LIMIT 1")).first():
        raise LedgerError(
            "the ledger holds events and is not dropped; export it and drop the database by hand"
        )
    for table in ("sub", "pool", "address", "ledger"):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION ledger_is_append_only()")
