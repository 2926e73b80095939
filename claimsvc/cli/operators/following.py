"""What commands have in common that go on until they are interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from claimsvc.broker.caller import CallTimeoutError, CannotConnectError, ConnectionLostError

Every = Annotated[float, typer.Option("--every", min=0.1, metavar="SECONDS", help="How often to look again.")]


@asynccontextmanager
async def patiently(note: Callable[[str], None]) -> AsyncIterator[None]:
    """Go on where the service or its broker is away for a while; `note` is told."""
    try:
        yield
    except (CallTimeoutError, CannotConnectError, ConnectionLostError) as error:
        note(f"{error}; trying on")
