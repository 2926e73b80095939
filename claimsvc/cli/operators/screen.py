"""What a command shows: tables for people, JSON for programs, complaints on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json
from rich import box
from rich.console import Console, OverflowMethod
from rich.table import Table
from rich.text import Text

from claimsvc.immutable import immutable
from claimsvc.log import clean

WIDE = 110
"""Columns of a terminal from which on a table shows all it has."""
_WITHOUT_TERMINAL = 400
"""A table that is not for a terminal is not folded."""
NOTHING = "-"


@immutable
class Column:
    """A column: its heading, and how an item's cell is made."""

    title: str
    cell: Callable[[dict[str, Any]], object]
    wide: bool = False
    """Whether it is left out where there is little room."""
    style: str = ""
    whole: bool = False
    """Whether the cell is never cut: a name or id that is to be copied."""
    firm: bool = False
    """Whether the others give way first: a word that says nothing when it is cut."""


class Screen:
    """Where a command prints. With JSON standard output is for one document or its lines, and words go elsewhere."""

    def __init__(self, *, as_json: bool, out: Console | None = None, err: Console | None = None) -> None:
        self.as_json = as_json
        self.out = out or _console(stderr=False)
        self.err = err or _console(stderr=True)

    @property
    def is_wide(self) -> bool:
        """Whether there is room for every column."""
        return self.out.width >= WIDE

    def json(self, document: object) -> None:
        """Print a document of JSON on a line."""
        self.out.file.write(to_json(document).decode() + "\n")
        self.out.file.flush()

    def say(self, text: str, style: str = "") -> None:
        """Tell a person something that is not the command's result."""
        (self.err if self.as_json else self.out).print(Text(text, style))

    def line(self, text: str | Text) -> None:
        """Print one line of many, however long it is, at once."""
        self.out.print(text, soft_wrap=True)
        self.out.file.flush()

    def note(self, text: str) -> None:
        """Tell a person something beside what is printed, on standard error."""
        self._tell(Text(text, "yellow"))

    def complain(self, text: str) -> None:
        """Tell of a failure, in one line on standard error."""
        self._tell(Text(f"claimsvc: {text}"))

    def _tell(self, text: Text) -> None:
        # One line for a program, however long; a terminal's is broken between words.
        self.err.print(text, soft_wrap=not self.err.is_terminal)

    def items(self, columns: Sequence[Column], items: Iterable[dict[str, Any]]) -> None:
        """Print a table, a line for each item."""
        self.out.print(table(columns, items, wide=self.is_wide))

    def facts(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Print what is known of one thing, a line for each."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold")
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(name, _text(value))
        self.out.print(grid)

    def result(self, document: object, pairs: Iterable[tuple[str, object]]) -> None:
        """Print a result: the document as JSON, or the pairs for a person."""
        if self.as_json:
            self.json(document)
        else:
            self.facts(pairs)

    def done(self, document: object, text: str) -> None:
        """Print a result that a sentence says."""
        if self.as_json:
            self.json(document)
        else:
            self.say(text, "green")


def table(columns: Sequence[Column], items: Iterable[dict[str, Any]], *, wide: bool) -> Table:
    """Return a table of the columns there is room for."""
    shown = [column for column in columns if wide or not column.wide]
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in shown:
        overflow: OverflowMethod = "fold" if column.whole else "ellipsis"
        made.add_column(column.title, style=column.style, overflow=overflow, no_wrap=column.firm)
    for item in items:
        made.add_row(*(_text(column.cell(item)) for column in shown))
    return made


def _text(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if value is None or (isinstance(value, str | list) and not value):
        return Text(NOTHING, "dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, dict):
        return Text(clean(to_json(value).decode()))
    if isinstance(value, list | tuple):
        return Text(clean(", ".join(map(str, value))))
    return Text(clean(str(value)))


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WITHOUT_TERMINAL
    return Console(stderr=stderr, soft_wrap=False, highlight=False, width=width)


# --- times; all that come from the service are epoch milliseconds


def when(at_ms: int | None) -> str | None:
    """Return a time as this machine's clock on the wall shows it."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def lasting(ms: int) -> str:
    """Return a duration in its two largest units, or less than a second as that."""
    seconds = max(0, ms) // 1000
    for size, unit, smaller, lesser in _UNITS:
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            part = rest // smaller if smaller else 0
            return f"{whole} {unit} {part} {lesser}" if part else f"{whole} {unit}"
    return "less than a second"


_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"), (1, "s", 0, ""))
