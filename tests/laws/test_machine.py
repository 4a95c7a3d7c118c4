"""Whatever is asked of a book, in whatever order: it answers as the plain model does, and every law holds after every step."""

from __future__ import annotations

import os
import random
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ledger import book, walk
from ledger.claims import Allocation
from ledger.errors import LedgerError
from ledger.store import Database
from tests.laws import laws
from tests.laws.model import Model, Shape, versions
from tests.ledger.pages import Page

V4 = tuple(f"10.9.0.{n}" for n in range(1, 7))
V6 = tuple(f"fd00:9::{n}" for n in range(1, 4))
SUBS = [(V4[:4],), (V4,), (V4[:2], V4[2:]), (V4[2:], V4[:2]), (V4[:4], V6), (V6[:2], V4[:3])]
POD = st.sampled_from([f"ns/pod-{n}" for n in range(7)])
BOX = st.sampled_from(["box-1", "box-2"])
OWNER = st.one_of(POD, POD, POD, BOX)
IP = st.sampled_from([*V4, V6[0], V6[1], "10.9.0.77"])
SHAPE = st.builds(
    Shape,
    st.sampled_from(SUBS),
    st.sampled_from([{}, {}, {"ns/pod-0": V4[1]}, {"ns/pod-1": V4[1], "ns/pod-0": V4[0]}]),
    st.booleans(),
    st.booleans(),
)
EXAMPLES = int(os.environ.get("IPAM_LEDGER_TEST_EXAMPLES", "30"))
"""More of them for a longer search; read here, for the tests' own environment is cleared of ours."""


class Machine(RuleBasedStateMachine):
    def __init__(self, database: Database) -> None:
        super().__init__()
        # A history that is tried again must be the same: random picks from here on are, for this machine
        walk._random = book._random = random.Random(0)  # type: ignore[assignment]
        self.database = database
        self.model = Model()
        self.containers: list[str] = []

    @initialize(shape=SHAPE, steps=st.booleans())
    def open(self, shape: Shape, steps: bool) -> None:
        self.page = Page(self.database, steps=steps)
        self.page.evidence.pods = self.model.gone
        self.apply(shape)

    # Pools

    @rule(shape=SHAPE)
    def apply(self, shape: Shape) -> None:
        if not set(shape.static.values()) <= shape.given():
            shape = Shape(shape.subs, {}, shape.cooldown, shape.lowest)
        subs = [
            {"range": f"{sub[0]}-{sub[-1]}", "netmaskBits": 64 if ":" in sub[0] else 24} for sub in shape.subs
        ]
        static = {pod.removeprefix("ns/"): ip for pod, ip in shape.static.items()}
        assert self.model.apply(shape) == self.said(
            lambda: (
                self.page.pool(
                    *subs,
                    staticReservations={"ns": static},
                    cooldownSeconds=3600 * shape.cooldown,
                    pickStrategy="Lowest" if shape.lowest else "Random",
                ).action
            )
        )

    @rule(anyway=st.sampled_from([True, False, False]))
    def delete(self, anyway: bool) -> None:
        if self.model.figures()[:2] == (0, 0) or anyway:
            assert self.model.delete() == self.said(lambda: self.page.drop() and "deleted")

    # ADD

    @rule(owner=OWNER, asked=st.one_of(st.none(), st.none(), IP))
    def add(self, owner: str, asked: str | None) -> None:
        """Of a new sandbox: a new pod, a relaunched one, or one that returns."""
        self.add_by(owner, self.new_container(owner), asked)

    @rule(which=st.integers(0, 40), owner=POD)
    def add_again(self, which: int, owner: str) -> None:
        """Of a sandbox that asked before, perhaps in another pod's name."""
        container = self.container(which)
        owner = container if container.startswith("box") else owner
        self.add_by(owner, container, None)

    @rule(owners=st.lists(POD, min_size=2, max_size=7, unique=True))
    def add_many(self, owners: list[str]) -> None:
        """A batch: it must be as if they had come one after the other, in the order in which the ledger has them.

        Who got nothing may have come at any point between.
        """
        claims = [self.page.claim(owner, self.new_container(owner)) for owner in owners]
        outcomes = self.page.book.allocate_many(claims)
        self.model.gone, gone = set(), self.model.gone  # a batch asks nobody

        def place(index: int) -> float:
            outcome = outcomes[index]
            if isinstance(outcome, LedgerError):
                return float("inf")
            return min((each.event.seq for each in outcome if each.event), default=0)

        for index in sorted(range(len(owners)), key=place):
            if isinstance(outcomes[index], LedgerError):
                assert type(outcomes[index]).__name__ in ("PoolExhausted", "AddressTaken", "UnknownPool")
                continue
            container = claims[index].attachment.container_id.removeprefix(self.page.mark)
            self.model.add(owners[index], container, None, came(outcomes[index]))
        self.model.gone = gone

    def add_by(self, owner: str, container: str, asked: str | None) -> None:
        name = owner if owner.startswith("ns/") else "-"
        claim = self.page.claim(name, container, **({"ip": asked} if asked else {}))
        try:
            outcome: Any = self.page.book.allocate(claim)
        except LedgerError as error:
            outcome = error
        self.model.add(owner, container, asked, came(outcome))

    def container(self, which: int) -> str:
        """One that was there before, the newest with 0. What is drawn must not depend on what the book picked."""
        return self.containers[-1 - which % len(self.containers)] if self.containers else "c-never"

    def new_container(self, owner: str) -> str:
        container = f"c{len(self.containers)}" if owner.startswith("ns/") else owner
        self.containers.append(container)
        return container

    # DEL and the rest

    @rule(which=st.integers(0, 40))
    def release(self, which: int) -> None:
        """A DEL: in time, late, repeated, or of what never was."""
        container = self.container(which)
        events = self.page.book.release(self.page.attachment(container))
        assert {event.ip for event in events} == self.model.release(container)

    @rule()
    def release_everything_running(self) -> None:
        for container in {
            each.container for each in self.model.addresses.values() if each.state == "allocated"
        }:
            assert container is not None
            events = self.page.book.release(self.page.attachment(container))
            assert {event.ip for event in events} == self.model.release(container)

    @rule(owner=POD)
    def end(self, owner: str) -> None:
        """From now on there is evidence that this pod has ended, or no longer."""
        self.model.gone ^= {owner}

    @rule(
        ip=IP,
        kind=st.sampled_from(["hold", "free", "take"]),
        due=st.booleans(),
        late=st.sampled_from([0, 0, 0, 1]),
    )
    def transfer(self, ip: str, kind: str, due: bool, late: int) -> None:
        version = max(0, self.model.at(ip).version - late)
        keys = {"at": str(version), **({"for": "-1"} if kind == "hold" and due else {})}
        words = self.page._do(
            f"{kind.upper()} {ip} " + " ".join(f"{key}={value}" for key, value in keys.items())
        )
        assert self.model.transfer(ip, kind, version, due=due) == words.removeprefix(f"{ip} ")

    @rule(owner=POD, ip=IP)
    def adopt(self, owner: str, ip: str) -> None:
        container = self.new_container(owner)
        words = self.page._do(f"ADOPT {owner} {container} {ip}")
        assert words.removeprefix(f"{ip} ").split()[0] == self.model.adopt(owner, container, ip)

    @rule()
    def sweep(self) -> None:
        freed = [event for event in self.page.book.sweep() if event.pool.startswith(self.page.mark)]
        assert {event.ip for event in freed} == self.model.sweep()
        assert len({event.ip for event in freed}) == len(freed)

    # After every step

    @invariant()
    def the_laws_hold(self) -> None:
        if not hasattr(self, "page"):
            return
        pools = self.page.mark + "%"
        assert laws.broken(self.database, pools) == []
        lines, addresses, _ = laws.read(self.database, pools)
        table = {
            row.ip: (
                row.state,
                plain(row.owner, self.page.mark),
                plain(row.container_id, self.page.mark),
                row.version,
            )
            for row in addresses
            if row.version
        }
        assert table == self.model.table()
        assert sum(line.ip is not None for line in lines) == versions(self.model.addresses.values())
        if self.model.shape:
            capacity, free, *counts = self.page.figures()
            assert (capacity, tuple(counts)) == (len(self.model.shape.given()), self.model.figures())
            assert free == max(0, capacity - sum(counts))

    @staticmethod
    def said(ask: Any) -> str:
        try:
            return str(ask())
        except LedgerError as error:
            return type(error).__name__


def plain(text: str | None, mark: str) -> str | None:
    return text.removeprefix(mark) if text else text


def came(outcome: tuple[Allocation, ...] | LedgerError) -> list[tuple[str, str]] | str:
    if isinstance(outcome, LedgerError):
        return type(outcome).__name__
    return [(each.ip, str(each.event.reason) if each.event else "again") for each in outcome]


@pytest.mark.timeout(300)
def test_the_book_is_its_model(db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (walk, book):
        monkeypatch.setattr(module, "_random", module._random)  # put back in the end
    with closing(Database(db_url)) as database:
        run_state_machine_as_test(
            lambda: Machine(database),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=30,
                deadline=None,
                database=None,
                # told as it is found: to shrink a history once took longer than a test may, and what was wrong was lost
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )
