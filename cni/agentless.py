"""``python -m cni.agentless``: the plugin without an agent, writing the ledger that the configuration names.

The client becomes this process (``ipam.ledger``); environment and stdin are the runtime's own.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from typing import NoReturn

from cni.client import PATIENCE, unready, write
from cni.handlers import Handlers, refusal_of
from cni.node import own_addresses
from cni.spec import MAX_STDIN, Call, Code, Refusal, Verb
from ledger.book import Book
from ledger.claims import Node
from ledger.events import Event
from ledger.evidence import Evidence, NeverGone
from ledger.store import Database

log = logging.getLogger(__name__)


class ClusterEvidence:
    """Asks the API server of the configuration's ``kubeConfig``; connects when a full pool first asks, not before.

    Its client library takes longer to import than everything else here. What keeps it from asking is no evidence.
    """

    def __init__(self, kube_config: str) -> None:
        self._kube_config = kube_config
        self._found: Evidence | None = None

    def ended(self, holder: Event) -> str | None:
        if self._found is None:
            from cni.main import cluster

            try:
                self._found, _ = cluster(f"cluster:{self._kube_config}", Node(), True, True)
            except Exception as error:
                log.warning("no evidence: %s", error)
                self._found = NeverGone()
        return self._found.ended(holder)


def main() -> NoReturn:
    """Answer one call. A DEL that cannot be recorded is refused with 11: without an agent nobody would retry it."""
    logging.basicConfig(stream=sys.stderr, level="WARNING", format="%(levelname)s %(name)s: %(message)s")
    env = {key: value for key, value in os.environ.items() if key.startswith("CNI_")}
    end(*reply(env, sys.stdin.buffer.read(MAX_STDIN + 1)))


def end(status: int, out: bytes) -> NoReturn:
    signal.alarm(0)
    try:
        write(1, out)
    except OSError:  # nobody reads any more
        status = 1
    os._exit(status)


def reply(env: dict[str, str], stdin: bytes) -> tuple[int, bytes]:
    """The exit status and stdout of the plugin."""
    try:
        call = Call.from_raw(env, stdin)
        if call.conf.ledger is None:
            raise Refusal(Code.DECODING, "ipam.ledger: missing", version=call.conf.version)
    except Refusal as refusal:
        return 1, refusal.to_json()
    late = Refusal(unready(call.verb), f"no answer within {PATIENCE:g} s", version=call.conf.version)
    # The client's timer runs on here. Not raised: a rollback on the way out would wait for the same database.
    signal.signal(signal.SIGALRM, lambda *_: end(1, late.to_json()))
    node = os.environ.get("IPAM_LEDGER_NODE") or socket.gethostname()
    try:
        database = Database(call.conf.ledger, pool_size=1)
        try:
            evidence = ClusterEvidence(call.conf.kube_config) if call.conf.kube_config else NeverGone()
            book = Book(database, actor=f"k8s-ipam/{node}", evidence=evidence)
            if call.verb is not Verb.STATUS:  # which asks that itself
                book.ready()
            here = Node(name=node, addresses=own_addresses())
            return Handlers(book, node=here).reply(env, stdin)
        finally:
            database.close()
    except Exception as error:
        return 1, refusal_of(error, call.verb, call.conf.version).to_json()


if __name__ == "__main__":
    main()
