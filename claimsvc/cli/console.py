"""Shared by all commands: the typer application, and failures as one line and an exit code, without a traceback.

Imports nothing of the service, because every command waits for this module.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from claimsvc import __version__

EXIT_UNUSABLE, EXIT_INTERRUPTED = 2, 130

app = typer.Typer(
    help="Device claiming and provisioning over MQTT, attached to a Mosquitto broker.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        typer.echo(f"claimsvc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Device claiming and provisioning over MQTT, attached to a Mosquitto broker."""


def failure(error: Exception, code: int = EXIT_UNUSABLE) -> typer.Exit:
    """Print a failure in one line on standard error and return the exit to raise."""
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"claimsvc: {text}", markup=False)
    return typer.Exit(code)
