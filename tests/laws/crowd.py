"""Many writers at once, and what their answers must have in common, whatever happened in between.

Judged from the answers alone: an owner certainly holds an address from the moment in which its ADD was answered to the
moment in which its DEL was asked, and possibly from asked to answered. No two certain holdings of one address may
overlap; a pool is full only while all of it is possibly held. Each owner asks one thing at a time, and asks again
until it has an answer, as a kubelet does.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Protocol

from ledger.book import Book
from ledger.claims import Claim, Node
from ledger.errors import PoolExhausted, TryAgain
from ledger.events import Attachment, Owner
from ledger.store import Database
from ledger.verify import verify
from tests.laws import laws

EVER = 1 << 63
PATIENCE = 60.0
"""Seconds for which one ADD or DEL is tried again."""


@dataclass(frozen=True)
class Answer:
    """One ADD or DEL: when it was first asked and at last answered (ns of the machine's monotonic clock), what was answered.

    ``tries``: how often it was asked. ``full``: the pool was exhausted.
    """

    verb: str
    owner: str
    container: str
    asked: int
    answered: int
    ip: str | None = None
    full: bool = False
    tries: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Holding:
    """An owner's address, over all of its sandboxes: asked for, got, given back (asked), gone."""

    ip: str
    owner: str
    container: str
    asked: int
    got: int
    left: int = EVER
    gone: int = EVER


class Again(Exception):
    """Not now; ask again."""


class Asker(Protocol):
    """Carries one ADD or DEL. ``add`` gives the address, or None of a full pool; both raise Again."""

    def add(self, owner: str, container: str) -> str | None: ...
    def delete(self, container: str) -> None: ...


class ByBook:
    """Asks a book within this process."""

    def __init__(self, book: Book, pool: str = "p", node: str = "node1") -> None:
        self.book = book
        self.pool = pool
        self.node = node

    def add(self, owner: str, container: str) -> str | None:
        try:
            [given] = self.book.allocate(claim(owner, container, self.pool, self.node))
        except PoolExhausted:
            return None
        except TryAgain as error:
            raise Again from error
        return given.ip

    def delete(self, container: str) -> None:
        try:
            self.book.release(attachment(container))
        except TryAgain as error:
            raise Again from error


def claim(owner: str, container: str, pool: str = "p", node: str = "node1") -> Claim:
    namespace, _, pod = owner.partition("/")
    return Claim((pool,), Owner(namespace, pod, f"uid-{container}"), attachment(container), Node(node))


def attachment(container: str) -> Attachment:
    return Attachment(container, "eth0", "podnet")


class Life:
    """One writer's pods, lived through at random: new, relaunched (and the old sandbox's late DEL), gone, back again."""

    def __init__(
        self, name: str, askers: Sequence[Asker], tell: Callable[[Answer], object], *, seed: int = 0
    ) -> None:
        self.name = name
        self._askers = askers
        self._tell = tell
        self._random = random.Random(f"{name} {seed}")
        self._number = 0
        self.running: dict[str, tuple[str, Asker]] = {}

    def fill(self) -> None:
        """New pods until the pool is full."""
        while self.start(self._new("pod")):
            pass

    def churn(self, rounds: int, go: Callable[[], bool] = lambda: True) -> None:
        """So many things that happen to pods, or as many as happen while ``go()``."""
        while rounds and go():
            rounds -= 1
            pods = list(self.running)
            happens = self._random.random()
            if happens < 0.25 or not pods:
                self.start(self._new("pod"))
                continue
            pod = self._random.choice(pods)
            if happens < 0.5:
                self.relaunch(pod)
            elif happens < 0.75:
                self.end(pod)
            else:
                self.end(pod)
                self.start(pod)

    def start(self, pod: str) -> bool:
        """Whether there was an address for it."""
        asker = self._random.choice(self._askers)
        container = self._new("box")
        got = self._ask(asker, "ADD", pod, container).ip is not None
        if got:
            self.running[pod] = container, asker
        return got

    def relaunch(self, pod: str) -> None:
        """A new sandbox, and only then the DEL of the old one, by whoever made that."""
        old, there = self.running[pod]
        self.start(pod)
        self._ask(there, "DEL", pod, old)

    def end(self, pod: str) -> None:
        container, asker = self.running.pop(pod)
        self._ask(asker, "DEL", pod, container)
        if self._random.random() < 0.3:  # runtimes repeat it
            self._ask(asker, "DEL", pod, container)

    def end_all(self) -> None:
        for pod in list(self.running):
            self.end(pod)

    def _new(self, what: str) -> str:
        self._number += 1
        return f"{'ns/' if what == 'pod' else ''}{self.name}-{what}-{self._number}"

    def _ask(self, asker: Asker, verb: str, owner: str, container: str) -> Answer:
        asked = time.monotonic_ns()
        for tries in range(1, 100_000):
            try:
                ip = None
                if verb == "ADD":
                    ip = asker.add(owner, container)
                else:
                    asker.delete(container)
            except Again:
                if time.monotonic_ns() - asked > PATIENCE * 1e9:
                    raise
                time.sleep(self._random.uniform(0.005, 0.05))
                continue
            answer = Answer(
                verb, owner, container, asked, time.monotonic_ns(), ip, verb == "ADD" and ip is None, tries
            )
            self._tell(answer)
            return answer
        raise AssertionError("asked for ever")


def wrong(answers: Iterable[Answer], capacity: int) -> list[str]:
    """What cannot be true of these answers together, in sentences."""
    ordered = sorted(answers, key=lambda each: each.asked)
    out: list[str] = []
    holdings = list(_holdings(ordered, out))
    by_ip: dict[str, list[Holding]] = {}
    for each in holdings:
        by_ip.setdefault(each.ip, []).append(each)
    for ip, several in by_ip.items():
        several.sort(key=lambda each: each.got)
        out += [f"{ip} had two owners: {a} and {b}" for a, b in pairwise(several) if b.got < a.left]
    out += _returned(holdings, by_ip)
    if len(by_ip) > capacity:
        out.append(f"{len(by_ip)} addresses of {capacity} were given out")
    out += [
        f"said to be full while it was not: {each}"
        for each in ordered
        if each.full and _most_held(holdings, each.asked, each.answered) < capacity
    ]
    return out


def _holdings(ordered: Sequence[Answer], out: list[str]) -> Iterator[Holding]:
    now: dict[str, Holding] = {}
    for each in ordered:
        held = now.get(each.owner)
        if each.verb == "DEL":
            if held is not None and held.container == each.container:
                held.left, held.gone = each.asked, each.answered
                yield now.pop(each.owner)
        elif held is None:
            if each.ip is not None:
                now[each.owner] = Holding(each.ip, each.owner, each.container, each.asked, each.answered)
        elif each.ip == held.ip:
            held.container = each.container
        else:
            out.append(f"{held} was not given again: {each}")
    yield from now.values()


def _returned(holdings: Sequence[Holding], by_ip: dict[str, list[Holding]]) -> Iterator[str]:
    """Whoever comes back gets what it had, unless somebody may have had it since."""
    before: dict[str, Holding] = {}
    for each in sorted(holdings, key=lambda each: each.asked):
        last = before.get(each.owner)
        if last and last.ip != each.ip:
            others = [o for o in by_ip[last.ip] if o.owner != each.owner]
            if not any(o.asked < each.got and o.gone > last.left for o in others):
                yield f"{last} came back and got {each.ip}, though nobody else had it"
        before[each.owner] = each


def _most_held(holdings: Sequence[Holding], since: int, until: int) -> int:
    """The most addresses that may have been held at one moment between."""
    moments = {since, *(each.asked for each in holdings if since <= each.asked <= until)}
    return max(len({h.ip for h in holdings if h.asked <= moment <= h.gone}) for moment in moments)


def unlike(database: Database, answers: Iterable[Answer], pool: str = "p") -> list[str]:
    """Where the ledger is not what was answered: an ADD without its event, an address that nobody asked for, one that is lost."""
    ordered = sorted(answers, key=lambda each: each.asked)
    lines, addresses, _ = laws.read(database, pool)
    told = {
        (line.ip, f"{line.namespace}/{line.pod}", line.container_id)
        for line in lines
        if line.state == "allocated"
    }
    out = [
        f"answered and not recorded: {each}"
        for each in ordered
        if each.ip is not None and (each.ip, each.owner, each.container) not in told
    ]
    held = {(h.ip, h.owner, h.container) for h in _holdings(ordered, []) if h.left == EVER}
    live = {(row.ip, row.owner, row.container_id) for row in addresses if row.state == "allocated"}
    out += [f"leaked: {each}" for each in sorted(live - held)]
    out += [f"lost: {each}" for each in sorted(held - live)]
    return out


def proved(database: Database) -> list[str]:
    """What the ledger's own verification finds, and the tests' plain one."""
    found = [finding.what for checked in verify(database).checked for finding in checked.findings]
    return found + laws.broken(database)
