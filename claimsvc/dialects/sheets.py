"""CSV files of rows, with one of three separators, plain or in a multipart form.

The payload is read as a stream, so that a large file needs little more memory than its bytes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic_core import to_json

from claimsvc.core.bulk import ImportCounts, RowField, RowRefused
from claimsvc.core.decision import Refused
from claimsvc.core.names import name_error
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import Rejected, malformed
from claimsvc.immutable import immutable

SLICE = 200
"""Rows of one command. All other requests wait while it is decided."""
MOST_FAILED = 10_000
"""Failed rows that an answer lists, so that it is not too large for the broker. The counters count all."""
_SEPARATORS = ";\t,"
"""The first one is the default if a header has none of them."""
_ENCODINGS = ("utf-8", "cp1252")
"""Spreadsheet programs call the second one ANSI."""
_BOM = b"\xef\xbb\xbf"
LONGEST_HEADER = 65_536
"""Bytes of a file's first line, which is read before the permission is checked."""
MOST_COLUMNS = 256
_LONGEST_BOUNDARY, _LONGEST_PART_HEAD, _MOST_PARTS = 80, 4_096, 16
_PART_HEAD_END = re.compile(rb"\r?\n\r?\n")
_IS_FILE = re.compile(rb"""[;\s]name="?file["\s;]""", re.IGNORECASE)

R = TypeVar("R")


class BadCellError(Exception):
    """A cell has an invalid value. The text does not quote it, because it may be a secret."""

    def __init__(self, column: str, text: str) -> None:
        super().__init__(column, text)
        self.column = column
        self.text = text


@immutable
class Line:
    """A row of a file. `number` is its first line; that of the header is 1."""

    number: int
    cells: list[str]


@immutable
class Table:
    """A complete file: a header, and the number of `rows` after it."""

    header: tuple[str, ...]
    rows: int
    content: bytes
    encoding: str
    separator: str

    def lines(self) -> Iterator[Line]:
        """Return the lines after the header."""
        return islice(_lines(self.content, self.encoding, self.separator), 1, None)


@immutable
class Row(Generic[R]):
    """A line with its meaning, or the refusal if it is malformed."""

    line: Line
    meaning: R | RowRefused


def header_of(body: bytes) -> tuple[str, ...]:
    """Return the names of a file's columns, without reading the rest. Raises Rejected."""
    return _header(_file(body))[0]


def open_table(body: bytes, most_rows: int) -> Table:
    """Read a file. Raises Rejected if it is malformed as a whole, or has no rows or too many."""
    content = _file(body)
    header, separator = _header(content)
    encoding = _encoding(content)
    try:
        # Do not count all lines of a file that is too long: millions of lines would delay every other request.
        rows = sum(1 for _ in islice(_lines(content, encoding, separator), most_rows + 2)) - 1
    except csv.Error as error:
        raise malformed(f"the file is not valid CSV: {error}") from None
    if rows < 1:
        raise malformed("the file has no rows after its header")
    if rows > most_rows:
        raise Rejected(Reason.TOO_LARGE, f"at most {most_rows} rows in a file")
    return Table(header, rows, content, encoding, separator)


def columns(header: tuple[str, ...]) -> dict[str, int]:
    """Return the position of each column. Raises Rejected for too many columns, or an invalid or repeated name."""
    if len(header) > MOST_COLUMNS:
        raise malformed(f"at most {MOST_COLUMNS} columns")
    found: dict[str, int] = {}
    for position, name in enumerate(header):
        # Do not quote the name: in a file without a header it is data, which may be secret.
        if name_error(name) or not name.isprintable():
            raise malformed(f"the name of column {position + 1} is not valid")
        if name in found:
            raise malformed(f"column {position + 1} has the same name as an earlier column")
        found[name] = position
    return found


def slices(table: Table, skip: int, key: int, read: Callable[[list[str]], R]) -> Iterator[list[Row[R]]]:
    """Yield slices of the rows after the first `skip` rows.

    `key` is the column with the device's name. A repeated name is refused. `read` may raise BadCellError.
    """
    rows = islice(_rows(table, key, read), skip, None)
    while some := list(islice(rows, SLICE)):
        yield some


def _rows(table: Table, key: int, read: Callable[[list[str]], R]) -> Iterator[Row[R]]:
    seen: set[str] = set()
    for line in table.lines():
        name = line.cells[key] if key < len(line.cells) else None
        yield Row(line, _meaning(table, line, read, is_repeated=name in seen, key=key))
        if name is not None:
            seen.add(name)


def _meaning(
    table: Table, line: Line, read: Callable[[list[str]], R], *, is_repeated: bool, key: int
) -> R | RowRefused:
    if len(line.cells) != len(table.header):
        counted = f"the row has {len(line.cells)} cells, the header has {len(table.header)}"
        return RowRefused(Refused(Reason.MALFORMED, counted))
    if is_repeated:
        return RowRefused(
            Refused(Reason.ALREADY_EXISTS, "an earlier row of the file has this name"), table.header[key]
        )
    try:
        return read(line.cells)
    except BadCellError as error:
        return RowRefused(Refused(Reason.INVALID_VALUE, error.text), error.column)


# --- from bytes to cells


def _lines(content: bytes, encoding: str, separator: str) -> Iterator[Line]:
    text = io.TextIOWrapper(io.BytesIO(content), encoding, newline="")
    reader = csv.reader(text, delimiter=separator, strict=True)
    begins = 1
    for cells in reader:
        if cells:  # skip empty lines
            yield Line(begins, cells)
        begins = reader.line_num + 1


def _file(body: bytes) -> bytes:
    """Return the file, extracted from its multipart form if it has one."""
    if not body.startswith(b"--"):
        return body.removeprefix(_BOM)
    parts = list(_parts(body))
    begin, end = next((place for head, *place in parts if _IS_FILE.search(head + b"\n")), parts[0][1:])
    return body[begin:end].removesuffix(b"\r").removeprefix(_BOM)


def _parts(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the head of each part of a multipart form, and the start and end of its content. Raises Rejected."""
    begin = body.find(b"\n", 0, _LONGEST_BOUNDARY)
    boundary = b"\n" + body[: max(begin, 0)].rstrip()
    for _ in range(_MOST_PARTS):
        end = body.find(boundary, begin)
        if begin < 0 or end < 0 or not (head := _PART_HEAD_END.search(body, begin, begin + _LONGEST_PART_HEAD)):
            break
        yield body[begin : head.start()], head.end(), max(end, head.end())
        behind = end + len(boundary)
        if body.startswith(b"--", behind):
            return
        begin = body.find(b"\n", behind, behind + _LONGEST_BOUNDARY)
    raise malformed("the multipart form is incomplete")


def _encoding(content: bytes) -> str:
    if b"\0" in content:
        raise malformed("the file is not UTF-8 text")
    for encoding in _ENCODINGS:
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    raise malformed("the file is not UTF-8 text")


def _header(content: bytes) -> tuple[tuple[str, ...], str]:
    """Return the header's cells and its separator: the most frequent one outside quotes."""
    start = len(content) - len(content.lstrip(b"\r\n")) if content[:1] in {b"\r", b"\n"} else 0
    line = re.split(rb"[\r\n]", content[start : start + LONGEST_HEADER + 1], maxsplit=1)[0]
    if len(line) > LONGEST_HEADER:
        raise malformed(f"the header is longer than {LONGEST_HEADER} bytes")
    text = line.decode(_encoding(line))
    separator = max(_SEPARATORS, key="".join(text.split('"')[::2]).count)
    try:
        return tuple(next(csv.reader([text], delimiter=separator, strict=True), ())), separator
    except csv.Error as error:
        raise malformed(f"the header is not valid CSV: {error}") from None


def cell(cells: list[str], position: int | None) -> str | None:
    """Return the text of a cell; None if the cell is blank or the file has no such column."""
    text = "" if position is None else cells[position]
    return text if text.strip() else None


# --- the common parts of answers


def counters(counts: ImportCounts) -> dict[str, object]:
    """Return the counters of a file: all, created, failed and successful rows."""
    return {
        "numberOfAll": counts.rows,
        "numberOfCreated": counts.created,
        "numberOfFailed": counts.failed,
        "numberOfSuccessful": counts.created + counts.updated,
    }


def encode_progress(counts: ImportCounts) -> bytes:
    """Return the progress of a file, as JSON."""
    return to_json(
        {
            "numberOfAll": counts.rows,
            "numberOfProcessed": counts.done,
            "numberOfCreated": counts.created,
            "numberOfFailed": counts.failed,
        }
    )


def failure(line: Line, result: RowRefused, names: Mapping[RowField | str | None, str]) -> dict[str, Any]:
    """Return the line and the cause of a row that failed. `names` maps fields to columns."""
    refused = result.refused
    reason = refused.detail or refused.message
    entry: dict[str, Any] = {"failureReason": reason, "code": refused.reason.value, "lineNumber": line.number}
    if result.column is not None:
        entry["column"] = names.get(result.column, str(result.column))
    return entry
