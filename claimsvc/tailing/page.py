"""Show entries: each on one line if it fits, otherwise on several; the columns of requests are aligned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from pydantic_core import to_json
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from claimsvc.tailing.entry import Entry

_INDENT = 13
"""Width of the time column, and indent of continuation lines."""
_COMMAND, _OUTCOME = 17, 18
_LEVEL_STYLES = {"debug": "dim", "warning": "yellow", "error": "bold red"}
_OUTCOME_STYLES = {"done": "green", "repeated": "cyan", "refused": "yellow"}
_SHOWN_FIRST = ("principal", "command", "outcome", "reason", "device", "ms", "exception")
_SHOWN_NEVER = {"lane", "deviceId", "tenantId"}
"""Redundant fields; `--json` shows them."""
_OBEYED = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")
"""Control characters and escape sequences that a terminal executes, except colours of other programs' lines."""


class Page:
    """Prints entries. Without a terminal: no colour, and each entry on one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._day: date | None = None

    def show(self, entry: Entry) -> None:
        """Show an entry."""
        if entry.time is not None and entry.time.date() != self._day:
            self._day = entry.time.date()
            self._print(Text(f"{self._day:%Y-%m-%d} UTC", "dim"))
        time = f"{entry.time:%H:%M:%S}.{entry.time.microsecond // 1_000:03}" if entry.time else "-"
        line = Text(f"{time:<{_INDENT - 1}} ", "dim")
        line.append_text(_request(entry) if entry.event == "handled" else _event(entry))
        rest = [(name, value) for name, value in entry.fields.items() if _is_rest(name, value)]
        self._print(*self._filled(line, (f"{name}={_quoted(value)}" for name, value in rest)))
        exception = entry.fields.get("exception")
        if isinstance(exception, str):
            for each in exception.splitlines():
                self._print(Text(" " * _INDENT + _plain(each), "dim"))

    def pass_on(self, line: str) -> None:
        """Show a line of another program unchanged; on a terminal, without its control sequences."""
        if self._console.is_terminal:
            self._print(Text.from_ansi(_harmless(line)))
        else:
            self._print(Text(line))

    def _filled(self, line: Text, parts: Iterable[str]) -> Iterator[Text]:
        """Append the parts to the line, and break it between words at the terminal's width."""
        width = self._console.width if self._console.is_terminal else 0
        for word in " ".join(parts).split(" "):
            if width and line.cell_len > _INDENT and line.cell_len + 1 + cell_len(word) > width:
                yield line
                line = Text(" " * _INDENT)
            gap = "" if line.plain.endswith(" ") else " "
            line.append(f"{gap}{word}", "dim")
        yield line

    def _print(self, *lines: Text) -> None:
        for line in lines:
            line.rstrip()
            self._console.print(line, soft_wrap=True)


def _request(entry: Entry) -> Text:
    """Return the columns of a request: command, result, principal, device, milliseconds."""
    fields = entry.fields
    outcome = str(fields.get("outcome", ""))
    result = str(fields.get("reason") or outcome)
    principal = str(fields.get("principal") or fields.get("lane", ""))
    text = Text(f"{_shown(fields.get('command', '')):<{_COMMAND}} ", "bold")
    text.append(f"{_shown(result):<{_OUTCOME}} ", _OUTCOME_STYLES.get(outcome, ""))
    device = fields.get("device")
    if principal and principal != device:
        text.append(_shown(principal), "cyan")
    if device is not None:
        text.append(" > " if principal != device else "", "dim").append(_shown(device), "magenta")
    if fields.get("ms") is not None:
        text.append(f" {_shown(fields['ms'])} ms", "dim")
    return text


def _event(entry: Entry) -> Text:
    """Return the columns of any other event: its name, and its principal and device if it has them."""
    fields = entry.fields
    text = Text(f"{_shown(entry.event):<{_COMMAND}} ", _LEVEL_STYLES.get(entry.level, "bold"))
    if entry.level in {"warning", "error"}:
        text.append(f"{entry.level} ", _LEVEL_STYLES[entry.level])
    for name, style in (("principal", "cyan"), ("device", "magenta")):
        if fields.get(name) is not None:
            text.append("> " if name == "device" and fields.get("principal") is not None else "", "dim")
            text.append(f"{_shown(fields[name])} ", style)
    shown = [f"{name}={_quoted(fields[name])}" for name in ("command", "outcome", "reason", "ms") if name in fields]
    return text.append(" ".join(shown))


def _is_rest(name: str, value: object) -> bool:
    return name not in _SHOWN_FIRST and name not in _SHOWN_NEVER and value not in (None, {})


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else to_json(value).decode()
    return _plain(text.replace("\n", "\\n"))


def _quoted(value: Any) -> str:
    is_quoted = isinstance(value, str) and (" " in value or not value)
    return _plain(to_json(value).decode()) if is_quoted else _shown(value)


def _plain(text: str) -> str:
    """Return a field's text without control characters, colours and marks that reverse the direction of text."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)


def _harmless(text: str) -> str:
    return _OBEYED.sub("\ufffd", text)
