"""What is to be said about one found record. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ledger.adoption.found import Found, Problem
from ledger.claims import Claim, Node


class Verdict(StrEnum):
    """The words are shown, and stay as they are."""

    ADOPT = "adopt"
    """Nobody has it; it is to be adopted."""
    ADOPTED = "adopted"
    """It has been, just now."""
    SAME = "already so"
    """The ledger says the same."""
    OUTSIDE = "outside"
    """No pool holds the address."""
    RESERVED = "reserved"
    """Its pool never gives it out, or keeps it for another pod."""
    TAKEN = "taken"
    """The ledger knows another owner."""
    TWO_ADDRESSES = "two addresses"
    """One owner would have two addresses of one family, pool and interface."""
    TWO_OWNERS = "two owners"
    """Two records name different owners of the address."""
    NO_POOL = "no pool"
    """The record names a pool that the ledger does not have."""
    SEVERAL_POOLS = "several pools"
    """Pools of different address spaces hold the address."""
    UNREADABLE = "unreadable"
    """What the source says cannot be read."""

    @property
    def agrees(self) -> bool:
        return self in (Verdict.ADOPT, Verdict.ADOPTED, Verdict.SAME)


@dataclass(frozen=True, slots=True)
class Line:
    """One verdict. ``pool`` is None where none could be told; ``why``: what disagrees with what, in words."""

    verdict: Verdict
    found: Found
    pool: str | None = None
    why: str | None = None

    def claim(self) -> Claim:
        """What the book is asked to record; only of a line that has a pool."""
        assert self.pool is not None
        return Claim(
            (self.pool,),
            self.found.owner,
            self.found.attachment,
            Node(self.found.node),
            reason=f"adopted from {self.found.origin}",
        )

    def to_json(self) -> dict[str, Any]:
        owner, attachment = self.found.owner, self.found.attachment
        return {
            "verdict": self.verdict.value,
            "ip": self.found.ip,
            "pool": self.pool,
            "namespace": owner.namespace,
            "pod": owner.pod,
            "podUID": owner.uid,
            "containerID": attachment.container_id,
            "ifName": attachment.if_name or None,
            "network": attachment.network or None,
            "node": self.found.node,
            "origin": self.found.origin,
            "why": self.why,
        }


def row_of(problem: Problem) -> dict[str, Any]:
    """A problem with the keys of a line, so that both stand in one table."""
    empty = dict.fromkeys(
        ("ip", "pool", "namespace", "pod", "podUID", "containerID", "ifName", "network", "node")
    )
    return {
        "verdict": Verdict.UNREADABLE.value,
        **empty,
        "origin": problem.origin,
        "why": str(problem),
    }
