"""Migrations bring any older file to the newest schema, in steps that happen whole or not at all."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from claimsvc.store.database import (
    SchemaTooNewError,
    StoreError,
    load_migrations,
    load_queries,
    migrate,
    open_writer,
)


def schema(path: Path) -> list[tuple[str, str]]:
    """Return what the file's tables and indexes are made of, and its version."""
    with sqlite3.connect(path) as connection:
        found: list[tuple[str, str]] = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
        ).fetchall()
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    connection.close()
    return [*found, ("version", str(version))]


async def test_an_empty_file_comes_to_the_newest_schema(tmp_path: Path) -> None:
    """And opening it again changes nothing."""
    path = tmp_path / "claimsvc.db"
    async with open_writer(path):
        pass
    first = schema(path)
    assert first[-1] == ("version", str(len(load_migrations())))
    async with open_writer(path):
        pass
    assert schema(path) == first


@pytest.mark.parametrize("version", range(len(load_migrations()) + 1))
async def test_every_older_schema_comes_to_the_newest(version: int, tmp_path: Path) -> None:
    """From each version on the way the end is the same."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with sqlite3.connect(old) as connection:
        for script in load_migrations()[:version]:
            connection.executescript(script)
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    for path in (old, new):
        async with open_writer(path):
            pass
    assert schema(old) == schema(new)


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    """An older release says so and touches nothing."""
    path = tmp_path / "claimsvc.db"
    async with open_writer(path) as connection:
        await connection.execute(f"PRAGMA user_version = {len(load_migrations()) + 1}")
    before = schema(path)
    with pytest.raises(SchemaTooNewError, match="newer release"):
        async with open_writer(path):
            pass
    assert schema(path) == before


FAILING = {
    "a mistake at the end": "CREATE TABLE more (a INTEGER) STRICT; INSERT INTO nowhere VALUES (1);",
    "no SQL": "CREATE TABLE more (a INTEGER) STRICT; this is no SQL;",
    "data that does not fit": "CREATE TABLE more (a INTEGER) STRICT; INSERT INTO more VALUES ('text');",
}


@pytest.mark.parametrize("script", FAILING.values(), ids=FAILING.keys())
async def test_a_migration_that_fails_leaves_the_file_as_it_was(script: str, tmp_path: Path) -> None:
    """The steps before it stay, of its own nothing does, and the right one can follow."""
    path = tmp_path / "claimsvc.db"
    async with open_writer(path) as connection:
        before = schema(path)
        good = "CREATE TABLE good (a INTEGER) STRICT;"
        with pytest.raises((StoreError, sqlite3.Error)):
            await migrate(connection, [*load_migrations(), script])
        assert not connection.in_transaction
        assert schema(path) == before
        await migrate(connection, [*load_migrations(), good])
    assert ("good", "CREATE TABLE good (a INTEGER) STRICT") in schema(path)


async def test_every_table_is_strict(tmp_path: Path) -> None:
    """A text in a number's column is an error, not a surprise."""
    async with open_writer(tmp_path / "claimsvc.db") as connection:
        tables = await connection.execute_fetchall("PRAGMA table_list")
        loose = [row[1] for row in tables if row[2] == "table" and not row[5] and row[1][:7] != "sqlite_"]
        broken = list(await connection.execute_fetchall("PRAGMA foreign_key_check"))
    assert (loose, broken) == ([], [])


@pytest.mark.parametrize("name", load_queries())
async def test_every_named_query_fits_the_schema(name: str, tmp_path: Path) -> None:
    """SQLite can prepare it."""
    query = load_queries()[name]
    parameters = dict.fromkeys(re.findall(r":(\w+)", query), "[]")
    async with open_writer(tmp_path / "claimsvc.db") as connection:
        await connection.execute_fetchall(f"EXPLAIN {query}", parameters)
