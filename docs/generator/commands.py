"""The reference of the console commands, from their declarations."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from claimsvc.cli import load
from claimsvc.cli.console import app
from docs.generator.markdown import code, table


def reference() -> str:
    """Return one section per command, sorted by name."""
    load(None)
    whole: Any = typer.main.get_command(app)
    found = [each for name in sorted(whole.commands) for each in _commands(f"claimsvc {name}", whole.commands[name])]
    return "\n\n".join(_section(path, command) for path, command in found)


def _commands(path: str, command: Any) -> list[tuple[str, Any]]:
    if not isinstance(command, TyperGroup):
        return [(path, command)]
    return [each for name, below in command.commands.items() for each in _commands(f"{path} {name}", below)]


def _section(path: str, command: Any) -> str:
    arguments = [each for each in command.params if isinstance(each, TyperArgument)]
    options = [each for each in command.params if isinstance(each, TyperOption) and not each.hidden]
    usage = " ".join([path, *(["[OPTIONS]"] if options else []), *map(_argument, arguments)])
    text = f"### {path}\n\n```text\n{usage}\n```\n\n{(command.help or '').strip()}"
    rows = [
        *((code(_argument(each)), each.help or "", "") for each in arguments),
        *((_names(each), each.help or "", _default(each)) for each in options),
    ]
    return f"{text}\n\n{table(('option', 'meaning', 'default'), rows)}" if rows else text


def _argument(argument: TyperArgument) -> str:
    name = (argument.name or "").upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _names(option: TyperOption) -> str:
    return ", ".join(map(code, [*option.opts, *option.secondary_opts]))


def _default(option: TyperOption) -> str:
    if option.is_flag and not option.secondary_opts:
        return ""
    default = option.default
    if callable(default) or default is None or default == "":
        return code(f"${option.envvar}") if option.envvar else ""
    if option.is_flag:
        return code((option.opts if default else option.secondary_opts)[0])
    return code(default)
