"""What this machine's PostgreSQL commits at all: pgbench, single-row inserts into a table with a bigserial key."""

from __future__ import annotations

from bench.part import Part, Row, Run
from bench.stage import Stage

CLIENTS = (1, 8, 32)


def run(stage: Stage) -> Run:
    for _ in range(stage.rounds):
        for clients in CLIENTS:
            stage.floor(clients)
        yield
    rows = []
    for clients in CLIENTS:
        rate, time = stage.floor(clients)
        rows.append(
            Row(f"F{clients}: pgbench, insert of a row, {clients} client{'s'[: clients > 1]}", time, rate)
        )
    return rows


PART = Part("floors", "F1, F8, F32: what PostgreSQL inserts here, by pgbench (no goal)", run)
