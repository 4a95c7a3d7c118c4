"""Stories about a book: what is asked on the left, what came of it on the right.

::

    ADD ns/a c1                 -> 10.9.0.1 lowest
    DEL c1                      -> 10.9.0.1 free
    ADD ns/a c2                 -> 10.9.0.1 returning

``Page.tell`` does what the left side says and compares what came with the right side. ``$x`` stands for an address that is
not known beforehand: its first use on a right side says what it is. Each page has pools, an address space and containers
of its own, so that many can share a database.

================================================  ==================================================================
``ADD OWNER CONTAINER [key=value …]``             ``ip reason`` of each address (``again``: held already), or the error.
                                                  OWNER: ``ns/pod``, or ``-``. Keys: pool, ip, if, net, node, uid, reason
``DEL CONTAINER [if= net=]``                      ``ip state``, or ``nothing``
``GC NODE [net= keep=c1,c2]``                     the same
``SWEEP``                                         the same
``HOLD IP [for=SECONDS]`` ``FREE IP`` ``TAKE IP`` one address, by what was seen of it just now; ``at=VERSION``: earlier
``ADOPT OWNER CONTAINER IP``                      ``ip state``, or ``nothing``
``RELEASE IP``                                    by hand
``IS IP``                                         state, owner and version in the live table
``WAIT SECONDS``
================================================  ==================================================================
"""

from __future__ import annotations

import itertools
import re
import shlex
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from ledger import pools
from ledger.book import Book
from ledger.catalog import PoolChange
from ledger.claims import Claim, Node
from ledger.errors import AddressUnavailable, LedgerError, PoolExhausted
from ledger.events import Attachment, Event, Kind, Owner, State
from ledger.settings import BookSettings
from ledger.store import Database, history

_numbers = itertools.count(1)


class Ended:
    """Evidence that a test writes: the pods that have ended, and a list of those who were asked about."""

    def __init__(self) -> None:
        self.pods: set[str] = set()
        self.asked: list[str] = []

    def ended(self, holder: Event) -> str | None:
        pod = f"{holder.owner.namespace}/{holder.owner.pod}"
        self.asked.append(pod)
        return f"{pod} is gone" if pod in self.pods else None


class StepByStep(Book):
    """A book that never takes the quick form: everything is settled step by step."""

    def _batches(self, claims: Any) -> Any:
        return []


class Page:
    """One story's book, with its own pools."""

    def __init__(
        self, database: Database, *, steps: bool = False, settings: BookSettings | None = None
    ) -> None:
        self.database = database
        self.mark = f"s{next(_numbers)}-"
        self.evidence = Ended()
        kind = StepByStep if steps else Book
        self.book = kind(database, actor="test", evidence=self.evidence, settings=settings)
        self.nodes = {"-": Node()}
        self.named: dict[str, str] = {}
        self.answered: list[Event] = []

    def pool(self, *subs: str | dict[str, Any], name: str = "p", **spec: Any) -> PoolChange:
        """Apply a pool of these subs (a range, or a whole entry); Lowest, unless told otherwise."""
        entries = [{"range": sub} if isinstance(sub, str) else sub for sub in subs]
        raw = {
            "ipPoolSubs": entries,
            "pickStrategy": "Lowest",
            "addressSpace": f"{self.mark}space",
            **spec,
        }
        return self.book.apply_pool(pools.from_spec(self.mark + name, raw))

    def drop(self, name: str = "p") -> Event:
        return self.book.delete_pool(self.mark + name)

    def node(self, name: str, *addresses: str, **labels: str) -> None:
        """A node that ``node=name`` may name."""
        self.nodes[name] = Node(name, addresses, labels or None)

    def figures(self, name: str = "p") -> tuple[int, int, int, int, int]:
        """Capacity, free, allocated, held, cooling."""
        found = self.book.pool(self.mark + name)
        return found.capacity, found.free, found.allocated, found.held, found.cooling

    def claim(self, owner: str, container: str, **keys: str) -> Claim:
        namespace, _, pod = owner.partition("/")
        given = keys.get("node", "-")
        return Claim(
            pools=tuple(self.mark + each for each in keys.get("pool", "p").split(",")),
            owner=Owner() if owner == "-" else Owner(namespace, pod, keys.get("uid")),
            attachment=self.attachment(container, **keys),
            node=self.nodes.get(given) or Node(given),
            asked=tuple(self._name(each) for each in keys["ip"].split(",")) if "ip" in keys else (),
            reason=keys.get("reason"),
        )

    def attachment(self, container: str, **keys: str) -> Attachment:
        return Attachment(self.mark + container, keys.get("if", "eth0"), self.mark + keys.get("net", "net"))

    def ledger(self, ip: str | None = None) -> str:
        """The events of an address, or of the pools, one a line: version, kind, state, owner, reason."""
        with self.database.read() as tx:
            query = """
                SELECT l.version, l.kind, l.state, l.namespace, l.pod, l.container_id, l.reason, l.ip, p.name FROM ledger l
                JOIN pool p ON p.id = l.pool_id ORDER BY l.seq
            """
            lines = []
            for (
                version,
                kind,
                state,
                namespace,
                pod,
                container,
                reason,
                at,
                name,
            ) in tx.connection.exec_driver_sql(query).all():
                if name.startswith(self.mark) and at == ip:
                    owner = f"{namespace}/{pod}" if namespace else "-"
                    words = (
                        (version, kind, state, owner, self._plain(container), reason)
                        if ip
                        else (version, kind)
                    )
                    lines.append(" ".join(str(word) for word in words))
        return "\n".join(lines)

    def unlike_the_ledger(self) -> list[Event]:
        """The events that were answered otherwise than they were written."""
        with self.database.read() as tx:
            written = history.by_seq(tx, [each.seq for each in self.answered])
        return [each for each in self.answered if written.get(each.seq) != each]

    def tell(self, story: str) -> None:
        """Do what the story says; AssertionError if something else came of it."""
        told, came = [], []
        for line in filter(None, map(str.strip, story.splitlines())):
            left, arrow, right = (part.strip() for part in line.partition("->"))
            told.append((left, " ".join(right.split())))
            outcome = self._do(left)
            came.append((left, outcome if arrow else ""))
            self._learn(right, outcome)
            if arrow and self._known(right) != outcome:
                raise AssertionError(
                    "\n".join(f"  {a:50} -> {b}" for a, b in came) + f"\nbut the story says -> {right}"
                )

    def _do(self, line: str) -> str:
        verb, *words = shlex.split(line)
        plain = [self._name(word) for word in words if "=" not in word]
        keys = dict(word.split("=", 1) for word in words if "=" in word)
        try:
            return str(getattr(self, "_" + verb.lower())(*plain, **keys))
        except LedgerError as error:
            return self._error(error)

    def _error(self, error: LedgerError) -> str:
        name = type(error).__name__
        if isinstance(error, PoolExhausted):
            return (
                f"{name} IPv{error.family}: capacity {error.capacity}, allocated {error.allocated}, held {error.held}, "
                f"cooling {error.cooling}, asked {error.asked}"
            )
        if isinstance(error, AddressUnavailable):
            facts = error.facts()
            words = [
                facts[key] for key in ("ip", "state", "holder") if key in facts
            ]  # AddressTaken has all three
            return self._plain(" ".join([name, *words]))
        return name

    def _add(self, owner: str, container: str, **keys: str) -> str:
        got = self.book.allocate(self.claim(owner, container, **keys))
        self.answered += [each.event for each in got if each.event]
        return ", ".join(f"{each.ip} {each.event.reason if each.event else 'again'}" for each in got)

    def _del(self, container: str, **keys: str) -> str:
        return self._events(self.book.release(self.attachment(container, **keys)))

    def _gc(self, node: str, net: str = "net", keep: str = "") -> str:
        kept = [self.attachment(each, net=net) for each in keep.split(",") if each]
        return self._events(self.book.collect(network=self.mark + net, node=node, keep=kept))

    def _sweep(self) -> str:
        return self._events([each for each in self.book.sweep() if each.pool.startswith(self.mark)])

    def _hold(self, ip: str, **keys: str) -> str:
        seconds = keys.pop("for", None)
        until = datetime.now(UTC) + timedelta(seconds=float(seconds)) if seconds else None
        return self._transfer(ip, Kind.HELD, until=until, **keys)

    def _free(self, ip: str, **keys: str) -> str:
        return self._transfer(ip, Kind.FREED, **keys)

    def _take(self, ip: str, **keys: str) -> str:
        return self._transfer(ip, Kind.RECLAIMED, **keys)

    def _transfer(self, ip: str, kind: Kind, *, at: str | None = None, **more: Any) -> str:
        version = int(at) if at else self._row(ip)[2]
        event = self.book.transfer(self.mark + "p", ip, version, kind, reason="a test says so", **more)
        return self._events([event] if event else [])

    def _adopt(self, owner: str, container: str, ip: str, **keys: str) -> str:
        event = self.book.adopt(self.claim(owner, container, **keys), ip)
        return self._events([event] if event else [])

    def _release(self, ip: str, pool: str | None = None) -> str:
        name = self.mark + pool if pool else None
        return self._events([self.book.release_ip(ip, pool=name or self.mark + "p", reason="by hand")])

    def _is(self, ip: str) -> str:
        return " ".join(str(word) for word in self._row(ip))

    def _wait(self, seconds: str) -> str:
        time.sleep(float(seconds))
        return ""

    def _row(self, ip: str, pool: str = "p") -> tuple[str, str, int]:
        mark = "?" if self.database.sqlite else "%s"
        query = f"""
            SELECT a.state, a.owner, a.version FROM address a JOIN pool p ON p.id = a.pool_id
            WHERE p.name = {mark} AND a.ip = {mark}
        """
        with self.database.read() as tx:
            row = tx.connection.exec_driver_sql(query, (self.mark + pool, ip)).first()
        return (row.state, self._plain(row.owner or "-"), row.version) if row else (State.FREE.value, "-", 0)

    def _events(self, events: list[Event]) -> str:
        self.answered += events
        ordered = sorted(events, key=lambda each: each.ip or "")
        return ", ".join(f"{each.ip} {each.state}" for each in ordered) or "nothing"

    def _learn(self, right: str, outcome: str) -> None:
        for name, word in zip(right.split(), outcome.split(), strict=False):
            if re.fullmatch(r"\$\w+,?", name):
                self.named.setdefault(name.rstrip(","), word.rstrip(","))

    def _known(self, right: str) -> str:
        return " ".join(self._name(word.rstrip(",")) + "," * word.endswith(",") for word in right.split())

    def _name(self, word: str) -> str:
        return self.named.get(word, word)

    def _plain(self, text: str | None) -> str:
        return (text or "-").replace(self.mark, "")
