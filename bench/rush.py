"""A node boots: fifty ADD processes at one moment."""

from __future__ import annotations

from bench import plugin
from bench.hostlocal import HostLocal
from bench.part import Missing, Part, Row, Run, at_least, at_most
from bench.plugin import Call
from bench.series import Series, ratio
from bench.stage import ENGINES, LABEL, Stage, env, fresh

COUNT = 50
TIMES = 4


class _Crowd:
    """The same rush at one plugin, again and again: each process's seconds, a rush's rate, and how many failed."""

    def __init__(self, label: str) -> None:
        self.what = f"{COUNT} ADD processes at once, {label}"
        self.time = Series(self.what)
        self.rate = Series(f"{self.what}, rate", "/s")
        self.failed = 0
        self._seconds: list[float] = []
        self._rates: list[float] = []

    def rush(self, adds: list[Call]) -> None:
        seconds, done = plugin.together(adds)
        self.failed += sum(not each for each in done)
        self._seconds += [each.seconds for each in done]
        self._rates.append(len(done) / seconds)

    def end_round(self) -> None:
        self.time.add(self._seconds)
        self.rate.add(self._rates)
        self._seconds, self._rates = [], []


def run(stage: Stage) -> Run:
    rows: list[Row] = []
    calls = {}
    for engine in ENGINES:
        try:
            agent = stage.agent(engine)
        except Missing as missing:
            rows.append(Row(_Crowd(LABEL[engine]).what, note=str(missing)))
            continue
        calls[engine] = lambda env, agent=agent: stage.add(agent, env)
    try:
        calls["host-local"] = HostLocal(stage.folder / "host-local-rush").call
    except Missing as missing:
        rows.append(Row(_Crowd("host-local").what, note=str(missing)))
    bare = Call(str(stage.interpreter), {}, b"", ("-IS", "-c", "import _socket"))
    calls["bare"] = lambda _: bare
    crowds = {key: _Crowd(LABEL.get(key, key)) for key in calls}
    crowds["bare"].what = f"{COUNT} × python3 -IS -c 'import _socket' at once"
    for _ in range(stage.rounds):
        for _ in range(TIMES):
            for key, call in calls.items():
                names = [fresh() for _ in range(COUNT)]
                crowds[key].rush([call(env("ADD", name)) for name in names])
                for name in names if key != "bare" else ():
                    plugin.must(call(env("DEL", name)))
        for crowd in crowds.values():
            crowd.end_round()
        yield
    peer = crowds["host-local"].rate if "host-local" in crowds else Series("")
    for key, crowd in crowds.items():
        goals = (
            at_most(0, crowd.failed, "failures"),
            at_most(0.5, crowd.time.p99),
            at_least(0.5, ratio(crowd.rate, peer), "× host-local's rate"),
        )
        rows.append(Row(crowd.what, crowd.time, crowd.rate, goals if key in ENGINES else ()))
    return rows


PART = Part(
    "rush", f"{COUNT} ADD processes at once: none fails, p99 ≤ 500 ms, ≥ 0.5 × host-local's rate", run
)
