"""The fence: after a restore the ledger does not know what was given out since the backup, so nothing is given out.

While it is raised, ADD answers "try again later" (CNI 11) and STATUS "not available" (50), each with the reason; DEL, CHECK
and every question go on. It is raised by ``import`` and ``replay``, by the sealer when the ledger went back in time,
and by hand. ``lift`` is for whoever has compared the ledger with what really runs.
"""

from __future__ import annotations

from ledger.catalog import refuse_half
from ledger.store import Database, fences
from ledger.store.fences import Fence


def status(database: Database) -> Fence | None:
    """The newest turn; None if the fence was never raised."""
    with database.read() as tx:
        newest = fences.turns(tx)
    return newest[0] if newest else None


def raise_fence(database: Database, *, reason: str, actor: str) -> bool:
    """Raise it; False if it was raised already (then nothing is written)."""
    return _turn(database, raised=True, reason=reason, actor=actor)


def lift(database: Database, *, reason: str, actor: str) -> bool:
    """Lift it; False if it was not raised (then nothing is written). Raises Unfinished over half an import."""
    return _turn(database, raised=False, reason=reason, actor=actor)


def _turn(database: Database, *, raised: bool, reason: str, actor: str) -> bool:
    with database.begin() as tx:
        if not raised:
            fences.lift_alone(tx)
        newest = fences.turns(tx)
        if (newest[0].raised if newest else False) is raised:
            return False
        if not raised:
            refuse_half(tx)
        fences.turn(tx, raised=raised, reason=reason, actor=actor)
        return True
