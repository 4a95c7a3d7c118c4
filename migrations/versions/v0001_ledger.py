"""The ledger, its projections, and the guard that makes the ledger append-only in the database itself."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

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
        RAISE EXCEPTION 'the ledger is append-only: % refused', TG_OP
            USING ERRCODE = 'restrict_violation', HINT = 'append a correcting event instead';
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
        sa.Column("xid", sa.BigInteger().with_variant(Xid8(), "postgresql"), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("pool_id", sa.Integer, nullable=False),
        sa.Column("ip", IP),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text),
        *_holder(),
        sa.Column("reason", sa.Text),
        sa.Column("actor", sa.Text),
        sa.Column("spec", JSON),
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
        sa.Column("family", sa.SmallInteger, nullable=False),
        sa.Column("sub", sa.SmallInteger, nullable=False),
        sa.Column("rnd", sa.BigInteger),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", Instant),
        sa.Column("owner", sa.Text),
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
    op.create_index(
        "address_attachment_key", "address", attachment, unique=True, **_partial("state = 'allocated'")
    )
    op.create_index("address_owner_key", "address", owner, unique=True, **_partial("state = 'allocated'"))
    op.create_index(
        "address_last_owner_idx", "address", owner, **_partial("state <> 'allocated' AND owner IS NOT NULL")
    )

    op.create_table(
        "pool",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("address_space", sa.Text, nullable=False),
        sa.Column("cooldown_seconds", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pool_pk"),
        sa.UniqueConstraint("name", name="pool_name_key"),
    )
    op.create_table(
        "sub",
        sa.Column("pool_id", sa.Integer, nullable=False),
        sa.Column("ordinal", sa.SmallInteger, nullable=False),
        sa.Column("walked", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "ordinal", name="sub_pk"),
    )

    postgresql = op.get_context().dialect.name == "postgresql"
    for statement in POSTGRESQL_GUARD if postgresql else SQLITE_GUARD:
        op.execute(sa.text(statement))


def downgrade() -> None:
    if not op.get_context().as_sql and op.get_bind().execute(sa.text("SELECT 1 FROM ledger LIMIT 1")).first():
        raise RuntimeError(
            "the ledger holds events and is not dropped; export it and drop the database by hand"
        )
    for table in ("sub", "pool", "address", "ledger"):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION ledger_is_append_only()")
