"""Shared by the commands that run until they are interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from claimsvc.mqtt.caller import CallTimeoutError, CannotConnectError, ConnectionLostError

Every = Annotated[float, typer.Option("--every", min=0.1, metavar="SECONDS", help="Interval between queries.")]


class Patience:
    """Keeps a command running while the service or the broker is away. Passes each failure to `note` once."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._noted = ""

    @asynccontextmanager
    async def trying(self) -> AsyncIterator[None]:
        """Try once. Swallows timeouts and lost connections only."""
        try:
            yield
        except (CallTimeoutError, CannotConnectError, ConnectionLostError) as error:
            if str(error) != self._noted:
                self._note(f"{error}; retrying")
            self._noted = str(error)
        else:
            self._noted = ""
