"""A term looks at what it was asked to, each at its time."""

from __future__ import annotations

from sync.picture import BUDGET
from sync.worker.agenda import RATE, Agenda, Key


def test_a_large_status_is_patched_less_often_than_a_small_one() -> None:
    """Each patch is another copy of the whole object in etcd, kept until it is compacted."""
    agenda = Agenda(pace=0.1)
    agenda.patched("large", BUDGET)
    agenda.patched("small", 1024)
    agenda.status("large")
    agenda.status("small")
    assert agenda.take(0.0) is None, "not before its pace allows"
    assert agenda.take(1.0) == Key("status", "small")
    assert agenda.take(1.0) is None
    assert BUDGET / RATE == 4
