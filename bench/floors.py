"""What this machine's PostgreSQL commits at all: pgbench, single-row inserts into a table with a bigserial key."""

from __future__ import annotations

from bench.part import Part, Row, Run
from bench.series import Series
from bench.stage import Stage

CLIENTS = (1, 8, 32)


def run(stage: Stage) -> Run:
    measured = {
        clients: (Series(f"F{clients} time"), Series(f"F{clients} rate", "/s")) for clients in CLIENTS
    }
    for _ in range(stage.rounds):
        for clients, (time, rate) in measured.items():
            per_second, seconds = stage.floor(clients)
            time.add(seconds)
            rate.add([per_second])
        yield
    return [
        Row(f"F{clients}: pgbench, insert of a row, {clients} client{'s'[: clients > 1]}", time, rate)
        for clients, (time, rate) in measured.items()
    ]


PART = Part("floors", "F1, F8, F32: what PostgreSQL inserts here, by pgbench (no goal)", run)
