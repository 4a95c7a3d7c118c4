"""PostgreSQL's quick forms: the common ADD and the DEL, for one or many at a time, each one statement.

A batch costs the server an eighth of what its parts would cost (measurements.md, "Set-wise"). It goes to the server and
comes back as one JSON value each: what driver and toolkit do for each parameter and column costs more than that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from ledger.claims import Claim
from ledger.events import Attachment, Event, Kind, Owner, State, owner_key, parse_rfc3339
from ledger.store.database import Tx
from ledger.store.quick import Picks, Settled

# Rules 1, 2, 5 and 6 of design.md. ``best`` finds, for each claim, what its attachment or owner holds or had;
# ``locked`` takes those rows only if they are still as seen, and still of the pool; after them the others get the next
# free ones in picking order.
# FOR UPDATE cannot stand under UNION, so the wrap-around is two steps. The clock is read after the locks are had.
# Rows are joined by a pool_id that the planner does not know: it would rather scan a pool that it takes for small, and
# keep that plan after the pool has grown.
_ALLOCATE = """
WITH req AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(requests)s::json)
        AS r(n int, owner text, namespace text, pod text, pod_uid text, container_id text, if_name text, network text, node text)
    WHERE EXISTS (SELECT 1 FROM pool WHERE id = %(pool_id)s AND version = %(version)s AND live)
      AND NOT coalesce((SELECT raised FROM fence ORDER BY id DESC LIMIT 1), false)
), best AS MATERIALIZED (
    SELECT r.n, b.rule, %(pool_id)s::int AS pool_id, b.ip, b.version
    FROM req r CROSS JOIN LATERAL (
        SELECT * FROM (
            (SELECT 1 AS rule, a.ip, a.version FROM address a
             WHERE a.state = 'allocated' AND a.container_id = r.container_id AND a.if_name = r.if_name
               AND a.network = r.network AND a.pool_id = %(pool_id)s AND a.family = %(family)s LIMIT 1)
            UNION ALL
            (SELECT 2, a.ip, a.version FROM address a
             WHERE a.state = 'allocated' AND a.owner = r.owner AND a.if_name = r.if_name
               AND a.pool_id = %(pool_id)s AND a.family = %(family)s LIMIT 1)
            UNION ALL
            (SELECT 5, a.ip, a.version FROM address a
             WHERE a.state <> 'allocated' AND a.owner IS NOT NULL AND a.owner = r.owner AND a.if_name = r.if_name
               AND a.pool_id = %(pool_id)s AND a.family = %(family)s
               AND a.rnd IS NOT NULL AND a.sub = ANY(%(subs)s::int[]) ORDER BY a.since DESC LIMIT 1)
        ) rules ORDER BY rule LIMIT 1
    ) b
), locked AS MATERIALIZED (
    SELECT b.n, b.rule, a.pool_id, a.ip FROM best b
    JOIN address a ON a.pool_id = b.pool_id AND a.ip = b.ip AND a.version = b.version
    WHERE b.rule = 2 OR (b.rule = 5 AND a.rnd IS NOT NULL AND a.sub = ANY(%(subs)s::int[]))
    ORDER BY a.ip FOR UPDATE OF a
), need AS MATERIALIZED (
    SELECT n, row_number() OVER (ORDER BY n) AS k FROM req WHERE n NOT IN (SELECT n FROM best)
), after_start AS MATERIALIZED (
    SELECT ip FROM address
    WHERE pool_id = %(pool_id)s AND sub = %(sub)s AND state = 'free' AND rnd > %(start)s
      AND ip NOT IN (SELECT ip FROM locked)
    ORDER BY rnd LIMIT (SELECT count(*) FROM need) FOR UPDATE SKIP LOCKED
), before_start AS MATERIALIZED (
    SELECT ip FROM address
    WHERE pool_id = %(pool_id)s AND sub = %(sub)s AND state = 'free' AND rnd < %(start)s
      AND ip NOT IN (SELECT ip FROM locked)
    ORDER BY rnd LIMIT (SELECT count(*) FROM need) - (SELECT count(*) FROM after_start) FOR UPDATE SKIP LOCKED
), given AS MATERIALIZED (
    SELECT need.n, %(pool_id)s::int AS pool_id, p.ip, %(reason)s::text AS reason FROM need
    JOIN (SELECT ip, row_number() OVER () AS k
          FROM (SELECT ip FROM after_start UNION ALL SELECT ip FROM before_start) u) p USING (k)
    UNION ALL
    SELECT n, pool_id, ip, CASE rule WHEN 2 THEN 'reassigned' ELSE 'returning' END FROM locked
), changed AS (
    UPDATE address a
    SET version = a.version + 1, state = 'allocated', since = greatest(clock_timestamp(), a.since), owner = r.owner,
        namespace = r.namespace, pod = r.pod, pod_uid = r.pod_uid, container_id = r.container_id, if_name = r.if_name,
        network = r.network, node = r.node, until = NULL
    FROM given g JOIN req r USING (n)
    WHERE a.pool_id = g.pool_id AND a.ip = g.ip
    RETURNING g.n, g.reason, a.*
), written AS (
    INSERT INTO ledger (xid, at, pool_id, ip, version, kind, state, namespace, pod, pod_uid, container_id, if_name,
                        network, node, reason, actor)
    SELECT pg_current_xact_id(), since, pool_id, ip, version, 'Allocated', state, namespace, pod, pod_uid, container_id,
           if_name, network, node, reason, %(actor)s
    FROM changed ORDER BY reason = %(reason)s, n
    RETURNING seq, ip
)
SELECT json_agg(settled) FROM (
    SELECT json_build_array(c.n, c.ip, w.seq, c.since, c.version, c.reason) FROM changed c JOIN written w ON w.ip = c.ip
    UNION ALL
    SELECT json_build_array(n, ip, NULL, NULL, NULL, NULL) FROM best WHERE rule = 1
) AS s(settled)
"""

_RELEASE = """
WITH req AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(requests)s::json) AS r(n int, container_id text, if_name text, network text)
), mine AS MATERIALIZED (
    SELECT r.n, a.pool_id, a.ip FROM req r
    JOIN address a ON a.state = 'allocated' AND a.container_id = r.container_id AND a.if_name = r.if_name
                  AND a.network = r.network
    ORDER BY a.pool_id, a.ip FOR UPDATE OF a
), clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM mine) locked  -- once, and after the locks are had
), changed AS (
    UPDATE address a
    SET version = a.version + 1, since = greatest(c.now, a.since),
        state = CASE WHEN p.cooldown_seconds > 0 THEN 'cooling' ELSE 'free' END,
        until = CASE WHEN p.cooldown_seconds > 0 THEN greatest(c.now, a.since) + make_interval(secs => p.cooldown_seconds) END
    FROM mine m JOIN pool p ON p.id = m.pool_id CROSS JOIN clock c
    WHERE a.pool_id = m.pool_id AND a.ip = m.ip
    RETURNING m.n, p.name, a.*
), written AS (
    INSERT INTO ledger (xid, at, pool_id, ip, version, kind, state, namespace, pod, pod_uid, container_id, if_name,
                        network, node, until, reason, actor)
    SELECT pg_current_xact_id(), since, pool_id, ip, version, 'Released', state, namespace, pod, pod_uid, container_id,
           if_name, network, node, until, %(reason)s, %(actor)s
    FROM changed ORDER BY n
    RETURNING seq, pool_id, ip
)
SELECT json_agg(json_build_array(c.n, w.seq, c.since, c.name, c.ip, c.version, c.state, c.namespace, c.pod, c.pod_uid,
                                 c.node, c.until))
FROM changed c JOIN written w ON w.pool_id = c.pool_id AND w.ip = c.ip
"""

_SWEEP = """
WITH due AS MATERIALIZED (
    SELECT pool_id, ip, format('%%s until %%s', state, to_char(until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS reason
    FROM address
    WHERE until IS NOT NULL AND until <= clock_timestamp() AND state IN ('cooling', 'held')
      AND (%(pool_id)s::int IS NULL OR pool_id = %(pool_id)s)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE address a SET version = a.version + 1, since = greatest(clock_timestamp(), a.since), state = 'free', until = NULL
    FROM due d JOIN pool p ON p.id = d.pool_id
    WHERE a.pool_id = d.pool_id AND a.ip = d.ip
    RETURNING d.reason, p.name, a.*
), written AS (
    INSERT INTO ledger (xid, at, pool_id, ip, version, kind, state, namespace, pod, pod_uid, container_id, if_name,
                        network, node, reason, actor)
    SELECT pg_current_xact_id(), since, pool_id, ip, version, 'Freed', state, namespace, pod, pod_uid, container_id,
           if_name, network, node, reason, %(actor)s
    FROM changed ORDER BY pool_id, ip
    RETURNING seq, pool_id, ip
)
SELECT w.seq, c.since, c.name, c.ip, c.version, c.namespace, c.pod, c.pod_uid, c.container_id, c.if_name, c.network,
       c.node, c.reason
FROM changed c JOIN written w ON w.pool_id = c.pool_id AND w.ip = c.ip ORDER BY w.seq
"""


def allocate(tx: Tx, picks: Picks, claims: Sequence[tuple[int, Claim]]) -> list[Settled]:
    """Settle what can be settled in one statement; claims are given as (index, claim). Raises Conflict for a lost race."""
    requests = [
        {
            "n": n, "owner": owner_key(c.owner, c.attachment), "namespace": c.owner.namespace, "pod": c.owner.pod,
            "pod_uid": c.owner.uid, "container_id": c.attachment.container_id, "if_name": c.attachment.if_name,
            "network": c.attachment.network, "node": c.node.name,
        }
        for n, c in claims
    ]  # fmt: skip
    parameters = {
        "pool_id": picks.pool_id, "version": picks.version, "family": picks.family, "sub": picks.sub,
        "subs": list(picks.subs), "start": picks.start, "reason": picks.reason, "actor": picks.actor,
    }  # fmt: skip
    by_index = dict(claims)
    out = []
    for n, ip, seq, since, version, reason in _run(tx, _ALLOCATE, requests, parameters):
        event = None
        if seq is not None:
            claim = by_index[n]
            event = Event(
                seq, parse_rfc3339(since), Kind.ALLOCATED, picks.pool, ip, version, State.ALLOCATED, claim.owner,
                claim.attachment, claim.node.name, None, reason, picks.actor,
            )  # fmt: skip
        out.append(Settled(n, ip, event))
    return out


def sweep(tx: Tx, limit: int, pool_id: int | None, actor: str) -> list[Event]:
    """Free at most ``limit`` cooling and held addresses whose time has come, in one statement."""
    parameters = {"limit": limit, "pool_id": pool_id, "actor": actor}
    return [
        Event(
            row.seq, row.since.astimezone(UTC), Kind.FREED, row.name, row.ip, row.version, State.FREE,
            Owner(row.namespace, row.pod, row.pod_uid), Attachment(row.container_id, row.if_name, row.network), row.node,
            None, row.reason, actor,
        )
        for row in tx.connection.exec_driver_sql(_SWEEP, parameters)
    ]  # fmt: skip


def release(tx: Tx, attachments: Sequence[Attachment], reason: str, actor: str) -> list[list[Event]]:
    """Release what each attachment holds, if anything; the events of each, in the order given."""
    requests = [
        {"n": n, "container_id": a.container_id, "if_name": a.if_name, "network": a.network}
        for n, a in enumerate(attachments)
    ]
    out: list[list[Event]] = [[] for _ in attachments]
    for n, seq, since, name, ip, version, state, namespace, pod, uid, node, until in _run(
        tx, _RELEASE, requests, {"reason": reason, "actor": actor}
    ):
        out[n].append(
            Event(
                seq, parse_rfc3339(since), Kind.RELEASED, name, ip, version, State(state), Owner(namespace, pod, uid),
                attachments[n], node, parse_rfc3339(until) if until else None, reason, actor,
            )
        )  # fmt: skip
    return out


def _run(tx: Tx, statement: str, requests: Sequence[Any], parameters: Mapping[str, Any]) -> list[list[Any]]:
    """The rows that the statement gathered, as JSON has them."""
    text = json.dumps(requests, ensure_ascii=False, separators=(",", ":"))
    return tx.connection.exec_driver_sql(statement, {"requests": text, **parameters}).scalar_one() or []
