"""The only room that speaks SQL, in both dialects.

``database`` opens one and translates its errors; ``rows`` holds the statements of a transaction, one small
step each, the same for both dialects; ``setwise`` holds PostgreSQL's one-statement forms of the common ADD
and DEL; ``history`` reads the ledger; ``roles`` draws PostgreSQL's privileges. Decisions are made in
``ledger.book``, never here.
"""

from ledger.store.database import Database, Tx

__all__ = ["Database", "Tx"]
