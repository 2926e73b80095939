"""Listings: fetched from the service page by page, printed as a table or as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from claimsvc.cli.operators.connecting import Operator
from claimsvc.cli.operators.lane import Lane
from claimsvc.cli.operators.screen import Column, Screen

LARGEST_PAGE = 1_000

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many to list.")]
All = Annotated[bool, typer.Option("--all", help="List all.")]


async def collect(lane: Lane, path: str, member: str, limit: int | None) -> tuple[list[dict[str, Any]], bool]:
    """Return at most `limit` items of a listing, and whether there are more. Raises as `Lane.call`."""
    found: list[dict[str, Any]] = []
    following: str | None = path
    while following and (limit is None or len(found) < limit):
        page = await lane.call("GET", following)
        found += page[member]
        following = page.get("next")
    if limit is None:
        return found, False
    return found[:limit], bool(following) or len(found) > limit


def page_size(limit: int | None) -> int:
    """Return the number of items to request per page."""
    return LARGEST_PAGE if limit is None else min(limit, LARGEST_PAGE)


async def show_listing(
    operator: Operator, path: str, member: str, columns: Sequence[Column], limit: int | None
) -> None:
    """Print a listing. `path` has no page size. Raises as `Lane.call`."""
    sized = f"{path}{'&' if '?' in path else '?'}limit={page_size(limit)}"
    items, more = await collect(operator.lane, sized, member, limit)
    show_items(operator.screen, member, columns, items, more=more)


def show_items(
    screen: Screen, member: str, columns: Sequence[Column], items: list[dict[str, Any]], *, more: bool
) -> None:
    """Print the items of a listing, and a note if there are more."""
    if screen.as_json:
        screen.json({member: items, "more": more})
    else:
        screen.items(columns, items)
        if not items:
            screen.note("None found.")
    if more:
        screen.note(f"Showing the first {len(items)}. Use --limit or --all for more.")
