"""What a claim needs: one address of each family of each of its pools, and whether it must be a certain one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ledger import walk
from ledger.addresses import BITS, Family, canonical, to_int
from ledger.catalog import Pool
from ledger.claims import Allocation, Claim
from ledger.errors import AddressOutsidePool, AddressReserved, InvalidRequest
from ledger.events import Event, Reason
from ledger.pools import PoolSpec


@dataclass(frozen=True, slots=True)
class Pick:
    """One address that a claim needs: of one family of one pool. ``wanted``: the one it must be, and why."""

    pool: Pool
    family: Family
    wanted: tuple[str, Reason] | None = None


def plan(claim: Claim, pool_of: Callable[[str], Pool]) -> list[Pick]:
    """The picks of a claim. Raises InvalidRequest, UnknownPool, AddressOutsidePool, AddressReserved."""
    claim.check()
    pools = [pool_of(name) for name in claim.pools]
    asked = _asked(claim, pools)
    static = claim.owner.namespace or "", claim.owner.pod or ""
    picks = []
    for pool in pools:
        reserved = {to_int(ip)[0]: ip for ip in pool.spec.static_for(*static)}
        for family in pool.spec.families:
            wanted: tuple[str, Reason] | None = None
            if family in reserved:
                wanted = reserved[family], Reason.STATIC
            elif (pool.name, family) in asked:
                wanted = asked[pool.name, family], Reason.REQUESTED
            picks.append(Pick(pool, family, wanted))
    return picks


def _asked(claim: Claim, pools: Sequence[Pool]) -> Mapping[tuple[str, int], str]:
    out: dict[tuple[str, int], str] = {}
    for text in claim.asked:
        ip = canonical(text, "asked address")
        pool = next((p for p in pools if p.spec.sub_around(ip)), None)
        if pool is None:
            raise AddressOutsidePool(
                ", ".join(claim.pools), ip, [each for pool in pools for each in pool.spec.ranges]
            )
        if pool.spec.sub_of(ip) is None:
            raise not_given(pool.spec, ip)
        key = pool.name, to_int(ip)[0]
        if out.setdefault(key, ip) != ip:
            raise InvalidRequest(
                "asked address", claim.asked, f"asks for two IPv{key[1]} addresses of pool {pool.name!r}"
            )
    return out


def not_given(spec: PoolSpec, ip: str) -> AddressReserved | AddressOutsidePool:
    around = spec.sub_around(ip)
    why = around.why_not(ip) if around else None
    return AddressReserved(spec.name, ip, why) if why else AddressOutsidePool(spec.name, ip, spec.ranges)


def allocation_of(spec: PoolSpec, ip: str, event: Event | None) -> Allocation:
    sub = spec.sub_around(ip)
    prefix_length = sub.prefix_length if sub else BITS[to_int(ip)[0]]
    return Allocation(spec.name, ip, prefix_length, sub.gateway if sub else None, event)


def start_of(spec: PoolSpec) -> int:
    return walk.NOT_YET if spec.pick_strategy == "Lowest" else walk.draw()


def reason_of(spec: PoolSpec) -> Reason:
    return Reason.LOWEST if spec.pick_strategy == "Lowest" else Reason.RANDOM
