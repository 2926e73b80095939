"""`claimsvc events`: list or follow the audit trail."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from claimsvc.cli.console import app
from claimsvc.cli.operators.connecting import Operator, command
from claimsvc.cli.operators.following import Every, Patience
from claimsvc.cli.operators.lane import Lane, segment
from claimsvc.cli.operators.listing import show_listing
from claimsvc.cli.operators.options import duration_ms
from claimsvc.cli.operators.screen import NOTHING, Column, when
from claimsvc.log import clean

_EVENTS = "/claimsvc/events"
_PAGE = 100
_MOST_AT_ONCE = 1_000
_HEAD = 20
"""A listing resumes at a run of this many newest events: one would not do, as times repeat and clocks go back."""

COLUMNS = (
    Column("Time", lambda item: when(item["time"])),
    Column("Event", lambda item: item["event"]),
    Column("Device", lambda item: item["device"]),
    Column("By", lambda item: item["principal"]),
    Column("Detail", lambda item: item["detail"]),
)

FAILURES = frozenset({"claim_refused", "claim_locked_out"})
"""Events of claims that were refused."""

Event = dict[str, Any]


@command(app, "events")
async def show_events(
    operator: Operator,
    *,
    device: Annotated[str | None, typer.Option("--device", help="Only events about this device.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Only events of the last 15min, 12h, 30d ...")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many to list.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show new events as they happen, until Ctrl-C.")
    ] = False,
    every: Every = 2.0,
) -> None:
    """List audit events, newest first. With --follow: oldest first, then new events as they happen."""
    query = [f"device={segment(device)}"] if device is not None else []
    if since is not None:
        query.append(f"since={time.time_ns() // 1_000_000 - duration_ms(since, '--since')}")
    path = f"{_EVENTS}?{'&'.join(query)}" if query else _EVENTS
    if not follow:
        await show_listing(operator, path, "events", COLUMNS, limit)
        return
    async for event in happening(operator, path, limit, every):
        if operator.screen.as_json:
            operator.screen.json(event)
        else:
            operator.screen.line(event_line(event))


_EVENT_WIDTH = 20
"""Width of the longest event name."""


def event_line(event: Event) -> Text:
    """Return an event as a human-readable line."""
    style = "yellow" if event["event"] in FAILURES else "bold"
    line = Text.assemble((str(when(event["time"])), "dim"), "  ", (f"{clean(event['event']):<{_EVENT_WIDTH}}", style))
    for member in ("device", "principal", "detail"):
        line.append(f"  {clean(str(event[member] or NOTHING))}")
    return line


async def happening(operator: Operator, path: str, limit: int, every_s: float) -> AsyncIterator[Event]:
    """Yield the newest `limit` events, oldest first, and then each new one. Raises as `Lane.call`."""
    head: list[Event] | None = None
    patience = Patience(operator.screen.note)
    async for _ in operator.lane.ticks(every_s):
        fresh: list[Event] = []
        async with patience.trying():
            found = await _newest(operator.lane, path, limit if head is None else _MOST_AT_ONCE, head or [])
            fresh = found[:limit] if head is None else unseen(found, head)
            head = found[:_HEAD] or head or []
        for event in reversed(fresh):
            yield event


async def _newest(lane: Lane, path: str, limit: int, known: Sequence[Event]) -> list[Event]:
    """Return events, newest first, down to the known ones or `limit`."""
    found: list[Event] = []
    following: str | None = f"{path}{'&' if '?' in path else '?'}limit={_PAGE}"
    while following and len(found) < limit:
        page = await lane.call("GET", following)
        found += page["events"]
        following = page.get("next")
        if known and len(unseen(found, known)) < len(found):
            break
    return found


def unseen(found: Sequence[Event], known: Sequence[Event]) -> list[Event]:
    """Return the events of `found`, newest first, before the known ones; all of them if no known event follows."""
    if not known:
        return list(found)
    for at in range(len(found)):
        stretch = found[at : at + len(known)]
        if stretch == list(known)[: len(stretch)]:
            return list(found[:at])
    return list(found)
