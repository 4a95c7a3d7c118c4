"""ADD as a runtime sees it: the plugin's whole process, one at a time, with few and with many addresses held."""

from __future__ import annotations

import random
from functools import partial

from bench import plugin
from bench.hostlocal import HostLocal
from bench.part import Missing, Part, Row, Run, at_least, at_most
from bench.series import Series, ratio
from bench.stage import ENGINES, LABEL, Stage, env, fresh

TIMES = 60
SELDOM = 4
"""host-local with 10,000 held is asked at each fourth turn only: it takes as long as all others together."""
HELD = (0, 10_000, 60_000)


def run(stage: Stage) -> Run:
    rows: list[Row] = []
    ours = {}
    for engine in ENGINES:
        for held in HELD:
            try:
                agent = stage.agent(engine, held)
            except Missing as missing:
                rows.append(Row(f"ADD, whole process, {LABEL[engine]}", note=str(missing)))
                break
            ours[engine, held] = agent, Series(f"ADD, whole process, {LABEL[engine]}, {held:,} held")
    peers = {}
    for held in HELD[:2]:
        try:
            peer = HostLocal(stage.folder / f"host-local-{held}", held)
            peers[held] = peer, Series(f"ADD, whole process, host-local, {held:,} held")
        except Missing as missing:
            rows.append(Row("ADD, whole process, host-local", note=str(missing)))
            break
    for agent, _ in ours.values():  # its first ADD opens the connection
        for verb in ("ADD", "DEL"):
            plugin.must(stage.add(agent, env(verb, "first")))
    for _ in range(stage.rounds):
        samples: dict[str, list[float]] = {}
        for turn in range(TIMES):
            for key in random.sample(
                [*ours, *peers], len(ours) + len(peers)
            ):  # none always follows the slowest
                if key in ours:
                    agent, series = ours[key]
                    call = partial(stage.add, agent)
                else:
                    peer, series = peers[key]
                    call = peer.call
                    if key and turn % SELDOM:
                        continue
                name = fresh()
                samples.setdefault(series.name, []).append(plugin.must(call(env("ADD", name))))
                plugin.must(call(env("DEL", name)))
        for _, series in (*ours.values(), *peers.values()):
            series.add(samples[series.name])
        yield
    empty_peer, full_peer = (peers[held][1] if held in peers else Series("") for held in HELD[:2])
    for (engine, held), (_, series) in ours.items():
        if held == 0:
            goals = [at_most(0.012, series.p50), at_most(3.5, ratio(series, empty_peer), "× host-local")]
        else:
            goals = [at_most(1.2, ratio(series, ours[engine, 0][1]), "× nothing held")]
            goals.append(at_least(10, ratio(full_peer, series), "× faster than host-local at 10,000"))
        rows.append(Row(series.name, series, goals=tuple(goals)))
    return rows + [Row(series.name, series) for _, series in peers.values()]


PART = Part(
    "add", "ADD, whole process: ≤ 12 ms, ≤ 3.5 × host-local; with 10,000 and 60,000 held ≤ 1.2 × that", run
)
