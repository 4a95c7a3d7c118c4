"""Real container runtimes and real main plugins, in network namespaces of their own.

Each test plays a *node*: a network namespace in which the plugins make their bridges and routes, so that
nothing of this machine's network is touched and one deletion removes all of it. The same tests run
with ``host-local`` in our place; that proves the harness, and shows where we differ.
"""
