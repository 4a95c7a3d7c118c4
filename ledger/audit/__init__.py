"""Questions about now and about any past moment, answered from the ledger. Nothing here writes.

What "had" means: somebody has an address while its state is ``allocated``, in the half-open span ``[from, until)`` that
begins with the event and ends with the next one of the same stream. At the very instant of an event its new state
counts. So a pod that was relaunched begins a new holding, a holding without length never was, and a ``held`` or ``cooling``
address is nobody's: it is kept for somebody. ``explain`` tells about those.

The same address may be in pools of several address spaces, and may have been in several pools one after the other: answers name
the pool, and there may be several of them.

One kind of answer a file; whoever asks takes the question from here: ``audit.who_had(…)``.
"""

from ledger.audit.difference import Change, Diff, diff
from ledger.audit.explanation import Explained, explain
from ledger.audit.holdings import states, who_had
from ledger.audit.leaks import AskEach, CheckReport, Suspect, check
from ledger.audit.pool_then import PoolThen, pool_at
from ledger.audit.stream import Wanted, events
from ledger.audit.utilisation import USAGE_POINTS, Usage, in_use, usage
from ledger.audit.words import who_is

__all__ = [
    "USAGE_POINTS", "AskEach", "Change", "CheckReport", "Diff", "Explained", "PoolThen", "Suspect", "Usage", "Wanted",
    "check", "diff", "events", "explain", "in_use", "pool_at", "states", "usage", "who_had", "who_is",
]  # fmt: skip
