"""Questions to whoever sits before the terminal: secrets, and whether something is really meant."""

from __future__ import annotations

import sys

import typer

from claimsvc.cli.operators.failing import FailedError, UnusableError


def ask_secret(what: str, otherwise: str) -> str:
    """Ask for a secret without showing it. Raises UnusableError with `otherwise` where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise UnusableError(otherwise)
    return str(typer.prompt(what, hide_input=True, err=True))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone. Raises UnusableError where nobody can be asked, FailedError at a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UnusableError("nobody is there to be asked: give --yes")
    if not typer.confirm(question, err=True):
        raise FailedError("nothing was done")
