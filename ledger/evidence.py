"""Evidence that an owner has ended: the only ground on which somebody's address may be taken back.

Positive evidence only. An error, a time-out, or silence is *no* evidence, and an adapter that meets
one returns None. The book asks at the moment of a reclaim, outside any transaction.
"""

from __future__ import annotations

from typing import Protocol

from ledger.events import Event


class Evidence(Protocol):
    """Something that can tell whether the owner of an address has ended."""

    def ended(self, holder: Event) -> str | None:
        """Why the holder of ``holder.ip`` has ended, in a few words for the ledger, or None if that is not known.

        ``holder`` is the newest event of an allocated address. Must not raise, and must keep its own deadline.
        """


class NeverGone:
    """No evidence at all: a full pool stays full until somebody releases."""

    def ended(self, holder: Event) -> str | None:
        return None
