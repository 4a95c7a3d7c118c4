"""Threads for what may block: as many as needed, up to a limit."""

from __future__ import annotations

import threading
import time

import pytest

from cni.workers import Workers


def test_jobs_run_at_one_time_up_to_the_limit() -> None:
    workers = Workers(3)
    together = threading.Barrier(3)
    inside, most, guard = [0], [0], threading.Lock()

    def job() -> None:
        with guard:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        together.wait(30)
        with guard:
            inside[0] -= 1

    for _ in range(9):
        workers(job)
    assert workers.stop(30)
    assert most == [3]


def test_one_after_the_other_is_one_thread() -> None:
    workers = Workers(10)
    seen = set()
    done = threading.Semaphore(0)

    def job() -> None:
        seen.add(threading.current_thread().name)
        done.release()

    for _ in range(5):
        workers(job)
        assert done.acquire(timeout=30)
        while workers._unfinished:
            time.sleep(0.001)
    assert len(seen) == 1
    assert workers.stop(30)


def test_a_job_that_fails_takes_nothing_with_it(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(1)
    done = threading.Event()
    workers(lambda: [][0])
    workers(done.set)
    assert done.wait(30)
    assert workers.stop(30)
    assert "a job failed" in caplog.text


def test_where_the_system_gives_no_more_threads_a_job_waits(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(3)
    done = threading.Semaphore(0)
    before = threading.stack_size(1 << 46)  # more than there is room for: no thread can be started
    try:
        workers(done.release)
    finally:
        threading.stack_size(before)
    assert "and no more: can't start new thread" in caplog.text
    workers(done.release)
    assert done.acquire(timeout=30)
    assert done.acquire(timeout=30)
    assert workers.stop(30)


def test_stop_does_not_wait_for_ever() -> None:
    workers = Workers(1)
    leave = threading.Event()
    workers(lambda: (leave.wait(60), None)[1])
    assert not workers.stop(0.1)
    leave.set()
    assert workers.stop(30)
