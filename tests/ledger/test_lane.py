"""A lane carries asks in batches, in their order, one batch at a time; every caller gets its own answer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

import pytest

from ledger.lane import LIMIT, Lane


class Busy(Exception):
    """An error that concerns a whole batch."""


def ask_all(lane: Lane[int, int], asks: Sequence[int]) -> list[int | BaseException]:
    """Ask each in a thread of its own, all at once."""
    answers: list[int | BaseException] = [-1] * len(asks)

    def ask(place: int) -> None:
        try:
            answers[place] = lane(asks[place])
        except BaseException as error:
            answers[place] = error

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a caller is stuck"
    return answers


def test_one_caller_alone_is_a_batch_of_one() -> None:
    batches: list[list[int]] = []
    lane = Lane[int, int](lambda asks: batches.append(list(asks)) or [n * 2 for n in asks])
    assert [lane(n) for n in range(3)] == [0, 2, 4]
    assert batches == [[0], [1], [2]]


def test_what_queues_while_a_batch_runs_is_the_next_batch() -> None:
    batches: list[list[int]] = []
    running = threading.Lock()

    def run(asks: Sequence[int]) -> list[int]:
        assert running.acquire(blocking=False), "two batches at once"
        batches.append(list(asks))
        until = time.monotonic() + 20
        while sum(map(len, batches)) + len(lane._queue) < 300 and time.monotonic() < until:
            time.sleep(0.001)  # until everybody has asked
        running.release()
        return [n * 2 for n in asks]

    lane = Lane[int, int](run)
    answers = ask_all(lane, range(300))
    assert answers == [n * 2 for n in range(300)]
    assert sorted(n for batch in batches for n in batch) == list(range(300))
    assert max(map(len, batches)) <= LIMIT
    assert len(batches) <= 4, "the first one's, and as few as can be"


def test_an_error_of_the_whole_batch_is_everybodys_and_the_lane_goes_on() -> None:
    def run(asks: Sequence[int]) -> list[int]:
        time.sleep(0.005)
        if 13 in asks:
            raise Busy
        return list(asks)

    lane = Lane[int, int](run, passes=Busy)
    answers = ask_all(lane, range(50))
    assert isinstance(answers[13], Busy)
    assert all(isinstance(answer, Busy) or answer == n for n, answer in enumerate(answers))
    assert lane(7) == 7


def test_any_other_error_is_only_that_callers() -> None:
    def run(asks: Sequence[int]) -> list[int]:
        time.sleep(0.002)
        for n in asks:
            if n % 10 == 3:
                raise ValueError(n)
        return list(asks)

    answers = ask_all(Lane(run), range(60))
    for n, answer in enumerate(answers):
        assert isinstance(answer, ValueError) if n % 10 == 3 else answer == n


def test_too_few_answers_are_an_error_and_nobodys_answer_is_anothers() -> None:
    answers = ask_all(Lane(lambda asks: [0] if len(asks) > 1 else list(asks)), range(40))
    assert answers == list(range(40))


def test_a_caller_that_is_interrupted_while_it_waits_holds_up_nobody() -> None:
    """Ctrl-C in the main thread of a program that shares a book between threads."""
    gate = threading.Event()

    def run(asks: Sequence[int]) -> list[int]:
        gate.wait(10)
        return list(asks)

    lane = Lane[int, int](run)
    first = threading.Thread(target=lane, args=(1,))
    first.start()
    while not lane._busy:
        time.sleep(0.001)

    class Interrupted(Exception):
        pass

    class Turn:
        def acquire(self) -> bool:
            raise Interrupted

        def release(self) -> None:
            pass

    real = lane._enqueue

    def enqueue(ask: int):  # type: ignore[no-untyped-def]
        slot, leads = real(ask)
        slot.turn = Turn()
        return slot, leads

    lane._enqueue = enqueue  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        lane(2)
    lane._enqueue = real  # type: ignore[method-assign]
    answers: list[int] = []
    others = [threading.Thread(target=lambda n=n: answers.append(lane(n))) for n in (3, 4)]
    for thread in others:
        thread.start()
    time.sleep(0.05)
    gate.set()
    for thread in (first, *others):
        thread.join(30)
        assert not thread.is_alive(), "the lane waits for a caller that has gone"
    assert sorted(answers) == [3, 4]


def test_under_load_nobody_is_forgotten() -> None:
    def run(asks: Sequence[int]) -> list[int]:
        time.sleep(random.uniform(0, 0.001))
        if random.random() < 0.05:
            raise Busy
        return [n + 1 for n in asks]

    lane = Lane[int, int](run, passes=Busy)
    answered = [0] * 16

    def churn(lane_number: int) -> None:
        for n in range(100):
            while True:
                try:
                    assert lane(lane_number * 1000 + n) == lane_number * 1000 + n + 1
                    break
                except Busy:
                    continue
            answered[lane_number] += 1

    threads = [threading.Thread(target=churn, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answered == [100] * 16
