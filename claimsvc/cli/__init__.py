"""The console command, a file for each group of commands; `claimsvc --help` lists them all.

Only what is asked for is loaded: the whole service would take most of the time of a command that does not run it.
"""

from importlib import import_module

MODULES = {
    # the module that has a command; all others are the operators'
    **dict.fromkeys(("serve", "init", "up"), "service"),
    "backup": "backup_command",
    "check": "check",
    "health": "health_command",
    "tail": "tail",
}
OPERATORS = "operators"


def load(command: str | None) -> None:
    """Load the module of a command; all of them for none, or for an option in its place."""
    names = {*MODULES.values(), OPERATORS}
    if command is not None and not command.startswith("-"):
        names = {MODULES.get(command, OPERATORS)}
    for name in sorted(names):
        import_module(f"claimsvc.cli.{name}")
