from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from claimsvc.checking import file_checks
from claimsvc.checking.file_checks import Files, examine_files, examine_logins
from claimsvc.checking.finding import Verdict
from claimsvc.sealing import KeyFileError, Sealing, load_key
from claimsvc.store.sqlite.sqlite_database import open_store


async def _found(database: Path, key: Path) -> None:
    async with open_store(database) as store:
        await store.put_service_value("key_fingerprint", _fingerprint(key))
        await store.put_service_value("default_tenant", "default")


def _fingerprint(key: Path) -> str:
    return Sealing(load_key(key), 1).fingerprint


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database as the service makes it, with its key."""
    path = tmp_path / "claimsvc.db"
    asyncio.run(_found(path, tmp_path / "service.key"))
    return path


def verdicts(database: Path, tenant: str = "default") -> dict[str, Verdict]:
    """Return how each thing stands."""
    key = database.with_name("service.key")
    given = Files(
        database=database, key=key, fingerprint=lambda: _fingerprint(key), key_failure=KeyFileError, tenant=tenant
    )
    return {each.name: each.verdict for each in examine_files(given)}


def wrong(database: Path, tenant: str = "default") -> dict[str, Verdict]:
    """Return what does not pass."""
    return {name: verdict for name, verdict in verdicts(database, tenant).items() if verdict is not Verdict.PASS}


def test_a_fresh_database_passes(database: Path) -> None:
    """In everything."""
    assert wrong(database) == {}
    assert len(verdicts(database)) == 5


def _damage(database: Path) -> None:
    with closing(sqlite3.connect(database)) as sql:
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = sql.execute("SELECT rootpage FROM sqlite_master WHERE name = 'device'").fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))


def _set_version(version: int) -> Callable[[Path], None]:
    def change(database: Path) -> None:
        with closing(sqlite3.connect(database)) as sql:
            sql.execute(f"PRAGMA user_version = {version}")

    return change


def _other_key(database: Path) -> None:
    database.with_name("service.key").write_text("11" * 32 + "\n")


def _damaged_key(database: Path) -> None:
    database.with_name("service.key").write_text("nothing\n")


def _no_key(database: Path) -> None:
    database.with_name("service.key").unlink()


def _open_key(database: Path) -> None:
    database.with_name("service.key").chmod(0o640)


def _open_database(database: Path) -> None:
    database.chmod(0o664)


def _text(database: Path) -> None:
    database.write_text("no database")


KEY = "key file and settings match the database"
TROUBLES: dict[str, tuple[Callable[[Path], object], dict[str, Verdict]]] = {
    "it is not there": (lambda path: path.unlink(), {"the database can be read": Verdict.FAIL}),
    "it is no database": (_text, {"the database can be read": Verdict.FAIL}),
    "a page is torn": (_damage, {"the database is intact": Verdict.FAIL}),
    "a newer release wrote it": (_set_version(99), {"the schema matches this release": Verdict.FAIL}),
    "an older release wrote it": (_set_version(1), {"the schema matches this release": Verdict.WARN}),
    "the key is another's": (_other_key, {KEY: Verdict.FAIL}),
    "the key is damaged": (_damaged_key, {KEY: Verdict.FAIL}),
    "there is no key": (_no_key, {KEY: Verdict.FAIL}),
    "others may read the key": (_open_key, {KEY: Verdict.FAIL, "the service's files are private": Verdict.FAIL}),
    "others may read the database": (_open_database, {"the service's files are private": Verdict.FAIL}),
}


@pytest.mark.parametrize(("trouble", "expected"), TROUBLES.values(), ids=TROUBLES.keys())
def test_what_is_wrong_is_found(
    trouble: Callable[[Path], object], expected: dict[str, Verdict], database: Path
) -> None:
    """And nothing else; a key that is missing is not made."""
    trouble(database)
    keys = sorted(database.parent.glob("*.key"))
    assert wrong(database) == expected
    assert sorted(database.parent.glob("*.key")) == keys


def test_another_default_tenant_is_found(database: Path) -> None:
    """The service would not start."""
    assert wrong(database, tenant="other") == {KEY: Verdict.FAIL}


def test_files_that_nobody_lets_us_see_are_no_success(tmp_path: Path) -> None:
    """A directory that is closed to this user, or a name the system refuses: findings, not a traceback."""
    given = verdicts(tmp_path / ("n" * 300) / "claimsvc.db")  # refused to root, too
    assert given == {
        "the database can be read": Verdict.FAIL,
        "the disk has free space": Verdict.SKIPPED,
        "the service's files are private": Verdict.SKIPPED,
    }


def test_a_disk_that_is_nearly_full_is_found(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is full."""
    monkeypatch.setattr(file_checks, "LEAST_FREE_BYTES", 2**60)
    assert wrong(database) == {"the disk has free space": Verdict.FAIL}


def test_logins_that_are_no_lane(tmp_path: Path) -> None:
    """Of all files; without a file nobody knows."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("alice:$7$1$a$b\nworks/line:$7$1$a$b\n# a/comment\n\n")
    second.write_text("+:$7$1$a$b\nbob#1:$7$1$a$b\n")
    found = examine_logins([first, second, tmp_path / "none"], is_known=True)
    assert (found.verdict, found.seen) == (Verdict.WARN, "'works/line'; '+'; 'bob#1'")
    assert examine_logins([], is_known=True).verdict is Verdict.PASS
    assert examine_logins([], is_known=False).verdict is Verdict.SKIPPED
    assert examine_logins([tmp_path], is_known=True).verdict is Verdict.SKIPPED
    assert examine_logins([tmp_path / "none"], is_known=True).verdict is Verdict.SKIPPED
