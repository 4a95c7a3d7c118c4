"""One pool as the ledger has it: its events folded in commit order. Pure."""

from __future__ import annotations

from typing import Final

from ledger import pools
from ledger.addresses import to_int
from ledger.events import Event, Kind, State
from ledger.pools import PoolSpec

BUDGET: Final = 256 * 1024
"""Bytes that ``dynamicReservations`` may take: a sixth of what etcd accepts as one object, about 5,000 pods. Above
it they are left out as a whole; a part of them would read as if the rest were free."""

_ENTRY = 6  # the quotes, colon and comma of one entry as JSON
_NAMESPACE = 6


class PoolPicture:
    """One pool as the ledger has it at position ``seq``. ``spec`` is None while there is no such pool (not yet, or deleted)."""

    __slots__ = ("_bytes", "_counts", "_pods", "_slots", "name", "seq", "spec", "version")

    def __init__(self, name: str) -> None:
        self.name = name
        self.seq = 0
        self.version = 0
        self.spec: PoolSpec | None = None
        self._slots: dict[str, tuple[int, State]] = {}
        self._counts = dict.fromkeys(State, 0)
        self._pods: dict[str, tuple[str, str]] = {}
        self._bytes = 0

    def fold(self, event: Event) -> bool:
        """Take in one event; False if the picture had it. The events of one address must come in order."""
        if event.kind.of_pool:
            if event.version <= self.version:
                return False
            self.version = event.version
            gone = event.kind is Kind.POOL_DELETED
            self.spec = None if gone else pools.from_spec(event.pool, event.spec)
        else:
            assert event.ip is not None
            assert event.state is not None
            known = self._slots.get(event.ip)
            if known is not None:
                if event.version <= known[0]:
                    return False
                self._counts[known[1]] -= 1
            self._slots[event.ip] = (event.version, event.state)
            self._counts[event.state] += 1
            self._note(event.ip, event)
        self.seq = max(self.seq, event.seq)
        return True

    def _note(self, ip: str, event: Event) -> None:
        owner = event.owner
        if before := self._pods.pop(ip, None):
            self._bytes -= len(before[0]) + len(before[1]) + len(ip)
        if event.state is State.ALLOCATED and owner.namespace is not None and owner.pod is not None:
            self._pods[ip] = (owner.namespace, owner.pod)
            # The namespace is counted for each pod, though it is written once: never too little.
            self._bytes += len(owner.namespace) + len(owner.pod) + len(ip)

    def holds_elsewhere(self, event: Event) -> bool:
        """Whether the (last) owner of an address has another one of the same family allocated in this pool."""
        key = (event.owner.namespace, event.owner.pod)
        return any(
            mine == key and ip != event.ip and (":" in ip) == (":" in str(event.ip))
            for ip, mine in self._pods.items()
        )

    @property
    def retain_for(self) -> tuple[str, ...]:
        return self.spec.retain_for if self.spec else ()

    @property
    def capacity(self) -> int:
        return self.spec.capacity if self.spec else 0

    def count(self, state: State) -> int:
        """How many addresses are allocated, held or cooling; free is what is left of the capacity."""
        if state is State.FREE:
            used = sum(self._counts[each] for each in State if each is not State.FREE)
            return max(0, self.capacity - used)
        return self._counts[state]

    @property
    def utilization(self) -> float:
        """0.0 to 1.0: what is not free."""
        return (self.capacity - self.count(State.FREE)) / self.capacity if self.capacity else 0.0

    @property
    def size(self) -> int:
        """Bytes that ``dynamicReservations`` would take, at most."""
        return self._bytes + len(self._pods) * (_ENTRY + _NAMESPACE)

    @property
    def truncated(self) -> bool:
        return self.size > BUDGET

    def reservations(self) -> dict[str, dict[str, str]]:
        """Namespace → pod → its address; of a pod with several, all of them, parted by commas."""
        found: dict[tuple[str, str], list[str]] = {}
        for ip, key in self._pods.items():
            found.setdefault(key, []).append(ip)
        out: dict[str, dict[str, str]] = {}
        for (namespace, pod), ips in sorted(found.items()):
            out.setdefault(namespace, {})[pod] = ",".join(sorted(ips, key=to_int))
        return out
