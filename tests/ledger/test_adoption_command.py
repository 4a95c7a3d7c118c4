"""``adopt --from …``: what a person sees before and after, on both databases; and a folder that the real host-local wrote."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ledger.book import Book
from ledger.claims import Claim
from ledger.cli import main
from ledger.events import Attachment, Event, Owner, State
from ledger.follow import holders
from ledger.store import Database
from tests.ledger.adopting import example, pool
from tests.ledger.cli import hears_interrupts
from tests.servers import need

Adopt = Callable[..., Result]


@pytest.fixture
def adopt(db_url: str) -> Adopt:
    """``ipam-ledger adopt …`` on a fresh ledger."""

    def run(*args: object, stdin: bytes | None = None) -> Result:
        words = ["--db", db_url, "adopt", *(str(each) for each in args)]
        return CliRunner().invoke(main, words, input=stdin, env={"COLUMNS": "200"}, catch_exceptions=False)

    return run


@pytest.fixture
def book(db_url: str) -> Iterator[Book]:
    database = Database(db_url)
    yield Book(database, actor="agent/node1")
    database.close()


def allocated(book: Book) -> dict[str, Event]:
    return {str(event.ip): event for event in holders(book.database, State.ALLOCATED)}


def seq(book: Book) -> int:
    with book.database.read() as tx:
        return int(tx.connection.exec_driver_sql("SELECT count(*) FROM ledger").scalar_one())


def add(
    book: Book, name: str, pod: str, container: str, if_name: str = "eth0", network: str = "podnet"
) -> str:
    """What an ADD of that pod is given."""
    namespace, _, pod_name = pod.partition("/")
    owner = Owner(namespace, pod_name, "uid") if pod_name else Owner()
    return book.allocate(Claim((name,), owner, Attachment(container, if_name, network)))[0].ip


def test_a_running_cluster_moves_over_from_k8s_ipam(adopt: Adopt, book: Book) -> None:
    file = example("k8s-ipam")
    dry = adopt("--from", "k8s-ipam", file, "--dry-run")
    assert dry.exit_code == 1
    assert "Run it with --apply-pools to create ippool from the same objects." in dry.stderr

    dry = adopt("--from", "k8s-ipam", file, "--apply-pools", "--dry-run")
    assert (dry.exit_code, seq(book)) == (0, 0)
    assert [line.split()[:4] for line in dry.stdout.splitlines()] == [
        ["VERDICT", "ADDRESS", "POOL", "OWNER"],
        ["adopt", "10.19.120.17", "ippool", "default/shop-st-0"],
        ["adopt", "10.19.121.200", "ippool", "default/web-6d4b75cb6d-hxk2f"],
        ["adopt", "10.19.122.8", "ippool", "jobs/report-28412-x7z9q"],
        ["adopt", "10.19.123.3", "ippool", "default/shop-st-1"],
    ]
    assert dry.stderr.splitlines() == [
        "Pool ippool: would be created (995 addresses).",
        "4 would be adopted, 0 already so, 0 disagree, 0 cannot be read (dry run: nothing was written).",
    ]

    done = adopt("--from", "k8s-ipam", file, "--apply-pools", "--network", "podnet")
    assert (done.exit_code, done.stderr) == (
        0,
        "Pool ippool: created (995 addresses).\n4 adopted, 0 already so, 0 disagree, 0 cannot be read.\n",
    )
    written = seq(book)
    again = adopt("--from", "k8s-ipam", file, "--apply-pools")
    assert (again.exit_code, again.stderr) == (0, "0 adopted, 4 already so, 0 disagree, 0 cannot be read.\n")
    assert seq(book) == written == 5

    assert add(book, "ippool", "default/shop-st-0", "new-container") == "10.19.120.17"
    assert add(book, "ippool", "default/db-st-0", "db-container") == "10.19.121.5"  # static, as before


def test_secondary_networks_move_over_from_whereabouts(adopt: Adopt, book: Book) -> None:
    book.apply_pool(pool("podnet", "10.30.0.0-10.30.1.255/16"))
    book.apply_pool(pool("podnet6", "2001:db8:30::/64"))
    args = ("--from", "whereabouts", "-", "--network", "podnet", "--sandboxes", example("sandboxes"))
    raw = example("whereabouts").read_bytes()
    done = adopt(*args, "-o", "json", stdin=raw)
    assert done.exit_code == 0
    rows = {row["ip"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {"10.30.0.1", "10.30.0.9", "10.30.0.199", "10.30.1.2", "2001:db8:30::1:0:0"}
    assert rows["10.30.0.1"] == {
        "verdict": "adopted",
        "ip": "10.30.0.1",
        "pool": "podnet",
        "namespace": "default",
        "pod": "web-0",
        "podUID": "6b1d2f0e-96a4-4b6c-8b5e-0d5d9d6c3c11",
        "containerID": "0c85206ce40fd429c62d1499c91f0fd5cb183fd610db3c4c458f167eaa0ee190",
        "ifName": "net1",
        "network": "podnet",
        "node": None,
        "origin": "whereabouts ippool kube-system/10.30.0.0-16",
        "why": None,
    }
    assert rows["10.30.0.199"]["why"] == "its container is none of the sandboxes that were given"
    with book.database.read() as tx:
        said = tx.connection.exec_driver_sql(
            "SELECT reason, actor FROM ledger WHERE kind = 'Adopted' ORDER BY seq"
        ).all()
    assert said[0][0] == "adopted from whereabouts ippool kube-system/10.30.0.0-16"
    assert said[0][1].startswith("cli/")

    # the sandbox that runs gives its address back by the DEL that it will get
    mine = Attachment(rows["10.30.0.1"]["containerID"], "net1", "podnet")
    assert sorted(str(event.ip) for event in book.release(mine)) == ["10.30.0.1", "2001:db8:30::1:0:0"]
    # and a relaunched pod takes over what its old sandbox had
    assert add(book, "podnet", "default/web-0", "new", "net2") == "10.30.1.2"


def test_what_disagrees_is_shown_and_the_rest_is_adopted(adopt: Adopt, book: Book) -> None:
    book.apply_pool(pool("podnet", "10.30.0.0-10.30.0.100/16"))
    taken = "10.30.0.50"  # none that the example has
    other = Claim(("podnet",), Owner("jobs", "other"), Attachment("c1", "net1", "podnet"), asked=(taken,))
    book.allocate(other)
    items = json.loads(example("whereabouts").read_text())["items"]
    offset = str(int(taken.rpartition(".")[2]))
    items[2]["spec"]["allocations"][offset] = {"id": "c2", "podref": "jobs/mine", "ifname": "net1"}
    items[2]["spec"]["allocations"]["x"] = {"id": "c3"}
    raw = json.dumps({"kind": "List", "items": items}).encode()
    done = adopt("--from", "whereabouts", "-", "-o", "jsonl", stdin=raw)
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["why"] for row in rows if row["verdict"] == "taken"] == [
        "allocated to jobs/other in the ledger"
    ]
    assert {row["ip"] for row in rows if row["verdict"] == "outside"} == {
        "10.30.0.199",
        "10.30.1.2",
        "2001:db8:30::1:0:0",
    }
    assert [row["why"] for row in rows if row["verdict"] == "unreadable"] == [
        "spec.allocations[x]: is no distance from the first address (got 'x')"
    ]
    assert {row["ip"] for row in rows if row["verdict"] == "adopted"} <= set(allocated(book))


def test_only_some_records_into_one_pool(adopt: Adopt, book: Book) -> None:
    book.apply_pool(pool("a", "10.30.0.0-10.30.1.255/16"))
    book.apply_pool(pool("b", "10.30.0.0-10.30.1.255/16", addressSpace="b"))
    args = ("--from", "whereabouts", example("whereabouts"), "--only", "kube-system/10.30.0.0-*", "-o", "csv")
    both = list(csv.DictReader(io.StringIO(adopt(*args, "--dry-run").stdout)))
    assert {(row["verdict"], row["why"]) for row in both} == {
        ("several pools", "in a, b: say which with --pool")
    }
    assert adopt(*args, "--pool", "b").exit_code == 0
    assert sorted(allocated(book)) == ["10.30.0.1", "10.30.0.199", "10.30.1.2"]
    assert {event.pool for event in allocated(book).values()} == {"b"}


@pytest.mark.parametrize(
    ("args", "status", "why"),
    [
        (["--from", "k8s-ipam", "/nowhere"], 2, "/nowhere: No such file or directory"),
        (["--from", "host-local", "/nowhere"], 2, "folder: cannot be listed: No such file or directory"),
        (["--from", "host-local", "cluster"], 2, "name the folder"),
        (
            ["--from", "whereabouts", "-", "--apply-pools"],
            2,
            "--apply-pools: whereabouts's records are no pools",
        ),
        (["--from", "whereabouts", "-", "--if-name", "a b"], 2, "--if-name: is no interface name"),
        (["--from", "whereabouts", "-", "--network", "a/b"], 2, "--network: is no name of a CNI network"),
        (["--from", "whereabouts", "-", "--node", "A b"], 2, "--node: 'A b' is no name of a node"),
        (["--from", "whereabouts", "-", "--pool", "nope"], 1, "the ledger has no pool nope"),
        (["--from", "calico", "-"], 2, "'calico' is not one of"),
        (["-"], 2, "Missing option '--from'"),
    ],
)
def test_wrong_usage_changes_nothing(sqlite_url: str, args: list[str], status: int, why: str) -> None:
    done = CliRunner().invoke(main, ["--db", sqlite_url, "adopt", *args], input=b"{}")
    assert (done.exit_code, done.stdout) == (status, "")
    assert why in done.stderr


def test_a_file_that_was_cut_changes_nothing(adopt: Adopt, book: Book) -> None:
    book.apply_pool(pool("podnet", "10.30.0.0-10.30.1.255/16"))
    before = seq(book)
    done = adopt("--from", "whereabouts", "-", stdin=example("whereabouts").read_bytes()[:-30])
    assert (done.exit_code, seq(book)) == (2, before)
    assert "is neither JSON nor YAML" in done.stderr


# host-local itself ----------------------------------------------------------------------------------


@pytest.fixture
def host_local(tmp_path: Path) -> Callable[..., Any]:
    """Runs the real plugin for one verb of one container; its data folder is ``tmp_path / "networks"``."""
    folders = ("/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin")
    found = next(
        (f"{folder}/host-local" for folder in folders if os.access(f"{folder}/host-local", os.X_OK)), None
    )
    program = found or need.program("host-local", "apt-get install containernetworking-plugins")
    ranges = [[{"subnet": "10.88.0.0/24"}], [{"subnet": "2001:db8:88::/64"}]]
    ipam = {"type": "host-local", "dataDir": str(tmp_path / "networks"), "ranges": ranges}
    conf = json.dumps({"cniVersion": "1.0.0", "name": "podnet", "type": "bridge", "ipam": ipam})

    def run(verb: str, container: str) -> Any:
        env = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": "/x",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/x",
        }
        done = subprocess.run(
            [program], input=conf, env=env, capture_output=True, text=True, check=True, timeout=30
        )
        return json.loads(done.stdout) if done.stdout else None

    return run


def test_a_node_moves_over_from_host_local(
    adopt: Adopt, book: Book, host_local: Callable[..., Any], tmp_path: Path
) -> None:
    spec = {"ipPoolSubs": [{"range": span, "gateway": gateway} for span, gateway in
                           (("10.88.0.0/24", "10.88.0.1"), ("2001:db8:88::/64", "2001:db8:88::1"))]}  # fmt: skip
    from ledger import pools

    book.apply_pool(pools.from_spec("podnet", spec))
    had = {}
    for number in range(5):
        answer = host_local("ADD", f"sandbox{number}")
        had[f"sandbox{number}"] = sorted(each["address"].partition("/")[0] for each in answer["ips"])
    host_local("DEL", "sandbox1")
    del had["sandbox1"]
    sandboxes = tmp_path / "sandboxes.json"
    meta = {"name": "web-0", "namespace": "default", "uid": "uid-1", "attempt": 0}
    sandboxes.write_text(
        json.dumps({"items": [{"id": "sandbox0", "metadata": meta, "state": "SANDBOX_READY"}]})
    )

    done = adopt("--from", "host-local", tmp_path / "networks", "--node", "node1", "--sandboxes", sandboxes)
    assert (done.exit_code, done.stderr) == (0, "8 adopted, 0 already so, 0 disagree, 0 cannot be read.\n")

    # the same container asks again: the same addresses, and no event
    before = seq(book)
    for container, ips in had.items():
        owner = Owner("default", "web-0", "uid-1") if container == "sandbox0" else Owner()
        given = book.allocate(Claim(("podnet",), owner, Attachment(container, "eth0", "podnet")))
        assert sorted(each.ip for each in given) == ips
        assert all(each.event is None for each in given)
    assert seq(book) == before

    # the pod that a sandbox was known of is relaunched: its address
    given = book.allocate(
        Claim(("podnet",), Owner("default", "web-0", "uid-2"), Attachment("new", "eth0", "podnet"))
    )
    assert sorted(each.ip for each in given) == had["sandbox0"]
    # and the DEL of a container that ran before the move gives its own back
    assert (
        sorted(str(event.ip) for event in book.release(Attachment("sandbox2", "eth0", "podnet")))
        == had["sandbox2"]
    )
    # and garbage collection on its node knows it
    keep = [Attachment("sandbox3", "eth0", "podnet"), Attachment("new", "eth0", "podnet")]
    assert (
        sorted(str(event.ip) for event in book.collect(network="podnet", node="node1", keep=keep))
        == had["sandbox4"]
    )


def test_interrupted_by_a_person_it_says_how_far_it_is(sqlite_url: str, tmp_path: Path) -> None:
    """A real process, a real Ctrl-C in the middle."""
    folder = tmp_path / "podnet"
    folder.mkdir()
    count = 700
    for number in range(count):
        (folder / f"10.40.{number // 256}.{number % 256}").write_text(f"c{number}\r\neth0")
    database = Database(sqlite_url)
    book = Book(database, actor="test")
    book.apply_pool(pool("podnet", "10.40.0.0/21"))
    command = [
        sys.executable,
        "-m",
        "ledger.cli",
        "--db",
        sqlite_url,
        "adopt",
        "--from",
        "host-local",
        str(tmp_path),
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=hears_interrupts
    ) as running:
        try:
            deadline = time.monotonic() + 60
            while seq(book) < 200:
                assert time.monotonic() < deadline
                assert running.poll() is None
                time.sleep(0.005)
            running.send_signal(2)
            _, stderr = running.communicate(timeout=60)
        finally:
            running.kill()
    held = len(allocated(book))
    assert running.returncode == 130
    assert f"of {count - 1} are adopted; run it again to go on." in stderr or held == count
    assert 199 <= held < count  # and the pool's own event
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    # 10.40.0.0 is the network's own: host-local would not have given it out either
    assert f"{count - 1 - held} adopted, {held} already so, 1 disagree, 0 cannot be read." in done.stderr
    database.close()
