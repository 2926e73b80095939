from __future__ import annotations

from pathlib import Path

import pytest

from claimsvc.files import replace_file, write_private


def test_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    """A new file, and its directory, are made; nobody else can read it."""
    path = tmp_path / "a" / "b" / "secret"
    write_private(path, "text\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("text\n", 0o600)


def test_private_file_is_closed_where_it_was_open(tmp_path: Path) -> None:
    """A secret written over a file others could read is not left open to them."""
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o644])
def test_replaced_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    """Whoever could read the file before can read it after."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    replace_file(path, "new", 0o600)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)


def test_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """A reader of the old file keeps the old content whole, and no draft is left behind."""
    path = tmp_path / "file"
    path.write_text("old content")
    with path.open() as reader:
        assert reader.read(3) == "old"
        replace_file(path, "new", 0o600)
        assert reader.read() == " content"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Text that cannot be encoded, as any error, costs neither the old file nor leaves half a one."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        replace_file(path, "\ud800", 0o600)
    assert path.read_text() == "old"
