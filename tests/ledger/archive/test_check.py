"""What the events of a file make of each other: the rules of a ledger, each broken once behind a history that keeps them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ledger.archive.check import Check
from ledger.events import Kind, rfc3339
from ledger.store.stream import Row
from tests.ledger.chronicle import DAY, STATES

# Position, kind, pool, address, version, and the owner's letter. Position 13 is still to come: tree order was torn there.
GOOD = """
1 PoolCreated p - 1 -
2 Allocated p 10.8.0.1 1 a
3 PoolUpdated p - 2 -
4 PoolUpdated p - 3 -
6 PoolCreated q - 1 -
5 Released p 10.8.0.1 2 a cooling
7 Freed p 10.8.0.1 3 a
8 Adopted p 10.8.0.1 4 b
9 PoolDeleted q - 2 -
10 PoolCreated q - 3 -
11 PoolDeleted q - 4 -
12 Allocated p 10.8.0.2 1 a
14 Allocated p 10.8.0.3 1 a
"""


def rows(story: str) -> list[Row]:
    """A minute passes every other event. ``early``: this one is of the day's beginning. ``ends``: it has an ``until``."""
    out: list[Row] = []
    for number, line in enumerate(story.strip().splitlines(), 1):
        seq, kind, pool, ip, version, owner, *more = line.split()
        at = rfc3339(DAY + timedelta(minutes=0 if "early" in more else number // 2))
        state = "cooling" if "cooling" in more else STATES.get(Kind(kind))
        namespace, _, pod = owner.rpartition("/")
        out.append((
            int(seq), at, kind, pool, None if ip == "-" else ip, int(version), state, namespace or "ns", pod, f"uid-{pod}",
            f"c-{pod}", "eth0", "net", "n", at if {"cooling", "ends"} & {*more} else None, "r", "a", None,
        ))  # fmt: skip
    return out


def test_what_keeps_the_rules_is_taken_whole_and_in_parts() -> None:
    good = rows(GOOD)
    assert Check().wrong(good) is None
    check = Check()
    assert [check.wrong([row]) for row in good] == [None] * len(good)
    assert check.wrong(rows("13 Allocated p 10.8.0.4 1 c")) is None
    assert check.wrong(rows("14 Allocated p 10.8.0.5 1 c")) == (14, "position 14 comes twice")
    assert check._seen == set()  # which would grow with the events


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("15 Allocated p 10.8.0.1 9 a", "version 9 comes where 5 should"),
        ("15 PoolUpdated p - 1 -", "version 1 comes where 4 should"),
        ("11 Allocated p 10.8.0.4 1 a", "position 11 comes twice"),
        ("5 Allocated p 10.8.0.4 1 a", "position 5 comes twice"),
        ("14 Allocated p 10.8.0.9 1 a", "position 14 comes twice"),
        ("15 Freed p 10.8.0.1 5 b", "Freed of an address that was allocated"),
        ("15 Released p 10.8.0.1 5 a", "Released changed the owner"),
        ("15 Released p 10.8.0.1 5 other/b", "Released changed the owner"),
        ("15 Released p 10.8.0.1 5 b early", "Released is earlier than the event before it"),
        ("15 Allocated p 10.8.0.1 5 a ends", "Allocated left the address allocated with an end"),
        ("15 Allocated p 10.8.0.03 1 a", "'10.8.0.03'"),
        ("15 Allocated p fd00::A 1 a", "fd00::A is not the canonical spelling of an address"),
        ("15 Allocated r 10.8.0.4 1 a", "its pool 'r' was never created"),
        ("15 PoolCreated p - 4 -", "PoolCreated of a pool that was there already"),
        ("15 PoolUpdated q - 5 -", "PoolUpdated of a pool that was not there"),
        ("15 PoolDeleted r - 1 -", "PoolDeleted of a pool that was not there"),
        ("15 PoolUpdated p - 4 - early", "PoolUpdated is earlier than the event before it"),
        ("15 Allocated p - 4 -", "Allocated is not of a pool, but names no address"),
    ],
)
def test_what_breaks_a_rule_is_named(line: str, why: str) -> None:
    (bad,) = rows(line)
    if "early" not in line:
        bad = (bad[0], rows(GOOD)[-1][1], *bad[2:])
    seq, said = Check().wrong([*rows(GOOD), bad]) or (0, "nothing")
    assert seq == bad[0] and why in said
