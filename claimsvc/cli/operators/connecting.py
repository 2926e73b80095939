"""The options that all operators' commands share, and the code that runs a command with them.

`command` replaces a function's first argument by those options.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
import uvloop

from claimsvc.cli.console import app
from claimsvc.cli.operators.address import caller_options
from claimsvc.cli.operators.failing import IN_THE_MIDDLE, INTERRUPTED, ending
from claimsvc.cli.operators.lane import Lane
from claimsvc.cli.operators.screen import Screen
from claimsvc.environment import OPERATOR_PASSWORD, OPERATOR_PASSWORD_FILE, OPERATOR_URL
from claimsvc.immutable import immutable
from claimsvc.mqtt.caller import CallerOptions

Work = TypeVar("Work", bound=Callable[..., Coroutine[Any, Any, None]])


@immutable
class Operator:
    """The first argument of every command: the operator's lane and the screen."""

    lane: Lane
    screen: Screen


OVER_MQTT = "Over MQTT, for operators"
"""Heading of these commands in `claimsvc --help`."""
_PANEL = "Connection"

Url = Annotated[
    str,
    typer.Option(
        "--url",
        "-u",
        envvar=OPERATOR_URL,
        metavar="URL",
        help="Broker and login: mqtt://user@host:port or mqtts://.",
        rich_help_panel=_PANEL,
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        envvar=OPERATOR_PASSWORD_FILE,
        metavar="FILE",
        help=f"File with the password. Without it: ${OPERATOR_PASSWORD}, otherwise a prompt.",
        show_envvar=False,
        rich_help_panel=_PANEL,
    ),
]
Authority = Annotated[
    Path | None,
    typer.Option(
        "--ca", metavar="FILE", help="CA certificates to trust instead of the system's.", rich_help_panel=_PANEL
    ),
]
Certificate = Annotated[
    Path | None, typer.Option("--cert", metavar="FILE", help="Client certificate (PEM).", rich_help_panel=_PANEL)
]
Key = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="Its private key (PEM).", rich_help_panel=_PANEL)
]
Root = Annotated[
    str,
    typer.Option("--root", metavar="TOPIC", help="First level of the service's topics.", rich_help_panel=_PANEL),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.1,
        metavar="SECONDS",
        help="How long to wait for an answer. A request is sent up to three times.",
        rich_help_panel=_PANEL,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not prompt for confirmation.")]

_OPTIONS: dict[str, tuple[Any, Any]] = {
    "url": (Url, ""),
    "password_file": (PasswordFile, None),
    "ca": (Authority, None),
    "cert": (Certificate, None),
    "key": (Key, None),
    "root": (Root, "claimsvc"),
    "timeout": (Timeout, 10.0),
    "as_json": (AsJson, False),
}


def command(group: typer.Typer, name: str) -> Callable[[Work], Work]:
    """Register a coroutine function as a command of `group`. Its first argument is the Operator."""

    def register(work: Work) -> Work:
        hints = get_type_hints(work, include_extras=True)
        own = list(inspect.signature(work).parameters.values())[1:]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [each.replace(annotation=hints[each.name], kind=kind) for each in own]
        parameters += [
            inspect.Parameter(option, kind, default=default, annotation=annotation)
            for option, (annotation, default) in _OPTIONS.items()
        ]

        @wraps(work)
        def run(**arguments: Any) -> None:
            options = {option: arguments.pop(option) for option in _OPTIONS}
            screen = Screen(as_json=options.pop("as_json"))
            root = options.pop("root")
            _conduct(screen, lambda: caller_options(**options), root, lambda op: work(op, **arguments))

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        group.command(name, rich_help_panel=OVER_MQTT if group is app else None)(run)
        return work

    return register


def _conduct(
    screen: Screen,
    options: Callable[[], CallerOptions],
    root: str,
    work: Callable[[Operator], Coroutine[Any, Any, None]],
) -> None:
    """Run a command. A failure ends it with one line and an exit code.

    A command that prompts is a plain function that returns the rest as a coroutine, because Ctrl-C does not interrupt
    a prompt inside the event loop.
    """
    with ending(screen):
        lane = Lane(options(), root)
        waiting = work(Operator(lane, screen))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_within(lane, waiting))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(IN_THE_MIDDLE if lane.is_changing else INTERRUPTED) from None


async def _within(lane: Lane, work: Coroutine[Any, Any, None]) -> None:
    async with lane:
        await work
