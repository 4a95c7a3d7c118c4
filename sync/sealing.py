"""The leader seals: every so often it folds what is new into the Merkle tree and signs its head, outside of everything else.

The newest checkpoint is kept outside the ledger's database in a file, or in a ConfigMap: whoever restores the database to
an earlier day does not restore the cluster to it too, and is found out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.keys import load_signer
from ledger.seal import Outside, OutsideFile, Sealer
from ledger.store import Database
from sync.errors import Conflict, NotFound
from sync.kube import CONFIGMAPS, MERGE, Api, config_map_path

log = logging.getLogger(__name__)

ENTRY = "checkpoint"
"""The ConfigMap's key; all others in it are left alone."""


@dataclass(frozen=True, slots=True)
class SealSettings:
    """Whether the leader seals, how often, and where the newest checkpoint is kept."""

    key: Path | None = None
    """The signer key's file, read anew for each seal, so that a Secret may come later. None: this worker seals nothing."""

    interval: float = 60.0
    """Seconds between two seals. What is newer than the last one is not protected yet."""

    checkpoint: Path | None = None
    """A file to keep the newest checkpoint in, in place of the ConfigMap."""

    config_map: str = "ipam-ledger-checkpoint"
    """The ConfigMap that keeps it, in the worker's own namespace; made if it is missing."""


class OutsideConfigMap:
    """The newest checkpoint in a ConfigMap. One cycle of one sealer: ``write`` replaces what was last read, or nothing."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api, self._namespace, self._name = api, namespace, name
        self._path = config_map_path(namespace, name)
        self._version: str | None = None

    def read(self) -> str | None:
        """Raises KubeError when nothing is known: then nothing may be signed either."""
        try:
            raw = self._api.call("GET", self._path)
        except NotFound:
            self._version = None
            return None
        return self._read(raw)

    def write(self, note: str) -> None:
        data = {ENTRY: note}
        try:
            if self._version is None:
                body = {"metadata": {"name": self._name}, "data": data}
                self._read(self._api.call("POST", CONFIGMAPS.format(self._namespace), body))
            else:
                body = {"metadata": {"resourceVersion": self._version}, "data": data}
                self._read(self._api.call("PATCH", self._path, body, kind=MERGE))
        except (Conflict, NotFound) as error:
            # Another leader wrote meanwhile, and perhaps a later checkpoint. The next cycle reads, and writes what is missing.
            log.info("checkpoint not written over another's: %s", error)

    def _read(self, raw: Any) -> str | None:
        self._version = str(raw["metadata"]["resourceVersion"])
        note = (raw.get("data") or {}).get(ENTRY)
        return None if note is None else str(note)


class Interrupted(Exception):
    """This term is over; what is folded stays folded, and another leader goes on."""


class Sealing:
    """The cycles of one term. ``alive`` is told after each chunk, for the first seal of a large ledger takes minutes."""

    def __init__(
        self,
        api: Api,
        database: Database,
        settings: SealSettings,
        *,
        namespace: str,
        actor: str,
        alive: Callable[[], object] = lambda: None,
    ) -> None:
        self.settings = settings
        self._api, self._database, self._actor = api, database, actor
        self._namespace, self._alive = namespace, alive
        self._next = float("-inf")

    def cycle(self, go_on: Callable[[], bool]) -> str | None:
        """Seal, if it is time; the sentence to log if anything was signed.

        ``go_on`` is asked after each chunk. Raises InvalidInput (the key), LedgerError (WentBack: the fence is raised),
        KubeError (the ConfigMap); the next cycle tries again.
        """
        if self.settings.key is None or time.monotonic() < self._next:
            return None

        def chunk(_: int) -> None:
            if not go_on():
                raise Interrupted
            self._alive()

        key = load_signer(self.settings.key)
        sealer = Sealer(self._database, key=key, outside=self._outside(), actor=self._actor)
        began = time.monotonic()
        try:
            sealed = sealer.seal(chunk)
        except Interrupted:
            return "stopped between two chunks; the next leader goes on"
        self._next = began + self.settings.interval
        return sealed.sentence() if sealed.note else None

    def _outside(self) -> Outside:
        if self.settings.checkpoint is not None:
            return OutsideFile(self.settings.checkpoint)
        return OutsideConfigMap(self._api, self._namespace, self.settings.config_map)
