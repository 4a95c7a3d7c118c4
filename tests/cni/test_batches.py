"""What was put while the last batch ran is the next one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cni.batches import Batches
from ledger.lane import LIMIT


def test_what_queues_meanwhile_is_one_batch_and_none_is_lost() -> None:
    seen: list[list[int]] = []
    entered, leave = threading.Event(), threading.Event()

    def run(items: Sequence[int]) -> None:
        seen.append(list(items))
        entered.set()
        assert leave.wait(30)

    batches: Batches[int] = Batches("test", run)
    batches.start()
    batches.put([0])
    assert entered.wait(30)
    batches.put([1, 2])
    batches.put([3])
    leave.set()
    assert batches.stop(30)
    assert seen == [[0], [1, 2, 3]]


def test_a_batch_has_a_limit() -> None:
    seen: list[int] = []
    batches: Batches[int] = Batches("test", lambda items: seen.append(len(items)))
    batches.put(range(2 * LIMIT + 1))
    batches.start()
    assert batches.stop(30)
    assert seen == [LIMIT, LIMIT, 1]


def test_stop_does_not_wait_for_ever() -> None:
    leave = threading.Event()
    batches: Batches[int] = Batches("test", lambda _: (leave.wait(60), None)[1])
    batches.start()
    batches.put([1])
    assert not batches.stop(0.1)
    leave.set()
    assert batches.stop(30)
