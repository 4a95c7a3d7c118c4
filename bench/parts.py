"""All parts of the bench, in the order of the table. A new one is a module with a ``PART`` and a line here."""

from __future__ import annotations

from bench import adds, exchange, floors, kube, past, pick, rush, starts, threads
from bench.part import Part

PARTS: tuple[Part, ...] = (
    floors.PART,
    adds.PART,
    rush.PART,
    threads.PART,
    exchange.PART,
    pick.PART,
    starts.PART,
    past.PART,
    kube.PART,
)
