"""``ipam-ledger agent``: the composition root of the node agent."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from cni.agent import Agent, CannotServe, alone
from cni.chore import Chore
from cni.client import SOCKET
from cni.delqueue import DelQueue
from cni.desk import AgentDesk
from cni.express import Express
from cni.handlers import Handlers
from cni.memory import Memory
from cni.metrics import Metrics
from cni.node import own_addresses
from cni.retain import Retention
from cni.turns import Turns
from ledger.addresses import canonical
from ledger.book import Book
from ledger.claims import Node
from ledger.cli.everywhere import daemon_database
from ledger.errors import InvalidInput, SchemaMismatch, TryAgain
from ledger.evidence import Evidence, parse_evidence
from ledger.pages import Page, said, served
from ledger.pages import metrics as metrics_page
from ledger.settings import default_database_url, state_folder
from ledger.store import Database

log = logging.getLogger("cni.agent")

DRAIN = 20.0
"""Seconds that a graceful end waits for what runs; a commit takes milliseconds, a lock time-out five seconds."""

STUCK = 60.0
"""Seconds without a sign of life after which only a restart can help; there is one every two seconds."""


@click.command("agent")
@daemon_database
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    default=SOCKET,
    envvar="IPAM_LEDGER_SOCKET",
    show_default=True,
    help="Where k8s-ipam asks; made with mode 0600.",
)
@click.option(
    "--node",
    envvar="IPAM_LEDGER_NODE",
    help="This node's name, as the ledger notes it and GC goes by it. Default: the host name.",
)
@click.option(
    "--node-address",
    "addresses",
    multiple=True,
    envvar="IPAM_LEDGER_NODE_ADDRESS",
    help="An address of this node (repeat for more): a sub whose subnet holds one is preferred. Default: those"
    " that the default routes go out from.",
)
@click.option(
    "--node-label",
    "labels",
    multiple=True,
    envvar="IPAM_LEDGER_NODE_LABEL",
    metavar="KEY=VALUE",
    help="A label of this node (repeat for more), for subs with a nodeSelector.",
)
@click.option(
    "--evidence",
    envvar="IPAM_LEDGER_EVIDENCE",
    default="never",
    show_default=True,
    help="Whom to ask, when a pool is full, whether an owner has ended: `never` (nobody), `cluster` (the API server, as the"
    " pod that this is; it then also tells this node's addresses and labels, where not given) or `cluster:KUBECONFIG`,"
    " `file:/PATH` (a list of those that have: NAMESPACE/POD [UID] or a container id on each line), `command:CMD` (exit 0"
    " and `gone` on stdout; the holder is in IPAM_LEDGER_HOLDER_*).",
)
@click.option(
    "--queue-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="IPAM_LEDGER_QUEUE_DIR",
    help="Where DELs wait while the database is away; must survive a reboot. Default: in the state folder, by the"
    " socket's name.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=2),
    default=256,
    envvar="IPAM_LEDGER_WORKERS",
    show_default=True,
    help="Calls in a thread of their own at one time (all but the plain ADD and DEL); more wait.",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    envvar="IPAM_LEDGER_LISTEN",
    help="Answer /healthz, /readyz and /metrics (for Prometheus) there. Default: nowhere.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    envvar="IPAM_LEDGER_LOG_LEVEL",
    show_default=True,
)
def command(
    db: str | None,
    path: Path,
    node: str | None,
    addresses: tuple[str, ...],
    labels: tuple[str, ...],
    evidence: str,
    queue_dir: Path | None,
    workers: int,
    listen: str | None,
    log_level: str,
) -> None:
    """Run the node agent, which answers k8s-ipam on a unix socket.

    One on each node. It says `ready` on stderr once it takes calls (and to systemd), and ends on SIGTERM when
    what runs is done; a second signal ends it at once. Killing it at any moment loses nothing.

    \b
    Examples:
      ipam-ledger agent --evidence never
      ipam-ledger agent --db postgresql+psycopg://ipam_agent@db.example.net/ipam --node node1 --evidence cluster
      ipam-ledger agent --socket agent.sock --evidence file:$PWD/gone.txt

    Exit status: 0 ended when told to, 1 it cannot serve, or calls were unfinished at the end, 2 wrong usage.
    """
    logging.basicConfig(
        stream=sys.stderr, level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # it tells of each of its parts
    here = Node(
        name=node or socket.gethostname(),
        addresses=addresses or own_addresses(),
        labels=dict(map(_label, labels)) if labels else None,
    )
    try:
        for address in addresses:
            canonical(address, "--node-address")
        database = Database(db or default_database_url())
        learn = None
        if evidence.partition(":")[0] == "cluster":
            asked, learn = cluster(evidence, here, bool(addresses), bool(labels))
        else:
            asked = parse_evidence(evidence, others="cluster[:KUBECONFIG], ")
        actor = f"agent/{here.name}"
        folder = queue_dir or state_folder() / "queue" / str(path.absolute()).strip("/").replace("/", "-")
        _writable(folder)
        resources = click.get_current_context().with_resource
        resources(alone(path))  # before the queue is read: another agent may be writing it
        queue = DelQueue(folder)
        memory = Memory(folder, database, node=here.name or "", actor=actor)
        book = Book(database, actor=actor, evidence=asked, reconnected=memory.reconnected)
        containers = Turns()
        # Only where a sync worker says soon whether the pod is wanted again.
        released = Retention(book) if learn is not None else lambda events: None
        desk = AgentDesk(book, queue, containers, memory, released)
        handlers = Handlers(desk, node=here)
        express = Express(handlers, desk, containers)
        metrics = Metrics(queue.__len__)
        agent = Agent(path, handlers.reply, express=express, workers=workers, told=metrics.answered)
        resources(served(_pages(agent, book, metrics), listen))
        chores = [
            Chore("queued DELs", desk.retry_queued, seconds=1, at_most=30),
            Chore("sweep", desk.sweep, seconds=5, at_most=60),
            Chore("memory", memory.save, seconds=2, at_most=60),
            Chore("looking back", memory.check, seconds=30, at_most=60),
        ]
        if learn is not None:
            knowing = Chore("this node", _replaces(handlers, learn), seconds=60, at_most=60)
            knowing.once()  # before the first ADD, if the API server answers
            chores.append(knowing)
        try:
            book.ready()
            if missed := memory.check():
                log.warning("%s", missed)
        except TryAgain as error:  # a node may boot before its database; until then ADD gets 11, STATUS 50
            log.warning("starting without the database: %s", error)
        agent.open()
    except InvalidInput as error:
        raise click.UsageError(str(error)) from error
    except (SchemaMismatch, CannotServe) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    with _ends() as wait:
        agent.start()
        for chore in chores:
            chore.start()
        log.info(
            "ready: %s for node %s, ledger %s, queue %s (%d waiting)",
            path,
            here.name,
            database.label,
            folder,
            len(queue),
        )
        _tell_systemd("READY=1")
        name = wait()
        log.info("%s: finishing what runs", name)
        _tell_systemd("STOPPING=1")
        finished = agent.stop(DRAIN)
        for chore in chores:
            chore.stop(DRAIN / 4)
        try:
            memory.save()
        except TryAgain as error:
            log.warning("%s", error)
    if not finished:
        log.error("ended with calls unfinished after %g s; runtimes repeat them", DRAIN)
        os._exit(1)  # their threads would keep the interpreter from ending
    database.close()
    log.info("ended")


def cluster(text: str, here: Node, addresses: bool, labels: bool) -> tuple[Evidence, Callable[[], Node]]:
    """Evidence from the API server, ``cluster`` or ``cluster:KUBECONFIG``, and what it knows of this node.

    ``addresses``, ``labels``: whether those of ``here`` were given, and stand. Connects to nothing yet. Raises InvalidInput.
    """
    from sync.kube import Api, ApiEvidence, KubeError, node_of  # its client library takes 0.2 s to import

    try:
        api = Api.connect(text.partition(":")[2] or None, seconds=3)
    except KubeError as error:
        raise InvalidInput("evidence", text, str(error)) from error

    def learn() -> Node:
        try:
            found = node_of(api, here.name or "")
        except KubeError as error:
            raise TryAgain(f"the API server does not tell about node {here.name}: {error}") from error
        return Node(
            name=here.name,
            addresses=here.addresses if addresses else found.addresses or here.addresses,
            labels=here.labels if labels else found.labels,
        )

    return ApiEvidence(api), learn


def _pages(agent: Agent, book: Book, metrics: Metrics) -> dict[str, Callable[[], Page]]:
    def live() -> Page:
        wrong = [f"nothing has moved for {agent.silent:.0f} s"] if agent.silent >= STUCK else []
        if agent.lost:
            wrong.append(f"{agent.path} was removed or replaced: plugins find no agent there")
        return said(wrong)

    def ready() -> Page:
        try:
            book.ready()
        except (TryAgain, SchemaMismatch) as error:
            return said([str(error)])
        return said([])

    return {"/healthz": live, "/readyz": ready, "/metrics": lambda: metrics_page(metrics.registry)}


def _replaces(handlers: Handlers, learn: Callable[[], Node]) -> Callable[[], str | None]:
    def cycle() -> str | None:
        found = learn()
        if found == handlers.node and found.labels == handlers.node.labels:
            return None
        handlers.node = found
        return f"addresses {', '.join(found.addresses) or 'unknown'}, {len(found.labels or ())} labels"

    return cycle


def _writable(folder: Path) -> None:
    """Now, not when the database is away and the first DEL has nowhere to wait. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "DELs cannot wait there, for it cannot be written", str(folder))


def _label(text: str) -> tuple[str, str]:
    key, eq, value = text.partition("=")
    if not eq or not key:
        raise click.BadParameter(f"{text!r} is no KEY=VALUE", param_hint="--node-label")
    return key, value


@contextlib.contextmanager
def _ends() -> Iterator[Callable[[], str]]:
    """Waits for SIGTERM or SIGINT and names it; a second one ends the process at once."""
    read, write = os.pipe()
    seen: list[int] = []

    def note(number: int, _: object) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)

    def wait() -> str:
        # The kernel may give the signal to any thread; only this byte surely wakes the main one.
        while not seen:
            os.read(read, 1)
        return signal.Signals(seen[0]).name

    os.set_blocking(write, False)
    wakeup = signal.set_wakeup_fd(write)
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(read)
        os.close(write)


def _tell_systemd(state: str) -> None:
    """sd_notify(3), where a service manager asked for it."""
    where = os.environ.get("NOTIFY_SOCKET")
    if not where:
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager,
    ):
        manager.sendto(state.encode(), address)


if __name__ == "__main__":
    command()
