"""What concerns one key happens one after the other; different keys never wait for each other."""

from __future__ import annotations

import threading
import time

from cni.keyed import KeyedLock


def test_one_key_is_held_by_one_at_a_time() -> None:
    lock = KeyedLock()
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(200):
            with lock("a"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(lock) == 0


def test_another_key_does_not_wait() -> None:
    lock = KeyedLock()
    passed = threading.Event()

    def other() -> None:
        with lock("b"):
            passed.set()

    with lock("a"):
        thread = threading.Thread(target=other)
        thread.start()
        assert passed.wait(30)
        thread.join()
        assert len(lock) == 1
    assert len(lock) == 0


def test_an_error_lets_go() -> None:
    lock = KeyedLock()
    try:
        with lock("a"):
            raise ValueError
    except ValueError:
        pass
    with lock("a"):
        pass
    assert len(lock) == 0


def test_an_attempt_fails_at_once_where_somebody_is_or_waits() -> None:
    lock = KeyedLock()
    assert lock.attempt("a")
    assert not lock.attempt("a")
    assert lock.attempt("b")
    came = threading.Event()

    def next_one() -> None:
        with lock("a"):
            came.set()

    thread = threading.Thread(target=next_one)
    thread.start()
    assert not came.wait(0.1)
    lock.release("a")
    assert came.wait(30)
    thread.join()
    lock.release("b")
    assert len(lock) == 0
