"""What the agent measures, as Prometheus takes it."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from cni.spec import Verb

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds. An ADD takes one millisecond alone, and kubelet gives up after two minutes."""

_VERBS = frozenset(map(str, Verb))
_CODE = re.compile(rb'"code": (\d+)')


class Metrics(Collector):
    """Calls by verb and CNI error code (0: none), how long they took in the agent, and how many DELs wait."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._waiting = waiting
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._took: dict[str, list[int]] = {}  # by verb: how many ended at which bound
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def answered(self, env: Mapping[str, str], status: int, stdout: bytes, seconds: float) -> None:
        """A request was. From any thread; well below a microsecond beside the hundred that it took."""
        verb = env.get("CNI_COMMAND", "")
        if verb not in _VERBS:
            verb = "other"  # a peer may say what it likes, as often as it likes
        found = _CODE.search(stdout) if status else None
        code = found[1].decode() if found else "0"
        with self._lock:
            self._calls[verb, code] += 1
            self._seconds[verb] += seconds
            self._took.setdefault(verb, [0] * (len(BOUNDS) + 1))[bisect_left(BOUNDS, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            calls, seconds = dict(self._calls), dict(self._seconds)
            took = {verb: list(counts) for verb, counts in self._took.items()}
        total = CounterMetricFamily(
            "ipam_ledger_cni_calls", "Calls answered, by CNI error code; 0 is none.", labels=["verb", "code"]
        )
        for (verb, code), count in sorted(calls.items()):
            total.add_metric([verb, code], count)
        yield total
        histogram = HistogramMetricFamily(
            "ipam_ledger_cni_seconds", "From a call's arrival in the agent to its answer.", labels=["verb"]
        )
        bounds = [*map(str, BOUNDS), "+Inf"]
        for verb, counts in sorted(took.items()):
            histogram.add_metric([verb], list(zip(bounds, accumulate(counts), strict=True)), seconds[verb])
        yield histogram
        yield GaugeMetricFamily(
            "ipam_ledger_cni_queued_dels",
            "DELs that wait for the database to be recorded.",
            float(self._waiting()),
        )
