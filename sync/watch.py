"""Keep a picture of the API server's objects: list, watch, list again on 410.

Three nested functions: ``forever`` around ``Watch.cycle`` around one list or one watch. A cycle is finite and
returns the sentence to log. The end of a watch is normal: the server ends each after a while.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from sync.errors import ApiAway, Gone, KubeError, Silent
from sync.kube import Api, Resource, Stream
from sync.objects import IPPool, NotAnObject, Pod, StatefulSet

log = logging.getLogger(__name__)

T = TypeVar("T")


class Backoff:
    """Pauses that double from ``first`` to ``last`` seconds, each with jitter, so that a fleet does not return in step."""

    def __init__(self, first: float = 0.25, last: float = 20.0) -> None:
        self._first, self._last = first, last
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def pause(self, at_least: float = 0.0) -> float:
        """The next pause, between half and the whole of its step."""
        step, self._next = self._next, min(self._last, self._next * 2)
        return max(at_least, step * random.uniform(0.5, 1.0))  # noqa: S311


def forever(
    name: str,
    stop: threading.Event,
    cycle: Callable[[], str | None],
    *,
    every: float = 0.0,
    last: float = 20.0,
) -> None:
    """Run ``cycle`` until ``stop``; an error is logged and waited for with back-off.

    ``every``: the pause after success; ``last``: the longest after errors.
    """
    backoff = Backoff(last=last)
    while not stop.is_set():
        try:
            sentence = cycle()
        except Exception as error:
            pause = backoff.pause(getattr(error, "after", 0.0))
            known = isinstance(error, KubeError) or hasattr(error, "facts")
            log.warning("%s: %s; again in %.1f s", name, error, pause, exc_info=None if known else error)
            stop.wait(pause)
            continue
        backoff.reset()
        if sentence:
            log.info("%s: %s", name, sentence)
        if every:
            stop.wait(every)


class Sink(Protocol):
    """Who is told. ``begin``, ``add`` … and ``done`` make up a list; ``put`` and ``drop`` come one by one after it."""

    def begin(self) -> None: ...
    def add(self, raw: Any) -> None: ...
    def done(self) -> int: ...
    def put(self, raw: Any) -> None: ...
    def drop(self, raw: Any) -> None: ...


class Watch:
    """One resource, followed into one sink."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        sink: Sink,
        *,
        seconds: int = 300,
        silence: float = 90.0,
        told: Callable[[str | None], None] = lambda why: None,
    ) -> None:
        """``told`` hears why the picture may be stale, and None when it is not any more: a watch itself lasts long."""
        self.resource = resource
        self.trouble: str | None = "not listed yet"
        self._api, self._sink, self._seconds, self._told = api, sink, seconds, told
        self._silence = silence
        self._version: str | None = None
        self._stream: Stream | None = None
        self._interrupted = False

    def cycle(self) -> str:
        """List if we do not know where we stand; then watch until the stream ends. Raises KubeError."""
        try:
            # One cycle: a list that goes well is no end of the trouble, if each watch after it is refused.
            if self._version is None:
                self._version = self._list()
            return self._watch(self._version)
        except Gone as error:
            self._version = None
            self._is(str(error))
            return f"{self.resource.name}: what we had is too old ({error.message}); listing again"
        except KubeError as error:
            # List again: behind an outage may be an etcd that was restored to an earlier day. What we had is then not too
            # old but too new, and a watch from there says nothing until it has caught up.
            self._version = None
            self._is(str(error))
            raise

    def _is(self, trouble: str | None) -> None:
        self.trouble = trouble
        self._told(trouble)

    def interrupt(self) -> None:
        """End a running watch soon, from another thread."""
        self._interrupted = True
        if stream := self._stream:
            stream.close()

    def _list(self) -> str:
        began = time.monotonic()
        self._sink.begin()
        version = ""
        for items, version in self._api.pages(self.resource):  # noqa: B007
            for raw in items:
                self._sink.add(raw)
        count = self._sink.done()
        self._is(None)
        log.info("listed %d %s in %.2f s", count, self.resource.name, time.monotonic() - began)
        return version

    def _watch(self, version: str) -> str:
        # A range and not a number: the watches of a fleet must not all end at one moment.
        seconds = random.randint(self._seconds, self._seconds * 2)  # noqa: S311
        began, count = time.monotonic(), 0
        self._stream = stream = self._api.watch(
            self.resource, version, seconds=seconds, silence=self._silence
        )
        self._is(None)
        try:
            for change in stream:
                self._version = self._apply(change) or self._version
                count += 1
        except Silent:
            # No outage yet: of what nobody changes, a server may have no bookmark to send either. The list will tell.
            self._version = None
            return f"heard nothing of {self.resource.name} for {self._silence:.0f} s; listing again"
        finally:
            self._stream = None
        lasted = time.monotonic() - began
        if count == 0 and lasted < 1.0 and not self._interrupted:
            raise ApiAway("a watch ended at once, with nothing")
        return f"watched {self.resource.name} for {lasted:.0f} s, {count} changes"

    def _apply(self, change: Mapping[str, Any]) -> str | None:
        """One change of the stream; the version to go on from. Raises Gone, ApiAway."""
        kind, raw = change.get("type"), change.get("object")
        if not isinstance(raw, Mapping):
            raise ApiAway(f"a watch sent a change without an object: {kind}")
        if kind == "ERROR":
            message = str(raw.get("message") or raw)
            if raw.get("code") == 410:
                raise Gone(410, str(raw.get("reason") or ""), message)
            raise ApiAway(f"a watch ended with an error: {message}")
        if kind in ("ADDED", "MODIFIED"):
            self._sink.put(raw)
        elif kind == "DELETED":
            self._sink.drop(raw)
        version = (raw.get("metadata") or {}).get("resourceVersion")
        return version if isinstance(version, str) else None


class Mirror(Generic[T]):
    """A picture of one kind of object, by key; ``changed(key)`` is called after each change of it.

    ``listed`` is set once the first list is in.
    """

    def __init__(
        self,
        read: Callable[[Any], tuple[str, T]],
        changed: Callable[[str], None] = lambda key: None,
        not_older: Callable[[T, T], bool] = lambda new, old: True,
    ) -> None:
        """``not_older(new, old)``: whether what comes may replace what is there."""
        self.listed = threading.Event()
        self._read, self._changed, self._not_older = read, changed, not_older
        self._lock = threading.Lock()
        self._objects: dict[str, T] = {}
        self._coming: dict[str, T] = {}

    def get(self, key: str) -> T | None:
        return self._objects.get(key)

    def __contains__(self, key: str) -> bool:
        return key in self._objects

    def snapshot(self) -> dict[str, T]:
        with self._lock:
            return dict(self._objects)

    def keys(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._objects))

    def begin(self) -> None:
        self._coming = {}

    def add(self, raw: Any) -> None:
        for key, value in self._tolerated(raw):
            self._coming[key] = value

    def done(self) -> int:
        """The list is whole: what is not in it is gone."""
        with self._lock:
            old, self._objects, self._coming = self._objects, self._coming, {}
            count = len(self._objects)
            moved = [key for key, value in self._objects.items() if old.get(key) != value]
            moved += [key for key in old if key not in self._objects]
        for key in moved:
            self._changed(key)
        self.listed.set()
        return count

    def put(self, raw: Any, *, tell: bool = True) -> None:
        """``tell``: False where whoever puts it knows already."""
        for key, value in self._tolerated(raw):
            with self._lock:
                old = self._objects.get(key)
                if old is not None and (old == value or not self._not_older(value, old)):
                    continue
                self._objects[key] = value
            if tell:
                self._changed(key)

    def drop(self, raw: Any) -> None:
        for key, _ in self._tolerated(raw):
            with self._lock:
                self._objects.pop(key, None)
            self._changed(key)

    def _tolerated(self, raw: Any) -> Iterator[tuple[str, T]]:
        try:
            yield self._read(raw)
        except NotAnObject as error:
            log.warning("passed over an object that cannot be read: %s", error)


def read_pool(raw: Any) -> tuple[str, IPPool]:
    pool = IPPool.from_raw(raw)
    return pool.meta.name, pool


def read_set(raw: Any) -> tuple[str, StatefulSet]:
    found = StatefulSet.from_raw(raw)
    return found.key, found


def read_pod(raw: Any) -> tuple[str, bytes]:
    """A pod costs as little as can be: its name and the 16 bytes of its UID. There may be 150,000."""
    pod = Pod.from_raw(raw)
    return pod.key, packed(pod.uid)


def packed(uid: str) -> bytes:
    """A UID in its shortest form, to compare with others packed alike."""
    try:
        return bytes.fromhex(uid.replace("-", ""))
    except ValueError:
        return uid.encode()
