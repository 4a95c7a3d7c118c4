"""The same rows in every format: what programs parse comes back, and no cell can do harm."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ledger.cli.output import PAGE, Column, Printer, printable

ROWS: list[dict[str, Any]] = [
    {"seq": 1, "ip": "10.0.0.1", "name": "web-0", "until": None, "spec": {"a": [1, 2]}, "ok": True},
    {"seq": 20, "ip": "2001:10:20:30:40:50:1:2", "name": "ünïcode, \"quoted\"\nline", "until": "2026-11-24T10:00:00.000000Z", "spec": None, "ok": False},
]  # fmt: skip
COLUMNS = (Column("SEQ", "seq", right=True), Column("ADDRESS", "ip"), Column("NAME", lambda row: row["name"]))


def printed(
    output: str, rows: Any = ROWS, columns: Any = COLUMNS, *, terminal: bool = False, **more: Any
) -> str:
    stream = io.StringIO()
    Printer(output, stream=stream, terminal=terminal).rows(rows, columns, **more)
    return stream.getvalue()


def test_json_is_a_list() -> None:
    assert json.loads(printed("json")) == ROWS
    assert json.loads(printed("json", ROWS[:1])) == ROWS[:1]
    assert printed("json", []) == "[]\n"


def test_jsonl_is_one_a_line() -> None:
    lines = printed("jsonl").splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    assert printed("jsonl", []) == ""


def test_yaml_is_a_list_and_keeps_texts_texts() -> None:
    assert yaml.safe_load(printed("yaml")) == ROWS
    assert yaml.safe_load(printed("yaml", [])) == []


def test_csv_has_a_header_and_keeps_every_cell() -> None:
    found = list(csv.DictReader(io.StringIO(printed("csv"))))
    assert list(found[0]) == list(ROWS[0])
    assert found[1]["name"] == ROWS[1]["name"]
    assert (found[0]["until"], found[0]["spec"], found[0]["ok"]) == ("", '{"a": [1, 2]}', "true")
    assert printed("csv", [], fields=("a", "b")) == "a,b\n"
    assert printed("csv", ROWS, fields=("ip", "seq")).startswith("ip,seq\n10.0.0.1,1\n")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", "\n=1", "＝1+1"])
def test_csv_gives_a_spreadsheet_no_formula(cell: str) -> None:
    [found] = list(csv.DictReader(io.StringIO(printed("csv", [{"reason": cell}]), newline="")))
    assert printed("csv", [{"reason": "a"}]) == "reason\na\n"
    assert found["reason"] == "'" + cell


def test_csv_leaves_numbers_and_harmless_texts_alone() -> None:
    assert printed("csv", [{"a": -1, "b": "10.0.0.1", "c": "a=b"}]) == "a,b,c\n-1,10.0.0.1,a=b\n"


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"), st.text() | st.integers() | st.none() | st.booleans(), min_size=3
        ),
        max_size=5,
    )
)
def test_any_row_comes_back_from_what_programs_read(rows: list[dict[str, Any]]) -> None:
    assert json.loads(printed("json", rows)) == rows
    assert [json.loads(line) for line in printed("jsonl", rows).split("\n") if line] == rows
    assert yaml.safe_load(printed("yaml", rows)) == rows


def test_a_piped_table_is_plain_and_never_cut() -> None:
    long = "x" * 500
    assert printed(
        "table", [{"seq": 1, "ip": "10.0.0.1", "name": long}, {"seq": 10, "ip": "10.0.0.22", "name": "y"}]
    ) == (f"SEQ   ADDRESS     NAME\n  1   10.0.0.1    {long}\n 10   10.0.0.22   y\n")


def test_a_piped_table_counts_columns_of_a_terminal() -> None:
    rows = [{"seq": 1, "ip": ip, "name": "x"} for ip in ("中文", "é", "e\u0301", "abcd")]
    assert [line.rpartition("x")[0] for line in printed("table", rows).splitlines()[1:]] == [
        "  1   中文      ",
        "  1   é         ",
        "  1   e\u0301         ",
        "  1   abcd      ",
    ]


def test_a_table_that_comes_while_one_waits_has_the_widths_of_what_comes() -> None:
    stream = io.StringIO()
    pages = [[], [ROWS[0]], [{**ROWS[0], "ip": "10.0.0.100"}], [ROWS[0]]]
    Printer("table", stream=stream, terminal=False).stream(pages, COLUMNS, ())
    assert stream.getvalue().splitlines() == [
        "SEQ   ADDRESS    NAME",
        "  1   10.0.0.1   web-0",
        "  1   10.0.0.100   web-0",
        "  1   10.0.0.1     web-0",
    ]


def test_a_dumb_terminal_gets_the_table_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    rows = [{"seq": 1, "ip": "10.0.0.1", "name": "x" * 300}]
    assert printed("table", rows, terminal=True) == printed("table", rows)


def test_a_long_table_goes_on_with_the_widths_of_its_first_page() -> None:
    rows = [{"seq": n, "ip": "10.0.0.1", "name": "a"} for n in range(PAGE + 5)]
    lines = printed("table", rows).splitlines()
    assert len(lines) == PAGE + 6 and lines.count(lines[0]) == 1
    assert {line.index("10.0.0.1") for line in lines[1:]} == {6}


def test_rows_are_written_as_they_come() -> None:
    """Ten million rows need no more memory than ten."""
    for output in ("json", "jsonl", "yaml", "csv", "table"):
        stream = io.StringIO()

        def rows(stream: io.StringIO = stream) -> Any:
            for n in range(3 * PAGE):
                yield {"seq": n, "ip": "10.0.0.1", "name": "a"}
            assert stream.tell() > 1000, "nothing was written before the last row came"

        assert Printer(output, stream=stream, terminal=False).rows(rows(), COLUMNS) == 3 * PAGE


def test_a_table_on_a_terminal_is_richs_and_too_wide_a_one_is_not_folded() -> None:
    text = printed("table", [{"seq": 1, "ip": "10.0.0.1", "name": "x" * 300}], terminal=True)
    assert "\x1b[" in text and "─" in text and "x" * 300 in text


def test_no_color_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    columns = (Column("STATE", "state"),)
    assert "\x1b[32m" in printed("table", [{"state": "allocated"}], columns, terminal=True)
    stream = io.StringIO()
    Printer("table", color=False, stream=stream, terminal=True).rows([{"state": "allocated"}], columns)
    assert "\x1b[32m" not in stream.getvalue()


def test_nothing_found_is_said_on_stderr_to_people_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed("table", [], empty="nothing there") == ""
    assert capsys.readouterr().err == "nothing there\n"
    assert printed("json", [], empty="nothing there") == "[]\n"
    assert capsys.readouterr().err == ""


def test_a_name_cannot_move_the_readers_cursor() -> None:
    evil = "a\x1b[2Jb\r\u202e\x00"
    assert printable(evil) == r"a\x1b[2Jb\r\u202e\x00"
    assert "\x1b" not in printed("table", [{"seq": 1, "ip": evil, "name": evil}])
    assert printable(None) == "" and printable({"a": 1}) == '{"a":1}' and printable(True) == "true"


def test_one_object_or_null() -> None:
    def one(output: str, row: Any, **more: Any) -> str:
        stream = io.StringIO()
        Printer(output, stream=stream, terminal=False).one(row, **more)
        return stream.getvalue()

    assert json.loads(one("json", ROWS[0])) == ROWS[0] and one("json", None) == "null\n"
    assert json.loads(one("jsonl", ROWS[0])) == ROWS[0]
    assert yaml.safe_load(one("yaml", ROWS[1])) == ROWS[1] and one("yaml", None) == "null\n"
    assert one("csv", {"a": 1}) == "a\n1\n" and one("csv", None, fields=("a",)) == "a\n"
    assert yaml.safe_load(one("table", {"a": 1})) == {"a": 1}, "without words of its own a person sees YAML"


def test_a_terminal_that_knows_no_unicode_gets_ascii_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert printed("jsonl", [{"a": "ü"}]) == '{"a":"\\u00fc"}\n'
