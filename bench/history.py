"""A long legal history for benchmarks: N events over the addresses of a /16, written set-wise into an empty database."""

from __future__ import annotations

from datetime import datetime

from ledger import pools
from ledger.book import Book
from ledger.events import rfc3339
from ledger.store import Database

POOL = {
    "apiVersion": "ipam.k8s.io/v1alpha1",
    "kind": "IPPool",
    "metadata": {"name": "bench"},
    "spec": {"ipPoolSubs": [{"range": "10.20.0.0/16"}]},
}
# Each address in turn is allocated and released, round after round; the pod of a round is a new one.
# One transaction writes it all, as an import does.
_POSTGRESQL = """
INSERT INTO ledger (seq, xid, at, pool_id, ip, version, kind, state, namespace, pod, pod_uid, container_id, if_name, network,
                    node, reason, actor)
OVERRIDING SYSTEM VALUE
SELECT n + 1, pg_current_xact_id(), timestamptz '{began}' + n * interval '1 microsecond', {pool_id}, a.ip,
       k + 1, CASE WHEN k % 2 = 0 THEN 'Allocated' ELSE 'Released' END, CASE WHEN k % 2 = 0 THEN 'allocated' ELSE 'free' END,
       'ns-' || (j % 40), 'web-' || j || '-' || (k / 2), md5((j * 100000 + k / 2)::text)::uuid::text,
       md5(j::text) || md5((k / 2)::text), 'eth0', 'podnet', 'node-' || (j % 250),
       CASE WHEN k % 2 = 0 THEN 'random' ELSE 'del' END, 'agent/node-' || (j % 250)
FROM generate_series(1, {count}) AS n
     CROSS JOIN LATERAL (SELECT (n - 1) % {width} AS j, (n - 1) / {width} AS k) AS t
     JOIN (SELECT ip, row_number() OVER (ORDER BY ip) - 1 AS j FROM address WHERE pool_id = {pool_id}) AS a USING (j)
ORDER BY n
"""
_SQLITE = """
WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}),
     t AS (SELECT n, (n - 1) % {width} AS j, (n - 1) / {width} AS k FROM n)
INSERT INTO ledger (seq, xid, at, pool_id, ip, version, kind, state, namespace, pod, pod_uid, container_id, if_name, network,
                    node, reason, actor)
SELECT n + 1, 0, strftime('%Y-%m-%dT%H:%M:%S', ({micros} + n) / 1000000, 'unixepoch') || printf('.%06dZ', ({micros} + n) % 1000000), {pool_id}, place.ip,
       k + 1, CASE WHEN k % 2 = 0 THEN 'Allocated' ELSE 'Released' END, CASE WHEN k % 2 = 0 THEN 'allocated' ELSE 'free' END,
       'ns-' || (j % 40), 'web-' || j || '-' || (k / 2), printf('%08x-0000-4000-8000-%012x', j, k / 2),
       printf('%032x%032x', j, k / 2), 'eth0', 'podnet', 'node-' || (j % 250),
       CASE WHEN k % 2 = 0 THEN 'random' ELSE 'del' END, 'agent/node-' || (j % 250)
FROM t JOIN place USING (j) ORDER BY n
"""
_STATE = """
UPDATE address SET version = l.version, state = l.state, since = l.at,
       owner = CASE WHEN l.namespace IS NULL THEN l.container_id ELSE l.namespace || '/' || l.pod END,
       namespace = l.namespace, pod = l.pod, pod_uid = l.pod_uid, container_id = l.container_id, if_name = l.if_name,
       network = l.network, node = l.node, until = l.until
FROM ledger l
WHERE l.pool_id = address.pool_id AND l.ip = address.ip AND l.seq > {last}
"""


def write(database: Database, count: int) -> datetime:
    """Fill an empty migrated database with ``count`` events, a microsecond apart, the first of them the pool's: at the returned moment."""
    created = Book(database, actor="bench").apply_pool(pools.from_object(POOL)).event
    assert created is not None
    with database.begin() as tx:
        run = tx.connection.exec_driver_sql
        pool_id, width = run("SELECT pool_id, count(*) FROM address GROUP BY pool_id").one()
        rest = count - 1
        if tx.sqlite:
            run("CREATE TEMP TABLE place (j INTEGER PRIMARY KEY, ip TEXT)")
            run("INSERT INTO place SELECT row_number() OVER (ORDER BY ip) - 1, ip FROM address")
        statement = (_SQLITE if tx.sqlite else _POSTGRESQL).format(
            pool_id=pool_id,
            count=rest,
            width=width,
            began=rfc3339(created.at),
            micros=round(created.at.timestamp() * 1_000_000),
        )
        run(statement if tx.sqlite else statement.replace("%", "%%"))
        run(_STATE.format(last=count - min(rest, width)))
        if tx.sqlite:
            run("DROP TABLE place")
        else:
            run(f"SELECT setval(pg_get_serial_sequence('ledger', 'seq'), {count})")
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # as autovacuum has done long before a ledger is as long as this
        connection.exec_driver_sql("ANALYZE" if database.sqlite else "VACUUM ANALYZE")
    return created.at
