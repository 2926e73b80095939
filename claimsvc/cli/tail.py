"""The command `tail`: the service's log, for people."""

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
    """Standard output; who stops reading it has seen enough, which rich would call a failure."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command."""
        raise BrokenPipeError


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
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            "-u",
            metavar="URL",
            help="Instead of a log: audit events from mqtt://user@host:port, or mqtts://.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    password_file: PasswordFile = None,
    ca: Authority = None,
    cert: Certificate = None,
    key: Key = None,
    root: Root = "claimsvc",
) -> None:
    """Show the service's log for people: aligned, coloured on a terminal, filtered.

    PATTERN may hold * and ?. Lines that are no JSON pass through as they are (with --json: to standard error).
    With --url: the audit events as they happen, of the tenants whose events this login may read.

    Exit codes: 0 at the end of the file, 2 where it cannot be read, 3 no broker, 4 the login is refused,
    5 it may not listen, 130 interrupted.
    """
    wanted = Wanted(event, device, principal, outcome, reason, level)
    tail = _Tail(wanted, None if as_json else Page(_Output(highlight=False)), lines)
    if url is not None:
        if file is not None or keep_on:
            raise failure(TailError("give a file or --url, not both"))
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
    """End quietly where whoever reads our output has seen enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered must not be tried again at the exit.
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
            # Mosquitto grants a subscription whose messages its ACL then keeps back.
            typer.echo(f"listening to {topic}; what this login may not read does not show", err=True)
        async for heard in caller.messages():
            for line in heard.payload.decode(errors="replace").splitlines():
                tail.take(line)
                tail.take(None)


def _source(file: Path | None, *, keep_on: bool) -> Iterator[str | None]:
    """Return where the lines come from; a None among them says that the present end is reached."""
    if file is not None and str(file) != "-":
        return follow(file) if keep_on else whole(file)
    if keep_on:
        raise TailError("--follow needs a file; standard input is followed to its end anyway")
    if sys.stdin.isatty():
        raise TailError("give a file, or pipe the log in: journalctl -u claimsvc -o cat -f | claimsvc tail")
    return map(text, sys.stdin.buffer)


class _Tail:
    """Shows what matches of the lines it takes; with `last`, of what is there already only so much."""

    def __init__(self, wanted: Wanted, page: Page | None, last: int | None) -> None:
        self._wanted = wanted
        self._page = page
        self._waiting: deque[tuple[str, Entry | None]] | None = None if last is None else deque(maxlen=last)

    def take(self, line: str | None) -> None:
        """Take a line; None says that what is there already has been read."""
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
