"""SQLite's quick forms: a few driver statements for each claim, all in the one writer's transaction.

A statement costs SQLite microseconds; what costs is the toolkit around it and the commit. So these go to the
driver, and a batch shares the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from sqlite3 import Cursor

from ledger.claims import Claim
from ledger.events import Attachment, Event, Kind, Owner, State, owner_key, parse_rfc3339, rfc3339
from ledger.store.database import Tx
from ledger.store.quick import Picks, Settled

# Rules 1, 2 and 5 of design.md, in this order.
_KNOWN = """
SELECT * FROM (SELECT 1 AS rule, ip FROM address
    WHERE state = 'allocated' AND container_id = :container AND if_name = :interface AND network = :network
      AND pool_id = :pool AND family = :family LIMIT 1)
UNION ALL
SELECT * FROM (SELECT 2, ip FROM address
    WHERE state = 'allocated' AND owner = :owner AND if_name = :interface AND pool_id = :pool AND family = :family LIMIT 1)
UNION ALL
SELECT * FROM (SELECT 5, ip FROM address
    WHERE state <> 'allocated' AND owner IS NOT NULL AND owner = :owner AND if_name = :interface
      AND pool_id = :pool AND family = :family AND rnd IS NOT NULL AND sub IN ({subs}) ORDER BY since DESC LIMIT 1)
"""

_PICK = """
SELECT ip FROM address WHERE pool_id = ? AND sub = ? AND state = 'free' AND rnd {} ? ORDER BY rnd LIMIT 1
"""

_TAKE = """
UPDATE address
SET version = version + 1, state = 'allocated', since = max(:now, coalesce(since, '')), owner = :owner,
    namespace = :namespace, pod = :pod, pod_uid = :uid, container_id = :container, if_name = :interface,
    network = :network, node = :node, until = NULL
WHERE pool_id = :pool AND ip = :ip
RETURNING version, since
"""

_MINE = """
SELECT a.pool_id, p.name, p.cooldown_seconds, a.ip, a.version, a.since, a.namespace, a.pod, a.pod_uid, a.node
FROM address a JOIN pool p ON p.id = a.pool_id
WHERE a.state = 'allocated' AND a.container_id = ? AND a.if_name = ? AND a.network = ?
"""

_DUE = """
SELECT a.pool_id, p.name, a.ip, a.version, a.state, a.since, a.until, a.namespace, a.pod, a.pod_uid, a.container_id,
       a.if_name, a.network, a.node
FROM address a JOIN pool p ON p.id = a.pool_id
WHERE a.until IS NOT NULL AND a.until <= ? AND a.state IN ('cooling', 'held') AND coalesce(a.pool_id = ?, 1) LIMIT ?
"""

_LEAVE = "UPDATE address SET version = ?, state = ?, since = ?, until = ? WHERE pool_id = ? AND ip = ?"

_WRITE = """
INSERT INTO ledger (xid, at, pool_id, ip, version, kind, state, namespace, pod, pod_uid, container_id, if_name,
                    network, node, until, reason, actor)
VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def allocate(tx: Tx, picks: Picks, claims: Sequence[tuple[int, Claim]]) -> list[Settled]:
    cursor = _cursor(tx)
    current = """
        SELECT 1 FROM pool WHERE id = ? AND version = ? AND live
          AND NOT coalesce((SELECT raised FROM fence ORDER BY id DESC LIMIT 1), 0)
    """
    if cursor.execute(current, (picks.pool_id, picks.version)).fetchone() is None:
        return []
    known = _KNOWN.format(subs=",".join(str(int(sub)) for sub in picks.subs))
    now = rfc3339(tx.clock())
    out = []
    for index, claim in claims:
        owner, attachment = claim.owner, claim.attachment
        values = {
            "pool": picks.pool_id, "family": picks.family, "owner": owner_key(owner, attachment), "now": now,
            "namespace": owner.namespace, "pod": owner.pod, "uid": owner.uid, "container": attachment.container_id,
            "interface": attachment.if_name, "network": attachment.network, "node": claim.node.name,
        }  # fmt: skip
        found = cursor.execute(known, values).fetchone()
        rule, ip = found if found else (6, _pick(cursor, picks))
        if ip is None:
            continue
        if rule == 1:
            out.append(Settled(index, ip, None))
            continue
        version, since = cursor.execute(_TAKE, {**values, "ip": ip}).fetchone()
        reason = {2: "reassigned", 5: "returning"}.get(rule, picks.reason)
        event = Event(
            0, parse_rfc3339(since), Kind.ALLOCATED, picks.pool, ip, version, State.ALLOCATED, owner, attachment,
            claim.node.name, None, reason, picks.actor,
        )  # fmt: skip
        out.append(Settled(index, ip, _write(cursor, picks.pool_id, event)))
    return out


def release(tx: Tx, attachments: Sequence[Attachment], reason: str, actor: str) -> list[list[Event]]:
    cursor = _cursor(tx)
    now = tx.clock()
    out: list[list[Event]] = []
    for attachment in attachments:
        events = []
        mine = cursor.execute(
            _MINE, (attachment.container_id, attachment.if_name, attachment.network)
        ).fetchall()
        for pool_id, pool, cooldown, ip, version, since, namespace, pod, uid, node in mine:
            at = max(now, parse_rfc3339(since))
            until = at + timedelta(seconds=cooldown) if cooldown else None
            event = Event(
                0, at, Kind.RELEASED, pool, ip, version + 1, State.COOLING if cooldown else State.FREE,
                Owner(namespace, pod, uid), attachment, node, until, reason, actor,
            )  # fmt: skip
            state, ends = str(event.state), rfc3339(until) if until else None
            cursor.execute(_LEAVE, (event.version, state, rfc3339(at), ends, pool_id, ip))
            events.append(_write(cursor, pool_id, event))
        out.append(events)
    return out


def sweep(tx: Tx, limit: int, pool_id: int | None, actor: str) -> list[Event]:
    cursor = _cursor(tx)
    now = tx.clock()
    events = []
    due = cursor.execute(_DUE, (rfc3339(now), pool_id, limit)).fetchall()
    for (
        pid,
        pool,
        ip,
        version,
        state,
        since,
        until,
        namespace,
        pod,
        uid,
        container,
        interface,
        network,
        node,
    ) in due:
        reason = f"{state} until {until[:19]}Z"
        at = max(now, parse_rfc3339(since))
        event = Event(
            0, at, Kind.FREED, pool, ip, version + 1, State.FREE, Owner(namespace, pod, uid),
            Attachment(container, interface, network), node, None, reason, actor,
        )  # fmt: skip
        cursor.execute(_LEAVE, (event.version, str(event.state), rfc3339(at), None, pid, ip))
        events.append(_write(cursor, pid, event))
    return events


def _cursor(tx: Tx) -> Cursor:
    cursor: Cursor = tx.connection.connection.cursor()  # type: ignore[assignment]
    return cursor


def _pick(cursor: Cursor, picks: Picks) -> str | None:
    for side in (">", "<"):
        row = cursor.execute(_PICK.format(side), (picks.pool_id, picks.sub, picks.start)).fetchone()
        if row:
            return str(row[0])
    return None


def _write(cursor: Cursor, pool_id: int, event: Event) -> Event:
    owner, attachment = event.owner, event.attachment
    cursor.execute(
        _WRITE,
        (
            rfc3339(event.at), pool_id, event.ip, event.version, event.kind.value, str(event.state), owner.namespace,
            owner.pod, owner.uid, attachment.container_id, attachment.if_name, attachment.network, event.node,
            rfc3339(event.until) if event.until else None, event.reason, event.actor,
        ),
    )  # fmt: skip
    assert cursor.lastrowid is not None
    return replace(event, seq=cursor.lastrowid)
