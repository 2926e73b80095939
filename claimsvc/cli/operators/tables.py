"""CSV files: the records and the lines they cover; and new files for secrets, which never overwrite a file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from claimsvc.cli.operators.failing import UnusableError

_SEPARATORS = ";\t,"
"""The same as in the service. The first is the default for a header without any."""
_MOST_NAMES = 10_000


class Record(NamedTuple):
    """One record with its unchanged text. Lines count from 1."""

    first_line: int
    last_line: int
    text: str
    fields: tuple[str, ...]


def records(text: str) -> Iterator[Record]:
    """Yield a file's records, the header first. A quoted field may span several lines. Raises UnusableError."""
    lines = list(io.StringIO(text, newline=""))
    header = next((line for line in lines if line.strip("\r\n")), "")
    reader = csv.reader(lines, delimiter=_separator(header))
    first = 1
    try:
        for fields in reader:
            if fields:  # an empty line is no record
                yield Record(first, reader.line_num, "".join(lines[first - 1 : reader.line_num]), tuple(fields))
            first = reader.line_num + 1
    except csv.Error as error:
        raise UnusableError(f"line {first}: {error}") from None


def _header_and_rest(text: str) -> list[Record]:
    return list(records(text)) or [Record(1, 1, "", ())]


def cells_of(content: bytes, name: str) -> dict[int, str]:
    """Return a column's cells by the first line of their records. Empty if there is no such column."""
    header, *rest = _header_and_rest(content.decode("utf-8-sig", "replace"))
    names = [each.strip().lower() for each in header.fields]
    if name.lower() not in names:
        return {}
    at = names.index(name.lower())
    return {record.first_line: record.fields[at] for record in rest if at < len(record.fields)}


def _separator(header: str) -> str:
    """Return the separator that occurs most often in the header, outside quotes."""
    return max(_SEPARATORS, key="".join(header.split('"')[::2]).count)


def rows_of(text: str, wanted: str) -> list[dict[str, str]]:
    """Return a file's rows as dicts; keys are the header's names in lower case.

    Raises UnusableError if the header has no column `wanted`.
    """
    header, *rest = _header_and_rest(text)
    names = [name.strip().lower() for name in header.fields]
    if wanted.lower() not in names:
        raise UnusableError(f"the header has no column {wanted!r}")
    return [dict(zip(names, row.fields, strict=False)) for row in rest]


def failed_records(content: bytes, lines: Iterable[int]) -> bytes:
    """Return the header and the records that contain these lines, unchanged to the byte."""
    wanted = set(lines)
    header, *rest = _header_and_rest(content.decode("latin-1"))
    ending = "\r\n" if header.text.endswith("\r\n") else "\n"
    kept = [record.text for record in rest if not wanted.isdisjoint(range(record.first_line, record.last_line + 1))]
    whole = (part if part.endswith(("\n", "\r")) else part + ending for part in (header.text, *kept))
    return "".join(whole).encode("latin-1")


def new_file(path: Path) -> int:
    """Create a file that only its owner can read, and return its descriptor. Raises UnusableError if it exists."""
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise UnusableError(f"{path} exists already; it is not overwritten") from None
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror}") from None


def new_file_beside(path: Path, mark: str) -> tuple[Path, int]:
    """Create a file with a new name derived from `path`; return its path and descriptor. Raises UnusableError."""
    for number in range(1, _MOST_NAMES):
        more = "" if number == 1 else f"-{number}"
        candidate = path.with_name(f"{path.stem}.{mark}{more}{path.suffix}")
        if not candidate.exists():
            return candidate, new_file(candidate)
    raise UnusableError(f"{path.with_name(path.stem)}.{mark}: too many files of this name exist; delete some")


def write(descriptor: int, text: str) -> None:
    """Write a text, sync it to disk and close the file. Raises OSError."""
    write_bytes(descriptor, text.encode())


def write_bytes(descriptor: int, content: bytes) -> None:
    """Write bytes, sync them to disk and close the file. Raises OSError."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
