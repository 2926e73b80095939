"""What commands have in common that go on until they are interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from claimsvc.broker.caller import CallTimeoutError, CannotConnectError, ConnectionLostError
from claimsvc.cli.operators.screen import Screen

Every = Annotated[float, typer.Option("--every", min=0.1, metavar="SECONDS", help="How often to look again.")]


@asynccontextmanager
async def patiently(screen: Screen) -> AsyncIterator[None]:
    """Go on where the service or its broker is away for a while; a note says so."""
    try:
        yield
    except (CallTimeoutError, CannotConnectError, ConnectionLostError) as error:
        screen.note(f"{error}; trying on")
