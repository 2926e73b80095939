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
    # A batch makes thousands of objects that live as long as it does. Looking for cycles among them at the usual
    # pace took a tenth of the service's time; what was loaded until now is not looked at again.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    # The store's thread works beside the loop. By default it waits 5 ms for its turn, longer than its work takes.
    sys.setswitchinterval(0.000_5)
    run(serve(settings, open_log(settings.log.level, settings.log.format)))


@app.command("init")
def init_command(
    config: Config = None,
    admin: Annotated[str, typer.Option(help="Username of the admin to make.")] = "admin",
    tenant: Annotated[str, typer.Option(help="The admin's tenant; `management` may make tenants.")] = "",
    bootstrap: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--bootstrap", help="Make the login that new devices share, or change its password.")
    ] = False,
    provision: Annotated[  # noqa: FBT002 - a flag
        bool,
        typer.Option("--provision", help="Make the login for provisioning by key, or change its password."),
    ] = False,
) -> None:
    """Make database, key file and first admin, whatever of them is missing. The service must not run."""
    settings = read_settings(config)
    made = run(founding.found(settings, admin, tenant or settings.tenants.default))
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"database  {settings.store.path}\nkey file  {settings.key_path} (keep a copy: backups need it)")
    if made is None:
        console.print(f"admin     {admin} exists already, its password is unchanged")
    elif made.password is None:
        console.print(f"admin     {made.username}; its login must exist at the broker")
    else:
        console.print(f"admin     {made.username}\npassword  {made.password}   (shown this once)")
    for name in [name for name, is_wanted in ((BOOTSTRAP, bootstrap), (PROVISION, provision)) if is_wanted]:
        login = run(founding.found_shared(settings, name))
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
    run(supervisor.up(directory.absolute(), port, plugin, Console(soft_wrap=True, highlight=False)))
