"""Files of rows: whatever CSV people's tools write is read as they meant it, and no bytes break us."""

from __future__ import annotations

import csv
import io
import tracemalloc
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from claimsvc.core.bulk import RowRefused
from claimsvc.core.reasons import Reason
from claimsvc.dialects import sheets
from claimsvc.dialects.message import Rejected
from claimsvc.dialects.sheets import BadCellError, Line, Row, open_table

MOST = 1_000
PLAIN = b"ID;PATH\na;b\n"
BOM = b"\xef\xbb\xbf"


def table(body: bytes) -> list[list[str]]:
    """Return a file's cells, its header first."""
    opened = open_table(body, MOST)
    return [list(opened.header), *(line.cells for line in opened.lines())]


def refusal(body: bytes) -> str:
    """Return why a file is refused as a whole."""
    with pytest.raises(Rejected) as caught:
        sheets.columns(open_table(body, MOST).header)
    assert caught.value.refused.reason is Reason.MALFORMED
    return caught.value.refused.detail


def form(*parts: tuple[str, bytes], end: bytes = b"--\r\n", line: bytes = b"\r\n") -> bytes:
    """Return a multipart form of parts, each with its name."""
    boundary = b"--------WebKitFormBoundaryA1"
    made = b"".join(
        line.join((boundary, b'Content-Disposition: form-data; name="%s"' % name.encode(), b"", content, b""))
        for name, content in parts
    )
    return made + boundary + end


# --- what is read

READ = {
    "semicolons": (b"ID;PATH\na;b\n", [["ID", "PATH"], ["a", "b"]]),
    "commas": (b"ID,PATH\na,b\n", [["ID", "PATH"], ["a", "b"]]),
    "tabs": (b"ID\tPATH\na\tb\n", [["ID", "PATH"], ["a", "b"]]),
    "line ends of Windows": (b"ID;PATH\r\na;b\r\n", [["ID", "PATH"], ["a", "b"]]),
    "line ends of old": (b"ID;PATH\ra;b\r", [["ID", "PATH"], ["a", "b"]]),
    "no line end at the end": (b"ID;PATH\na;b", [["ID", "PATH"], ["a", "b"]]),
    "a byte order mark": (BOM + PLAIN, [["ID", "PATH"], ["a", "b"]]),
    "a byte order mark before a quote": (BOM + b'"ID";"PATH"\na;b', [["ID", "PATH"], ["a", "b"]]),
    "a quoted header": (b'"ID";"PATH"\n"a";"b"\n', [["ID", "PATH"], ["a", "b"]]),
    "separators in a quoted header": (b'ID;"a,b,c,d"\n1;2\n', [["ID", "a,b,c,d"], ["1", "2"]]),
    "separators in a quoted cell": (b'ID,PATH\na,"b,c;d"\n', [["ID", "PATH"], ["a", "b,c;d"]]),
    "quotes in a quoted cell": (b'ID;PATH\na;"b ""c"""\n', [["ID", "PATH"], ["a", 'b "c"']]),
    "a line end in a quoted cell": (b'ID;PATH\na;"b\r\nc"\n', [["ID", "PATH"], ["a", "b\r\nc"]]),
    "empty lines": (b"\r\n\nID;PATH\n\na;b\n\n\n", [["ID", "PATH"], ["a", "b"]]),
    "one column": (b"ID\na\nb\n", [["ID"], ["a"], ["b"]]),
    "UTF-8": ("ID;PATH\nä;€\n".encode(), [["ID", "PATH"], ["ä", "€"]]),
    "what spreadsheets call ANSI": ("ID;PATH\nä;€\n".encode("cp1252"), [["ID", "PATH"], ["ä", "€"]]),
    "rows of other lengths": (b"ID;PATH\na\na;b;c\n", [["ID", "PATH"], ["a"], ["a", "b", "c"]]),
    "a separator that is only in the rows": (b"ID\na;b\n", [["ID"], ["a", "b"]]),
    "a quote within a bare cell": (b'ID;PATH\na;5" pipe\n', [["ID", "PATH"], ["a", '5" pipe']]),
}


@pytest.mark.parametrize(("body", "cells"), READ.values(), ids=READ.keys())
def test_files_are_read_as_they_were_meant(body: bytes, cells: list[list[str]]) -> None:
    """Alone and in a form, whose own lines end either way."""
    assert table(body) == cells
    assert table(form(("file", body))) == cells
    assert table(form(("file", body), line=b"\n", end=b"--")) == cells


def test_the_file_of_a_form_is_the_part_of_that_name() -> None:
    """Where no part is called so, the first."""
    assert table(form(("comment", b"ID\nx\n"), ("file", PLAIN))) == [["ID", "PATH"], ["a", "b"]]
    assert table(form(("upload", PLAIN), ("comment", b"x"))) == [["ID", "PATH"], ["a", "b"]]
    other = b'--B\r\nContent-Disposition: form-data; name="x"; filename="file"\r\n\r\nID\nx\r\n'
    named = b"--B\r\ncontent-disposition: form-data; NAME=file\r\n\r\nID\ny\r\n--B--"
    assert table(other + named) == [["ID"], ["y"]]


def test_lines_have_the_number_an_editor_shows() -> None:
    """Also behind empty lines and cells of several lines."""
    opened = open_table(b'\nID;PATH\na;"b\nc"\n\nd;e\n', MOST)
    assert list(opened.lines()) == [Line(3, ["a", "b\nc"]), Line(6, ["d", "e"])]


_TEXT = some.text(some.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(
    rows=some.integers(2, 5).flatmap(  # a header of one column tells no separator
        lambda width: some.lists(some.lists(_TEXT, min_size=width, max_size=width), min_size=1, max_size=6)
    ),
    separator=some.sampled_from(";,\t"),
    # Python's writer does not quote the half of a line end that is not its own.
    written=some.sampled_from([("all", "\n"), ("all", "\r\n"), ("all", "\r"), ("what must", "\r\n")]),
    mark=some.sampled_from([b"", BOM]),
)
@settings(deadline=None, max_examples=300)
def test_what_is_written_is_read_back(
    rows: list[list[str]], separator: str, written: tuple[str, str], mark: bytes
) -> None:
    """Any cells, with each separator, quoting and line end that Python's own writer knows."""
    header = [f"column{number}" for number in range(len(rows[0]))]
    text = io.StringIO(newline="")
    quoted, line_end = written
    write = partial(csv.writer, text, delimiter=separator, lineterminator=line_end)
    writer = write(quoting=csv.QUOTE_ALL) if quoted == "all" else write()
    writer.writerows([header, *rows])
    assert table(mark + text.getvalue().encode()) == [header, *rows]


# --- what is refused

REFUSED = {
    "nothing": (b"", "the file has no rows after its header"),
    "empty lines alone": (b"\n\r\n\n", "the file has no rows after its header"),
    "a header alone": (b"ID;PATH\r\n", "the file has no rows after its header"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "the file is not UTF-8 text"),
    "UTF-16": ("ID;PATH\na;b\n".encode("utf-16"), "the file is not UTF-8 text"),
    "neither encoding": (b"ID\n\x81\x8d\n", "the file is not UTF-8 text"),
    "a quote that never ends": (b'ID;PATH\n"a;b\n', "the file is not valid CSV: unexpected end of data"),
    "a quote that ends early": (b'ID;PATH\n"a"b;c\n', "the file is not valid CSV: ';' expected after '\"'"),
    "a header over two lines": (b'"ID\n";PATH\na;b\n', "the header is not valid CSV: unexpected end of data"),
    "a cell of a megabyte": (
        b"ID\n" + b"x" * 1_000_000,
        "the file is not valid CSV: field larger than field limit (131072)",
    ),
    "a header that is too long": (b"ID;" + b"x" * 65_536 + b"\na;b\n", "the header is longer than 65536 bytes"),
    "too many columns": (";".join(f"c{n}" for n in range(257)).encode() + b"\na\n", "at most 256 columns"),
    "a column without a name": (b"ID;;PATH\na;b;c\n", "the name of column 2 is not valid"),
    "a column with an odd name": ("ID;a\u200bb\na;b\n".encode(), "the name of column 2 is not valid"),
    "two columns of a name": (b"ID;PATH;ID\na;b;c\n", "column 3 has the same name as an earlier column"),
    "half a form": (form(("file", PLAIN))[:-20], "the multipart form is incomplete"),
    "a form without parts": (b"--B--\r\n", "the multipart form is incomplete"),
    "a part without a head": (b"--B\r\nID;PATH\r\na;b\r\n--B--\r\n", "the multipart form is incomplete"),
    "dashes": (b"--", "the multipart form is incomplete"),
    "too many parts": (form(*[("x", b"")] * 17), "the multipart form is incomplete"),
}


@pytest.mark.parametrize(("body", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_files_that_cannot_be_understood(body: bytes, why: str) -> None:
    """The text says what is wrong and quotes no cell."""
    assert refusal(body) == why


def test_a_file_of_too_many_rows_is_refused() -> None:
    """It is counted, and as large as may be it is read."""
    assert open_table(b"ID\n" + b"a\n" * MOST, MOST).rows == MOST
    with pytest.raises(Rejected) as caught:
        open_table(b"ID\n" + b"a\n" * (MOST + 1), MOST)
    assert caught.value.refused.reason is Reason.TOO_LARGE


_PIECES = some.lists(
    some.sampled_from(
        [b"ID", b";", b",", b"\t", b'"', b"\n", b"\r", b"--", b"B", b'name="file"', BOM, b"\xff", b"\0"]
    )
).map(b"".join)


@given(some.one_of(some.binary(max_size=200), _PIECES, _PIECES.map(lambda made: form(("file", made)))))
@settings(deadline=None, max_examples=500)
def test_no_bytes_do_anything_but_be_read_or_refused(body: bytes) -> None:
    """What `open_table` lets through can be read to its end, and has the rows it says."""
    try:
        opened = open_table(body, MOST)
    except Rejected:
        return
    assert opened.rows == sum(1 for _ in opened.lines()) > 0


HOSTILE = {
    "a form of nothing but boundaries": b"--\n" * 5_000_000,
    "a header of nothing but separators": b";" * 15_000_000,
    "one line": b"x" * 15_000_000,
    "nothing but line ends": b"\n" * 15_000_000,
    "a form without an end": b"--B\n\n" + b"x" * 15_000_000,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_header_of_a_hostile_file_costs_next_to_nothing(body: bytes) -> None:
    """It is read before anybody knows whether its sender may send files: no more memory than a second copy."""
    tracemalloc.start()
    try:
        with pytest.raises(Rejected):
            sheets.columns(sheets.header_of(body) or ("",))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


# --- rows


def read(cells: list[str]) -> str:
    """Read a row as its second cell, where that is no question mark."""
    if cells[1] == "?":
        raise BadCellError("PATH", "no question marks")
    return cells[1]


def rows_of(body: bytes, skip: int = 0) -> list[Row[str]]:
    """Return the rows behind the first of a file, from all slices."""
    opened = open_table(body, MOST)
    return [row for some_rows in sheets.slices(opened, skip, 0, read) for row in some_rows]


def test_each_row_is_understood_for_itself() -> None:
    """One with another number of cells, a bad cell or an id that was there before is refused, the rest is read."""
    rows = rows_of(b"ID;PATH\na;1\na;2\nb\nb;3\nc;4;5\nd;?\nd;6\n;7\n;8\ne;9\n")
    said = [
        (row.meaning.refused.reason, row.meaning.column) if isinstance(row.meaning, RowRefused) else row.meaning
        for row in rows
    ]
    repeated, uneven = (Reason.ALREADY_EXISTS, "ID"), (Reason.MALFORMED, None)
    bad = (Reason.INVALID_VALUE, "PATH")
    assert said == ["1", repeated, uneven, repeated, uneven, bad, repeated, "7", repeated, "9"]


@pytest.mark.parametrize("skip", [0, 1, 199, 200, 201, 449, 450, 500])
def test_going_on_behind_a_row_finds_the_rest(skip: int) -> None:
    """And still knows what was there before."""
    body = b"ID;PATH\n" + b"".join(b"d%d;%d\n" % (number, number) for number in range(449)) + b"d0;again\n"
    rows = rows_of(body, skip)
    assert [row.line.number for row in rows] == list(range(skip + 2, 452))
    if rows:
        assert isinstance(rows[-1].meaning, RowRefused)
    assert [row.meaning for row in rows[:-1]] == [str(number) for number in range(skip, 449)]


def test_slices_have_at_most_so_many_rows() -> None:
    """Nobody waits longer than that."""
    opened = open_table(b"ID;PATH\n" + b"".join(b"d%d;x\n" % number for number in range(450)), MOST)
    assert [len(each) for each in sheets.slices(opened, 0, 0, read)] == [200, 200, 50]
