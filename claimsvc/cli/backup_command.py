"""The command `backup`: a copy of the database while the service runs."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from claimsvc.backup import BackupError, back_up
from claimsvc.cli.configured import Config, read_settings
from claimsvc.cli.console import EXIT_INTERRUPTED, app, failure
from claimsvc.store.contract import StoreError


@app.command("backup")
def backup_command(
    file: Annotated[Path, typer.Argument(help="The backup to write; it must not exist.", show_default=False)],
    config: Config = None,
    with_key: Annotated[
        Path | None,
        typer.Option("--with-key", metavar="DIR", help="Also copy the key file into this directory."),
    ] = None,
) -> None:
    """Copy the database; the service may be running. The copy is checked before it gets its final name.

    Exit codes: 0 backup written, 2 failed (nothing is left behind), 130 interrupted.
    """
    settings = read_settings(config)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the partial copy is removed here too
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("")

            def show(done: int, pages: int) -> None:
                doing = "copying" if done < pages else "checking"
                bar.update(task, completed=done, total=pages, description=doing)

            key_directory = with_key.absolute() if with_key else None
            made = back_up(settings.store.path, settings.key_path, file.absolute(), key_directory, show)
    except (BackupError, StoreError, OSError) as error:
        raise failure(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    out = Console(soft_wrap=True, highlight=False, markup=False)
    out.print(f"backup    {made.path}  ({made.bytes / 1e6:.1f} MB, schema {made.schema}, checked)")
    if made.key is not None:
        out.print(f"key file  {made.key}  (store it apart from the backup: together they reveal every secret)")
    else:
        out.print(f"key file  {settings.key_path} is not included: keep a copy, a backup is useless without it")
