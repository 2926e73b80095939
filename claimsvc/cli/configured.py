"""Shared by the commands that use the service's settings: read the settings and run a coroutine to its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from claimsvc import environment, founding, supervisor
from claimsvc.app import WrongKeyError
from claimsvc.cli.console import EXIT_INTERRUPTED, EXIT_UNUSABLE, failure
from claimsvc.credentials.password_file import PasswordFileError
from claimsvc.mqtt.caller import CallerError
from claimsvc.sealing import KeyFileError
from claimsvc.settings import Settings, SettingsError, load
from claimsvc.store.contract import StoreError

EXPECTED_ERRORS = (
    SettingsError,
    StoreError,
    KeyFileError,
    WrongKeyError,
    founding.FoundingError,
    supervisor.SupervisorError,
    PasswordFileError,
    CallerError,
    OSError,  # such as a directory without write permission; the text names it
)
_DEFAULT_CONFIG = Path("config/claimsvc.toml")


T = TypeVar("T")

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar=environment.CONFIG,
        help=f"Settings file (TOML). Without it: {_DEFAULT_CONFIG} if it exists, otherwise the defaults.",
    ),
]


def read_settings(config: Path | None, code: int = EXIT_UNUSABLE) -> Settings:
    """Return the settings. A failure ends the command with this exit code."""
    try:
        return load(config or (_DEFAULT_CONFIG if _DEFAULT_CONFIG.exists() else None))
    except SettingsError as error:
        raise failure(error, code) from None


def run(work: Coroutine[Any, Any, T], code: int = EXIT_UNUSABLE) -> T:
    """Run a command to its end on uvloop. Files it creates are readable by their owner and group only.

    An expected failure is printed in one line and ends the command with this exit code.
    """
    os.umask(0o007)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    except EXPECTED_ERRORS as error:
        raise failure(error, code) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
