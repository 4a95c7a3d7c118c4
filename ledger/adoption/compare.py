"""What was found, held against the pools and the live state. Pure.

The ledger's word comes first: what it says already is no contender, and what contradicts it is no candidate. Only what is
left over competes with each other, for an address or for an owner's place; of competitors none is chosen, unless a
running sandbox speaks for exactly one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

from ledger.addresses import to_int
from ledger.adoption.found import Found, is_placeholder
from ledger.adoption.verdict import Line, Verdict
from ledger.errors import taken
from ledger.events import Event, State, holder, owner_key
from ledger.poolspec import PoolSpec

HELD = (State.ALLOCATED, State.HELD)
"""The states of which ``compare`` must know the addresses."""


def compare(
    found: Iterable[Found],
    pools: Sequence[PoolSpec],
    live: Iterable[Event],
    *,
    alive: Collection[str] = (),
) -> list[Line]:
    """One line for each record, in order of the addresses; two that say the same make one.

    ``pools``: those that may be adopted into. ``live``: the newest event of each allocated or held address.
    ``alive``: the ids of the sandboxes that are known to run.
    """
    ledger = _Ledger(live)
    by_name = {pool.name: pool for pool in pools}
    lines = [_place(each, by_name) for each in _once(found)]
    lines = [ledger.judge(line) if line.verdict is Verdict.ADOPT else line for line in lines]
    for key, verdict, words in (
        (_address, Verdict.TWO_OWNERS, _other_owner),
        (_seat, Verdict.TWO_ADDRESSES, _other_address),
        (_attachment, Verdict.TWO_ADDRESSES, _other_address),
    ):
        lines = _contend(lines, key, verdict, words, alive)
    if alive:
        lines = [_doubted(line, alive) for line in lines]
    return sorted(lines, key=lambda line: (to_int(line.found.ip), line.pool or "", line.found.origin))


def _once(found: Iterable[Found]) -> list[Found]:
    """Records that say the same are one: whereabouts writes each twice, and the second time with less."""
    out: dict[Hashable, Found] = {}
    for each in found:
        key = (each.ip, each.pool, owner_key(each.owner, each.attachment))
        first = out.get(key)
        if first is None or (
            is_placeholder(first.attachment.container_id) and not is_placeholder(each.attachment.container_id)
        ):
            out[key] = each
    return list(out.values())


def _place(found: Found, pools: Mapping[str, PoolSpec]) -> Line:
    """Which pool the record belongs to, and whether that pool gives its address out."""
    if found.pool is not None and found.pool not in pools:
        return Line(Verdict.NO_POOL, found, found.pool, "there is no pool of that name to adopt into")
    named = [pools[found.pool]] if found.pool is not None else list(pools.values())
    around = [pool for pool in named if pool.sub_around(found.ip)]
    if not around:
        where = f"outside pool {found.pool}" if found.pool is not None else "in none of the pools"
        return Line(Verdict.OUTSIDE, found, found.pool, where)
    if len(around) > 1:
        names = ", ".join(sorted(pool.name for pool in around))
        return Line(Verdict.SEVERAL_POOLS, found, None, f"in {names}: say which with --pool")
    [pool] = around
    if pool.sub_of(found.ip) is None:
        sub = pool.sub_around(found.ip)
        return Line(Verdict.RESERVED, found, pool.name, sub.why_not(found.ip) if sub else None)
    reserved_for = pool.static_owner(found.ip)
    if reserved_for is not None and reserved_for != (found.owner.namespace, found.owner.pod):
        return Line(Verdict.RESERVED, found, pool.name, f"reserved for {'/'.join(reserved_for)}")
    return Line(Verdict.ADOPT, found, pool.name)


class _Ledger:
    """What the ledger says now, found by address, by owner and by attachment."""

    def __init__(self, live: Iterable[Event]) -> None:
        self._by_ip: dict[Hashable, Event] = {}
        self._by_seat: dict[Hashable, Event] = {}
        self._by_attachment: dict[Hashable, Event] = {}
        for event in live:
            if event.ip is None or event.state not in HELD:
                continue
            self._by_ip[event.pool, event.ip] = event
            if event.state is State.ALLOCATED:
                family = to_int(event.ip)[0]
                key = owner_key(event.owner, event.attachment)
                self._by_seat[event.pool, family, key, event.attachment.if_name] = event
                self._by_attachment[event.pool, family, event.attachment] = event

    def judge(self, line: Line) -> Line:
        mine = owner_key(line.found.owner, line.found.attachment)
        now = self._by_ip.get((line.pool, line.found.ip))
        if now is not None:
            if owner_key(now.owner, now.attachment) == mine:
                if now.state is State.ALLOCATED:
                    return replace(line, verdict=Verdict.SAME)
            else:
                return replace(
                    line,
                    verdict=Verdict.TAKEN,
                    why=f"{taken(str(now.state), holder(now.owner, now.attachment))} in the ledger",
                )
        other = self._by_seat.get(_seat(line)) or self._by_attachment.get(_attachment(line))
        if other is not None:
            return replace(line, verdict=Verdict.TWO_ADDRESSES, why=f"has {other.ip} in the ledger")
        return line


def _address(line: Line) -> Hashable:
    return line.pool, line.found.ip


def _seat(line: Line) -> Hashable:
    """An owner may have one address of each family, pool and interface."""
    key = owner_key(line.found.owner, line.found.attachment)
    return line.pool, to_int(line.found.ip)[0], key, line.found.attachment.if_name


def _attachment(line: Line) -> Hashable:
    return line.pool, to_int(line.found.ip)[0], line.found.attachment


def _other_owner(line: Line) -> str:
    return f"{line.found.holder} by {line.found.origin}"


def _other_address(line: Line) -> str:
    return f"{line.found.ip} by {line.found.origin}"


def _contend(
    lines: Sequence[Line],
    key: Callable[[Line], Hashable],
    verdict: Verdict,
    words: Callable[[Line], str],
    alive: Collection[str],
) -> list[Line]:
    """Whoever wants the same as another gets the verdict instead, except one for which a running sandbox speaks."""
    groups: dict[Hashable, list[Line]] = {}
    for line in lines:
        if line.verdict is Verdict.ADOPT:
            groups.setdefault(key(line), []).append(line)
    out = []
    for line in lines:
        group = groups.get(key(line), []) if line.verdict is Verdict.ADOPT else []
        running = [each for each in group if each.found.attachment.container_id in alive]
        if len(group) < 2 or (len(running) == 1 and line is running[0]):
            out.append(line)
            continue
        others = [words(each) for each in group if each is not line]
        more = f" and {len(others) - 2} more" if len(others) > 2 else ""
        out.append(replace(line, verdict=verdict, why=f"also {', '.join(others[:2])}{more}"))
    return out


def _doubted(line: Line, alive: Collection[str]) -> Line:
    """A container that is not known to run is adopted all the same: a list that lacks it is no evidence (law 6)."""
    container = line.found.attachment.container_id
    if line.verdict is not Verdict.ADOPT or container in alive or is_placeholder(container):
        return line
    return replace(line, why="its container is none of the sandboxes that were given")
