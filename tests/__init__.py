"""Tests talk to real things over the real wire: a PostgreSQL, a unix socket, a subprocess, a container runtime.

Rooms are mirrored (``tests/ledger`` for ``ledger`` and so on). ``tests/servers`` starts what the tests
talk to; ``tests/laws`` holds what must be true on every database and after every crash. One
behaviour a file, and the docstring is the behaviour.
"""
