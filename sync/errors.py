"""What can go wrong between us and the API server.

::

    KubeError              the base
    ├── ApiAway            no answer, a time-out, a 5xx, a 429: nothing is known; try again after ``after`` seconds
    │   └── Silent         nothing came in time over a connection that was made
    └── Refused            the API server understood and said no: ``code``, ``reason``, ``message``
        ├── NotFound       404, said by the API server itself about an object (not by a proxy about a path)
        ├── Conflict       409: the object has changed since, or exists already
        └── Gone           410: what was asked to go on from has been compacted; list again

    NotReached             a LedgerError, for a command's user: any KubeError
"""

from __future__ import annotations

from ledger.errors import LedgerError


class KubeError(Exception):
    """The API server did not do it."""


class ApiAway(KubeError):
    """The API server cannot be reached."""

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class Silent(ApiAway):
    """The API server said nothing for too long."""


class Refused(KubeError):
    """The API server said no."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        answer = f"{code or ''} {reason}".strip()  # code 0: nobody was asked yet
        super().__init__(f"{message} ({answer})" if answer else message)
        self.code = code
        self.reason = reason
        self.message = message


class NotFound(Refused):
    """There is no such object."""


class Conflict(Refused):
    """The object has changed since it was read."""


class Gone(Refused):
    """That resourceVersion has been compacted."""


class NotReached(LedgerError):
    """The API server does not tell, or did not take, what a command needs."""
