"""How an operator's command connects: its options, where the password comes from, and how it ends.

`command` gives a function those options in place of its first argument, so that every command has the same ones.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints
from urllib.parse import unquote, urlsplit

import typer
import uvloop

from claimsvc.broker.caller import (
    CallerError,
    CallerOptions,
    CallTimeoutError,
    LoginRefusedError,
    NotAllowedError,
)
from claimsvc.cli.console import app
from claimsvc.cli.operators.lane import CallRefusedError, Lane
from claimsvc.cli.operators.screen import Screen
from claimsvc.settings import OPERATOR_PASSWORD, OPERATOR_PASSWORD_FILE, OPERATOR_URL

Work = TypeVar("Work", bound=Callable[..., Coroutine[Any, Any, None]])

EXIT_REFUSED = 1
EXIT_UNUSABLE = 2
EXIT_NO_BROKER = 3
EXIT_LOGIN = 4
EXIT_FORBIDDEN = 5
EXIT_SILENT = 6
EXIT_INTERRUPTED = 130

_INTERRUPTED = "interrupted"
_IN_THE_MIDDLE = "interrupted; what was asked may be done all the same"
_PORTS = {"mqtt": 1883, "mqtts": 8883}


class UnusableError(Exception):
    """An option or a file that the user gave cannot be used."""


class FailedError(Exception):
    """The command ran, and something of what it was asked for is not done; the text may be empty."""


_EXITS: tuple[tuple[type[Exception], int], ...] = (
    # The first that fits: an exception's kind before its kinds' kind.
    (UnusableError, EXIT_UNUSABLE),
    (LoginRefusedError, EXIT_LOGIN),
    (NotAllowedError, EXIT_FORBIDDEN),
    (CallTimeoutError, EXIT_SILENT),
    (CallerError, EXIT_NO_BROKER),
    (CallRefusedError, EXIT_REFUSED),
    (FailedError, EXIT_REFUSED),
    (OSError, EXIT_UNUSABLE),
)


@dataclass(frozen=True, slots=True)
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
    "url": (Url, inspect.Parameter.empty),
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
            _conduct(screen, lambda: _caller_options(**options), root, lambda op: work(op, **arguments))

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        group.command(name, rich_help_panel=OVER_MQTT if group is app else None)(run)
        return work

    return register


def _conduct(
    screen: Screen,
    caller_options: Callable[[], CallerOptions],
    root: str,
    work: Callable[[Operator], Coroutine[Any, Any, None]],
) -> None:
    """Do the work, and end with one line and an exit code where it fails.

    A command that asks its user something is a plain function that returns the rest as a coroutine: Ctrl-C would not
    interrupt a question inside the event loop.
    """
    with ending(screen):
        lane = Lane(caller_options(), root)
        waiting = work(Operator(lane, screen))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_within(lane, waiting))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_IN_THE_MIDDLE if lane.is_changing else _INTERRUPTED) from None


@contextmanager
def ending(screen: Screen) -> Iterator[None]:
    """Turn whatever ends a command before its time into one line and an exit code."""
    try:
        yield
    except (KeyboardInterrupt, typer.Abort) as error:
        raise _ended(screen, str(error) or _INTERRUPTED, EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        raise  # who read our output has seen enough; typer ends quietly
    except tuple(kind for kind, _ in _EXITS) as error:
        code = next(code for kind, code in _EXITS if isinstance(error, kind))
        if isinstance(error, CallRefusedError) and error.is_forbidden:
            code = EXIT_FORBIDDEN
        raise _ended(screen, str(error), code) from None


async def _within(lane: Lane, work: Coroutine[Any, Any, None]) -> None:
    async with lane:
        await work


def _ended(screen: Screen, text: str, code: int) -> typer.Exit:
    if text:
        screen.complain(text)
    return typer.Exit(code)


def _caller_options(
    url: str, password_file: Path | None, ca: Path | None, cert: Path | None, key: Path | None, timeout: float
) -> CallerOptions:
    """Return how to connect. Raises UnusableError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UnusableError(f"--url: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise UnusableError("--url: mqtt[s]://user@host[:port] is expected")
    if parts.password is not None:
        raise UnusableError("--url: a password here is seen by everybody on this machine; use --password-file")
    if not parts.username:
        raise UnusableError("--url: the user is missing, as in mqtt://user@host")
    username = unquote(parts.username)
    return CallerOptions(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        username=username,
        password=_password(username, password_file),
        tls=_tls(parts.scheme, ca, cert, key),
        timeout_s=timeout,
    )


def _password(username: str, path: Path | None) -> str:
    if path is not None:
        try:
            return path.read_text().strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UnusableError(f"--password-file: {path}: {_why(error)}") from None
    if OPERATOR_PASSWORD in os.environ:
        return os.environ[OPERATOR_PASSWORD]
    return ask_secret(f"Password of {username}", f"no password: give --password-file, or set {OPERATOR_PASSWORD}")


def _tls(scheme: str, ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if scheme == "mqtt":
        if ca or cert or key:
            raise UnusableError("--ca, --cert and --key belong to a mqtts:// URL")
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UnusableError(f"--ca, --cert, --key: {_why(error)}") from None
    return context


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def ask_secret(what: str, otherwise: str) -> str:
    """Ask for a secret without showing it. Raises UnusableError with `otherwise` where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise UnusableError(otherwise)
    return str(typer.prompt(what, hide_input=True, err=True))


def confirm(screen: Screen, question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone. Raises UnusableError where nobody can be asked, FailedError at a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UnusableError("nobody is there to be asked: give --yes")
    if not typer.confirm(question, err=True):
        raise FailedError("nothing was done")
