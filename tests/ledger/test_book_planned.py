"""What PostgreSQL's planner believes of a pool does not make an ADD read more than its own rows."""

from __future__ import annotations

import time

import psycopg
import pytest

from ledger import pools
from ledger.book import Book
from ledger.claims import Claim
from ledger.events import Attachment, Owner
from ledger.store import Database

READS = """
    SELECT coalesce(sum(idx_tup_read), 0)::int FROM pg_stat_user_indexes
    WHERE indexrelname IN ('address_attachment_key', 'address_owner_key', 'address_last_owner_idx')
"""
WRITTEN = "SELECT n_tup_ins::int FROM pg_stat_user_tables WHERE relname = 'ledger'"


@pytest.mark.parametrize("statistics", ["none yet", "of a pool that was empty"])
def test_a_burst_into_a_new_pool_reads_what_it_needs(postgres_url: str, statistics: str) -> None:
    database = Database(postgres_url)
    book = Book(database, actor="test")
    book.apply_pool(pools.from_spec("p", {"ipPoolSubs": [{"range": "10.9.0.0/20"}]}))
    with psycopg.connect(
        postgres_url.replace("postgresql+psycopg", "postgresql"), autocommit=True
    ) as observer:
        observer.execute("ALTER TABLE address SET (autovacuum_enabled = off)")
        if statistics != "none yet":
            observer.execute("ANALYZE address")
        for batch in range(20):
            claims = [
                Claim(("p",), Owner("ns", f"pod-{n}", f"u{n}"), Attachment(f"c{n}", "eth0", "net"))
                for n in range(batch * 50, batch * 50 + 50)
            ]
            assert not [outcome for outcome in book.allocate_many(claims) if isinstance(outcome, Exception)]
        database.close()  # a session reports what it read at its end
        deadline = time.monotonic() + 30
        while (written := observer.execute(WRITTEN).fetchone()) != (1_001,) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert written == (1_001,)
        (read,) = observer.execute(READS).fetchone() or (None,)
        assert read is not None and read < 20 * 1_000
