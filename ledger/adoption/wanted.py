"""The pools that a source brings along, for those who have none yet. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ledger.adoption.found import Problem
from ledger.errors import InvalidPool
from ledger.pools import from_spec
from ledger.poolspec import PoolSpec, overlap


def wanted(
    specs: Mapping[str, Mapping[str, Any]], pools: Sequence[PoolSpec]
) -> tuple[list[PoolSpec], list[Problem]]:
    """Those of ``specs`` that the ledger does not have and can take. A pool that it has stays as it is."""
    taken = {pool.name for pool in pools}
    out: list[PoolSpec] = []
    problems: list[Problem] = []
    for name, raw in specs.items():
        if name in taken:
            continue
        try:
            spec = from_spec(name, raw)
        except InvalidPool as error:
            problems.append(Problem.of(error, f"ippool {name}"))
            continue
        clash = next(((each, ip) for each in (*pools, *out) if (ip := overlap(spec, each))), None)
        if clash is not None:
            other, ip = clash
            problems.append(Problem(f"ippool {name}", "spec.ipPoolSubs", ip, f"is in pool {other.name} too"))
            continue
        out.append(spec)
    return out, problems
