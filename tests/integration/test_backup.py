from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claimsvc.backup import BackupError, back_up
from claimsvc.core.decision import Put
from claimsvc.core.model import Row
from claimsvc.store.contract import SchemaTooNewError, StoreError
from claimsvc.store.sqlite.sqlite_database import load_migrations, open_store
from tests.support.example import EVERYTHING, THERMOSTAT, load
from tests.support.stores import apply

KEY = "00" * 32 + "\n"


async def _make(path: Path) -> None:
    async with open_store(path) as store:
        await apply(store, [Put(row) for row in EVERYTHING])


async def _read(path: Path) -> list[Row | None]:
    async with open_store(path) as store:
        return await load(store)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with one row of each kind."""
    path = tmp_path / "claimsvc.db"
    asyncio.run(_make(path))
    return path


@pytest.fixture
def writer(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection like the service's, open all the while."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the backup goes: an empty directory."""
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "copy.db"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The service's key file."""
    path = tmp_path / "service.key"
    path.write_text(KEY)
    return path


def quietly(_done: int, _pages: int) -> None:
    """Tell nobody of the progress."""


def left(target: Path) -> list[str]:
    """Return what lies in the backup's directory."""
    return sorted(path.name for path in target.parent.iterdir())


def test_a_backup_holds_every_row(writer: sqlite3.Connection, database: Path, key: Path, target: Path) -> None:
    """Taken while the store is open; one private file that a store opens on as on the first one."""
    writer.execute("UPDATE device SET label = 'in the write-ahead log'")
    made = back_up(database, key, target, None, quietly)
    assert left(target) == ["copy.db"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert (made.bytes, made.schema, made.key) == (target.stat().st_size, len(load_migrations()), None)
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT DISTINCT label FROM device").fetchall() == [("in the write-ahead log",)]
        copy.execute("UPDATE device SET label = NULL WHERE is_gateway")
        copy.execute("UPDATE device SET label = ? WHERE NOT is_gateway", (THERMOSTAT.label,))
        copy.commit()
    assert asyncio.run(_read(target)) == list(EVERYTHING)


def test_a_backup_is_one_moment(writer: sqlite3.Connection, database: Path, key: Path, target: Path) -> None:
    """What the service commits while pages are copied is not in it, and does not begin it anew."""
    for number in range(3_000):
        row = (f"id-{number}", f"{number} {'x' * 4_000}")
        writer.execute(
            "INSERT INTO device (id, tenant_id, name, type, created_at) VALUES (?, 'default', ?, '', 0)", row
        )
    told: list[int] = []

    def commit_meanwhile(done: int, _pages: int) -> None:
        told.append(done)
        writer.execute("UPDATE device SET type = 'late'")

    back_up(database, key, target, None, commit_meanwhile)
    assert len(told) > 2
    assert told == sorted(told)
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT count(*), sum(type = 'late') FROM device").fetchone() == (3_002, 0)


def test_the_key_is_copied_where_it_is_told(database: Path, tmp_path: Path, key: Path, target: Path) -> None:
    """Private, whole, in a directory that is made."""
    made = back_up(database, key, target, tmp_path / "keys", quietly)
    assert made.key == tmp_path / "keys" / "service.key"
    assert made.key.read_text() == KEY
    assert made.key.stat().st_mode & 0o777 == 0o600


def _no_database(database: Path, _target: Path) -> None:
    database.unlink()


def _foreign(database: Path, _target: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as sql:
        sql.execute("CREATE TABLE other (x)")


def _text(database: Path, _target: Path) -> None:
    database.write_bytes(b"not a database, but long enough to be looked at" * 100)


def _empty(database: Path, _target: Path) -> None:
    database.write_bytes(b"")


def _torn(database: Path, _target: Path) -> None:
    """Overwrite pages in the middle, as a disk may."""
    with database.open("r+b") as file:
        file.seek(database.stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(8 * 4096))


def _taken(_database: Path, target: Path) -> None:
    target.write_text("precious")


def _no_key(database: Path, _target: Path) -> None:
    database.with_name("service.key").unlink()


def _no_directory(_database: Path, target: Path) -> None:
    target.parent.rmdir()


TROUBLES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "there is no database": (_no_database, "no database"),
    "the database is somebody else's": (_foreign, "not a claimsvc database"),
    "the database is empty": (_empty, "not a claimsvc database"),
    "the database is no database": (_text, "not a database"),
    "the database is damaged": (_torn, "damaged|malformed"),
    "there is a file already": (_taken, "exists already"),
    "there is no key": (_no_key, "no key file"),
    "there is no such directory": (_no_directory, "no directory"),
}


@pytest.mark.parametrize(("trouble", "word"), TROUBLES.values(), ids=TROUBLES.keys())
def test_what_cannot_be_backed_up_is_told(
    trouble: Callable[[Path, Path], None], word: str, database: Path, tmp_path: Path, key: Path, target: Path
) -> None:
    """And nothing is left behind, nor was anything overwritten."""
    trouble(database, target)
    before = left(target) if target.parent.exists() else []
    content = target.read_text() if target.exists() else ""
    with pytest.raises((BackupError, StoreError), match=word):
        back_up(database, key, target, tmp_path / "keys", quietly)
    assert (left(target) if target.parent.exists() else []) == before
    assert (target.read_text() if target.exists() else "") == content
    assert not (tmp_path / "keys" / "service.key").exists()


def test_an_interrupted_backup_leaves_nothing(database: Path, tmp_path: Path, key: Path, target: Path) -> None:
    """Ctrl-C between two steps."""

    def interrupt(_done: int, _pages: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(database, key, target, tmp_path / "keys", interrupt)
    assert left(target) == []
    assert not (tmp_path / "keys").exists()


def test_a_name_taken_meanwhile_is_not_overwritten(database: Path, tmp_path: Path, key: Path, target: Path) -> None:
    """Two backups to one name: the second to finish fails, and takes its copy of the key with it."""

    def be_faster(_done: int, _pages: int) -> None:
        target.write_text("first")

    with pytest.raises(BackupError, match="exists already"):
        back_up(database, key, target, tmp_path / "keys", be_faster)
    assert target.read_text() == "first"
    assert left(target) == ["copy.db"]
    assert list((tmp_path / "keys").iterdir()) == []


def test_a_newer_releases_database_is_copied_and_not_opened(
    database: Path, tmp_path: Path, key: Path, target: Path
) -> None:
    """An old release may copy what it does not understand; only to use it is refused, with what to do."""
    with closing(sqlite3.connect(database)) as sql:
        sql.execute("PRAGMA user_version = 99")
    assert back_up(database, key, target, None, quietly).schema == 99
    with pytest.raises(SchemaTooNewError, match=r"schema 99.*newer release"):
        asyncio.run(_read(target))
