"""The commands that run the service: `serve`, `init` and `up`."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from claimsvc import founding, supervisor
from claimsvc.app import serve
from claimsvc.cli.configured import Config, read_settings, run
from claimsvc.cli.console import app
from claimsvc.core.policy import BOOTSTRAP, PROVISION
from claimsvc.log import open_log


@app.command("serve")
def serve_command(config: Config = None) -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    settings = read_settings(config)
    # A batch creates thousands of objects that live as long as it does. With Python's defaults the cycle collector
    # took a tenth of the service's time. What is loaded by now is exempt from collection.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    # The store's thread runs beside the loop. By default it waits 5 ms for the GIL, longer than its work takes.
    sys.setswitchinterval(0.000_5)
    run(serve(settings, open_log(settings.log.level, settings.log.format)))


@app.command("init")
def init_command(
    config: Config = None,
    admin: Annotated[str, typer.Option(help="Username of the admin to create.")] = "admin",
    tenant: Annotated[str, typer.Option(help="The admin's tenant; admins of `management` can create tenants.")] = "",
    bootstrap: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--bootstrap", help="Create the login that new devices share, or change its password.")
    ] = False,
    provision: Annotated[  # noqa: FBT002 - a flag
        bool,
        typer.Option("--provision", help="Create the login for provisioning by key, or change its password."),
    ] = False,
) -> None:
    """Create the database, the key file and the first admin if they do not exist. Stop the service first."""
    settings = read_settings(config)
    made = run(founding.found(settings, admin, tenant or settings.tenants.default))
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"database  {settings.store.path}\nkey file  {settings.key_path} (keep a copy: backups need it)")
    if made is None:
        console.print(f"admin     {admin} exists already; its password is unchanged")
    elif made.password is None:
        console.print(f"admin     {made.username}; create its login on the broker")
    else:
        console.print(f"admin     {made.username}\npassword  {made.password}   (shown once)")
    for name in [name for name, is_wanted in ((BOOTSTRAP, bootstrap), (PROVISION, provision)) if is_wanted]:
        login = run(founding.found_shared(settings, name))
        shown = f"{login.password}   (shown once)" if login.password else "create this login on the broker"
        console.print(f"devices   {login.username}\npassword  {shown}")


@app.command("up")
def up_command(
    directory: Annotated[Path, typer.Option("--dir", help="Directory for all files of the demo.")] = Path("demo"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The private broker's port on 127.0.0.1.")] = 18830,
    with_plugin: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--plugin/--no-plugin", help="Use the broker's plugin if it is built.")
    ] = True,
) -> None:
    """Start a private Mosquitto and the service, with demo accounts and commands to copy and try."""
    plugin = supervisor.find_plugin() if with_plugin else None
    run(supervisor.up(directory.absolute(), port, plugin, Console(soft_wrap=True, highlight=False)))
