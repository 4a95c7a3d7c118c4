"""Seals, checkpoints and the fence: what makes the past provable, and a restored ledger safe.

All four tables only grow, by the same guard as the ledger's.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ledger.errors import LedgerError
from ledger.schema import Instant, Xid8

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
XID = sa.BigInteger().with_variant(Xid8(), "postgresql")
TABLES = {"seal": "first", "seal_node": "level, idx", "checkpoint": "id", "fence": "id"}


def _guard(table: str) -> list[str]:
    """As in 0001: for the table's owner and for a superuser too."""
    return [
        f"""
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()
        """,
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only",
    ]


def _sqlite_guard(table: str, key: str) -> list[str]:
    same = " AND ".join(f"{column} = NEW.{column}" for column in key.split(", "))
    return [
        f"""
        CREATE TRIGGER {table}_append_only_update BEFORE UPDATE ON {table}
        BEGIN SELECT RAISE(ABORT, '{table} is append-only: UPDATE refused'); END
        """,
        f"""
        CREATE TRIGGER {table}_append_only_delete BEFORE DELETE ON {table}
        BEGIN SELECT RAISE(ABORT, '{table} is append-only: DELETE refused'); END
        """,
        f"""
        CREATE TRIGGER {table}_append_only_replace BEFORE INSERT ON {table}
        WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
        BEGIN SELECT RAISE(ABORT, '{table} is append-only: this row is there already'); END
        """,  # noqa: S608 - names from the table above
    ]


def upgrade() -> None:
    op.create_table(
        "seal",
        sa.Column(
            "first",
            BIGINT,
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
            XID,
            nullable=False,
            comment="with seq: the cursor after this batch, from which the sealer goes on",
        ),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("first", name="seal_pk"),
        sa.CheckConstraint("first >= 0 AND count BETWEEN 1 AND 256", name=op.f("seal_batch_check")),
        sa.CheckConstraint("first / 256 = (first + count - 1) / 256", name=op.f("seal_tile_check")),
    )
    op.create_index("seal_max_seq_idx", "seal", ["max_seq"])
    op.create_table(
        "seal_node",
        sa.Column(
            "level", sa.SmallInteger, nullable=False, comment="1: roots of 256 leaves, 2: of 65,536, …"
        ),
        sa.Column("idx", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("level", "idx", name="seal_node_pk"),
    )
    op.create_table(
        "checkpoint",
        sa.Column("id", BIGINT, sa.Identity(always=True), nullable=False),
        sa.Column("origin", sa.Text, nullable=False, comment="the log's name, which is its key's"),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False, comment="the signed note, as it is kept outside too"),
        sa.Column("at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="checkpoint_pk"),
        sa.UniqueConstraint("origin", "size", name="checkpoint_origin_size_key"),
    )
    op.create_table(
        "fence",
        sa.Column("id", BIGINT, sa.Identity(always=True), nullable=False),
        sa.Column(
            "raised",
            sa.Boolean,
            nullable=False,
            comment="the newest row says whether addresses may be given out",
        ),
        sa.Column("at", Instant, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="fence_pk"),
    )
    postgresql = op.get_context().dialect.name == "postgresql"
    if postgresql:
        # Hashes do not compress; EXTERNAL spares the attempt.
        op.execute("ALTER TABLE seal ALTER COLUMN hashes SET STORAGE EXTERNAL")
    for table, key in TABLES.items():
        for statement in _guard(table) if postgresql else _sqlite_guard(table, key):
            op.execute(sa.text(statement))


def downgrade() -> None:
    for table in reversed(TABLES):
        any_row = sa.text(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608 - names from the table above
        if not op.get_context().as_sql and op.get_bind().execute(any_row).first():
            raise LedgerError(f"table {table} is not dropped, for it is not empty")
        op.drop_table(table)
