"""What a book of one pool must do, as plainly as it can be said: dictionaries, and the rules of design.md in their order.

Nothing here knows SQL, locks, batches or the quick forms. Where the book may choose, the model says what it may choose from
and follows the choice.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Address:
    """``version`` 0: never used. ``due``: its time as held or cooling is over. ``touched``: the step that changed it last."""

    state: str = "free"
    owner: str | None = None
    container: str | None = None
    version: int = 0
    due: bool = False
    touched: int = 0


@dataclass(frozen=True)
class Shape:
    """A pool's spec: subs as lists of addresses, in order; static reservations: owner → address."""

    subs: tuple[tuple[str, ...], ...]
    static: Mapping[str, str] = field(default_factory=dict)
    cooldown: bool = False
    lowest: bool = True

    def families(self) -> list[bool]:
        return list(dict.fromkeys(":" in sub[0] for sub in self.subs))

    def given(self) -> set[str]:
        return {ip for sub in self.subs for ip in sub}


class Wrong(AssertionError):
    """The book did what the model does not allow."""


@dataclass
class Model:
    shape: Shape | None = None
    addresses: dict[str, Address] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    step: int = 0

    def at(self, ip: str) -> Address:
        return self.addresses.setdefault(ip, Address())

    def figures(self) -> tuple[int, int, int]:
        """Allocated, held, cooling; not those that left the pool."""
        given = self.shape.given() if self.shape else set()
        states = [each.state for ip, each in self.addresses.items() if ip in given]
        return states.count("allocated"), states.count("held"), states.count("cooling")

    # Pools

    def apply(self, shape: Shape) -> str:
        if self.shape == shape:
            return "unchanged"
        if any(
            each.state in ("allocated", "held") and ip not in shape.given()
            for ip, each in self.addresses.items()
        ):
            return "PoolInUse"
        done = "updated" if self.shape else "created"
        self.shape = shape
        return done

    def delete(self) -> str:
        if self.shape is None:
            return "UnknownPool"
        if any(each.state in ("allocated", "held") for each in self.addresses.values()):
            return "PoolInUse"
        self.shape = None
        return "deleted"

    # Addresses

    def add(self, owner: str, container: str, asked: str | None, came: list[tuple[str, str]] | str) -> None:
        """Follow one ADD; ``came``: an address and its reason for each family, or the name of the error."""
        self.step += 1
        before = copy.deepcopy(self.addresses)
        try:
            error = self._add(owner, container, asked, [] if isinstance(came, str) else list(came))
        except Wrong as wrong:
            raise Wrong(f"ADD {owner} {container} asked {asked}: {wrong}; came {came}; {before}") from None
        if error is not None:
            self.addresses = before
        if error != (came if isinstance(came, str) else None):
            raise Wrong(f"ADD {owner} {container} asked {asked}: should be {error}, came {came}; {before}")

    def _add(self, owner: str, container: str, asked: str | None, came: list[tuple[str, str]]) -> str | None:
        shape = self.shape
        if shape is None:
            return "UnknownPool"
        if asked is not None and asked not in shape.given():
            return "AddressOutsidePool"
        for six in shape.families():
            chosen = came.pop(0) if came else None
            error = self._one(shape, six, owner, container, asked, chosen)
            if error is not None:
                return error
        return None

    def _one(
        self,
        shape: Shape,
        six: bool,
        owner: str,
        container: str,
        asked: str | None,
        chosen: tuple[str, str] | None,
    ) -> str | None:
        mine = {ip: self.at(ip) for ip in self.addresses if (":" in ip) == six}
        for ip, each in mine.items():
            if each.state == "allocated" and each.container == container:
                return self._choose({ip}, "again", chosen)
        for ip, each in mine.items():
            if each.state == "allocated" and each.owner == owner:
                return self._give({ip}, "reassigned", owner, container, chosen)
        fixed = shape.static.get(owner)
        if fixed is not None and (":" in fixed) == six:
            return self._wanted(fixed, "static", owner, container, chosen)
        if asked is not None and (":" in asked) == six:
            if asked in shape.static.values():
                return "AddressReserved"
            return self._wanted(asked, "requested", owner, container, chosen)
        had = [
            (each.touched, ip)
            for ip, each in mine.items()
            if each.owner == owner and ip in shape.given() and ip not in shape.static.values()
        ]
        if had:
            newest = max(had)[0]
            return self._give({ip for at, ip in had if at == newest}, "returning", owner, container, chosen)
        pick = "lowest" if shape.lowest else "random"
        free = self._free(shape, six)
        if not free:
            before = copy.deepcopy(self.addresses)
            for each in self.addresses.values():
                if each.due:
                    self._to(each, "free")
            free = self._free(shape, six)
            if not free:
                # What was due is reserved for another, or of the other family: undone with the transaction
                self.addresses = before
        if free:
            return self._give(free, pick, owner, container, chosen)
        ended = {
            ip
            for sub in shape.subs
            for ip in sub
            if (":" in ip) == six
            and ip not in shape.static.values()
            and self.at(ip).state == "allocated"
            and self.at(ip).owner in self.gone
        }
        if not ended:
            return "PoolExhausted"
        if chosen is not None and chosen[0] in ended:
            self._to(self.at(chosen[0]), "free")
        return self._give(ended, pick, owner, container, chosen)

    def _free(self, shape: Shape, six: bool) -> set[str]:
        for sub in shape.subs:
            if (":" in sub[0]) != six:
                continue
            free = [ip for ip in sub if self.at(ip).state == "free" and ip not in shape.static.values()]
            if free:
                return {free[0]} if shape.lowest else set(free)
        return set()

    def _wanted(
        self, ip: str, why: str, owner: str, container: str, chosen: tuple[str, str] | None
    ) -> str | None:
        each = self.at(ip)
        if each.state != "free" and each.owner != owner:
            if not each.due:
                return "AddressTaken"
            self._to(each, "free")
        return self._give({ip}, why, owner, container, chosen)

    def _give(
        self, among: set[str], why: str, owner: str, container: str, chosen: tuple[str, str] | None
    ) -> str | None:
        self._choose(among, why, chosen)
        each = self.at(chosen[0] if chosen else min(among))
        self._to(each, "allocated")
        each.owner, each.container = owner, container
        return None

    @staticmethod
    def _choose(among: set[str], why: str, chosen: tuple[str, str] | None) -> None:
        if chosen is not None and not (chosen[0] in among and chosen[1] == why):
            raise Wrong(f"{chosen} is not {why} of {sorted(among)}")

    def _to(self, each: Address, state: str, *, due: bool = False) -> None:
        each.state, each.due = state, due
        each.version += 1
        each.touched = self.step

    def _leave(self, each: Address) -> None:
        cooling = self.shape is not None and self.shape.cooldown
        self._to(each, "cooling" if cooling else "free")

    def release(self, container: str) -> set[str]:
        self.step += 1
        held = {
            ip
            for ip, each in self.addresses.items()
            if each.state == "allocated" and each.container == container
        }
        for ip in held:
            self._leave(self.at(ip))
        return held

    def sweep(self) -> set[str]:
        self.step += 1
        due = {ip for ip, each in self.addresses.items() if each.due}
        for ip in due:
            self._to(self.at(ip), "free")
        return due

    def transfer(self, ip: str, kind: str, version: int, *, due: bool) -> str:
        """``kind``: hold, free or take, as seen at ``version``; the new state, nothing, or the error."""
        self.step += 1
        if self.shape is None:
            return "UnknownPool"
        each = self.at(ip)
        if each.version != version or (version == 0 and ip not in self.shape.given()):
            return "nothing"
        allowed = {
            "hold": ("free", "allocated", "cooling", "held"),
            "free": ("cooling", "held"),
            "take": ("allocated",),
        }
        if version == 0 or each.state not in allowed[kind]:
            return "InvalidRequest"
        if kind == "hold":
            self._to(each, "held", due=due)
        elif kind == "take":
            self._leave(each)
        else:
            self._to(each, "free")
        return each.state

    def adopt(self, owner: str, container: str, ip: str) -> str:
        self.step += 1
        if self.shape is None:
            return "UnknownPool"
        if ip not in self.shape.given():
            return "AddressOutsidePool"
        each = self.at(ip)
        if each.state == "allocated":
            return "nothing" if each.owner == owner else "AddressTaken"
        for other, held in self.addresses.items():
            mine = held.state == "allocated" and (held.owner == owner or held.container == container)
            if mine and (":" in other) == (":" in ip):
                return "OwnerHasAnother"
        self._to(each, "allocated")
        each.owner, each.container = owner, container
        return "allocated"

    def table(self) -> dict[str, tuple[str, str | None, str | None, int]]:
        """Every address that was ever used."""
        return {
            ip: (each.state, each.owner, each.container, each.version)
            for ip, each in self.addresses.items()
            if each.version
        }


def versions(addresses: Iterable[Address]) -> int:
    """How many events there must be."""
    return sum(each.version for each in addresses)
