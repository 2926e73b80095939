"""Options that several commands share, and functions that read their values."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from claimsvc.cli.operators.asking import ask_secret
from claimsvc.cli.operators.failing import UnusableError

_DURATION = re.compile(r"(\d{1,9})\s*(ms|s|min|m|h|d|w)")
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}

Name = Annotated[str, typer.Argument(metavar="DEVICE", help="The device's name.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help="File with the secret key; - is standard input. Without it: a prompt."),
]


def duration_ms(text: str, option: str) -> int:
    """Read a duration such as 90s, 15min, 12h, 30d or 2w. Raises UnusableError naming the option."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UnusableError(f'{option}: "{text}" is not a duration such as 90s, 15min, 12h, 30d or 2w')
    return int(match[1]) * _UNITS_MS[match[2]]


def secret_of(path: Path | None, what: str, option: str) -> str:
    """Return a secret from a file, standard input (`-`), or the keyboard. Raises UnusableError."""
    if path is None:
        return ask_secret(what, f"not a terminal: pass {option}")
    if str(path) == "-":
        return sys.stdin.readline().rstrip("\r\n")
    return read_text(path, option).rstrip("\r\n")


def read_text(path: Path, option: str) -> str:
    """Return a text file's content: UTF-8, otherwise Windows-1252 as old spreadsheets write. Raises UnusableError."""
    content = read_bytes(path, option)
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UnusableError(f"{option}: {path} is not UTF-8 text")


def read_bytes(path: Path, option: str) -> bytes:
    """Return a file's content. Raises UnusableError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableError(f"{option}: {path}: {error.strerror}") from None
