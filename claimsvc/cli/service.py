"""The console command. A failure is one clear line and an exit code, never a traceback."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console

from claimsvc import __version__, founding, supervisor
from claimsvc.app import WrongKeyError, serve
from claimsvc.credentials.password_file import PasswordFileError
from claimsvc.log import open_log
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
    OSError,  # a directory nobody may write to, and the like: the text names it
)
EXIT_UNUSABLE = 2
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


@app.command("serve")
def serve_command(config: Config = None) -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    settings = _settings(config)
    # A batch makes thousands of objects that live as long as it does. Looking for cycles among them at the usual
    # pace took a tenth of the service's time; what was loaded until now is not looked at again.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    # The store's thread works beside the loop. By default it waits 5 ms for its turn, longer than its work takes.
    sys.setswitchinterval(0.000_5)
    _run(serve(settings, open_log(settings.log.level, settings.log.format)))


@app.command("init")
def init_command(
    config: Config = None,
    admin: Annotated[str, typer.Option(help="Username of the admin to make.")] = "admin",
    tenant: Annotated[str, typer.Option(help="The admin's tenant; `management` may make tenants.")] = "",
    bootstrap: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--bootstrap", help="Make the login that new devices share, or change its password.")
    ] = False,
) -> None:
    """Make database, key file and first admin, whatever of them is missing. The service must not run."""
    settings = _settings(config)
    made = _run(founding.found(settings, admin, tenant or settings.tenants.default))
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"database  {settings.store.path}\nkey file  {settings.store.key_path} (keep a copy: backups need it)"
    )
    if made is None:
        console.print(f"admin     {admin} exists already, its password is unchanged")
    elif made.password is None:
        console.print(f"admin     {made.username}; its login must exist at the broker")
    else:
        console.print(f"admin     {made.username}\npassword  {made.password}   (shown this once)")
    if bootstrap:
        login = _run(founding.found_bootstrap(settings))
        shown = f"{login.password}   (shown this once)" if login.password else "must exist at the broker"
        console.print(f"devices   {login.username}\npassword  {shown}")


@app.command("up")
def up_command(
    directory: Annotated[Path, typer.Option("--dir", help="Where the demo keeps everything.")] = Path("demo"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The private broker's port on 127.0.0.1.")] = 18830,
    with_plugin: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--plugin/--no-plugin", help="Use the broker's plugin where it is built.")
    ] = True,
) -> None:
    """Start a private Mosquitto and the service, with demo accounts and lines to copy and try."""
    plugin = supervisor.find_plugin() if with_plugin else None
    _run(supervisor.up(directory.absolute(), port, plugin, Console(soft_wrap=True, highlight=False)))


def _settings(config: Path | None) -> Settings:
    try:
        return load(config or (_DEFAULT_CONFIG if _DEFAULT_CONFIG.exists() else None))
    except SettingsError as error:
        raise _failure(error) from None


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end, on the fast loop. Files it makes are for its owner and group."""
    os.umask(0o007)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    except EXPECTED_ERRORS as error:
        raise _failure(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _failure(error: Exception) -> typer.Exit:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"claimsvc: {error}", markup=False)
    return typer.Exit(EXIT_UNUSABLE)


def main() -> None:
    """Run the console command."""
    app()
