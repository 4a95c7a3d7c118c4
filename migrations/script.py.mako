"""${message}

Manners of a migration here: it runs in one transaction, under env.py's lock and time-outs; it names every
constraint; it never rewrites a row of ``ledger`` (older events are upcast at read); what it adds it can
drop (``downgrade``); head equals ``ledger.schema`` (tests/migrations). Then set ``ledger.schema.HEAD``.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
