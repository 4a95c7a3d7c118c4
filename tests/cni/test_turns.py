"""What concerns one key happens one after the other; different keys never wait for each other."""

from __future__ import annotations

import threading
import time

from cni.turns import Turns


def test_one_key_is_held_by_one_at_a_time() -> None:
    turns = Turns()
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(200):
            with turns("a"):
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
    assert turns.in_flight() == {}


def test_another_key_does_not_wait() -> None:
    turns = Turns()
    passed = threading.Event()

    def other() -> None:
        with turns("b"):
            passed.set()

    with turns("a"):
        thread = threading.Thread(target=other)
        thread.start()
        assert passed.wait(30)
        thread.join()
        assert turns.in_flight() == {"a": 1}
    assert turns.in_flight() == {}


def test_an_error_lets_go() -> None:
    turns = Turns()
    try:
        with turns("a"):
            raise ValueError
    except ValueError:
        pass
    with turns("a"):
        pass
    assert turns.in_flight() == {}


def test_each_in_the_order_in_which_it_came_and_none_as_a_thread() -> None:
    turns = Turns()
    came: list[int] = []
    assert turns.take("a", came.clear)
    for n in range(3):
        assert not turns.take("a", lambda n=n: came.append(n))
    assert turns.take("b", came.clear)
    for ended in range(3):
        assert came == list(range(ended))
        turns.end("a")
    assert turns.in_flight() == {"a": 1, "b": 1}
    turns.end("a")
    turns.end("b")
    assert turns.in_flight() == {}
