"""The agent's calls: each in its container's turn, and the common ADD and DEL of many containers at a time.

A thread for each spends most of its time waking up: the agent answered 6,500 a second that way and 12,000 this
way, on two cores. What is out of the ordinary here (another verb of the container was in flight, a DEL of it waits in
the queue, the pool is full, anything unexpected) goes the way of all other requests, in a thread by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cni.agent import Answer, Request
from cni.batches import Batches
from cni.handlers import Handlers, attachment_of
from cni.spec import Call, Verb
from cni.turns import Turns
from ledger.book import Outcome
from ledger.claims import Claim
from ledger.errors import LedgerError
from ledger.events import Attachment

log = logging.getLogger(__name__)


class Desk(Protocol):
    """What it asks of the agent's desk; it is the containers' turn meanwhile."""

    def waits(self, container_id: str) -> bool: ...
    def allocate_many(self, claims: Sequence[Claim]) -> Sequence[Outcome]: ...
    def release_many(self, attachments: Sequence[Attachment]) -> Sequence[LedgerError | None]: ...


@dataclass(frozen=True, slots=True)
class _Job:
    request: Request
    call: Call


class Express:
    """Answers requests in batches, or has them ``block``.

    The verbs of one container (``containers``) are answered in the order in which they came: a DEL after the ADD that is
    still in flight, whose address would otherwise leak.
    """

    def __init__(self, handlers: Handlers, desk: Desk, containers: Turns) -> None:
        self._handlers = handlers
        self._desk = desk
        self._containers = containers
        self._adds: Batches[_Job] = Batches("adds", lambda jobs: self._carry_out(jobs, self._add))
        self._dels: Batches[_Job] = Batches("dels", lambda jobs: self._carry_out(jobs, self._delete))

    def start(self) -> None:
        self._adds.start()
        self._dels.start()

    def stop(self, seconds: float) -> bool:
        """Finish what was taken, at most so long; whether it is done."""
        return self._adds.stop(seconds) & self._dels.stop(seconds)

    def __call__(self, requests: Sequence[Request]) -> None:
        """Take what came together. Does not wait."""
        jobs: dict[Verb, list[_Job]] = {Verb.ADD: [], Verb.DEL: []}
        for request in requests:
            if call := self._take(request):
                jobs[call.verb].append(_Job(request, call))
        for verb, batches in ((Verb.ADD, self._adds), (Verb.DEL, self._dels)):
            if jobs[verb]:
                batches.put(jobs[verb])

    def _take(self, request: Request) -> Call | None:
        """The call, whose turn it is; None where a thread sees to it, now or in its turn."""
        try:
            call = Call.from_raw(request.env, request.stdin)
        except Exception:  # is said where it blocks
            request.block()
            return None
        if not call.container_id:
            request.block()
        elif self._containers.take(call.container_id, lambda: self._alone(request, call)):
            if call.verb in (Verb.ADD, Verb.DEL) and not self._desk.waits(call.container_id):
                return call
            self._alone(request, call)
        return None

    def _alone(self, request: Request, call: Call) -> None:
        """In a thread, which ends the turn."""

        def answer() -> Answer:
            try:
                return self._handlers.answer(call)
            finally:
                self._containers.end(call.container_id)

        request.block(answer)

    def _carry_out(
        self, jobs: Sequence[_Job], run: Callable[[Sequence[Call]], Sequence[Answer | None]]
    ) -> None:
        answers: Sequence[Answer | None]
        try:
            answers = run([job.call for job in jobs])
        except Exception:  # of one of them, perhaps: alone each fails by itself
            log.exception("%d calls could not be carried out together", len(jobs))
            answers = [None] * len(jobs)
        done: list[tuple[Request, Answer]] = []
        for job, answer in zip(jobs, answers, strict=True):
            if answer is None:
                self._alone(job.request, job.call)
            else:
                self._containers.end(job.call.container_id)
                done.append((job.request, answer))
        if len(done) == 1:
            done[0][0].answer(done[0][1])
        elif done:
            done[0][0].agent.post(done)

    def _add(self, calls: Sequence[Call]) -> Sequence[Answer | None]:
        outcomes = self._desk.allocate_many([self._handlers.claim_of(call) for call in calls])
        return [self._handlers.became(call, outcome) for call, outcome in zip(calls, outcomes, strict=True)]

    def _delete(self, calls: Sequence[Call]) -> Sequence[Answer | None]:
        outcomes = self._desk.release_many([attachment_of(call) for call in calls])
        return [
            (0, b"") if error is None else self._handlers.became(call, error)
            for call, error in zip(calls, outcomes, strict=True)
        ]
