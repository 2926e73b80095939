"""The console command, a file for each group of commands."""

import sys

from claimsvc.cli import backup, check, health, operators, service, tail
from claimsvc.cli.console import EXIT_INTERRUPTED, app

__all__ = ["app", "backup", "check", "health", "main", "operators", "service", "tail"]


def main() -> None:
    """Run the console command."""
    try:
        app()
    except KeyboardInterrupt:  # before the command itself begins
        sys.exit(EXIT_INTERRUPTED)
