"""The agent under load: 32 connections that stay open, each asking as soon as it is answered."""

from __future__ import annotations

import json
from contextlib import nullcontext

from bench import clients
from bench.part import Missing, Part, Row, Run, at_least, at_most
from bench.series import Series, ratio
from bench.stage import ENGINES, LABEL, POOL, Stage, env
from cni import wire
from ledger.store import Database
from tests.servers.agent import Agent

CLIENTS = 32
SECONDS = 2.0


def request(agent: Agent) -> clients.Request:
    """ADD and DEL as the plugin forwards them."""
    stdin = json.dumps(agent.config(pool=POOL)).encode()
    mark = 7_777_777_777_777_777_777
    bodies = {}
    for verb in ("ADD", "DEL"):
        entries = [(key.encode(), value.encode()) for key, value in env(verb, str(mark)).items()]
        bodies[verb] = wire.request(entries, stdin)
    return lambda verb, number: bodies[verb].replace(b"%d" % mark, b"%019d" % number)


def events(agent: Agent) -> int:
    database = Database(agent.url)
    with database.read() as tx:
        count: int = tx.connection.exec_driver_sql("SELECT count(*) FROM ledger").scalar_one()
    database.close()
    return count


def run(stage: Stage) -> Run:
    rows: list[Row] = []
    agents = {}
    for engine in ENGINES:
        what = f"agent, {CLIENTS} clients on its socket, {LABEL[engine]}, events"
        try:
            agent = stage.agent(engine, purpose="load")
            agents[engine] = agent, Series(what), Series(what, "/s")
        except Missing as missing:
            rows.append(Row(what, note=str(missing)))
    errors = 0
    floor = Series("F8 beside the agent", "/s")
    for _ in range(stage.rounds):
        for engine, (agent, seconds, rate) in agents.items():
            before = events(agent)
            with stage.beside(8, floor) if engine == "postgresql" else nullcontext():
                load = clients.run(agent.socket, request(agent), clients=CLIENTS, seconds=SECONDS)
            errors += len(load.errors)
            written = events(agent) - before
            assert written >= len(load.seconds), f"{written} events for {len(load.seconds)} answers"
            seconds.add(load.seconds)
            rate.add([load.rate])
        yield
    for engine, (_, seconds, rate) in agents.items():
        goals = [at_most(0, errors, "errors")]
        if engine == "postgresql":
            goals.append(at_least(0.4, ratio(rate, floor), "× F8"))
        rows.append(Row(rate.name, seconds, rate, tuple(goals)))
    return rows


PART = Part(
    "agent", f"the agent, {CLIENTS} clients on its socket: ≥ 0.4 × F8 events a second on PostgreSQL", run
)
