"""One byte is changed: in the ledger by a superuser, in an export, in a proof, in a checkpoint. Each is found, and named."""

from __future__ import annotations

import json

from tests.drills.conftest import Stage, address, claim
from tests.ledger.tamper import tamper, text


def sealed(stage: Stage) -> None:
    stage.tell("A ledger with a key, sealed and signed.")
    stage.key()
    book = stage.book()
    for n in range(60):
        address(book, n)
    for n in range(0, 60, 2):
        book.release(claim(n).attachment)
    stage.run("seal")
    stage.run("verify")


def test_a_byte_changed_in_the_ledger_is_found_and_named(stage: Stage) -> None:
    sealed(stage)
    stage.tell("An administrator of the database switches the guard off and moves an address to another pod.")
    tamper(stage.database(), "ledger", "UPDATE ledger SET pod = 'web-99' WHERE seq = 42")
    said = stage.run("verify", expect=1)
    assert "event 42 (Allocated" in said and "is not what was sealed as entry 41: it was changed" in said
    assert "event 42 is not what was sealed" in stage.run("prove", "42", expect=1)
    assert "event 42 is not what was sealed as entry 41" in stage.run("export", "-o", "x.zst", expect=1)


def test_an_event_appended_out_of_order_is_found_and_named(stage: Stage) -> None:
    sealed(stage)
    stage.tell("An event is put in where the sealed history has none.")
    database = stage.database()
    tamper(database, "ledger", "DELETE FROM ledger WHERE seq = 30")
    assert "event 30 was sealed as entry 29, but it is not in the ledger any more" in stage.run(
        "verify", expect=1
    )
    columns = "xid, at, pool_id, ip, kind, state, namespace, pod, container_id, if_name, network"
    over = "" if database.sqlite else "OVERRIDING SYSTEM VALUE"
    tamper(
        database,
        "ledger",
        f"INSERT INTO ledger (seq, version, {columns}) {over} SELECT -5, 9, {columns} FROM ledger WHERE seq = 29",
    )
    said = stage.run("verify", expect=1)
    assert (
        "event -5 stands before the end of what was sealed, but was not there then: it was put in later"
        in said
    )
    assert "version" in said


def test_the_database_refuses_the_change_as_long_as_its_guard_stands(stage: Stage) -> None:
    sealed(stage)
    stage.tell(
        "Without switching the guard off, nobody changes an event; with it off, verify says that it is off."
    )
    database = stage.database()
    with database.begin() as tx:
        if tx.sqlite:
            tx.connection.exec_driver_sql("DROP TRIGGER ledger_append_only_update")
        else:
            tx.connection.exec_driver_sql("ALTER TABLE ledger DISABLE TRIGGER ledger_append_only")
    assert "guard        FAILED" in stage.run("verify", expect=1)


def test_a_byte_changed_in_an_export_is_found_and_its_place_is_told(stage: Stage) -> None:
    sealed(stage)
    stage.run("export", "-o", "ledger.zst")
    file = stage.folder / "ledger.zst"
    whole = file.read_bytes()
    stage.tell("One bit of the file is flipped.")
    flips = (
        whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :] for at in range(len(whole) // 2, len(whole))
    )
    file.write_bytes(next(each for each in flips if text(each) != text(whole)))
    new = f"sqlite:///{stage.folder / 'new.db'}"
    said = stage.run("import", "ledger.zst", db=new, expect=1)
    assert "was cut or changed" in said and " line " in said
    stage.tell("The file is cut.")
    file.write_bytes(whole[: len(whole) * 2 // 3])
    assert "was cut or changed" in stage.run("import", "ledger.zst", db=new, expect=1)
    stage.tell("The whole file loads into the very same database: nothing was written before.")
    file.write_bytes(whole)
    stage.run("import", "ledger.zst", "--key", "seal.key.pub", db=new)
    stage.run("verify", db=new)


def test_a_byte_changed_in_a_proof_is_found(stage: Stage) -> None:
    sealed(stage)
    stage.run("prove", "42", "-o", "proof.json")
    assert "Proven. Event 42 (Allocated 10.40." in stage.run("verify-proof", "proof.json")
    file = stage.folder / "proof.json"
    proof = json.loads(file.read_text())
    stage.tell("The proof is made to speak of another pod.")
    proof["event"]["pod"] = "web-99"
    file.write_text(json.dumps(proof))
    assert "not proven: entry 41 with this path does not lead to the root" in stage.run(
        "verify-proof", "proof.json", expect=1
    )


def test_a_byte_changed_in_a_checkpoint_is_found(stage: Stage) -> None:
    sealed(stage)
    kept = stage.folder / "checkpoint"
    before = kept.read_text()
    stage.tell("The checkpoint outside is changed.")
    kept.write_text(before.replace("\n91\n", "\n92\n"))
    said = stage.run("verify", expect=1)
    assert "checkpoint kept outside: the signature of drill.example/1+" in said and "is not valid" in said
    assert "the checkpoint kept outside is not of this key" in stage.run("seal", expect=1)
    kept.write_text(before)
    stage.tell("The checkpoint in the database is changed.")
    tamper(
        stage.database(), "checkpoint", "UPDATE checkpoint SET note = {}", before.replace("\n91\n", "\n92\n")
    )
    assert "checkpoint of 91 entries: the signature of" in stage.run("verify", expect=1)


def test_a_checkpoint_of_last_week_is_shown_to_be_extended(stage: Stage) -> None:
    sealed(stage)
    kept = stage.folder / "checkpoint"
    (stage.folder / "last-week").write_text(kept.read_text())
    address(stage.book(), 500)
    stage.run("seal")
    stage.run("prove", "--since", "last-week", "-o", "growth.json")
    assert "begins with exactly the 91 entries" in stage.run("verify-proof", "growth.json")
