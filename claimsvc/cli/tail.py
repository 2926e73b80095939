"""The command `tail`: show the service's log in human-readable form."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from claimsvc.cli.console import EXIT_INTERRUPTED, app, failure
from claimsvc.cli.operators.address import caller_options
from claimsvc.cli.operators.connecting import (
    Authority,
    Certificate,
    Key,
    PasswordFile,
    Root,
)
from claimsvc.cli.operators.failing import ending
from claimsvc.cli.operators.screen import Screen
from claimsvc.mqtt.caller import REFUSED, CallerOptions, NotAllowedError, open_caller
from claimsvc.tailing.entry import Entry, Level, Wanted, parse
from claimsvc.tailing.lines import follow, text, whole
from claimsvc.tailing.page import Page

_CONNECT_S = 10.0
_PANEL = "Connection"


class _Output(Console):
    """Standard output. A closed pipe (`| head`) is no failure here, as it would be for rich."""

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError for the command to handle."""
        raise BrokenPipeError


class TailError(Exception):
    """The options do not fit together."""


def _option(name: str, help_text: str) -> Any:
    return typer.Option(f"--{name}", metavar="PATTERN", help=help_text)


@app.command("tail")
def tail_command(  # noqa: PLR0913 - each is an option
    *,
    file: Annotated[
        Path | None, typer.Argument(help="The log file; without it, or with -, standard input.", show_default=False)
    ] = None,
    keep_on: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep reading as the file grows, is rotated or is emptied.")
    ] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=0, help="Start with this many of the last matching lines.")
    ] = None,
    device: Annotated[str | None, _option("device", "Only entries about this device.")] = None,
    principal: Annotated[str | None, _option("principal", "Only entries about requests of this principal.")] = None,
    outcome: Annotated[
        str | None, _option("outcome", "Only requests with this outcome: done, refused or repeated.")
    ] = None,
    reason: Annotated[str | None, _option("reason", "Only refusals for this reason, such as wrong_key.")] = None,
    event: Annotated[str | None, _option("event", "Only this event, such as handled or broker_lost.")] = None,
    level: Annotated[Level, typer.Option("--level", help="Only entries of this level or above.")] = Level.DEBUG,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print matching lines unchanged, and nothing else.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            "-u",
            metavar="URL",
            help="Show audit events instead of a log, from mqtt://user@host:port or mqtts://.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    password_file: PasswordFile = None,
    ca: Authority = None,
    cert: Certificate = None,
    key: Key = None,
    root: Root = "claimsvc",
) -> None:
    """Show the service's log in human-readable form: aligned, filtered, and coloured on a terminal.

    PATTERN may contain * and ?. Lines that are not JSON are printed unchanged (with --json: on standard error).
    With --url: shows audit events as they happen, for the tenants whose events this login may read.

    Exit codes: 0 end of the file, 2 the file cannot be read, 3 no connection to the broker, 4 the login is refused,
    5 the login may not subscribe to events, 130 interrupted.
    """
    wanted = Wanted(event, device, principal, outcome, reason, level)
    tail = _Tail(wanted, None if as_json else Page(_Output(highlight=False)), lines)
    if url is not None:
        if file is not None or keep_on:
            raise failure(TailError("--url cannot be combined with a file or --follow"))
        with ending(Screen(as_json=as_json)), _unread():
            options = caller_options(url, password_file, ca, cert, key, timeout=_CONNECT_S)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_listen(options, root, tail))
        return
    try:
        with _unread():
            for line in _source(file, keep_on=keep_on):
                tail.take(line)
            tail.take(None)
    except (TailError, OSError) as error:
        raise failure(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


@contextmanager
def _unread() -> Iterator[None]:
    """End without an error when the reader closes the pipe."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Otherwise Python would try to write the rest of the buffer again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None


async def _listen(options: CallerOptions, root: str, tail: _Tail) -> None:
    """Show audit events as they happen, until interrupted. Raises CallerError."""
    topic = f"{root}/events/+/+"
    async with open_caller(options) as caller:
        granted = await caller.subscribe(topic)
        if granted >= REFUSED:
            raise NotAllowedError(f"subscribe to {topic}", granted)
        if sys.stderr.isatty():
            # Mosquitto grants the subscription even if its ACL then withholds the messages.
            typer.echo(f"subscribed to {topic}; events that this login may not read are not shown", err=True)
        async for heard in caller.messages():
            for line in heard.payload.decode(errors="replace").splitlines():
                tail.take(line)
                tail.take(None)


def _source(file: Path | None, *, keep_on: bool) -> Iterator[str | None]:
    """Return the lines to show; a None among them marks the current end of the file."""
    if file is not None and str(file) != "-":
        return follow(file) if keep_on else whole(file)
    if keep_on:
        raise TailError("--follow needs a file; standard input is always read to its end")
    if sys.stdin.isatty():
        raise TailError("give a log file, or pipe the log: journalctl -u claimsvc -o cat -f | claimsvc tail")
    return map(text, sys.stdin.buffer)


class _Tail:
    """Shows the lines that match. With `last`, shows only that many of the lines that exist at the start."""

    def __init__(self, wanted: Wanted, page: Page | None, last: int | None) -> None:
        self._wanted = wanted
        self._page = page
        self._waiting: deque[tuple[str, Entry | None]] | None = None if last is None else deque(maxlen=last)

    def take(self, line: str | None) -> None:
        """Take a line; None marks the end of the lines that exist at the start."""
        if line is None:
            for each in self._waiting or ():
                self._show(*each)
            self._waiting = None
            return
        entry = parse(line)
        if entry is not None and not self._wanted.matches(entry):
            return
        if self._waiting is not None:
            self._waiting.append((line, entry))
        else:
            self._show(line, entry)

    def _show(self, line: str, entry: Entry | None) -> None:
        if self._page is None:
            print(line, file=sys.stderr if entry is None else sys.stdout, flush=True)
        elif entry is None:
            self._page.pass_on(line)
        else:
            self._page.show(entry)
