"""The past at full length: ten million events over a /16 on PostgreSQL, a million on SQLite.

``BENCH_EVENTS`` makes both shorter (the second a tenth of the first). Long work is measured once, in the first round; questions
in every round. Export and import run in processes of their own, whose peak memory is held against that for a tenth of the events.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.history import write
from bench.part import Goal, Missing, Part, Row, Run, at_least, at_most
from bench.series import Series
from bench.stage import ENGINES, LABEL, Stage
from ledger import audit
from ledger.archive.loader import rebuild
from ledger.seal import Sealer
from ledger.store import Database, Tx, load
from ledger.store import history as questions
from ledger.verify import CHECKS, verify

EVENTS = {"postgresql": int(os.environ.get("BENCH_EVENTS", 10_000_000))}
EVENTS["sqlite"] = EVENTS["postgresql"] // 10
ASKED = 300
PROGRAM = str(Path(sys.executable).parent / "ipam-ledger")

_ALONE = """
import json, sys, time
from pathlib import Path
from ledger.archive.reader import check_file
from ledger.archive.transfer import import_file
from ledger.archive.writer import export
from ledger.store import Database, Tx, load
what, url, file = sys.argv[1:]
database, path = Database(url), Path(file)
begun = time.perf_counter()
if what == "export":
    with path.open("wb") as out:
        export(database, out)
elif what == "check":
    check_file(path)
else:
    import_file(database, path, actor="bench")
seconds = time.perf_counter() - begun
# not ru_maxrss, which a child has from its parent
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(json.dumps({"seconds": seconds, "peak": int(peak) / 1024}))
"""


def _alone(what: str, url: str, file: Path) -> tuple[float, float]:
    """An export, an import or its check in a process of its own: its seconds, and that process's peak memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, what, url, str(file)], check=True, capture_output=True, text=True
    )
    said = json.loads(done.stdout)
    return said["seconds"], said["peak"]


@dataclass
class _Long:
    """One engine's long ledger and what was measured on it."""

    engine: str
    database: Database
    events: int
    began: datetime
    folder: Path
    empty: Callable[[], str]
    rows: list[Row] = field(default_factory=list)

    def once(
        self, what: str, work: Callable[[], object], goal: Callable[[float], Goal] | None, *, rate: bool
    ) -> None:
        begun = time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
        if rate:
            self.rate(what, seconds, goal)
        else:
            series = Series(f"{what}, {self.label}", "s")
            series.add([seconds])
            self.rows.append(Row(series.name, series, goals=(goal(seconds),) if goal else ()))

    def rate(self, what: str, seconds: float, goal: Callable[[float], Goal] | None) -> None:
        figure = self.events / seconds
        series = Series(f"{what}, {self.label}", "/s")
        series.add([figure])
        self.rows.append(Row(series.name, rate=series, goals=(goal(figure),) if goal else ()))

    @property
    def label(self) -> str:
        return f"{LABEL[self.engine]}, {self.events / 1e6:g} M events"


def run(stage: Stage) -> Run:
    rows: list[Row] = []
    with ExitStack() as stack:
        longs = []
        for engine in ENGINES:
            try:
                database = Database(stage.empty(engine))
                stack.callback(database.close)
                stage.say(f"a history of {EVENTS[engine]:,} events, {LABEL[engine]}")
                began = write(database, EVENTS[engine])
                longs.append(
                    _Long(
                        engine,
                        database,
                        EVENTS[engine],
                        began,
                        stage.folder,
                        lambda engine=engine: stage.empty(engine),
                    )  # type: ignore[misc]
                )
            except Missing as missing:
                rows.append(Row(f"the past, {LABEL[engine]}", note=str(missing)))
        asked = {
            long.engine: {
                "who-had": Series(f"who-had in the database, {long.label}"),
                "pod": Series(f"a pod's history in the database, {long.label}"),
                "pool-at": Series(f"pool-at, {long.label}"),
                "command": Series(f"ipam-ledger who-had, whole command, {long.label}"),
            }
            for long in longs
        }
        for number in range(stage.rounds):
            for long in longs:
                if number == 0:
                    _long_work(stage, long)
                _ask(long, asked[long.engine])
            yield
        for long in longs:
            series = asked[long.engine]
            rows += [
                Row(
                    series["who-had"].name, series["who-had"], goals=(at_most(0.002, series["who-had"].p99),)
                ),
                Row(series["pod"].name, series["pod"], goals=(at_most(0.002, series["pod"].p99),)),
                Row(series["pool-at"].name, series["pool-at"], goals=(at_most(1, series["pool-at"].p50),)),
                Row(series["command"].name, series["command"], goals=(at_most(0.5, series["command"].p50),)),
                *long.rows,
            ]
    return rows


def _long_work(stage: Stage, long: _Long) -> None:
    database, file = long.database, long.folder / f"{long.engine}.zst"

    def say(what: str) -> None:
        stage.say(f"{what}, {long.label}")

    say("sealing")
    long.once("seal", Sealer(database, key=None).seal, lambda f: at_least(200_000, f, "/s"), rate=True)
    say("size")
    long.rows.append(_size(long))
    say("transitions")
    transitions = [check for check in CHECKS if check.name == "transitions"]
    long.once(
        "check every transition", lambda: verify(database, transitions), lambda f: at_most(10, f), rate=False
    )
    say("export")
    url = database.url.render_as_string(hide_password=False)
    seconds, peak_out = _alone("export", url, file)
    long.rate("export", seconds, lambda f: at_least(100_000, f, "/s"))
    say("import")
    into = long.empty()
    seconds, peak_in = _alone("import", into, file)
    long.rate("import", seconds, lambda f: at_least(100_000, f, "/s"))
    seconds, peak_check = _alone("check", into, file)
    long.rate("its check, by itself", seconds, None)
    if not database.sqlite:
        long.rate("its floor: COPY of the same rows, and their indexes", _copied(long), None)
    target = Database(into)
    say("rebuild")

    def again() -> None:
        with target.begin() as tx:
            tx.connection.exec_driver_sql("DELETE FROM address")
            tx.connection.exec_driver_sql("DELETE FROM sub")
            rebuild(tx)

    long.once("rebuild the state", again, lambda f: at_most(3, f), rate=False)
    target.close()
    say("memory")
    long.rows += _memory(long, peak_out, peak_in + peak_check)


def _copied(long: _Long) -> float:
    """Seconds that PostgreSQL takes for its own part of an import, where nothing is read or checked."""
    rows, target = long.folder / "rows", Database(long.empty())
    with (
        long.database.read() as tx,
        rows.open("wb") as out,
        _cursor(tx) as cursor,
        cursor.copy("COPY ledger TO STDOUT") as copy,
    ):
        out.writelines(copy)
    begun = time.perf_counter()
    with target.begin() as tx, rows.open("rb") as source:
        load.prepare(tx)
        with _cursor(tx) as cursor, cursor.copy("COPY ledger FROM STDIN") as copy:
            while block := source.read(1 << 20):
                copy.write(block)
        load.finish(tx)
    seconds = time.perf_counter() - begun
    target.close()
    rows.unlink()
    return seconds


def _cursor(tx: Tx) -> Any:
    return tx.connection.connection.driver_connection.cursor()  # type: ignore[union-attr]


def _size(long: _Long) -> Row:
    """Bytes an event, with indexes and seals."""
    tables = ("ledger", "seal", "seal_node")
    with long.database.read() as tx:
        if tx.sqlite:
            pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            size = tx.connection.exec_driver_sql(pages).scalar_one()
        else:
            total = " + ".join(f"pg_total_relation_size('{table}')" for table in tables)
            size = tx.connection.exec_driver_sql(f"SELECT {total}").scalar_one()
    return Row(
        f"bytes an event, seals included, {long.label}", goals=(at_most(300, size / long.events, "bytes"),)
    )


def _memory(long: _Long, export: float, import_: float) -> list[Row]:
    """Peaks, and how much larger they are than with a tenth of the events."""
    file = long.folder / f"{long.engine}-tenth.zst"
    url = long.empty()
    tenth = Database(url)
    write(tenth, long.events // 10)
    tenth.close()
    _, small_out = _alone("export", url, file)
    into = long.empty()
    small_in = sum(_alone(what, into, file)[1] for what in ("import", "check"))
    return [
        Row(
            f"peak memory of {what}, {long.label}",
            goals=(at_most(300, peak, "MiB"), at_most(1.25, peak / small, "× that of a tenth")),
        )
        for what, peak, small in (("export", export, small_out), ("import", import_, small_in))
    ]


def _ask(long: _Long, series: dict[str, Series]) -> None:
    chosen = random.Random(len(series["who-had"].rounds))
    first, span = long.began, timedelta(microseconds=long.events)
    samples: dict[str, list[float]] = {"who-had": [], "pod": []}
    for _ in range(ASKED):
        ip = f"10.20.{chosen.randrange(256)}.{chosen.randrange(1, 255)}"
        at = first + span * chosen.random()
        begun = time.perf_counter()
        audit.who_had(long.database, ip, at)
        samples["who-had"].append(time.perf_counter() - begun)
        j, k = chosen.randrange(60_000), chosen.randrange(max(1, long.events // 140_000))
        wanted = questions.Wanted(namespace=f"ns-{j % 40}", pod=f"web-{j}-{k}")
        begun = time.perf_counter()
        list(audit.events(long.database, wanted))
        samples["pod"].append(time.perf_counter() - begun)
    for name, found in samples.items():
        series[name].add(found)
    begun = time.perf_counter()
    audit.pool_at(long.database, "bench", first + span / 2)
    series["pool-at"].add([time.perf_counter() - begun])
    url = long.database.url.render_as_string(hide_password=False)
    begun = time.perf_counter()
    subprocess.run([PROGRAM, "who-had", "10.20.7.7", "--db", url], check=True, capture_output=True)
    series["command"].add([time.perf_counter() - begun])


PART = Part(
    "past",
    "10 M events: questions ≤ 2 ms, rebuild ≤ 3 s, seals ≥ 200,000/s, export and import ≥ 100,000/s",
    run,
    long=True,
)
