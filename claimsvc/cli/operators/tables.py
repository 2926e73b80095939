"""CSV as people send it: which record a line belongs to, and files of secrets that are never written over."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from claimsvc.cli.operators.connecting import UnusableError

_DELIMITERS = ";,\t"
_MOST_NAMES = 10_000


class Record(NamedTuple):
    """One record with its text as it stands in the file. Lines count from 1, the header's."""

    first_line: int
    last_line: int
    text: str
    fields: tuple[str, ...]


def records(text: str) -> Iterator[Record]:
    """Yield a file's records, the header first; a quoted field may hold several lines. Raises UnusableError."""
    lines = text.splitlines(keepends=True)
    reader = csv.reader(lines, delimiter=delimiter_of(lines[0] if lines else ""), strict=False)
    first = 1
    try:
        for fields in reader:
            yield Record(first, reader.line_num, "".join(lines[first - 1 : reader.line_num]), tuple(fields))
            first = reader.line_num + 1
    except csv.Error as error:
        raise UnusableError(f"line {first}: {error}") from None


def delimiter_of(header: str) -> str:
    """Return what separates the fields of a header: the first of the usual ones in it."""
    found = [each for each in header if each in _DELIMITERS]
    return found[0] if found else _DELIMITERS[0]


def rows_of(text: str, wanted: Iterable[str]) -> list[dict[str, str]]:
    """Return a file's rows by the names in its header. Raises UnusableError where a wanted name is not there."""
    header, *rest = records(text) if text.strip() else [Record(1, 1, "", ())]
    names = [name.strip().lower() for name in header.fields]
    for name in wanted:
        if name.lower() not in names:
            raise UnusableError(f"the header has no column {name!r}")
    return [dict(zip(names, row.fields, strict=False)) for row in rest if any(row.fields)]


def failed_records(text: str, lines: Iterable[int]) -> str:
    """Return the header and the records that these lines belong to, as they stand in the file."""
    wanted = set(lines)
    header, *rest = records(text)
    ending = "\r\n" if header.text.endswith("\r\n") else "\n"
    kept = [record.text for record in rest if not wanted.isdisjoint(range(record.first_line, record.last_line + 1))]
    return "".join(part if part.endswith(("\n", "\r")) else part + ending for part in (header.text, *kept))


def new_file(path: Path) -> int:
    """Make a file only its owner can read, and return its descriptor. Raises UnusableError where one is there."""
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise UnusableError(f"{path} exists already, and is not written over") from None
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror}") from None


def new_file_beside(path: Path, mark: str) -> tuple[Path, int]:
    """Make a file named after `path` that was not there, and return it with its descriptor. Raises UnusableError."""
    for number in range(1, _MOST_NAMES):
        more = "" if number == 1 else f"-{number}"
        candidate = path.with_name(f"{path.stem}.{mark}{more}{path.suffix}")
        if not candidate.exists():
            return candidate, new_file(candidate)
    raise UnusableError(f"{path.with_name(path.stem)}.{mark}: there are too many of these")


def write(descriptor: int, text: str) -> None:
    """Write a text to the disk and close its file. Raises OSError."""
    write_bytes(descriptor, text.encode())


def write_bytes(descriptor: int, content: bytes) -> None:
    """Write bytes to the disk and close their file. Raises OSError."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
