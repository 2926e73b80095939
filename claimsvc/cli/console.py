"""What all commands share: the application, its settings file, and how a failure ends.

A failure is one clear line and an exit code, never a traceback.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console

from claimsvc import __version__, founding, supervisor
from claimsvc.app import WrongKeyError
from claimsvc.broker.caller import CallerError
from claimsvc.credentials.password_file import PasswordFileError
from claimsvc.sealing import KeyFileError
from claimsvc.settings import CONFIG_VARIABLE, Settings, SettingsError, load
from claimsvc.store.database import StoreError

EXPECTED_ERRORS = (
    SettingsError,
    StoreError,
    KeyFileError,
    WrongKeyError,
    founding.FoundingError,
    supervisor.SupervisorError,
    PasswordFileError,
    CallerError,
    OSError,  # a directory nobody may write to, and the like: the text names it
)
EXIT_UNUSABLE, EXIT_INTERRUPTED = 2, 130
_DEFAULT_CONFIG = Path("config/claimsvc.toml")

T = TypeVar("T")

app = typer.Typer(
    help="Device claiming and provisioning over MQTT, attached to a Mosquitto broker.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar=CONFIG_VARIABLE,
        help=f"Settings file (TOML). Without it: {_DEFAULT_CONFIG} where that exists, else the defaults.",
    ),
]


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


def read_settings(config: Path | None, code: int = EXIT_UNUSABLE) -> Settings:
    """Return the settings; a failure ends the command with this exit code."""
    try:
        return load(config or (_DEFAULT_CONFIG if _DEFAULT_CONFIG.exists() else None))
    except SettingsError as error:
        raise failure(error, code) from None


def run(work: Coroutine[Any, Any, T], code: int = EXIT_UNUSABLE) -> T:
    """Run a command to its end, on the fast loop. Files it makes are for its owner and group.

    An expected failure is told in one line and ends the command with this exit code.
    """
    os.umask(0o007)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    except EXPECTED_ERRORS as error:
        raise failure(error, code) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def failure(error: Exception, code: int = EXIT_UNUSABLE) -> typer.Exit:
    """Tell of a failure in one line and return the exit that goes with it."""
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"claimsvc: {text}", markup=False)
    return typer.Exit(code)
