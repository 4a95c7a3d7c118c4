"""The stage of a drill: a folder, a ledger in it, and the command line as a person types it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger import pools
from ledger.book import Book
from ledger.claims import Claim, Node
from ledger.events import Attachment, Owner
from ledger.store import Database
from tests.ledger.cli import Cli, Said
from tests.servers.agent import installed

POOL = {"apiVersion": "ipam.k8s.io/v1alpha1", "kind": "IPPool", "metadata": {"name": "podnet"},
        "spec": {"ipPoolSubs": [{"range": "10.40.0.0/22"}]}}  # fmt: skip


class Stage:
    """``tell`` says what happens next; ``run`` shows a command, runs it, shows what it answered."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.env = {
            **os.environ,
            "IPAM_LEDGER_DB": url,
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self._open: list[Database] = []

    def key(self) -> None:
        """A key pair, and a checkpoint outside the database."""
        self.env |= {
            "IPAM_LEDGER_KEY": str(self.folder / "seal.key"),
            "IPAM_LEDGER_VERIFIER": str(self.folder / "seal.key.pub"),
            "IPAM_LEDGER_CHECKPOINT": str(self.folder / "checkpoint"),
        }
        self.run("keys", "generate", "--name", "drill.example/1")

    def tell(self, text: str) -> None:
        print(f"\n-- {text}", flush=True)

    def run(self, *words: str, expect: int = 0, db: str | None = None) -> str:
        print("   $ ipam-ledger " + " ".join(words), flush=True)
        said = self._said(*words, expect=expect, db=db)
        shown = said.out + said.err
        for line in shown.splitlines()[:12]:
            print("     " + line[:150], flush=True)
        return shown

    def ask(self, *words: str, db: str | None = None) -> Any:
        """The answer to a question, as a program reads it."""
        return self._said(*words, "-o", "json", expect=0, db=db).json

    def _said(self, *words: str, expect: int, db: str | None) -> Said:
        env = self.env | ({"IPAM_LEDGER_DB": db} if db else {})
        with contextlib.chdir(self.folder):
            return Cli(self.url)(*words, status=expect, env=env)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        print("   $ ipam-ledger " + " ".join(words) + " &", flush=True)
        return subprocess.Popen(
            [installed("ipam-ledger"), *words], env=self.env, cwd=self.folder, stderr=subprocess.DEVNULL
        )

    def database(self, url: str | None = None) -> Database:
        database = Database(url or self.url)
        database.require_head()
        self._open.append(database)
        return database

    def book(self, url: str | None = None) -> Book:
        """A book with the drill's pool in it."""
        book = Book(self.database(url), actor="drill")
        book.apply_pool(pools.from_object(POOL))
        return book

    def close(self) -> None:
        for database in self._open:
            database.close()


def claim(n: int, uid: str | None = None) -> Claim:
    return Claim(
        ("podnet",),
        Owner("default", f"web-{n}", uid or f"uid-{n}"),
        Attachment(f"c{n}", "eth0", "podnet"),
        Node("node1"),
    )


def address(book: Book, n: int) -> str:
    return book.allocate(claim(n))[0].ip


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Callable[[str], Stage]]:
    made: list[Stage] = []

    def make(url: str) -> Stage:
        made.append(Stage(tmp_path, url))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


@pytest.fixture
def stage(stages: Callable[[str], Stage], db_url: str) -> Stage:
    return stages(db_url)
