"""Real servers for the tests: PostgreSQL, PgBouncer, the agent. No doubles.

Whoever starts something here ends it, by its pid, also when the test run is killed (``keeper``). A part
that this machine lacks is a skip that says how to get it, and a failure where
``IPAM_LEDGER_CI=1`` promises that everything is there (``need``).
"""
