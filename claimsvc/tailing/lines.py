"""Read the lines of a log file, even while it grows, is rotated or is emptied."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO

_PAUSE_S = 0.25
_LONGEST_LINE = 16 * 1024 * 1024


def whole(path: Path) -> Iterator[str]:
    """Yield the lines of a file as it is now. Raises OSError."""
    with path.open("rb") as file:
        for line in file:
            yield text(line)


def text(line: bytes) -> str:
    """Return a line without its line end. Invalid UTF-8 is replaced."""
    return line.decode(errors="replace").rstrip("\r\n")


def follow(path: Path, pause: Callable[[], None] = lambda: time.sleep(_PAUSE_S)) -> Iterator[str | None]:
    """Yield the lines of a file for ever, and None each time the end is reached.

    If another file takes its place (logrotate's `create`), the rest of the old file is read first, then the new one.
    If the file is emptied (`copytruncate`), it is read from its beginning. Raises OSError if there is no file at the
    start.
    """
    file: BinaryIO = path.open("rb")
    try:
        rest = b""
        while True:
            rest = yield from _lines(file, rest)
            yield None
            pause()
            if _was_emptied(file):
                rest = b""
                file.seek(0)
            elif (successor := _successor(path, file)) is not None:
                rest = yield from _lines(file, rest)  # lines written between the last read and the rotation
                if rest:
                    yield text(rest)
                rest = b""
                file.close()
                file = successor
    finally:
        file.close()


def _lines(file: BinaryIO, rest: bytes) -> Generator[str, None, bytes]:
    """Yield the complete lines, and return the beginning of a line that is not complete yet."""
    while chunk := file.readline(_LONGEST_LINE):
        rest += chunk
        if rest.endswith(b"\n") or len(rest) >= _LONGEST_LINE:
            yield text(rest)
            rest = b""
    return rest


def _was_emptied(file: BinaryIO) -> bool:
    return os.fstat(file.fileno()).st_size < file.tell()


def _successor(path: Path, file: BinaryIO) -> BinaryIO | None:
    """Return the file that has taken this file's place, or None."""
    try:
        now, old = path.stat(), os.fstat(file.fileno())
        if (now.st_dev, now.st_ino) == (old.st_dev, old.st_ino):
            return None
        return path.open("rb")
    except OSError:
        return None
