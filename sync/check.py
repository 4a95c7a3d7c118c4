"""``ipam-ledger check --against-cluster``, which finds this by name: the ledger's word against the API server's.

Findings only; nothing is changed. A leak candidate is named with the evidence that the API server gives at this moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ledger import pools
from ledger.book import Book
from ledger.errors import InvalidInput
from ledger.events import Event, State, holder
from ledger.evidence import Evidence
from ledger.follow import holders
from ledger.pools import PoolSpec
from ledger.store import Database, follow
from sync.kube import Api, ApiEvidence, reached
from sync.survey import Survey, survey


class Kind(StrEnum):
    """What a finding is. The words are shown, and stay as they are."""

    LEAK = "leak candidate"
    """The ledger has an owner that has ended, by the evidence that is given."""
    UNSEEN = "not listed"
    """The ledger has an owner that is not in the list of pods, and nothing proves that it has ended."""
    UNKNOWN = "not in the ledger"
    """A running pod shows an address of a pool that the ledger has not given to anybody."""
    TWO_OWNERS = "two owners"
    """A running pod shows an address that the ledger has given to somebody else."""
    NO_OBJECT = "no IPPool"
    """A pool that only the ledger has."""
    NO_POOL = "no pool"
    """An IPPool that only the API server has."""
    DIFFERS = "pool differs"
    """The IPPool says something else than the ledger's pool."""
    BEHIND = "ledger behind"
    """The IPPool shows a later position than the ledger has: was the database restored from an older copy?"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    kind: Kind
    pool: str
    ip: str | None
    owner: str | None
    why: str

    @property
    def bad(self) -> bool:
        """Whether the check fails by it. A pool that only the ledger has may be meant so."""
        return self.kind not in (Kind.NO_OBJECT, Kind.UNSEEN)

    @property
    def subject(self) -> tuple[Kind, str, str | None, str | None]:
        """What it is about, by which it is known again."""
        return self.kind, self.pool, self.ip, self.owner

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "kind": self.kind.value}


def _settle() -> None:
    time.sleep(2.0)  # four times the pace of a sync worker: what it was about to write is written


def against_cluster(
    database: Database, kubeconfig: str | None = None, *, settle: Callable[[], object] = _settle
) -> list[Finding]:
    """Every finding, pools first. Raises NotReached, TryAgain.

    What is found is looked for once more after ``settle``, and told if it is still there: a pod that ends shows its address
    a little longer than the ledger, and a pool that was made this moment is in one of the two first.
    """
    with reached(kubeconfig) as api:
        found = _look(database, api)
        if not found:
            return []
        settle()
        before = {each.subject for each in found}
        return [each for each in _look(database, api) if each.subject in before]


def _look(database: Database, api: Api) -> list[Finding]:
    # The cluster before the ledger: what happens in between is in the ledger, and no false alarm.
    seen = survey(api)
    specs = [each.spec for each in Book(database, actor="").pools()]
    held = list(holders(database, State.ALLOCATED))
    with database.read() as tx:
        position = follow.newest_seq(tx)
    return compare(seen, specs, held, ApiEvidence(api, patient=True), position)


def compare(
    seen: Survey, specs: list[PoolSpec], held: list[Event], evidence: Evidence, position: int
) -> list[Finding]:
    """``held``: the newest event of each allocated address; ``position``: where the ledger ends; both read after the survey."""
    out = list(_pools(seen, {spec.name: spec for spec in specs}, position))
    by_ip = {(each.pool, each.ip): each for each in held}
    for each in held:
        owner = each.owner
        if not owner.is_pod:
            continue
        pod = seen.pods.get(f"{owner.namespace}/{owner.pod}")
        if pod is not None and (not owner.uid or not pod.uid or pod.uid == owner.uid):
            continue
        ended = evidence.ended(each)
        kind = Kind.LEAK if ended else Kind.UNSEEN
        why = ended or "no evidence of its end"
        out.append(Finding(kind, each.pool, each.ip, f"{owner.namespace}/{owner.pod}", why))
    for pod in seen.pods.values():
        if pod.deleting:  # it may have given back what it still shows
            continue
        for ip in sorted(pod.ips):
            around = [spec for spec in specs if spec.sub_of(ip)]
            known = [by_ip[spec.name, ip] for spec in around if (spec.name, ip) in by_ip]
            if not around or any(
                (each.owner.namespace, each.owner.pod) == (pod.namespace, pod.name) for each in known
            ):
                continue
            if known:
                why = f"the ledger gave it to {holder(known[0].owner, known[0].attachment)}"
                out.append(Finding(Kind.TWO_OWNERS, known[0].pool, ip, pod.key, why))
            else:
                out.append(Finding(Kind.UNKNOWN, around[0].name, ip, pod.key, "the pod runs with it"))
    return out


def _pools(seen: Survey, specs: dict[str, PoolSpec], position: int) -> Iterable[Finding]:
    for name in sorted(specs.keys() - seen.pools.keys()):
        yield Finding(Kind.NO_OBJECT, name, None, None, "only the ledger has it")
    for name, pool in sorted(seen.pools.items()):
        if pool.ledger_seq > position:
            yield Finding(
                Kind.BEHIND,
                name,
                None,
                None,
                f"it shows position {pool.ledger_seq}, the ledger ends at {position}",
            )
        if name not in specs:
            yield Finding(Kind.NO_POOL, name, None, None, "the ledger does not have it")
            continue
        try:
            if not pools.same(specs[name], pools.from_object(pool.raw)):
                yield Finding(Kind.DIFFERS, name, None, None, "its spec is not what the ledger has")
        except InvalidInput as error:
            yield Finding(Kind.DIFFERS, name, None, None, str(error))
