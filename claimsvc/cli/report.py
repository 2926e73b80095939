"""Reports of `check`: lines on the screen, printed as findings come, or one JSON object at the end."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import typer
from pydantic import BaseModel
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from claimsvc import __version__
from claimsvc.checking.finding import Finding, Verdict
from claimsvc.settings import Settings

_STYLES = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red", Verdict.SKIPPED: "cyan"}
_COUNTED = {
    Verdict.PASS: "passed",
    Verdict.WARN: "warnings",
    Verdict.FAIL: "failed",
    Verdict.SKIPPED: "skipped",
}
_INDENT = 10
_NAME = 46
_UNBROKEN = 10_000
"""Width used if the output is no terminal: other programs read lines that are never wrapped."""
_WIDE = 110
"""From this terminal width on, the details are printed beside the name, otherwise below it."""


class Report(ABC):
    """Receives the findings one by one and counts them."""

    def __init__(self) -> None:
        self.counts: Counter[Verdict] = Counter()

    @property
    def has_failed(self) -> bool:
        """Return whether any check has failed."""
        return bool(self.counts[Verdict.FAIL])

    def tell(self, finding: Finding) -> None:
        """Count and report one finding."""
        self.counts[finding.verdict] += 1
        self._show(finding)

    @contextmanager
    def examining(self, settings: Settings) -> Iterator[None]:
        """Report the settings and show progress while the checks run."""
        yield

    @abstractmethod
    def end(self, code: int) -> None:
        """Report the counts. `code` is the command's exit code."""

    @abstractmethod
    def _show(self, finding: Finding) -> None: ...


class JsonReport(Report):
    """Prints one JSON object at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._settings: dict[str, object] = {}
        self._findings: list[dict[str, str]] = []

    @contextmanager
    def examining(self, settings: Settings) -> Iterator[None]:
        """Keep the settings, with secrets masked."""
        self._settings = settings.model_dump(mode="json")
        yield

    def end(self, code: int) -> None:
        """Print the JSON object."""
        counts = {verdict.value: self.counts[verdict] for verdict in Verdict}
        whole = {"version": __version__, "exit": code, "counts": counts, "findings": self._findings}
        typer.echo(json.dumps({**whole, "settings": self._settings}, indent=2))

    def _show(self, finding: Finding) -> None:
        self._findings.append(asdict(finding))


class ScreenReport(Report):
    """Prints human-readable lines; on a terminal with colours and wrapped to its width."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = _UNBROKEN
        self._area = ""

    @contextmanager
    def examining(self, settings: Settings) -> Iterator[None]:
        """Show the settings that differ from the defaults, and a status line while the checks run."""
        self._head("settings", "only those that differ from the defaults")
        for name, value in _changed(settings):
            self._print(f"  {name} = ", Text(str(value)))
        with self._console.status("checking; temporary accounts are named claimsvc-check-..."):
            yield

    def end(self, code: int) -> None:
        """Show the counts."""
        words = [
            Text(f"{self.counts[verdict]} {word}", _STYLES[verdict])
            for verdict, word in _COUNTED.items()
            if self.counts[verdict]
        ]
        self._console.print()
        self._console.print(Text(", ").join(words))

    def _show(self, finding: Finding) -> None:
        if finding.area != self._area:
            self._area = finding.area
            self._head(finding.area)
        verdict = Text(f"  {finding.verdict.value.upper():<{_INDENT - 3}} ", _STYLES[finding.verdict])
        wants_change = bool(finding.change) and finding.verdict is not Verdict.PASS
        seen = Text(finding.seen, "" if wants_change else "dim")
        if not finding.seen:
            self._print(verdict, Text(finding.name))
        elif self._console.width >= _WIDE:
            self._print(verdict.append(f"{finding.name:<{_NAME}} ", "default"), seen)
        elif not wants_change and _INDENT + cell_len(f"{finding.name}  {finding.seen}") <= self._console.width:
            self._print(verdict, Text.assemble(finding.name, "  ", seen))
        else:
            self._print(verdict, Text(finding.name))
            self._print(" " * _INDENT, seen)
        if wants_change:
            self._print(" " * _INDENT + "change: ", Text(finding.change))

    def _head(self, area: str, more: str = "") -> None:
        self._console.print()
        self._print(Text(area, "bold").append("  " if more else ""), Text(more, "dim"))

    def _print(self, head: Text | str, text: Text) -> None:
        """Print a text after its head; lines that wrap are indented below its beginning."""
        if not text:
            if str(head).strip():
                self._console.print(head)
            return
        grid = Table.grid()
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(head, text)
        self._console.print(grid)


def _changed(settings: Settings) -> Iterator[tuple[str, object]]:
    """Yield the settings that differ from the defaults: full name and value, secrets masked."""
    shown = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        default = field.get_default()
        if not isinstance(default, BaseModel):  # a key outside of any section
            if shown[name] != default:
                yield name, shown[name]
            continue
        defaults = default.model_dump(mode="json")
        yield from ((f"{name}.{key}", value) for key, value in shown[name].items() if value != defaults[key])
