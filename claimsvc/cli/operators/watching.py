"""`claimsvc request watch`: a live table of open requests on a terminal, otherwise a line for each change."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from rich.console import Group
from rich.live import Live
from rich.text import Text

from claimsvc.cli.operators.connecting import Operator, command
from claimsvc.cli.operators.following import Every, Patience
from claimsvc.cli.operators.lane import CallRefusedError, Lane
from claimsvc.cli.operators.request_commands import COLUMNS, Request, created_ms, group, path_of, requests_of
from claimsvc.cli.operators.screen import Column, Screen, lasting, table, when
from claimsvc.log import clean

_OPEN = {
    "PENDING_ACCEPTANCE": "to accept",
    "BLOCKED": "blocked",
    "WAITING_FOR_CONNECTION": "not connected",
}
"""The open statuses, the most urgent first."""
_MOST = 500
_REMOVED = "REMOVED"
"""Shown for a request that has been deleted; no status of Cumulocity's."""


@command(group, "watch")
async def watch_requests(operator: Operator, *, every: Every = 2.0) -> None:
    """Show open requests and their changes until Ctrl-C."""
    if operator.screen.out.is_terminal and not operator.screen.as_json:
        await _watch_live(operator, every)
    else:
        await _watch_lines(operator, every)


async def _watch_live(operator: Operator, every_s: float) -> None:
    screen = operator.screen
    with Live(console=screen.out, auto_refresh=False) as live:
        patience = Patience(lambda text: live.console.print(Text(text, "yellow")))
        async for _ in operator.lane.ticks(every_s):
            async with patience.trying():
                found = await waiting(operator.lane)
                live.update(
                    view(list(found.values()), time.time_ns() // 1_000_000, wide=screen.is_wide), refresh=True
                )


async def _watch_lines(operator: Operator, every_s: float) -> None:
    known: dict[str, Request] = {}
    patience = Patience(operator.screen.note)
    async for _ in operator.lane.ticks(every_s):
        async with patience.trying():
            found = await waiting(operator.lane)
            gone = [await _what_became(operator.lane, known[id_]) for id_ in known if id_ not in found]
            _print_changes(operator.screen, [*gone, *changed(known, found)])
            known = found


async def waiting(lane: Lane) -> dict[str, Request]:
    """Return the open requests by id. Raises as `Lane.call`."""
    found: dict[str, Request] = {}
    for status in _OPEN:
        items, _ = await requests_of(lane, status, _MOST)
        found |= {item["id"]: item for item in items}
    return found


def changed(known: Mapping[str, Request], found: Mapping[str, Request]) -> list[Request]:
    """Return the requests that are new or have changed."""
    return [item for id_, item in found.items() if _standing(item) != _standing(known.get(id_))]


def _standing(item: Request | None) -> tuple[object, ...] | None:
    # creationTime: a request that was deleted and announced again is a new one.
    return (item["status"], item.get("contested"), item["creationTime"]) if item else None


async def _what_became(lane: Lane, item: Request) -> Request:
    try:
        found: Request = await lane.call("GET", path_of(item["id"]))
    except CallRefusedError:
        return {**item, "status": _REMOVED}
    return found


def _print_changes(screen: Screen, items: Iterable[Request]) -> None:
    now_ms = time.time_ns() // 1_000_000
    for item in items:
        if screen.as_json:
            screen.json({"time": now_ms, **item})
        else:
            screen.line(change_line(item, now_ms))


def change_line(item: Request, now_ms: int) -> str:
    """Return a change as a line."""
    mark = ["contested"] if item.get("contested") else []
    return "  ".join([str(when(now_ms)), clean(item["id"]), item["status"], *mark])


def view(items: list[Request], now_ms: int, *, wide: bool) -> Group:
    """Return the live view: a line of counts and the table."""
    numbers = [f"{sum(item['status'] == status for item in items)} {word}" for status, word in _OPEN.items()]
    disputed = sum(bool(item.get("contested")) for item in items)
    heading = Text(f"{when(now_ms)}   {' · '.join(numbers)}", "bold")
    if disputed:
        heading.append(f" · {disputed} contested", "bold red")
    age = Column("For", lambda item: lasting(now_ms - created_ms(item)), firm=True)
    # On a narrow terminal the age replaces the time of creation.
    columns = [*COLUMNS[:2], age, *(replace(each, wide=each.wide or each.title == "Created") for each in COLUMNS[2:])]
    order = list(_OPEN)
    rows = sorted(items, key=lambda item: (order.index(item["status"]), item["creationTime"]))
    hint = Text("claimsvc request accept ID   claimsvc request reject ID   Ctrl-C ends", "dim")
    return Group(heading, table(columns, rows, wide=wide), hint)
