"""What commands have in common that go on until they are interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from claimsvc.mqtt.caller import CallTimeoutError, CannotConnectError, ConnectionLostError

Every = Annotated[float, typer.Option("--every", min=0.1, metavar="SECONDS", help="How often to look again.")]


class Patience:
    """Goes on where the service or its broker is away for a while; `note` is told of each trouble once."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._told = ""

    @asynccontextmanager
    async def trying(self) -> AsyncIterator[None]:
        """Try once. What is neither silence nor a lost broker passes through."""
        try:
            yield
        except (CallTimeoutError, CannotConnectError, ConnectionLostError) as error:
            if str(error) != self._told:
                self._note(f"{error}; trying on")
            self._told = str(error)
        else:
            self._told = ""
