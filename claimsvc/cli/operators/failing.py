"""Failures of an operator's command: one line on standard error, and an exit code for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from claimsvc.cli.operators.lane import CallRefusedError
from claimsvc.cli.operators.screen import Screen
from claimsvc.mqtt.caller import CallerError, CallTimeoutError, LoginRefusedError, NotAllowedError

EXIT_REFUSED = 1
EXIT_UNUSABLE = 2
EXIT_NO_BROKER = 3
EXIT_LOGIN = 4
EXIT_FORBIDDEN = 5
EXIT_SILENT = 6
EXIT_INTERRUPTED = 130

INTERRUPTED = "interrupted"
IN_THE_MIDDLE = "interrupted; the request may still be executed"


class UnusableError(Exception):
    """An option or a file cannot be used."""


class FailedError(Exception):
    """The command ran, but not everything succeeded. The text may be empty."""


_EXITS: tuple[tuple[type[Exception], int], ...] = (
    # The first match counts, so a subclass stands before its base class.
    (UnusableError, EXIT_UNUSABLE),
    (LoginRefusedError, EXIT_LOGIN),
    (NotAllowedError, EXIT_FORBIDDEN),
    (CallTimeoutError, EXIT_SILENT),
    (CallerError, EXIT_NO_BROKER),
    (CallRefusedError, EXIT_REFUSED),
    (FailedError, EXIT_REFUSED),
    (OSError, EXIT_UNUSABLE),
)


@contextmanager
def ending(screen: Screen) -> Iterator[None]:
    """Turn an expected exception into one line and an exit code."""
    try:
        yield
    except (KeyboardInterrupt, typer.Abort) as error:
        raise _ended(screen, str(error) or INTERRUPTED, EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        raise  # the reader closed the pipe; typer ends quietly
    except tuple(kind for kind, _ in _EXITS) as error:
        code = next(code for kind, code in _EXITS if isinstance(error, kind))
        if isinstance(error, CallRefusedError) and error.is_forbidden:
            code = EXIT_FORBIDDEN
        raise _ended(screen, str(error), code) from None


def _ended(screen: Screen, text: str, code: int) -> typer.Exit:
    if text:
        screen.complain(text)
    return typer.Exit(code)
