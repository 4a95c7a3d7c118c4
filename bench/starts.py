"""What starting costs before anything is done: the plugin and the command line beside the bare interpreter."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench import plugin
from bench.part import Part, Row, Run, at_most
from bench.plugin import Call
from bench.series import Series, ratio
from bench.stage import Stage

TIMES = 60


def run(stage: Stage) -> Run:
    bare = str(stage.interpreter)
    own = {"HOME": os.environ.get("HOME", "/")}
    version = {"CNI_COMMAND": "VERSION"}
    pairs = (
        (
            "k8s-ipam VERSION, whole process",
            Call(str(stage.plugin), version, b'{"cniVersion": "1.0.0"}'),
            "python3 -IS -c 'import _socket'",
            Call(bare, {}, b"", ("-IS", "-c", "import _socket")),
            1.5,
            TIMES,
        ),
        (
            "ipam-ledger --help, whole process",
            Call(str(Path(sys.executable).parent / "ipam-ledger"), own, b"", ("--help",)),
            "python -c pass, of the same environment",
            Call(sys.executable, own, b"", ("-c", "pass")),
            6,
            TIMES // 3,
        ),
    )
    measured = [(Series(pair[0]), Series(pair[2])) for pair in pairs]
    for _ in range(stage.rounds):
        for (_, ours, _, floor, _, times), (series, floor_series) in zip(pairs, measured, strict=True):
            samples: tuple[list[float], list[float]] = ([], [])
            for _ in range(times):
                samples[0].append(plugin.must(ours))
                samples[1].append(plugin.must(floor))
            series.add(samples[0])
            floor_series.add(samples[1])
        yield
    rows = []
    for pair, (series, floor_series) in zip(pairs, measured, strict=True):
        goal = at_most(pair[4], ratio(series, floor_series), "× bare Python")
        rows += [Row(series.name, series, goals=(goal,)), Row(floor_series.name, floor_series)]
    return rows


PART = Part("start", "k8s-ipam VERSION ≤ 1.5 ×, ipam-ledger --help ≤ 6 × the bare interpreter", run)
