"""Without an agent the plugin writes the ledger itself: the same answers, from the same executable."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from ledger import fence
from ledger.book import Book
from ledger.events import Attachment
from ledger.pools import from_spec
from ledger.store import Database
from tests.cni.conftest import EXAMPLE, POOLS, altered
from tests.servers.agent import Answer, cni_env, k8s_ipam


@pytest.fixture
def book(db_url: str) -> Book:
    database = Database(db_url)
    book = Book(database, actor="test")
    book.apply_pool(from_spec("ippool", EXAMPLE))
    book.apply_pool(from_spec("tiny", POOLS["tiny"]))
    return book


def conf(url: Any, pool: str = "ippool", version: str = "1.1.0", **more: Any) -> dict[str, Any]:
    return {"cniVersion": version, "name": "podnet", "ipam": {"ipPoolName": pool, "ledger": url}, **more}


def run(plugin: str, verb: str, stdin: Mapping[str, Any], **env: str) -> Answer:
    answer = k8s_ipam(cni_env(verb, **env), stdin, program=plugin)
    assert answer.stderr == ""
    return answer


def test_the_life_of_a_container(plugin: str, book: Book, db_url: str) -> None:
    added = run(plugin, "ADD", conf(db_url))
    assert added.code == 0
    assert run(plugin, "ADD", conf(db_url)) == added
    assert run(plugin, "CHECK", conf(db_url, prevResult=added.json)) == Answer(0, None, "")
    assert run(plugin, "STATUS", conf(db_url)) == Answer(0, None, "")
    assert run(plugin, "DEL", conf(db_url), CNI_NETNS="") == Answer(0, None, "")
    assert run(plugin, "DEL", conf(db_url)) == Answer(0, None, "")
    assert run(plugin, "CHECK", conf(db_url, prevResult=added.json)).json["code"] == 110
    book.database.close()


def test_errors_are_those_of_the_agent(plugin: str, book: Book, db_url: str) -> None:
    assert run(plugin, "ADD", conf(db_url, "nowhere")).json["code"] == 7
    for i in range(2):
        assert run(plugin, "ADD", conf(db_url, "tiny"), container=f"c{i}", pod=f"default/p{i}").code == 0
    assert run(plugin, "ADD", conf(db_url, "tiny"), container="c2", pod="default/p2").json["code"] == 100
    assert run(plugin, "STATUS", conf(db_url, "tiny")).json["code"] == 51
    assert run(plugin, "GC", conf(db_url, "tiny")).json["code"] == 6
    answer = run(plugin, "GC", conf(db_url, "tiny", **{"cni.dev/valid-attachments": []}))
    assert answer == Answer(0, None, "")
    assert book.pool("tiny").allocated == 0
    book.database.close()


def test_behind_the_fence_nothing_is_available(plugin: str, book: Book, db_url: str) -> None:
    fence.raise_fence(book.database, reason="restored", actor="test")
    for verb, code in (("ADD", 11), ("STATUS", 50)):
        answer = run(plugin, verb, conf(db_url))
        assert answer.json["code"] == code
        assert "ipam-ledger fence lift" in answer.json["msg"]
    assert run(plugin, "DEL", conf(db_url)) == Answer(0, None, "")
    book.database.close()


def test_a_cluster_that_cannot_be_asked_is_no_evidence(
    plugin: str, book: Book, db_url: str, tmp_path: Path
) -> None:
    stdin = conf(db_url, "tiny")
    stdin["ipam"]["kubeConfig"] = str(tmp_path / "missing")
    for i in range(2):
        assert run(plugin, "ADD", stdin, container=f"c{i}", pod=f"default/p{i}").code == 0
    answer = k8s_ipam(cni_env("ADD", container="c2", pod="default/p2"), stdin, program=plugin)
    assert answer.json["code"] == 100
    assert "no evidence" in answer.stderr
    book.database.close()


def test_a_large_input_goes_along(plugin: str, sqlite_url: str) -> None:
    """More than a pipe holds, so that the client cannot just write it into one."""
    book = Book(Database(sqlite_url), actor="test")
    book.apply_pool(from_spec("ippool", EXAMPLE))
    book.database.close()
    assert run(plugin, "ADD", conf(sqlite_url, args={"labels": "x" * 900_000})).code == 0


def test_an_sqlite_ledger_is_made_at_first_use(plugin: str, empty_sqlite_url: str) -> None:
    answer = run(plugin, "ADD", conf(empty_sqlite_url))
    assert (answer.code, answer.json["code"]) == (1, 7)
    with sqlite3.connect(str(make_url(empty_sqlite_url).database)) as file:
        assert file.execute("SELECT count(*) FROM ledger").fetchone() == (0,)
    file.close()


def test_a_postgresql_database_without_a_ledger_is_named(plugin: str, empty_postgres_url: str) -> None:
    for verb, code in (("ADD", 11), ("DEL", 11), ("STATUS", 50)):
        answer = run(plugin, verb, conf(empty_postgres_url))
        assert answer.json["code"] == code
        assert "ipam-ledger db upgrade" in answer.json["msg"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", 11),
        ("sqlite:////proc/none/ledger.db", 11),
        ("postgresql+psycopg://nobody@no-such-host.invalid/none", 11),
        ("mysql://x/y", 7),
        ("nonsense", 7),
        (" ", 7),
        ("postgresql+psycopg://u:hush@h:port/none", 7),
        ("postgresql+psycopg://u:hush\n@h/none", 7),
        ("postgresql+psycopg://h/none?password=hush&port=bad", 7),
        ("sqlite://u:hush@h/ledger.db", 7),
        ("sqlite:///ledger.db?mode=ro", 7),
        (["postgresql+psycopg://u:hush@h/none"], 6),
        (7, 6),
    ],
)
def test_a_ledger_that_cannot_be_had(plugin: str, url: Any, code: int) -> None:
    answer = run(plugin, "ADD", conf(url))
    assert answer.json["code"] == code
    assert "hush" not in json.dumps(answer.json)
    if code == 11:
        assert run(plugin, "STATUS", conf(url)).json["code"] == 50


def test_the_client_looks_first(plugin: str, sqlite_url: str) -> None:
    assert run(plugin, "ADD", conf(sqlite_url), CNI_IFNAME="a/b").json["code"] == 4
    assert run(plugin, "ADD", conf(sqlite_url, version="3.0.0")).json["code"] == 1


def test_an_interpreter_that_is_gone_is_named(plugin: str, sqlite_url: str, tmp_path: Path) -> None:
    broken = altered(plugin, tmp_path / "k8s-ipam", "PYTHON = .*", 'PYTHON = "/gone/python"')
    answer = run(broken, "ADD", conf(sqlite_url))
    assert answer.json["code"] == 199
    assert "/gone/python" in answer.json["msg"]


def test_the_module_by_itself(sqlite_url: str) -> None:
    import sys

    done = subprocess.run(
        [sys.executable, "-I", "-m", "cni.agentless"], input=b'{"cniVersion": "1.1.0", "name": "n", "ipam": {"ipPoolName": "p"}}',
        env=cni_env("ADD"), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 6)


def test_a_runtime_that_went_away_gets_no_traceback(plugin: str, sqlite_url: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [plugin], env=cni_env("ADD"), input=json.dumps(conf(sqlite_url)).encode(), stdout=write,
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_address_that_nobody_is_told_of_is_no_success(plugin: str, book: Book, db_url: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec '{plugin}' >&-"], env=cni_env("ADD"), input=json.dumps(conf(db_url)).encode(),
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"")
    book.database.close()


@pytest.mark.parametrize(("verb", "code"), [("ADD", 11), ("DEL", 11), ("STATUS", 50)])
def test_a_database_that_never_answers(plugin: str, verb: str, code: int) -> None:
    """The client's timer goes along; its signal comes here as soon as the database is waited for."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(60)
        port = silent.getsockname()[1]
        stdin = conf(f"postgresql+psycopg://nobody@127.0.0.1:{port}/none?connect_timeout=600")
        pipe = subprocess.PIPE
        with subprocess.Popen([plugin], env=cni_env(verb), stdin=pipe, stdout=pipe, stderr=pipe) as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps(stdin).encode())
            process.stdin.close()
            process.stdin = None
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGALRM)
                out, err = process.communicate(timeout=60)
    said = json.loads(out)
    assert (process.returncode, said["code"], said["msg"], err) == (1, code, "no answer within 60 s", b"")


def test_eight_at_once(plugin: str, book: Book, db_url: str) -> None:
    stdin = json.dumps(conf(db_url)).encode()
    running = []
    for i in range(8):
        env = cni_env("ADD", container=f"c{i}", pod=f"default/p{i}")
        running.append(subprocess.Popen([plugin], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        pipe = running[-1].stdin
        assert pipe is not None
        pipe.write(stdin)
        pipe.close()
        running[-1].stdin = None
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert len({answer["ips"][0]["address"] for answer in answers}) == 8
    assert all(book.held_by(Attachment(f"c{i}", "eth0", "podnet")) for i in range(8))
    book.database.close()
