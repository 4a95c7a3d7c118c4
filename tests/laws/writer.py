"""One writer as a process of its own, with a book of its own: ``python -m tests.laws.writer``, a job as JSON on stdin.

Each answer is a line on stdout as soon as it is there, so that what was answered is known even of one that was killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ledger.book import Book
from ledger.errors import LedgerError
from ledger.store import Database
from tests.laws.crowd import Answer, ByBook, Life, attachment, claim
from tests.servers.keeper import Keeper


class Writer:
    """A writer process. ``tell`` sends a line, ``hear`` reads one (None at its end)."""

    def __init__(self, job: dict[str, Any], keeper: Keeper) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.laws.writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        keeper.kill(self.process.pid)
        self.tell(json.dumps(job))

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def rest(self) -> list[Any]:
        """All that it has still to say; it ends then."""
        return list(iter(self.hear, None))

    def close(self) -> int:
        """Kill it if it still runs; its exit status."""
        self.process.kill()
        status = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        return status


@contextmanager
def writers(jobs: list[dict[str, Any]], keeper: Keeper) -> Iterator[list[Writer]]:
    """Writer processes that have opened their books and wait for a line to go on."""
    started = [Writer(job, keeper) for job in jobs]
    try:
        for each in started:
            assert each.hear() == "ready"
        yield started
    finally:
        for each in started:
            each.close()


def parsed(said: list[Any]) -> list[Answer]:
    return [Answer(**each) for each in said]


def main() -> None:
    job = json.loads(sys.stdin.readline())
    book = Book(Database(job["url"]), actor=f"writer/{job['name']}")
    book.ready()
    say("ready")
    sys.stdin.readline()
    if job["does"] == "batches":
        batches(book, job["name"], job["size"])
        return
    life = Life(job["name"], [ByBook(book)], lambda answer: say(answer.to_json()))
    life.fill()
    life.churn(job["rounds"])
    life.end_all()
    book.database.close()


def batches(book: Book, name: str, size: int) -> None:
    """Claims by the batch, until somebody kills it. Most are released at once, the rest with the next batch."""
    number = 0
    stay: list[str] = []
    while True:
        number += 1
        names = [f"{name}-{number}-{n}" for n in range(size)]
        say({"adding": names})
        outcomes = book.allocate_many([claim(f"ns/{each}", each) for each in names])
        say({"added": [None if isinstance(each, LedgerError) else each[0].ip for each in outcomes]})
        gone = stay + names[: size // 4 * 3]
        say({"leaving": gone})
        book.release_many([attachment(each) for each in gone])
        say({"left": gone})
        stay = names[size // 4 * 3 :]


def say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
