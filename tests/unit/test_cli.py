"""The console command loads what a command needs, and knows every command it has."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from claimsvc import cli
from claimsvc.cli.console import app

SEES_SERVICE = """
import sys
from claimsvc.cli import load
load(sys.argv[1])
print(sorted({"claimsvc.app", "claimsvc.core.rules", "claimsvc.store.sqlite"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("command", "loaded"),
    [
        pytest.param("device", [], id="an operator's command"),
        pytest.param("tail", [], id="one that reads logs"),
        pytest.param("no-such-command", [], id="one there is not"),
        pytest.param(
            "serve", ["claimsvc.app", "claimsvc.core.rules", "claimsvc.store.sqlite"], id="the service itself"
        ),
    ],
)
def test_a_command_waits_for_what_it_needs_only(command: str, loaded: list[str]) -> None:
    """The service is most of the code, and most commands do not run it."""
    run = subprocess.run([sys.executable, "-c", SEES_SERVICE, command], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(loaded)


def test_every_command_is_found_where_the_table_says() -> None:
    """A command of another module would be there in the help and unknown when it is asked for."""
    cli.load(None)
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    homes = {name: command.callback.__module__ for name, command in commands.items() if command.callback}
    for name, home in homes.items():
        assert home.startswith(f"claimsvc.cli.{cli.MODULES.get(name, cli.OPERATORS)}"), name
    assert cli.MODULES.keys() <= homes.keys()
