"""How findings are told: as they are found, on a screen, or all together in JSON."""

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

_STYLES = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red", Verdict.UNSEEN: "cyan"}
_COUNTED = {
    Verdict.PASS: "passed",
    Verdict.WARN: "to look at",
    Verdict.FAIL: "failed",
    Verdict.UNSEEN: "not examined",
}
_INDENT = 9
_NAME = 46
_UNBROKEN = 10_000
"""The width of a file: lines there are for other programs."""
_WIDE = 110
"""From this width on, what was seen stands beside the name and not below it."""


class Report(ABC):
    """Findings told one by one."""

    def __init__(self) -> None:
        self.counts: Counter[Verdict] = Counter()

    @property
    def has_failed(self) -> bool:
        """Whether anything has failed."""
        return bool(self.counts[Verdict.FAIL])

    def tell(self, finding: Finding) -> None:
        """Tell one finding."""
        self.counts[finding.verdict] += 1
        self._show(finding)

    @contextmanager
    def examining(self, settings: Settings) -> Iterator[None]:
        """Tell what is examined, and that it takes its time."""
        yield

    @abstractmethod
    def end(self, code: int) -> None:
        """Tell the sum. `code` is the command's exit code."""

    @abstractmethod
    def _show(self, finding: Finding) -> None: ...


class JsonReport(Report):
    """One JSON object in the end."""

    def __init__(self) -> None:
        super().__init__()
        self._settings: dict[str, object] = {}
        self._findings: list[dict[str, str]] = []

    @contextmanager
    def examining(self, settings: Settings) -> Iterator[None]:
        """Remember the settings, secrets masked."""
        self._settings = settings.model_dump(mode="json")
        yield

    def end(self, code: int) -> None:
        """Print it."""
        counts = {verdict.value: self.counts[verdict] for verdict in Verdict}
        whole = {"version": __version__, "exit": code, "counts": counts, "findings": self._findings}
        typer.echo(json.dumps({**whole, "settings": self._settings}, indent=2))

    def _show(self, finding: Finding) -> None:
        self._findings.append(asdict(finding))


class ScreenReport(Report):
    """Lines for people; on a terminal with colours, and as wide as it is."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = _UNBROKEN
        self._area = ""

    @contextmanager
    def examining(self, settings: Settings) -> Iterator[None]:
        """Show the settings that are not the defaults, and a sign of life."""
        self._head("settings", "those that are not the defaults")
        for name, value in _changed(settings):
            self._print(f"  {name} = ", Text(str(value)))
        with self._console.status("examining; accounts of the name claimsvc-check-... come and go"):
            yield

    def end(self, code: int) -> None:
        """Show the counts."""
        told = [
            Text(f"{self.counts[verdict]} {word}", _STYLES[verdict])
            for verdict, word in _COUNTED.items()
            if self.counts[verdict]
        ]
        self._console.print()
        self._console.print(Text(", ").join(told))

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
        """Print a text behind its head; what has no room goes below, under its beginning."""
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
    """Yield the settings that are not the defaults, by their full names, secrets masked."""
    for section in type(settings).model_fields:
        given = getattr(settings, section)
        if not isinstance(given, BaseModel):  # a key of no section; by default there is none
            if given is not None:
                yield section, str(given)
            continue
        shown, default = given.model_dump(mode="json"), type(given)().model_dump(mode="json")
        for key, value in shown.items():
            if value != default[key]:
                yield f"{section}.{key}", value
