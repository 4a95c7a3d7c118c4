"""What is worth telling a person about an IPPool, as Kubernetes' Events."""

from __future__ import annotations

import logging
import time

from ledger.pools import API_VERSION, KIND
from sync.errors import KubeError
from sync.kube import EVENTS, Api, now_micro
from sync.objects import IPPool
from sync.project import Notice

log = logging.getLogger(__name__)


class Notices:
    """Writes Events as ``reporter``; one of the same pool and reason again only after ``pace`` seconds."""

    def __init__(self, api: Api, reporter: str, pace: float) -> None:
        self._api, self._reporter, self._pace = api, reporter, pace
        self._written: dict[tuple[str, str], float] = {}

    def write(self, pool: IPPool, notice: Notice) -> None:
        """An Event that could not be written is logged, and not tried again."""
        key = (pool.meta.name, notice.reason)
        if time.monotonic() - self._written.get(key, float("-inf")) < self._pace:
            return
        self._written[key] = time.monotonic()
        now = now_micro()
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{pool.meta.name[:200]}.", "namespace": "default"},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": pool.meta.name,
                "uid": pool.meta.uid,
                "resourceVersion": pool.meta.version,
            },
            "reason": notice.reason,
            "message": notice.message[:1024],
            "type": "Warning" if notice.warning else "Normal",
            "firstTimestamp": now[:19] + "Z",
            "lastTimestamp": now[:19] + "Z",
            "eventTime": now,
            "count": 1,
            "action": "Report",
            "reportingComponent": "ipam-ledger",
            "reportingInstance": self._reporter[:128],
        }
        try:
            # In "default", where the events of cluster-scoped objects go.
            self._api.call("POST", EVENTS.format("default"), body)
        except KubeError as error:
            log.warning("event %s of pool %s was not written: %s", notice.reason, pool.meta.name, error)
