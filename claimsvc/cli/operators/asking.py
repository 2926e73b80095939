"""Prompts on the terminal: for secrets, and for confirmation."""

from __future__ import annotations

import sys

import typer

from claimsvc.cli.operators.failing import FailedError, UnusableError


def ask_secret(what: str, otherwise: str) -> str:
    """Prompt for a secret without echo. Raises UnusableError with the text `otherwise` if there is no terminal."""
    if not sys.stdin.isatty():
        raise UnusableError(otherwise)
    return str(typer.prompt(what, hide_input=True, err=True))


def confirm(question: str, *, yes: bool) -> None:
    """Prompt before an irreversible action. Raises UnusableError without a terminal, FailedError if refused."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UnusableError("not a terminal: pass --yes to confirm")
    if not typer.confirm(question, err=True):
        raise FailedError("cancelled: nothing was changed")
