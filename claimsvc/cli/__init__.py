"""The console command, a file for each group of commands."""

from claimsvc.cli import backup, check, health, operators, service, tail
from claimsvc.cli.console import app

__all__ = ["app", "backup", "check", "health", "operators", "service", "tail"]
