"""What a clumsy hand does: bad input gets a clear word in the shape that was asked for, and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.store import Database
from tests.ledger.chronicle import Chronicle
from tests.ledger.cli import Cli
from tests.ledger.tamper import tamper

STORY = """
    10:00 p PoolCreated 10.8.0.0/29
    10:01 p 10.8.0.1 Allocated default/web-0 uid=u1 c=c1 node=n1
    10:02 p 10.8.0.2 Allocated router
    10:03 q PoolCreated 10.9.0.0/29
"""
TOO_MANY = "9" * 30


@pytest.fixture
def cli(sqlite_url: str) -> Cli:
    return Cli(sqlite_url)


@pytest.fixture
def told(cli: Cli) -> Cli:
    database = Database(cli.url)
    Chronicle(database).write(STORY)
    database.close()
    return cli


def events(cli: Cli) -> int:
    return len(cli("history", "-o", "json").json)


def process(url: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "{sys.executable}" -m ledger.cli {" ".join(args)}'],
        capture_output=True, text=True, timeout=60, env={**os.environ, "IPAM_LEDGER_DB": url},
    )  # fmt: skip


# The shape of an error --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ("who-had", "x", "-o", "json"),
        ("who-had", "-o", "json"),
        ("-o", "jsonl", "who-had", "x"),
        ("pool", "list", "extra", "-o", "json"),
        ("pool", "apply", "-f", "/no/such/file", "-o", "json"),
        ("release", "--reason", "x", "-o", "json"),
    ],
)
def test_wrong_usage_is_an_object_for_who_asked_for_json(told: Cli, args: tuple[str, ...]) -> None:
    said = told(*args, status=2)
    assert said.out == "" and list(json.loads(said.err)) == ["error"]


def test_a_group_without_a_verb_still_shows_its_help(told: Cli) -> None:
    assert "Commands:" in told("-o", "json", "pool", status=2).err


@pytest.mark.parametrize(
    "args",
    [
        ("keys", "generate", "--key", "/proc/none/seal.key"),
        ("keys", "generate", "--key", "/dev/null/seal.key"),
        ("export", "-o", "/proc/none/ledger.zst"),
        ("export", "--follow", "-o", "/proc/none/ledger.zst"),
    ],
)
def test_a_file_that_cannot_be_made_is_named(told: Cli, args: tuple[str, ...]) -> None:
    said = told(*args, status=1)
    assert said.err.startswith(("Error: /proc/none", "Error: /dev/null")) and ".partial" not in said.err
    assert "error" in json.loads(told("-o", "json", *args, status=1).err)


def test_an_answer_that_cannot_be_written_is_said_and_the_database_is_not_blamed(told: Cli) -> None:
    for words in ("history", "export", "--help"):
        said = process(told.url, words, "> /dev/full")
        assert (said.returncode, said.stderr) == (
            1,
            "Error: the answer cannot be written: No space left on device\n",
        )
    said = process(told.url, "export", "| (exec <&-; sleep 0.2; true)")
    assert (said.returncode, said.stderr) == (141, "")
    said = process(told.url, "export", ">&-")
    assert (said.returncode, said.stderr.splitlines()[-1]) == (
        2,
        "Error: this is not for a terminal: -o FILE, or pipe it",
    )


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE ledger SET at = 'x' WHERE ip IS NOT NULL", "history"),
        ("UPDATE ledger SET version = 'x' WHERE ip = '10.8.0.1'", "diff p --from 2020-01-01T00:00:00Z"),
        ("UPDATE ledger SET pod = CAST(x'ff' AS text)", "history"),
        ("UPDATE ledger SET spec = 'x' WHERE spec IS NOT NULL", "tail"),
        ("INSERT INTO fence (raised, at, reason, actor) VALUES (true, 'x', 'y', 'z')", "fence status"),
    ],
)
def test_a_value_that_cannot_be_read_is_no_traceback(told: Cli, statement: str, words: str) -> None:
    database = Database(told.url)
    tamper(database, statement.removeprefix("INSERT ").split()[1], statement)
    database.close()
    said = told(*words.split(), status=1).err
    assert "run `ipam-ledger verify`" in said or "its version is 'x'" in said
    told("verify", status=1)


# What was half done is told ---------------------------------------------------------------------


@pytest.mark.parametrize("output", ["table", "json"])
def test_what_was_released_before_the_one_that_is_refused_is_told(told: Cli, output: str) -> None:
    said = told("release", "10.8.0.1", "10.8.0.5", "10.8.0.2", "--reason", "x", "-o", output, status=1)
    assert "10.8.0.1" in said.out and "10.8.0.2" not in said.out
    assert "10.8.0.5" in said.err
    assert told("release", "10.8.0.5", "--reason", "x", "-o", output, status=1).out == ""


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_pool_that_was_deleted_before_the_one_that_is_refused_is_told(told: Cli, output: str) -> None:
    said = told("pool", "delete", "q", "p", "-o", output, status=1)
    assert "q" in said.out and "in use by" in said.err
    assert told("pool", "delete", "p", "-o", output, status=1).out == ""


# Words that mean something else than they say ----------------------------------------------------


def test_an_owner_that_has_another_address_is_not_told_it_has_this_one(told: Cli) -> None:
    before = events(told)
    said = told("allocate", "p", "--name", "router", "--ip", "10.8.0.4", "--reason", "x", status=1)
    assert "10.8.0.2" in said.out and "router has another address already, and so not 10.8.0.4" in said.err
    assert events(told) == before
    told("allocate", "p", "--name", "router", "--ip", "10.8.0.2", "--reason", "x")


@pytest.mark.parametrize("name", ["", "eth 0", "an-interface-too-long", "a/b"])
def test_an_interface_that_no_pod_can_have_gets_no_address(told: Cli, name: str) -> None:
    before = events(told)
    said = told("allocate", "p", "--pod", "a/b", "--interface", name, "--reason", "x", status=2)
    assert "--interface: is no interface name" in said.err
    assert events(told) == before


def test_an_empty_database_url_is_not_the_default(told: Cli) -> None:
    for daemon in ("agent", "sync"):
        assert "is empty; leave it out" in told(daemon, "--db", "", status=2).err
    """``--db "$LEDGER"``, where nobody set it."""
    for args in (("--db", "", "pool", "list"), ("pool", "list", "--db", "")):
        assert "is empty" in told(*args, status=2).err


def test_a_moment_that_is_yet_to_come_is_answered_as_of_now_and_said(told: Cli) -> None:
    for args in (("who-had", "10.8.0.1"), ("pool-at", "p")):
        said = told(*args, "--at", "2999-01-01T00:00:00Z")
        assert "web-0" in said.out
        assert said.err == "Warning: 2999-01-01T00:00:00Z is yet to come; this is how it stands now\n"
        assert told(*args, "--at", "now").err == ""


def test_more_than_there_can_be_is_all(told: Cli) -> None:
    assert told("history", "--limit", TOO_MANY).out == told("history").out
    assert told("tail", "-n", TOO_MANY, "-o", "json").json == told("tail", "-o", "json").json
    assert told("tail", "-n", "0").err == ""


def test_an_event_that_is_not_there_is_unknown_not_wrong_usage(told: Cli) -> None:
    for seq in ("99", TOO_MANY):
        assert told("prove", seq, status=1).err == f"Error: this ledger has no event {seq}\n"


def test_a_name_is_told_from_the_sentence_around_it(told: Cli) -> None:
    said = told("release", "--name", "nobody", "--reason", "x", status=1)
    assert said.err == "Error: owner 'nobody' has no address\n"


@pytest.mark.parametrize("name", ["web_0", "Web.0", "-"])
def test_a_pod_that_a_runtime_named_as_kubernetes_would_not_can_be_asked_about(cli: Cli, name: str) -> None:
    pod = f"Apps/{name}"
    database = Database(cli.url)
    Chronicle(database).write(f"10:00 p PoolCreated 10.8.0.0/29\n10:01 p 10.8.0.1 Allocated {pod} c=c1")
    database.close()
    assert [row["ip"] for row in cli("history", "--pod", pod, "-o", "json").json] == ["10.8.0.1"]
    assert f"released from pod {pod}" in cli("release", "--pod", pod, "--reason", "x").out
    assert "is no pod" in cli("allocate", "p", "--pod", pod, "--reason", "x", status=2).err


# Files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["k8s-ipam", "whereabouts"])
def test_nothing_at_all_is_no_list_of_records(told: Cli, kind: str) -> None:
    """``kubectl get … | ipam-ledger adopt``, where kubectl failed: what it would have named is in use."""
    assert "-: is empty" in told("adopt", "--from", kind, "-", stdin="", status=2).err
    empty_list = '{"apiVersion": "v1", "kind": "List", "items": []}'
    assert told("adopt", "--from", kind, "-", stdin=empty_list).err.startswith("0 adopted")


def test_an_export_is_no_stream(told: Cli, tmp_path: Path) -> None:
    said = told("import", "-", "--db", f"sqlite:///{tmp_path / 'new.db'}", status=2)
    assert "name a file" in said.err
    assert not (tmp_path / "new.db").exists()


def test_a_key_that_is_missing_is_asked_for_and_none_is_made_up(
    told: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    home = {"XDG_STATE_HOME": str(tmp_path), "IPAM_LEDGER_VERIFIER": ""}
    (tmp_path / "proof").write_text("{}")
    said = told("verify-proof", str(tmp_path / "proof"), status=2, env=home)
    assert "say whose seal it is: --key" in said.err and "keys generate" not in said.err
    for args in (("verify-proof", "x"), ("verify",), ("import", "x")):
        assert "no file that is there" in told(*args, "--key", "nowhere.pub", status=2, env=home).err


def test_an_export_that_failed_leaves_no_half_of_a_file(told: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ledger.zst.partial")  # takes what is written, and cannot be synced
    reader = os.open(tmp_path / "ledger.zst.partial", os.O_RDONLY | os.O_NONBLOCK)
    try:
        told("export", "-o", str(tmp_path / "ledger.zst"), status=1)
    finally:
        os.close(reader)
    assert list(tmp_path.glob("ledger.zst*")) == []


def test_a_checkpoint_that_is_no_text_is_named(told: Cli, tmp_path: Path) -> None:
    (tmp_path / "seal.zst").write_bytes(b"\xff\xfe\x80")
    told("keys", "generate", "--key", str(tmp_path / "key"))
    for args in (("verify",), ("seal", "--key", str(tmp_path / "key"))):
        said = told(*args, "--checkpoint", str(tmp_path / "seal.zst"), status=None)
        assert said.status != 0 and "is no text" in said.err + said.out and "seal.zst" in said.err + said.out


def test_an_empty_checkpoint_is_not_taken_for_none(told: Cli, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    file.touch()
    told("keys", "generate", "--key", str(tmp_path / "key"))
    said = told("seal", "--key", str(tmp_path / "key"), "--checkpoint", str(file), status=2)
    assert "is empty; bring back what it held, or remove it" in said.err and file.read_text() == ""
    assert "is empty" in told("verify", "--checkpoint", str(file), status=1).out
    file.unlink()
    told("seal", "--key", str(tmp_path / "key"), "--checkpoint", str(file))
    told("verify", "--key", str(tmp_path / "key.pub"), "--checkpoint", str(file))


def test_what_is_no_export_is_not_called_a_damaged_one(told: Cli, tmp_path: Path) -> None:
    (tmp_path / "j.json").write_text("[1, 2, 3]")
    said = told("import", str(tmp_path / "j.json"), status=2)
    assert "is not an export of a ledger" in said.err


# The database's URL -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u@host:port/db",
        "postgresql+psycopg://u:pa@ss@127.0.0.1:1/db",
        "postgresql+psycopg://u:pa@ss:word@127.0.0.1:1/db",
        "postgresql+psycopg://u:pa@s/ss@127.0.0.1:1/db",
        "postgresql+psycopg://u:p%41@pa@ss@127.0.0.1:1/db",
        "postgresql+psycopg://u:pa@s?ss@127.0.0.1:1/db",
    ],
)
def test_a_url_that_cannot_be_read_is_wrong_usage_and_shows_nothing_of_a_password(
    told: Cli, url: str
) -> None:
    said = told("pool", "list", "--db", url, status=2)
    assert said.err.count("database URL:") == 1 and "%40" in said.err
    assert not any(part in said.err for part in ("pa@", "ss@", "word@"))


def test_a_file_of_no_possible_name_is_wrong_usage(told: Cli) -> None:
    said = told("db", "upgrade", "--db", "sqlite:///%00", status=2)
    assert "a ledger is kept in a file" in said.err


QUESTIONS = (
    "who-had 10.8.0.1", "history", "explain 10.8.0.1", "pool-at p --at -1h", "diff p --from -2h", "tail",
    "check", "verify", "export", "prove 1", "pool list", "pool show p", "fence status", "restore --to-cluster",
    "replay --into sqlite:///copy.db", "db check",
)  # fmt: skip
ACTS = (
    "allocate p --name a --reason x", "release 10.8.0.1 --reason x", "pool delete p", "seal --unsigned",
    "fence raise --reason x", "fence lift --no-cluster --reason x",
)  # fmt: skip


@pytest.mark.parametrize("words", QUESTIONS + ACTS)
def test_what_is_about_a_ledger_makes_none_where_there_is_none(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a mistyped path: "nobody" would be a wrong answer, and an empty ledger there the next one."""
    monkeypatch.chdir(tmp_path)
    said = Cli("sqlite:///there/ledgr.db")(*words.split(), status=1)
    assert "ledgr.db" in said.err + said.out
    assert "the first `ipam-ledger pool apply` or `ipam-ledger db upgrade` makes" in (said.err + said.out).replace("The", "the")  # fmt: skip
    Path("ledgr.db").touch()
    said = Cli("sqlite:///ledgr.db")(*words.split(), status=1)
    assert "has no ledger yet" in said.err + said.out
    assert list(tmp_path.iterdir()) == [tmp_path / "ledgr.db"]


@pytest.mark.parametrize(
    "words",
    [
        "pool apply -f {here}/crds/examples/ippool.json",
        "adopt --from k8s-ipam {here}/tests/ledger/adoption/k8s-ipam.json --network n --apply-pools",
        "import --from k8s-ipam {here}/tests/ledger/adoption/k8s-ipam.json --network n --apply-pools",
    ],
)
def test_nor_does_a_dry_run(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path.cwd()
    monkeypatch.chdir(tmp_path)
    said = Cli("sqlite:///there/ledger.db")(*words.format(here=here).split(), "--dry-run")
    assert "created" in said.out + said.err and "dry run" in said.out + said.err
    assert list(tmp_path.iterdir()) == []


def test_nor_where_the_embedded_one_would_be(told: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    home = {"XDG_STATE_HOME": str(tmp_path / "home"), "IPAM_LEDGER_DB": ""}
    said = told("pool", "list", status=1, env=home)
    assert str(tmp_path / "home" / "ipam-ledger" / "ledger.db") in said.err
    assert not (tmp_path / "home").exists()
    told("pool", "apply", "-f", "crds/examples/ippool.json", env=home)
    assert "ippool" in told("pool", "list", env=home).out


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("foo=hush", 'invalid connection option "foo"'),
        ("connect_timeout=x", "bad value for connect_timeout: 'x'"),
    ],
)
def test_a_parameter_that_the_driver_does_not_take_is_named_and_no_server_is_called_away(
    told: Cli, query: str, why: str
) -> None:
    said = told("pool", "list", "--db", f"postgresql+psycopg://u:secret@127.0.0.1:1/db?{query}", status=2)
    assert f"cannot be used: {why}" in said.err
    assert "secret" not in said.err and "hush" not in said.err


def test_a_parameter_that_an_sqlite_file_does_not_take_is_named(told: Cli) -> None:
    said = told("pool", "list", "--db", told.url + "?mode=ro", status=2)
    assert "takes no parameter 'mode'" in said.err


def test_a_restore_that_knows_no_way_to_the_cluster_leaves_the_fence_alone(told: Cli, tmp_path: Path) -> None:
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text("{}")
    said = told("restore", "--from-cluster", "--kubeconfig", str(nowhere), status=1)
    assert "no way to the API server" in said.err and "fence" not in said.err
    assert told("fence", "status").out == "The fence was never raised.\n"


# Words ------------------------------------------------------------------------------------------


def test_an_owner_by_hand_is_no_container(told: Cli) -> None:
    said = told("allocate", "p", "--name", "b", "--ip", "10.8.0.2", "--reason", "x", status=1)
    assert "is allocated to " in said.err and "container" not in said.err


def test_nor_is_one_that_has_interfaces(told: Cli) -> None:
    """A machine with two of them has an address for each, and is called as it was typed."""
    for interface, ip in (("eth0", "10.8.0.5"), ("eth1", "10.8.0.6")):
        words = ("--name", "vm", "--interface", interface, "--ip", ip, "--reason", "x")
        assert "allocated to vm" in told("allocate", "p", *words).out
        for args in (("who-had", ip), ("explain", ip)):
            said = told(*args)
            assert "owner 'vm'" in said.out and "container vm" not in said.out, said.out
            assert interface in said.out
    said = told("allocate", "p", "--name", "other", "--ip", "10.8.0.5", "--reason", "x", status=1)
    assert "is allocated to owner 'vm'" in said.err
    assert {row["pod"] for row in told("history", "10.8.0.5", "-o", "json").json} == {"vm"}
    said = told("release", "--name", "vm", "--reason", "x")
    assert said.out.count("released from owner 'vm'") == 2


def test_a_key_with_a_part_missing_and_an_offset_too_far_are_told_in_our_words(told: Cli) -> None:
    assert "a part is missing" in told("verify", "--key", "a+b", status=2).err
    said = told("who-had", "10.8.0.1", "--at", "2026-01-01T00:00:00+24:00", status=2)
    assert "an offset goes from -23:59 to +23:59" in said.err


def test_sync_refuses_an_address_to_listen_at_before_it_asks_anybody(told: Cli) -> None:
    for listen in ("foo", "host:99999"):
        assert "listen: must be host:port" in told("sync", "--listen", listen, status=2).err
    assert "Examples:" in told("sync", "--help").out


def test_the_agent_names_every_evidence_that_it_takes(told: Cli) -> None:
    assert "cluster[:KUBECONFIG]" in told("agent", "--evidence", "foo", status=2).err


def test_an_address_that_is_never_given_out_is_not_called_free(told: Cli) -> None:
    assert "is never given out" in told("release", "10.8.0.0", "--reason", "x", status=1).err


def test_an_api_server_that_nobody_asked_has_given_no_code(told: Cli, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{}")
    said = told("check", "--against-cluster", "--kubeconfig", str(tmp_path / "kubeconfig"), status=None)
    assert "the cluster cannot be asked: no way to the API server: " in said.err and "(0)" not in said.err


def test_a_database_that_is_not_empty_is_not_to_be_upgraded(told: Cli, tmp_path: Path) -> None:
    told("export", "-o", str(tmp_path / "ledger.zst"))
    said = told("import", str(tmp_path / "ledger.zst"), status=None)
    assert "make a new database" in said.err and "upgrade" not in said.err
