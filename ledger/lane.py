"""Batching without a timer: what queued while the last batch ran is the next batch. Pure but for its locks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar, cast

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

LIMIT = 128
"""Items in a batch; measured: little is gained above 32, nothing above 128."""


class _Slot(Generic[Ask, Answer]):
    """One caller's place in the queue. ``turn`` is released when there is an answer, or when it is its turn to lead (``heir``)."""

    __slots__ = ("answer", "ask", "done", "error", "heir", "turn")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.done = False
        self.heir = False
        self.turn = Lock()
        self.turn.acquire()


class Lane(Generic[Ask, Answer]):
    """Carries asks to ``run`` in batches, in the order in which they came, one batch at a time.

    Leader and followers: the first caller that finds the lane idle runs the batch in its own thread; the others
    sleep until theirs is answered. One that is still unanswered then leads the next batch. No hop to a
    worker thread, so an idle lane costs nothing.

    ``run`` gets 1 to ``LIMIT`` asks and returns as many answers; it must be safe to repeat. ``passes``: errors that
    concern the whole batch (the database is away), raised to every caller in it. After any other error each
    ask is run alone, so that it fails alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Ask]], Sequence[Answer]],
        *,
        passes: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> None:
        self._run = run
        self._passes = passes
        self._guard = Lock()
        self._queue: deque[_Slot[Ask, Answer]] = deque()
        self._busy = False

    def __call__(self, ask: Ask) -> Answer:
        slot, leads = self._enqueue(ask)
        if not leads:
            try:
                slot.turn.acquire()
            except BaseException:  # interrupted: whoever comes to lead in its place must not be asleep
                self._leave(slot)
                raise
        if not slot.done:
            self._lead()
        if slot.error is not None:
            raise slot.error
        return cast("Answer", slot.answer)

    def _enqueue(self, ask: Ask) -> tuple[_Slot[Ask, Answer], bool]:
        slot: _Slot[Ask, Answer] = _Slot(ask)
        with self._guard:
            self._queue.append(slot)
            leads = not self._busy
            self._busy = True
        return slot, leads

    def _leave(self, slot: _Slot[Ask, Answer]) -> None:
        """Take a slot out of the queue; if it was its turn to lead, it is the next one's."""
        with self._guard:
            if slot not in self._queue:
                return
            led = self._queue[0] is slot and slot.heir
            self._queue.remove(slot)
            heir = self._queue[0] if self._queue and led else None
            if heir is not None:
                heir.heir = True
            elif led:
                self._busy = False
        if heir is not None:
            heir.turn.release()

    def _lead(self) -> None:
        """Run one batch, which holds the caller's own slot, for it is the first in the queue."""
        with self._guard:
            batch = [self._queue.popleft() for _ in range(min(LIMIT, len(self._queue)))]
        try:
            self._answer(batch)
        finally:
            for slot in batch:
                slot.done = True
            with self._guard:
                heir = self._queue[0] if self._queue else None
                self._busy = heir is not None
                if heir is not None:
                    heir.heir = True
            if heir is not None:  # before the others: the next batch is what everybody waits for
                heir.turn.release()
            for slot in batch:
                slot.turn.release()

    def _answer(self, batch: list[_Slot[Ask, Answer]]) -> None:
        try:
            answers = self._run([slot.ask for slot in batch])
            for slot, answer in zip(batch, answers, strict=True):
                slot.answer = answer
        except self._passes as error:
            for slot in batch:
                slot.error = error
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for slot in batch:
                    self._answer([slot])
        except BaseException as error:
            for slot in batch:
                slot.error = error
