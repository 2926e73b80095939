"""The console command, a file for each group of commands."""

from claimsvc.cli import backup, check, health, service, tail
from claimsvc.cli.console import app

__all__ = ["backup", "check", "health", "main", "service", "tail"]


def main() -> None:
    """Run the console command."""
    app()
