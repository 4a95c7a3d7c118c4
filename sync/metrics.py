"""What the worker measures, as Prometheus takes it. The leader's pools, and on every worker what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ledger.events import State
from sync.health import Health
from sync.worker.term import Term


class Metrics(Collector):
    """Read when they are asked for. ``term``: the one that runs, None on a standby."""

    def __init__(self, health: Health) -> None:
        self.term: Term | None = None
        self._health = health
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        term = self.term
        yield GaugeMetricFamily("ipam_ledger_leading", "Whether this worker leads.", float(term is not None))
        trouble = GaugeMetricFamily(
            "ipam_ledger_trouble", "What is wrong with a part; /readyz has the sentences.", labels=["part"]
        )
        for part in self._health.troubled():
            trouble.add_metric([part], 1)
        yield trouble
        if term is not None:
            yield from _pools(term)


def _pools(term: Term) -> Iterator[Metric]:
    capacity = GaugeMetricFamily(
        "ipam_ledger_pool_capacity", "Addresses that a pool can give out.", labels=["pool"]
    )
    addresses = GaugeMetricFamily(
        "ipam_ledger_pool_addresses", "Addresses of a pool by their state.", labels=["pool", "state"]
    )
    suspended = GaugeMetricFamily(
        "ipam_ledger_pool_reclaim_suspended",
        "Whether the sweep has stopped itself and takes no address of the pool back.",
        labels=["pool"],
    )
    events = CounterMetricFamily(
        "ipam_ledger_events", "Events that this leader has followed.", labels=["pool", "kind"]
    )
    figures, counts, position = term.pictures.figures()
    for name, has, states in figures:
        capacity.add_metric([name], has)
        for state in State:
            addresses.add_metric([name, state.value], states[state])
        suspended.add_metric([name], float(term.sweeping.suspended(name) is not None))
    for (pool, kind), count in sorted(counts.items()):
        events.add_metric([pool, kind.value], count)
    yield from (capacity, addresses, suspended, events)
    yield GaugeMetricFamily(
        "ipam_ledger_position", "The ledger position that the pools' figures show.", float(position)
    )
