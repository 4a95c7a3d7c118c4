"""The only room that speaks SQL, in both dialects.

``database`` opens one and translates its errors; ``rows`` holds the statements of a transaction, one small
step each, the same for both dialects; ``quick`` holds the forms of the common ADD and
DEL, and of the sweep, that take as few round trips as each engine allows; ``history`` reads the ledger; ``roles`` draws PostgreSQL's privileges. Decisions are made above,
never here.
"""

from ledger.store.database import Database, Tx

__all__ = ["Database", "Tx"]
