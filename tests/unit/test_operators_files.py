"""CSV files that operators send, and labels they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimsvc.cli.operators import importing, labels
from claimsvc.cli.operators.failing import UnusableError
from claimsvc.cli.operators.tables import cells_of, failed_records, new_file_beside, records, rows_of
from tests.support.commands import local

# --- CSV

TEXT = 'name;key\nA;1\n"B\nb";2\n\nC;3'


def test_records_know_their_lines() -> None:
    """A quoted field may hold several lines; the header is line 1."""
    found = [(record.first_line, record.last_line, record.fields) for record in records(TEXT)]
    assert found == [
        (1, 1, ("name", "key")),
        (2, 2, ("A", "1")),
        (3, 4, ("B\nb", "2")),
        (6, 6, ("C", "3")),
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([2], "name;key\nA;1\n", id="one row"),
        pytest.param([3], 'name;key\n"B\nb";2\n', id="a row of two lines, by its first"),
        pytest.param([4], 'name;key\n"B\nb";2\n', id="a row of two lines, by its last"),
        pytest.param([6, 2], "name;key\nA;1\nC;3\n", id="in the file's order, the last one ended"),
        pytest.param([99], "name;key\n", id="a line that is not there"),
    ],
)
def test_failed_rows_as_a_file(lines: list[int], expected: str) -> None:
    """With the header, and each row as it was written."""
    assert failed_records(TEXT.encode(), lines) == expected.encode()


def test_failed_rows_keep_the_ends_of_lines() -> None:
    """What came from a spreadsheet goes back to it."""
    assert failed_records(b"a,b\r\n1,2\r\n3,4", [3]) == b"a,b\r\n3,4\r\n"


def test_the_names_of_failed_rows() -> None:
    """By the line a record begins on; a file without that column has none."""
    assert cells_of(b"\xef\xbb\xbfNAME,key\nA,1\n\n,2\n", "name") == {2: "A", 4: ""}
    assert cells_of(b"ID;KEY\nA;1\n", "name") == {}
    assert cells_of(b"", "name") == {}


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa;b\n1;\xc3\xbc\n", b"a;b\n1;\x85\xfc\n"])
def test_failed_rows_keep_their_bytes(content: bytes) -> None:
    """Whatever the file's encoding is, and with its mark."""
    assert failed_records(content, [2]) == content


@pytest.mark.parametrize("text", ["name;secretKey\nA;k\n", "NAME,SecretKey\nA,k\n", " name \tsecretkey\nA\tk"])
def test_rows_by_their_header(text: str) -> None:
    """Whatever separates them, and however the header is written."""
    assert rows_of(text, "name") == [{"name": "A", "secretkey": "k"}]


@pytest.mark.parametrize("text", ["", "\n", "title\nA\n"])
def test_rows_without_a_name(text: str) -> None:
    """The missing column is named."""
    with pytest.raises(UnusableError, match="'name'"):
        rows_of(text, "name")


def test_a_file_beside_is_a_new_one(tmp_path: Path) -> None:
    """Nothing that was mended is written over."""
    made = [new_file_beside(tmp_path / "devices.csv", "failed") for _ in range(3)]
    assert [path.name for path, _ in made] == ["devices.failed.csv", "devices.failed-2.csv", "devices.failed-3.csv"]
    for _, descriptor in made:
        with open(descriptor, "wb"):  # noqa: PTH123 - a descriptor, to be closed
            pass


@pytest.mark.parametrize(
    ("dry_run", "words"),
    [(False, "3 rows: 2 done (1 new), 1 failed."), (True, "2 would succeed, 1 would fail")],
)
def test_a_summary(words: str, *, dry_run: bool) -> None:
    """A dry run says that nothing was changed."""
    answer = {"numberOfAll": 3, "numberOfSuccessful": 2, "numberOfCreated": 1, "numberOfFailed": 1}
    text = importing.summary(answer, dry_run=dry_run)
    assert words in text
    assert ("Nothing was changed" in text) == dry_run


def test_a_summary_of_one_row() -> None:
    """Is in the singular."""
    answer = {"numberOfAll": 1, "numberOfSuccessful": 1, "numberOfCreated": 1, "numberOfFailed": 0}
    assert importing.summary(answer, dry_run=False) == "1 row: 1 done (1 new), 0 failed."


# --- labels


@pytest.mark.parametrize(
    ("key", "template", "content"),
    [
        pytest.param(None, None, '{"deviceName":"Flur ü"}', id="a name"),
        pytest.param("k&y", None, '{"deviceName":"Flur ü","secretKey":"k&y"}', id="a name and a key"),
        pytest.param("", None, '{"deviceName":"Flur ü","secretKey":""}', id="the empty key, which claims too"),
        pytest.param("k&y", "x:{deviceName}/{secretKey}", "x:Flur%20%C3%BC/k%26y", id="a URL"),
        pytest.param(None, "x:{deviceName}", "x:Flur%20%C3%BC", id="a URL without a key"),
    ],
)
def test_what_a_label_holds(key: str | None, template: str | None, content: str) -> None:
    """JSON of two members, or a URL with both encoded."""
    assert labels.content_of("Flur ü", key, template) == content


@pytest.mark.parametrize(("key", "template"), [(None, "https://x/"), ("k", "https://x/{deviceName}")])
def test_a_template_has_a_place_for_all(key: str | None, template: str) -> None:
    """A label that leaves out the name, or the key it should carry, helps nobody."""
    with pytest.raises(UnusableError, match="--claim-url"):
        labels.content_of("Lamp", key, template)


def test_a_name_of_two_in_one_template() -> None:
    """A name that looks like a place is not filled in again."""
    assert labels.content_of("{secretKey}", "k", "x:{deviceName}/{secretKey}") == "x:%7BsecretKey%7D/k"


def test_a_code_on_the_terminal_is_the_code() -> None:
    """Two modules a character, with the quiet margin a reader needs, black on white."""
    code = labels.code_of("Lamp")
    text = labels.on_screen(code)
    rows = [list(row) for row in code.matrix_iter(border=4)]
    lines = text.plain.splitlines()
    shown = [[each in upper for each in line] for line in lines for upper in ("▀█", "▄█")][: len(rows)]
    assert shown == [[bool(module) for module in row] for row in rows]
    assert text.style == "black on white"


def test_too_much_for_a_code() -> None:
    """It is refused, and no picture of half of it is made."""
    with pytest.raises(UnusableError, match="too long"):
        labels.code_of("x" * 3_000)


def test_a_sheet_of_labels(tmp_path: Path) -> None:
    """A figure for each row with its name, in which nothing of a name is HTML; nothing is written over."""
    file, out = tmp_path / "keys.csv", tmp_path / "sheet.html"
    file.write_text("name;secretKey\nLamp;PLANTED\n<b>Bulb</b>;\n")
    assert local("labels", str(file), str(out), "--columns", "2", "--size", "25").code == 0
    text = out.read_text()
    assert text.count("<figure><svg") == 2
    assert "&lt;b&gt;Bulb&lt;/b&gt;" in text
    assert "<b>" not in text
    assert "PLANTED" not in text  # but in the code
    assert "repeat(2, 1fr)" in text
    assert "25mm" in text
    again = local("labels", str(file), str(out))
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert out.read_text() == text


@pytest.mark.parametrize("text", ["name\n", "key\nx\n", "name;secretKey\n;k\n"])
def test_no_sheet_of_nothing(text: str, tmp_path: Path) -> None:
    """A file without devices is refused with one line, and leaves no sheet."""
    file = tmp_path / "keys.csv"
    file.write_text(text)
    done = local("labels", str(file), str(tmp_path / "sheet.html"))
    assert (done.code, done.err.startswith("claimsvc: ")) == (2, True)
    assert not (tmp_path / "sheet.html").exists()
