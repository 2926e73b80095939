"""The command `claimsvc`: one file for each group of commands; `claimsvc --help` lists them all.

Only the module of the given command is loaded. Importing the whole service takes longer than most commands run.
"""

from importlib import import_module

MODULES = {
    # command: its module; every other command is in OPERATORS
    **dict.fromkeys(("serve", "init", "up"), "service"),
    "backup": "backup_command",
    "check": "check",
    "health": "health_command",
    "tail": "tail",
}
OPERATORS = "operators"


def load(command: str | None) -> None:
    """Load the module of a command. Without a command, or with an option in its place, load all modules."""
    names = {*MODULES.values(), OPERATORS}
    if command is not None and not command.startswith("-"):
        names = {MODULES.get(command, OPERATORS)}
    for name in sorted(names):
        import_module(f"claimsvc.cli.{name}")
