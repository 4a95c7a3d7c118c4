"""What it costs, measured beside the floors of this machine: ``python -m bench``, called by ``make bench``.

Absolute figures say little about another machine, so every figure here stands beside a floor that was measured in the
same run: PostgreSQL's own insert, the reference IPAM plugin host-local, the bare interpreter. Servers, agents and
plugins are the real ones, as separate processes. All parts measure in rounds that take turns, so that what else the
machine does hits all alike, and a ratio is the median of its rounds' ratios.

- ``part`` says what a part of the bench is, ``parts`` lists them: add yours there
- ``stage`` has what parts measure on: servers, filled databases, agents, the installed plugin, the floors
- ``series`` holds what was measured, ``table`` and ``machine`` say it

Nothing here may change a figure to please a goal: no pause, no retry, no sample left out. A missing program is a line
that says how to get it.
"""
