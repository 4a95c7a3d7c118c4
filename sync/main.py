"""``ipam-ledger sync``: the composition root of the sync worker."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import click

from ledger.book import Book
from ledger.cli.everywhere import daemon_database
from ledger.errors import InvalidInput, LedgerError, SchemaMismatch, TryAgain
from ledger.pages import host_and_port, said, served
from ledger.pages import metrics as metrics_page
from ledger.settings import default_database_url
from ledger.store import Database
from sync.errors import KubeError
from sync.health import Health
from sync.kube import Api, ApiEvidence
from sync.lease import Lease, keep
from sync.metrics import Metrics
from sync.sealing import SealSettings
from sync.settings import SyncSettings, from_environment
from sync.watch import forever
from sync.worker.term import Term

log = logging.getLogger("sync")


@click.command("sync")
@daemon_database
@click.option(
    "--kubeconfig",
    metavar="FILE",
    envvar="IPAM_LEDGER_KUBECONFIG",
    help="How to reach the API server. Default: as the pod that this is, else by KUBECONFIG.",
)
@click.option(
    "--namespace",
    envvar="IPAM_LEDGER_NAMESPACE",
    help="Where the Lease is kept. Default: the pod's own namespace, else ipam-ledger.",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    envvar="IPAM_LEDGER_LISTEN",
    help="Answer /healthz, /readyz and /metrics (for Prometheus) there. Default: nowhere.",
)
@click.option(
    "--seal-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The leader seals the ledger with this signer key. Default: IPAM_LEDGER_KEY, else it seals nothing.",
)
@click.option(
    "--seal-interval",
    type=click.FloatRange(1, 86_400),
    metavar="SECONDS",
    help="How often. Default: IPAM_LEDGER_SEAL_SECONDS, else 60.",
)
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep the newest checkpoint in this file, not in a ConfigMap. Default: IPAM_LEDGER_CHECKPOINT.",
)
@click.option(
    "--checkpoint-configmap",
    metavar="NAME",
    help="Keep it in this ConfigMap of --namespace. Default: IPAM_LEDGER_CHECKPOINT_CONFIGMAP, else ipam-ledger-checkpoint.",
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
    kubeconfig: str | None,
    namespace: str | None,
    listen: str | None,
    seal_key: Path | None,
    seal_interval: float | None,
    checkpoint: Path | None,
    checkpoint_configmap: str | None,
    log_level: str,
) -> None:
    """Run the sync worker between the API server and the ledger.

    IPPools become the ledger's pools, the ledger's state becomes their status, and addresses of pods that ended without
    a DEL are taken back on evidence. With --seal-key, the leader also seals the ledger (see `ipam-ledger seal`). Run two or more: one leads (by a Lease), the others wait. It says `ready` on
    stderr once it competes for the lease, and ends on SIGTERM. Killing it at any moment loses nothing.

    \b
    Examples:
      ipam-ledger sync --kubeconfig ~/.kube/config
      ipam-ledger sync --db postgresql+psycopg://ipam_sync@db.example.net/ipam --listen :8080
      ipam-ledger sync --seal-key /etc/ipam-ledger/seal.key

    Exit status: 0 ended when told to, 1 the ledger or the API server cannot be used, 2 wrong usage.
    """
    logging.basicConfig(
        stream=sys.stderr, level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # it tells of each of its parts
    try:
        settings = from_environment()
        settings = replace(
            settings,
            kubeconfig=kubeconfig or settings.kubeconfig,
            listen=listen or settings.listen,
            lease=replace(settings.lease, namespace=namespace or settings.lease.namespace),
            seal=sealing(settings.seal, seal_key, seal_interval, checkpoint, checkpoint_configmap),
        )
        if settings.listen:
            host_and_port(settings.listen)
        with contextlib.closing(Database(db or default_database_url())) as database:
            api = Api.connect(settings.kubeconfig)
            run(api, database, settings)
    except InvalidInput as error:
        raise click.UsageError(str(error)) from error
    except (LedgerError, KubeError) as error:
        raise click.ClickException(str(error)) from error


def sealing(
    base: SealSettings,
    key: Path | None,
    interval: float | None,
    checkpoint: Path | None,
    config_map: str | None,
) -> SealSettings:
    """What the command line says, over what the environment said: a ConfigMap that is named there goes before a file."""
    if checkpoint and config_map:
        raise click.UsageError(
            "--checkpoint and --checkpoint-configmap: the checkpoint is kept in one of them"
        )
    return replace(
        base,
        key=key or base.key,
        interval=interval or base.interval,
        checkpoint=None if config_map else checkpoint or base.checkpoint,
        config_map=config_map or base.config_map,
    )


def run(api: Api, database: Database, settings: SyncSettings) -> None:
    """Compete for the lease, and work while we have it, until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    me = f"{os.environ.get('HOSTNAME') or socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    book = Book(database, actor=f"sync/{me}", evidence=ApiEvidence(api))
    health = Health()
    metrics = Metrics(health)
    pages = {
        "/healthz": lambda: said(health.live()),
        "/readyz": lambda: said(health.ready(), f"ok ({health.role})"),
        "/metrics": lambda: metrics_page(metrics.registry),
    }
    with served(pages, settings.listen):
        print(f"ready: competing for the lease as {me}", file=sys.stderr, flush=True)  # noqa: T201
        lease = Lease(api, me, settings.lease)
        forever("lead", stop, lambda: compete(lease, api, book, settings, health, metrics, stop), last=5.0)
        lease.release()
    log.info("ended")


def compete(
    lease: Lease,
    api: Api,
    book: Book,
    settings: SyncSettings,
    health: Health,
    metrics: Metrics,
    stop: threading.Event,
) -> str | None:
    """One attempt at the lease, and if it goes well one whole term."""
    try:
        book.ready()
        if not lease.step():
            health.role = f"standby; {lease.holder or 'nobody'} leads"
            health.well("lead")
            stop.wait(settings.lease.renew)
            return None
    except (KubeError, TryAgain, SchemaMismatch) as error:
        health.role = "standby"
        health.trouble("lead", str(error))
        raise
    health.well("lead")
    health.role = "leading"
    over = threading.Event()
    term = Term(api, book, settings, health, lambda: lease.leading)
    worker = threading.Thread(target=term.run, args=(over,), name="term")
    worker.start()
    metrics.term = term
    log.info("leading as %s", lease.me)
    try:
        keep(lease, stop, lambda: health.well("lead"))
    finally:
        metrics.term = None
        over.set()
        worker.join()
    health.role = "standby"
    return "this term is over"


if __name__ == "__main__":
    command()
