"""The order in which a sub's addresses are given rows, and then picked. Pure.

Large ranges get their rows in chunks, and nothing ever iterates over a range. So the addresses are walked in
a permutation that can be entered anywhere: ``i -> (start + i * step) mod capacity`` with ``step`` coprime to the
capacity. Every address comes exactly once, and where a walk stands is one number.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from math import gcd

from ledger.addresses import to_text
from ledger.pools import PoolSpec, Sub

WHOLE = 65_536
"""A sub of at most so many addresses gets all its rows when the pool is applied; a larger one by chunks."""

CHUNK = 1_024
"""Rows that a larger sub gets at a time."""

RND_BITS = 62
"""``rnd`` is drawn from 0 … 2^62-1: an 8-byte integer, collisions harmless."""

NOT_YET = -1
"""The place of an address of a Lowest pool that has a row before the walk comes to it. A pick there begins after this place,
and goes on before it: never at it."""

_random = random.SystemRandom()


def first_walk(sub: Sub) -> int:
    """How many addresses get rows when the pool is applied."""
    return sub.capacity if sub.capacity <= WHOLE else CHUNK


def draw() -> int:
    """A place in a random picking order."""
    return _random.getrandbits(RND_BITS)


def lowest(sub: Sub, address: int) -> int:
    """The place of an address in the picking order of ``pickStrategy: Lowest``."""
    return min(address - sub.range.first, (1 << RND_BITS) - 1)


def rnd_of(spec: PoolSpec, sub: Sub, address: int, walked: int = 0) -> int | None:
    """Where to put an address in the picking order; None for a static reservation, which is never picked.

    ``walked``: how many of the sub's addresses have rows, where those of the first walk are not all.
    """
    if spec.static_owner(to_text(sub.family, address)) is not None:
        return None
    if spec.pick_strategy != "Lowest":
        return draw()
    walked = max(walked, first_walk(sub))
    if walked < sub.capacity and address >= sub.given.nth(walked):
        return NOT_YET
    return lowest(sub, address)


def steps(spec: PoolSpec, sub: Sub, walked: int, count: int) -> Iterator[int]:
    """The addresses from step ``walked`` on, at most ``count``, fewer at the end of the walk."""
    start, step = _permutation(spec, sub)
    for i in range(walked, min(walked + count, sub.capacity)):
        yield sub.given.nth((start + i * step) % sub.capacity)


def done(spec: PoolSpec, sub: Sub, walked: int) -> Callable[[int], bool]:
    """Whether an address of the sub is among the first ``walked`` steps."""
    if walked >= sub.capacity:
        return lambda address: True
    start, step = _permutation(spec, sub)
    back = pow(step, -1, sub.capacity)
    return lambda address: (sub.given.index(address) - start) * back % sub.capacity < walked


def _permutation(spec: PoolSpec, sub: Sub) -> tuple[int, int]:
    if spec.pick_strategy == "Lowest" or sub.capacity < 3:
        return 0, 1
    seed = hashlib.sha256(f"{spec.name} {sub.range} {sub.capacity}".encode()).digest()
    start = int.from_bytes(seed[:16], "big") % sub.capacity
    step = int.from_bytes(seed[16:], "big") % sub.capacity | 1
    while gcd(step, sub.capacity) != 1:
        step += 2
    return start, step
