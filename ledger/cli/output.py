"""The same rows as a table, JSON, JSON lines, YAML or CSV.

Rows are plain dicts, as a program reads them; columns say what a person sees of them. Everything is written as it
comes, so that ten million rows need no more memory than ten. On a terminal tables are rich's; piped, they are plain
text that is never wrapped or cut.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any, Final, TextIO

Row = Mapping[str, Any]

PAGE: Final = 500
"""Rows whose widths are measured together; a longer table goes on with the widths of its first page."""

# What a spreadsheet would take for a formula (OWASP, "CSV injection"); the full-width forms too.
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")

STYLES: Final = {
    "allocated": "green",
    "held": "yellow",
    "cooling": "cyan",
    "free": "dim",
    "Allocated": "green",
    "Adopted": "green",
    "Held": "yellow",
    "Reclaimed": "magenta",
}
"""Words that are coloured wherever a cell consists of them."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, and a key of the row or a function of it. ``right``: numbers."""

    title: str
    of: str | Callable[[Row], object]
    right: bool = False

    def cell(self, row: Row) -> str:
        value = row.get(self.of) if isinstance(self.of, str) else self.of(row)
        return printable(value)


class Printer:
    """Writes answers in one format. ``terminal``: None asks the stream."""

    def __init__(
        self, output: str, *, color: bool = True, stream: TextIO | None = None, terminal: bool | None = None
    ) -> None:
        self.output = output
        self._color = color
        self._stream = stream or sys.stdout or io.StringIO()  # it was closed: nobody listens
        self.terminal = self._stream.isatty() if terminal is None else terminal
        # rich would fold a table at 80 columns there.
        if os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
            self.terminal = False

    def rows(
        self, rows: Iterable[Row], columns: Sequence[Column], *, fields: Sequence[str] = (), empty: str = ""
    ) -> int:
        """Many rows; returns how many. ``fields``: the keys of CSV's header where there is no row to take them from.

        ``empty``: what to tell a person on stderr if there is none.
        """
        counted = _Counted(rows)
        match self.output:
            case "json":
                self._json_list(counted)
            case "jsonl":
                for row in counted:
                    self.line(_json(row))
            case "yaml":
                self._yaml_list(counted)
            case "csv":
                self._csv(counted, fields)
            case _:
                self._table(counted, columns)
                if not counted.count and empty:
                    self._stream.flush()
                    print(empty, file=sys.stderr)  # noqa: T201
        return counted.count

    def stream(
        self, pages: Iterable[Iterable[Row]], columns: Sequence[Column], fields: Sequence[str]
    ) -> None:
        """Rows that come while one waits; each page is on its way at once. JSON is one object after another, as kubectl's -w.

        A table's columns grow with what comes, and its titles come with the first rows, whose widths they have.
        """
        first = True
        widths: list[int] = []
        for page in pages:
            if self.output == "table":
                cells = [[column.cell(row) for column in columns] for row in page]
                if cells:
                    titles, widths = not widths, list(map(max, _widths(cells, columns), widths or repeat(0)))
                    if titles:
                        self.line(_plain([column.title for column in columns], widths, columns))
                for line in cells:
                    self.line(_plain(line, widths, columns))
            elif self.output == "csv":
                self._csv(page, fields, header=first)
            else:
                for row in page:
                    if self.output == "yaml":
                        self.line("---")
                    self._one(row)
            first = False
            self._stream.flush()

    def one(
        self, row: Row | None, text: Callable[[], object] | None = None, *, fields: Sequence[str] = ()
    ) -> None:
        """One object, or null. ``text`` prints it for a person; without it, a person sees YAML."""
        if self.output == "csv":
            self._csv([row] if row is not None else [], fields)
        elif self.output == "table" and text is not None:
            text()
        else:
            self._one(row)

    def line(self, text: str = "") -> None:
        self._stream.write(text + "\n")

    def rich(self, thing: Any) -> None:
        """Something of rich's; its markup is not read."""
        self._console().print(thing, markup=False, highlight=False, soft_wrap=not self.terminal)

    def table(self, rows: Iterable[Row], columns: Sequence[Column]) -> None:
        """A table inside an answer for a person."""
        self._table(rows, columns)

    # Formats --------------------------------------------------------------------------------------

    def _one(self, row: Row | None) -> None:
        if self.output == "json":
            self.line(_json(row, indent=2))
        elif self.output == "jsonl":
            self.line(_json(row))
        else:
            self._stream.write(_yaml(row))

    def _json_list(self, rows: Iterable[Row]) -> None:
        empty = True
        for row in rows:
            text = _json(row, indent=2).replace("\n", "\n  ")
            self._stream.write(("[\n  " if empty else ",\n  ") + text)
            empty = False
        self.line("[]" if empty else "\n]")

    def _yaml_list(self, rows: Iterable[Row]) -> None:
        empty = True
        for row in rows:
            self._stream.write(_yaml([dict(row)]))
            empty = False
        if empty:
            self.line("[]")

    def _csv(self, rows: Iterable[Row], fields: Sequence[str], *, header: bool = True) -> None:
        import csv

        writer = csv.writer(_UnixLines(self._stream))
        found = iter(rows)
        first = next(found, None)
        names = list(fields) or list(first or ())
        if header and names:
            writer.writerow(names)
        for row in chain([first] if first is not None else [], found):
            writer.writerow([_csv_cell(row.get(name)) for name in names])

    def _table(self, rows: Iterable[Row], columns: Sequence[Column]) -> None:
        cells = ([column.cell(row) for column in columns] for row in rows)
        for number, page in enumerate(_pages(cells)):
            if self.terminal:
                self._rich_table(page, columns)
                continue
            if number == 0:
                widths = _widths(page, columns)
                self.line(_plain([column.title for column in columns], widths, columns))
            for line in page:
                self.line(_plain(line, widths, columns))

    def _rich_table(self, page: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
        for line in page:
            table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in line))
        # Too wide: the terminal breaks the lines, as it does with kubectl's; folded cells could not be read or copied.
        natural = sum(_widths(page, columns)) + 4 * len(columns)
        self._console(natural if natural > self.width else None).print(table)

    def _console(self, width: int | None = None) -> Any:
        from rich.console import Console

        self._stream.flush()
        terminal = self.terminal or None
        return Console(
            file=self._stream, no_color=not self._color or None, force_terminal=terminal, width=width
        )

    @property
    def width(self) -> int:
        """Columns of the terminal; 80 where there is none."""
        import shutil

        return shutil.get_terminal_size().columns


class _UnixLines:
    """Ends lines with \\n. Given that as its terminator, csv would leave a cell with \\r unquoted, and break its row."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        return self._stream.write(line.removesuffix("\r\n") + "\n")


class _Counted:
    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


def printable(value: object) -> str:
    """A cell's text. Control characters are written out: an owner's name must not move the reader's cursor."""
    if value is None:
        return ""
    text = (
        value
        if isinstance(value, str)
        else _json(value)
        if isinstance(value, dict | list | bool)
        else str(value)
    )
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _pages(lines: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    found = iter(lines)
    while page := list(islice(found, PAGE)):
        yield page


def _widths(page: Sequence[Sequence[str]], columns: Sequence[Column]) -> list[int]:
    return [
        max(len(column.title), *(_length(line[i]) for line in page), 0) for i, column in enumerate(columns)
    ]


def _plain(line: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    parts = []
    for cell, width, column in zip(line, widths, columns, strict=True):
        space = " " * (width - _length(cell))
        parts.append(space + cell if column.right else cell + space)
    return "   ".join(parts).rstrip()


def _length(text: str) -> int:
    """How many columns of a terminal the text takes: a Chinese character two, a combining one none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _json(value: Any, indent: int | None = None) -> str:
    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(value, ensure_ascii=not _utf8(), indent=indent, separators=separators)


def _utf8() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def _yaml(value: Any) -> str:
    import yaml

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text.removesuffix("...\n")


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        return "'" + value if value.startswith(_FORMULA) else value
    if value is None:
        return ""
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value
