"""A small ledger with some of everything, and what two ledgers are compared by."""

from __future__ import annotations

from pathlib import Path

import zstandard

from ledger import pools
from ledger.archive.order import in_tree_order
from ledger.archive.writer import export
from ledger.book import Book
from ledger.claims import Claim, Node
from ledger.events import Attachment, Owner
from ledger.note import SignerKey
from ledger.seal import Sealer
from ledger.seal_checks import checks
from ledger.store import Database
from ledger.verify import CHECKS, verify

KEY = SignerKey("ledger.example/1", bytes(range(32)))


def pool(name: str, range_: str, **more: object) -> dict[str, object]:
    return {"apiVersion": "ipam.k8s.io/v1alpha1", "kind": "IPPool", "metadata": {"name": name},
            "spec": {"ipPoolSubs": [{"range": range_}], **more}}  # fmt: skip


def claim(n: int, name: str = "p", namespace: str | None = "default") -> Claim:
    owner = (
        Owner(namespace, f"web-{n}", f"uid{n}")
        if namespace
        else Owner(None, 'a "name" \\ of\tmany\u2028', None)
    )
    return Claim(
        (name,),
        owner,
        Attachment(f"c{n}", "eth0" if namespace else "", "net" if namespace else ""),
        Node("node1"),
    )


def write(database: Database) -> None:
    """Some of everything: pools that come, change and go, plain and odd owners, cooling, IPv6, seals, a tail."""
    book = Book(database, actor="test")
    for spec in (
        pool("p", "10.0.0.0/22"),
        pool("cool", "10.1.0.0/24", cooldownSeconds=3600),
        pool("six", "fd00::/64"),
    ):
        book.apply_pool(pools.from_object(spec))
    sealer = Sealer(database, key=KEY)
    book.allocate_many([claim(n) for n in range(300)])
    sealer.seal()
    book.release_many([claim(n).attachment for n in range(0, 300, 3)])
    book.allocate_many(
        [claim(1000 + n, "cool") for n in range(20)] + [claim(2000 + n, "six") for n in range(20)]
    )
    sealer.seal()
    book.release_many([claim(1000 + n).attachment for n in range(5)])
    book.allocate(claim(5000, namespace=None))
    book.apply_pool(pools.from_object(pool("cool", "10.1.0.0/23", cooldownSeconds=60)))
    book.apply_pool(pools.from_object(pool("gone", "10.2.0.0/28")))
    book.delete_pool("gone")


def tree(database: Database) -> list[bytes]:
    with database.read() as tx:
        return [leaf for part in in_tree_order(tx) for leaf in part.data]


def state(database: Database) -> list[tuple[object, ...]]:
    columns = "version, state, owner, namespace, pod, pod_uid, container_id, if_name, network, node"
    ip = "a.ip" if database.sqlite else "host(a.ip)"
    with database.read() as tx:
        rows = tx.connection.exec_driver_sql(
            f"SELECT p.name, {ip}, {columns.replace('version', 'a.version')} FROM address a JOIN pool p ON p.id = a.pool_id WHERE a.version > 0"
        )
        return sorted((tuple(row) for row in rows), key=str)


def wrong(database: Database) -> list[str]:
    report = verify(database, (*CHECKS, *checks([KEY.verifier])))
    return [finding.what for checked in report.checked for finding in checked.findings]


def written(database: Database, path: Path) -> Path:
    with path.open("wb") as out:
        export(database, out)
    return path


def lines(path: Path) -> list[bytes]:
    with path.open("rb") as source:
        return zstandard.ZstdDecompressor().stream_reader(source).read().split(b"\n")[:-1]


def save(path: Path, content: list[bytes]) -> Path:
    path.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(b"\n".join(content) + b"\n"))
    return path
