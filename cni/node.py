"""What a machine knows of itself as a node."""

from __future__ import annotations

import contextlib
import socket


def own_addresses() -> tuple[str, ...]:
    """The addresses that packets to the outside leave from, of each family. Sends nothing."""
    found = []
    # Documentation addresses (RFC 5737, RFC 3849): a route is looked up for them as for any other.
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            found.append(str(probe.getsockname()[0]))
    return tuple(found)
