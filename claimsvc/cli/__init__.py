"""The console command, a file for each group of commands."""

from claimsvc.cli import operators, service
from claimsvc.cli.console import app

__all__ = ["app", "main", "operators", "service"]


def main() -> None:
    """Run the console command."""
    app()
