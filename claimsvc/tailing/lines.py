"""Lines of a log file, also while it grows, is rotated or is emptied."""

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
    """Return a line without its end; what is no UTF-8 is replaced."""
    return line.decode(errors="replace").rstrip("\r\n")


def follow(path: Path, pause: Callable[[], None] = lambda: time.sleep(_PAUSE_S)) -> Iterator[str | None]:
    """Yield the lines of a file, and go on for ever; None each time the end is reached.

    A file put in its place (logrotate's `create`) is read from its beginning after the rest of the old one; one that
    was emptied (`copytruncate`) is read from its beginning again. Raises OSError where there is none to begin with.
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
                rest = yield from _lines(file, rest)  # what came between the last look and the rotation
                if rest:
                    yield text(rest)
                rest = b""
                file.close()
                file = successor
    finally:
        file.close()


def _lines(file: BinaryIO, rest: bytes) -> Generator[str, None, bytes]:
    """Yield the lines up to the end, and return the beginning of one whose end is not written yet."""
    while chunk := file.readline(_LONGEST_LINE):
        rest += chunk
        if rest.endswith(b"\n") or len(rest) >= _LONGEST_LINE:
            yield text(rest)
            rest = b""
    return rest


def _was_emptied(file: BinaryIO) -> bool:
    return os.fstat(file.fileno()).st_size < file.tell()


def _successor(path: Path, file: BinaryIO) -> BinaryIO | None:
    """Return the file that took this one's place, if one did; while there is none, the old one is good enough."""
    try:
        now, old = path.stat(), os.fstat(file.fileno())
        if (now.st_dev, now.st_ino) == (old.st_dev, old.st_ino):
            return None
        return path.open("rb")
    except OSError:
        return None
