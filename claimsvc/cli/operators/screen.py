"""Output of a command: human-readable tables or JSON on standard output, errors on standard error."""

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
"""From this terminal width on, a table shows all its columns."""
_WITHOUT_TERMINAL = 400
"""Width of a table without a terminal: wide enough not to be wrapped."""
NOTHING = "-"


@immutable
class Column:
    """A column: its heading, and the function that returns an item's cell."""

    title: str
    cell: Callable[[dict[str, Any]], object]
    wide: bool = False
    """Omitted on a narrow terminal."""
    style: str = ""
    whole: bool = False
    """Never truncated: a name or id to copy."""
    firm: bool = False
    """Never wrapped; other columns shrink first."""


class Screen:
    """The output of a command. With `as_json`, standard output receives JSON only; texts go to standard error."""

    def __init__(self, *, as_json: bool, out: Console | None = None, err: Console | None = None) -> None:
        self.as_json = as_json
        self.out = out or _console(stderr=False)
        self.err = err or _console(stderr=True)

    @property
    def is_wide(self) -> bool:
        """Return whether the terminal has room for every column."""
        return self.out.width >= WIDE

    def json(self, document: object) -> None:
        """Print a JSON document on one line."""
        self.out.file.write(to_json(document).decode() + "\n")
        self.out.file.flush()

    def say(self, text: str, style: str = "") -> None:
        """Print a text that is not part of the JSON result."""
        (self.err if self.as_json else self.out).print(Text(text, style))

    def line(self, text: str | Text) -> None:
        """Print a line without wrapping it, and flush."""
        self.out.print(text, soft_wrap=True)
        self.out.file.flush()

    def note(self, text: str) -> None:
        """Print a remark on standard error."""
        self._print_error(Text(text, "yellow"))

    def complain(self, text: str) -> None:
        """Print a failure in one line on standard error."""
        self._print_error(Text(f"claimsvc: {text}"))

    def _print_error(self, text: Text) -> None:
        # A program gets one line, however long; on a terminal it is wrapped between words.
        self.err.print(text, soft_wrap=not self.err.is_terminal)

    def items(self, columns: Sequence[Column], items: Iterable[dict[str, Any]]) -> None:
        """Print a table with a line for each item."""
        self.out.print(table(columns, items, wide=self.is_wide))

    def facts(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Print names and values of one item, a line for each."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold")
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(name, _text(value))
        self.out.print(grid)

    def result(self, document: object, pairs: Iterable[tuple[str, object]]) -> None:
        """Print a result: the document as JSON, otherwise the pairs."""
        if self.as_json:
            self.json(document)
        else:
            self.facts(pairs)

    def done(self, document: object, text: str) -> None:
        """Print a result: the document as JSON, otherwise a sentence."""
        if self.as_json:
            self.json(document)
        else:
            self.say(text, "green")


def table(columns: Sequence[Column], items: Iterable[dict[str, Any]], *, wide: bool) -> Table:
    """Return a table, without the `wide` columns unless `wide`."""
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


# --- times; the service sends epoch milliseconds


def when(at_ms: int | None) -> str | None:
    """Return a time in this machine's time zone."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def lasting(ms: int) -> str:
    """Return a duration in its two largest units."""
    seconds = max(0, ms) // 1000
    for size, unit, smaller, lesser in _UNITS:
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            part = rest // smaller if smaller else 0
            return f"{whole} {unit} {part} {lesser}" if part else f"{whole} {unit}"
    return "less than a second"


_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"), (1, "s", 0, ""))
