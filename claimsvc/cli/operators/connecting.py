"""The options that every operator's command has, and how it is run with them.

`command` gives a function those options in place of its first argument.
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
    """What a command works with: the operator's lane, and the screen."""

    lane: Lane
    screen: Screen


OVER_MQTT = "Over MQTT, for operators"
"""The panel of such commands in the list of all."""
_PANEL = "Connection"

Url = Annotated[
    str,
    typer.Option(
        "--url",
        "-u",
        envvar=OPERATOR_URL,
        metavar="URL",
        help="Broker and login: mqtt://user@host:port, or mqtts://.",
        rich_help_panel=_PANEL,
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        envvar=OPERATOR_PASSWORD_FILE,
        metavar="FILE",
        help=f"A file that holds the password; without it ${OPERATOR_PASSWORD}, or it is asked for.",
        show_envvar=False,
        rich_help_panel=_PANEL,
    ),
]
Authority = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="CA certificates to trust, not the system's.", rich_help_panel=_PANEL),
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
        help="How long to wait for an answer, up to three times.",
        rich_help_panel=_PANEL,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

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
    """Make a coroutine function a command of `group`: its first argument is the connected operator."""

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
    """Do the work, and end with one line and an exit code where it fails.

    A command that asks its user something is a plain function that returns the rest as a coroutine: Ctrl-C would not
    interrupt a question inside the event loop.
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
