"""The command `health`: a check for containers and process supervisors."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from claimsvc.app import caller_options
from claimsvc.checking.probing import UnhealthyError, round_trip
from claimsvc.cli.configured import Config, read_settings, run
from claimsvc.cli.console import app
from claimsvc.settings import Settings

_EXIT_UNHEALTHY = 1
"""Also used if the settings cannot be read: Docker knows no other code."""


@app.command("health")
def health_command(
    config: Config = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds the whole check may take.")] = 5.0,
) -> None:
    """Send the running service a request that passes through broker and database, and print the response time.

    Exit codes: 0 the service answered, 1 anything else.
    """
    settings = read_settings(config, _EXIT_UNHEALTHY)
    took_s = run(_within(settings, timeout), _EXIT_UNHEALTHY)
    typer.echo(f"claimsvc: answered in {took_s * 1_000:.0f} ms")


async def _within(settings: Settings, timeout_s: float) -> float:
    try:
        async with asyncio.timeout(timeout_s):
            return await round_trip(caller_options(settings, timeout_s), settings.mqtt.root)
    except TimeoutError:
        raise UnhealthyError(f"no answer within {timeout_s:g} s") from None
