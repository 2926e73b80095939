"""The command `tail`: the service's log, for people."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from claimsvc.cli.console import app, failure
from claimsvc.tailing.entry import Entry, Level, Wanted, parse
from claimsvc.tailing.lines import follow, text, whole
from claimsvc.tailing.page import Page


class TailError(Exception):
    """The command cannot be understood as it was given."""


def _option(name: str, help_text: str) -> Any:
    return typer.Option(f"--{name}", metavar="PATTERN", help=help_text)


@app.command("tail")
def tail_command(  # noqa: PLR0913 - each is an option
    *,
    file: Annotated[
        Path | None, typer.Argument(help="The log; without it (or with -) standard input.", show_default=False)
    ] = None,
    keep_on: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as the file grows, also when it is rotated or emptied.")
    ] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=0, help="Begin with so many of the last matching lines.")
    ] = None,
    device: Annotated[str | None, _option("device", "Only entries about this device.")] = None,
    principal: Annotated[str | None, _option("principal", "Only entries of whoever asked.")] = None,
    outcome: Annotated[
        str | None, _option("outcome", "Only requests that ended so: done, refused, repeated.")
    ] = None,
    reason: Annotated[str | None, _option("reason", "Only refusals for this reason, such as wrong_key.")] = None,
    event: Annotated[str | None, _option("event", "Only this event, such as handled or broker_lost.")] = None,
    level: Annotated[Level, typer.Option("--level", help="The least level.")] = Level.DEBUG,
    as_json: Annotated[
        bool, typer.Option("--json", help="Pass matching lines on as they are, and no others.")
    ] = False,
) -> None:
    """Show the service's log for people: aligned, coloured on a terminal, filtered.

    PATTERN may hold * and ?. Lines that are no JSON pass through as they are (with --json: to standard error).

    Exit codes: 0 at the end of the file, 2 where it cannot be read, 130 interrupted.
    """
    wanted = Wanted(event, device, principal, outcome, reason, level)
    page = None if as_json else Page(Console(highlight=False))
    try:
        _tell(_source(file, keep_on=keep_on), wanted, page, lines)
        sys.stdout.flush()
    except (TailError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # Who read our output has seen enough. What is still buffered must not be tried again at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None
        raise failure(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _source(file: Path | None, *, keep_on: bool) -> Iterator[str | None]:
    """Return where the lines come from; a None among them says that the present end is reached."""
    if file is not None and str(file) != "-":
        return follow(file) if keep_on else whole(file)
    if keep_on:
        raise TailError("--follow needs a file; standard input is followed to its end anyway")
    if sys.stdin.isatty():
        raise TailError("give a file, or pipe the log in: journalctl -u claimsvc -o cat -f | claimsvc tail")
    return map(text, sys.stdin.buffer)


def _tell(lines: Iterable[str | None], wanted: Wanted, page: Page | None, last: int | None) -> None:
    """Show what matches; with `last`, of what is there already only so much."""
    waiting: deque[tuple[str, Entry | None]] | None = None if last is None else deque(maxlen=last)
    for line in lines:
        if line is None:
            _show(waiting or (), page)
            waiting = None
            continue
        entry = parse(line)
        if entry is not None and not wanted.matches(entry):
            continue
        if waiting is not None:
            waiting.append((line, entry))
        else:
            _show([(line, entry)], page)
    _show(waiting or (), page)


def _show(found: Iterable[tuple[str, Entry | None]], page: Page | None) -> None:
    for line, entry in found:
        if page is None:
            print(line, file=sys.stderr if entry is None else sys.stdout, flush=True)
        elif entry is None:
            page.pass_on(line)
        else:
            page.show(entry)
