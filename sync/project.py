"""A pool's picture -> the status of its IPPool. Pure.

``status`` is what the object should say, ``patch`` the smallest change that makes it say so, or None if it does already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ledger.events import State
from sync.objects import IPPool
from sync.picture import BUDGET, PoolPicture
from sync.reconcile import Refusal

LARGEST: Final = 2**63 - 1
"""The API's integers end here; an IPv6 range may not. It stands for "that many or more"."""

BEHIND: Final = "LedgerBehind"
"""The reason of ``Ready=False`` where the object shows a later position than the ledger has."""

NEAR: Final = 0.9
"""From this utilization on a pool is nearly exhausted."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition to show."""

    type: str
    true: bool
    reason: str
    message: str = ""


def conditions(
    picture: PoolPicture, pool: IPPool, refusal: Refusal | None, suspended: str | None
) -> list[Condition]:
    """The conditions that hold. ``suspended``: why no address of this pool is reclaimed by the sweep now."""
    if refusal is not None:
        ready = Condition("Ready", False, refusal.reason, refusal.message)
    elif picture.spec is None:
        ready = Condition("Ready", False, "NotInLedger", "the ledger does not have this pool yet")
    elif pool.meta.deleting:
        ready = Condition("Ready", False, "Deleting", "the pool is being deleted")
    else:
        ready = Condition("Ready", True, "InLedger", "the ledger has this pool as it is specified")
    out = [ready]
    if picture.spec is not None:
        capacity, free = picture.capacity, picture.count(State.FREE)
        used = ", ".join(
            f"{picture.count(each)} {each.value}" for each in (State.ALLOCATED, State.HELD, State.COOLING)
        )
        full = free == 0
        out.append(
            Condition(
                "Exhausted",
                full,
                "NoFreeAddress" if full else "FreeAddresses",
                f"of {capacity} addresses none is free: {used}" if full else "",
            )
        )
        if picture.truncated:
            out.append(
                Condition(
                    "ReservationsTruncated",
                    True,
                    "TooLarge",
                    f"dynamicReservations would take more than {BUDGET // 1024} KiB; ask `ipam-ledger pool show`",
                )
            )
        else:
            out.append(Condition("ReservationsTruncated", False, "Complete"))
    if suspended:
        out.append(Condition("ReclaimSuspended", True, "Suspicious", suspended))
    return out


def status(
    picture: PoolPicture,
    pool: IPPool,
    *,
    observed: int,
    refusal: Refusal | None,
    suspended: str | None,
    position: int,
    now: datetime,
) -> dict[str, Any]:
    """What the object's status should be. ``observed``: the generation that was last reconciled, or refused.
    ``position``: up to where the picture is complete.

    Without a pool in the ledger the figures stay as they are: after a loss they are what is left to restore from.
    """
    out: dict[str, Any] = {}
    if observed:
        out["observedGeneration"] = observed
    if picture.spec is None or (refusal is not None and refusal.reason == BEHIND):
        out |= {key: pool.status[key] for key in FIGURES if key in pool.status}
    else:
        out |= {
            "capacity": min(picture.capacity, LARGEST),
            "allocated": picture.count(State.ALLOCATED),
            "free": min(picture.count(State.FREE), LARGEST),
            "held": picture.count(State.HELD),
            "cooling": picture.count(State.COOLING),
            "utilization": round(picture.utilization, 4),
            "usedPercent": int(picture.utilization * 100),
        }
        if not picture.truncated:
            out["dynamicReservations"] = picture.reservations()
        out["ledgerSeq"] = _seq(picture, pool, out, position)
    shown = conditions(picture, pool, refusal, suspended)
    out["conditions"] = _conditions(shown, pool.status.get("conditions"), observed, now)
    return out


def _seq(picture: PoolPicture, pool: IPPool, figures: Mapping[str, Any], position: int) -> int:
    """The position to name. The picture is true from its last event up to ``position``; what is shown already is kept if it is in there."""
    if picture.seq:
        return max(picture.seq, pool.ledger_seq)
    same = all(pool.status.get(key) == figures.get(key) for key in FIGURES if key != "ledgerSeq")
    return pool.ledger_seq if same and pool.ledger_seq else position


def _conditions(
    shown: Iterable[Condition], before: object, observed: int, now: datetime
) -> list[dict[str, Any]]:
    old = {
        each["type"]: each
        for each in (before if isinstance(before, list) else [])
        if isinstance(each, Mapping) and isinstance(each.get("type"), str)
    }
    out = []
    for each in shown:
        value = "True" if each.true else "False"
        was = old.pop(each.type, {})
        moved = was.get("status") != value
        out.append(
            {
                "type": each.type,
                "status": value,
                "reason": each.reason,
                "message": each.message,
                "lastTransitionTime": _seconds(now)
                if moved
                else was.get("lastTransitionTime", _seconds(now)),
                "observedGeneration": observed,
            }
        )
    gone = ("Exhausted", "ReservationsTruncated", "ReclaimSuspended")
    return out + [dict(each) for kind, each in old.items() if kind not in gone]


def _seconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")  # metav1.Time has no fractions


FIGURES: Final = (
    "capacity",
    "allocated",
    "free",
    "held",
    "cooling",
    "utilization",
    "usedPercent",
    "ledgerSeq",
    "dynamicReservations",
)
OURS: Final = ("observedGeneration", *FIGURES, "conditions")


def patch(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The JSON merge patch (RFC 7396) of the status that leads from one to the other; None if there is nothing to do."""
    out = {key: None for key in OURS if key in before and key not in wanted} | _diff(
        {key: value for key, value in before.items() if key in wanted}, wanted
    )
    return out or None


def _diff(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {key: None for key in before if key not in wanted}
    for key, value in wanted.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if inner := _diff(old, value):
                out[key] = inner
        elif old != value:
            out[key] = value
    return out


@dataclass(frozen=True, slots=True)
class Notice:
    """An Event to write: ``warning`` or normal, a reason in one word, a sentence."""

    reason: str
    message: str
    warning: bool = True


def notices(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Notice]:
    """What is worth an Event in the step from one status to the next: edges only, never a state that lasts."""
    out: list[Notice] = []
    was_full, full = _true(before, "Exhausted"), _true(wanted, "Exhausted")
    was_near, near = _fraction(before) >= NEAR, _fraction(wanted) >= NEAR
    if full and not was_full:
        out.append(Notice("Exhausted", _message(wanted, "Exhausted")))
    elif near and not was_near:
        out.append(
            Notice(
                "NearlyExhausted",
                f"{_fraction(wanted):.0%} of {wanted.get('capacity')} addresses are in use, "
                f"{wanted.get('free')} are free",
            )
        )
    elif was_full and not full:
        out.append(Notice("NoLongerExhausted", f"{wanted.get('free')} addresses are free", warning=False))
    if _true(wanted, "ReclaimSuspended") and not _true(before, "ReclaimSuspended"):
        out.append(Notice("ReclaimSuspended", _message(wanted, "ReclaimSuspended")))
    if _false(wanted, "Ready") and _message(wanted, "Ready") != _message(before, "Ready"):
        reason = str(condition(wanted, "Ready").get("reason") or "NotReady")
        if reason not in ("NotInLedger", "Deleting"):
            out.append(Notice(reason, _message(wanted, "Ready")))
    return out


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of that type in a status, {} if there is none."""
    found = status.get("conditions")
    for each in found if isinstance(found, list) else []:
        if isinstance(each, Mapping) and each.get("type") == kind:
            return each
    return {}


def _true(status: Mapping[str, Any], kind: str) -> bool:
    return condition(status, kind).get("status") == "True"


def _false(status: Mapping[str, Any], kind: str) -> bool:
    return condition(status, kind).get("status") == "False"


def _message(status: Mapping[str, Any], kind: str) -> str:
    return str(condition(status, kind).get("message") or "")


def _fraction(status: Mapping[str, Any]) -> float:
    capacity, free = status.get("capacity"), status.get("free")
    if type(capacity) is int and type(free) is int and capacity > 0:
        return 1 - free / capacity
    return 0.0
