"""``python -m cni.agentless``: the plugin without an agent, writing the ledger that the configuration names.

The client becomes this process (``ipam.ledger``); environment and stdin are the runtime's own.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import NoReturn

from cni.handlers import Handlers, refusal_of
from cni.keyed import KeyedLock
from cni.spec import MAX_STDIN, Call, Code, Refusal, Verb
from ledger.book import Book
from ledger.claims import Node
from ledger.store import Database


def main() -> NoReturn:
    """Answer one call. A DEL that cannot be recorded is refused with 11: without an agent nobody would retry it."""
    logging.basicConfig(stream=sys.stderr, level="WARNING", format="%(levelname)s %(name)s: %(message)s")
    env = {key: value for key, value in os.environ.items() if key.startswith("CNI_")}
    stdin = sys.stdin.buffer.read(MAX_STDIN + 1)
    status, out = reply(env, stdin)
    sys.stdout.buffer.write(out)
    sys.stdout.buffer.flush()
    sys.exit(status)


def reply(env: dict[str, str], stdin: bytes) -> tuple[int, bytes]:
    """The exit status and stdout of the plugin."""
    try:
        call = Call.from_raw(env, stdin)
        if call.conf.ledger is None:
            raise Refusal(Code.DECODING, "ipam.ledger: missing", version=call.conf.version)
    except Refusal as refusal:
        return 1, refusal.to_json()
    node = os.environ.get("IPAM_LEDGER_NODE") or socket.gethostname()
    try:
        database = Database(call.conf.ledger, pool_size=1)
        try:
            book = Book(database, actor=f"k8s-ipam/{node}")
            if call.verb is not Verb.STATUS:  # which asks that itself
                book.ready()
            return Handlers(book, node=Node(name=node), containers=KeyedLock()).reply(env, stdin)
        finally:
            database.close()
    except Exception as error:
        return 1, refusal_of(error, call.verb, call.conf.version).to_json()


if __name__ == "__main__":
    main()
