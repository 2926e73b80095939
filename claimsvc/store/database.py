"""The SQLite file: opening it, its pragmas, migrations, transactions and named statements.

One process may have a store open at a time; a lock file keeps a second one out. Inside the process one writer
connection belongs to the pipeline alone and one read-only connection serves listings.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from typing import TypeVar

import aiosqlite

DIRECTORY_MODE = 0o2770
FILE_MODE = 0o660
"""The broker's plugin reads the file under another uid of the same group."""

_INSTRUCTIONS_A_LOOK = 100_000
"""Of SQLite's virtual machine: some milliseconds."""
_NAMED = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")

Sql = aiosqlite.Connection

T = TypeVar("T")


class StoreError(Exception):
    """The store cannot be used now: disk full, file broken, locked. Nothing of the batch was written."""


class StoreInUseError(StoreError):
    """Another process has this store open."""


class SchemaTooNewError(StoreError):
    """The database was written by a newer release."""


def load_queries() -> dict[str, str]:
    """Return the statements of `queries.sql` by name."""
    text = resources.files(__package__).joinpath("queries.sql").read_text()
    parts = _NAMED.split(text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def load_migrations() -> list[str]:
    """Return the migrations in order; the first brings an empty file to version 1."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted(entry.name for entry in folder.iterdir() if _MIGRATION.fullmatch(entry.name))
    if [int(name[:4]) for name in files] != list(range(1, len(files) + 1)):
        raise RuntimeError(f"migrations are not numbered 1 to {len(files)}: {files}")
    return [folder.joinpath(name).read_text() for name in files]


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the store at `path` for this process. Raises StoreInUseError when another one has it."""
    _make_directory(path.parent)
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreInUseError(f"another claimsvc has {path} open: stop it first") from None
        yield
    finally:
        os.close(descriptor)


def _make_directory(directory: Path) -> None:
    if not directory.exists():
        directory.mkdir(parents=True)
        directory.chmod(DIRECTORY_MODE)


def _make_file(path: Path) -> None:
    """SQLite gives its side files the mode of the database, so that one is made first."""
    _make_directory(path.parent)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE))
        path.chmod(FILE_MODE)


@asynccontextmanager
async def open_writer(path: Path) -> AsyncIterator[Sql]:
    """Open the writer connection, the file brought to the newest schema. Raises StoreError."""
    _make_file(path)
    async with _connect(f"file:{quoted(path)}") as connection:
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = FULL")
        await connection.execute("PRAGMA foreign_keys = ON")
        await migrate(connection)
        yield connection


@asynccontextmanager
async def open_reader(path: Path) -> AsyncIterator[Sql]:
    """Open a connection that cannot write. Raises StoreError."""
    async with _connect(f"file:{quoted(path)}?mode=ro") as connection:
        await connection.execute("PRAGMA query_only = ON")
        yield connection


def quoted(path: Path) -> str:
    """Return a path as it stands in a URI of SQLite's."""
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


@asynccontextmanager
async def _connect(uri: str) -> AsyncIterator[Sql]:
    connection = aiosqlite.connect(uri, uri=True, isolation_level=None, cached_statements=256)
    try:
        with store_errors():
            await connection
    except BaseException:
        # Its thread still has a word for the loop, which may be closed by then.
        await asyncio.to_thread(connection._thread.join)  # noqa: SLF001 - aiosqlite has no way to wait for it
        raise
    try:
        with store_errors():
            await connection.execute("PRAGMA busy_timeout = 5000")
            yield connection
    finally:
        await connection.close()


async def migrate(connection: Sql, migrations: list[str] | None = None) -> None:
    """Bring the schema to the newest version, a transaction a step. Raises SchemaTooNewError."""
    steps = load_migrations() if migrations is None else migrations
    ((version,),) = await connection.execute_fetchall("PRAGMA user_version")
    if version > len(steps):
        raise SchemaTooNewError(
            f"the database has schema {version}, this release knows {len(steps)}: use the newer release"
        )
    for number, script in enumerate(steps[version:], start=version + 1):
        # executescript() commits whatever is open, so the transaction is part of the script.
        whole = f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
        try:
            await connection.executescript(whole)
        except BaseException:
            await connection.rollback()
            raise


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn what SQLite says of the disk, the file or a lock into StoreError; our mistakes pass."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        raise StoreError(str(error)) from error


@contextmanager
def interruptible(sql: sqlite3.Connection) -> Iterator[None]:
    """Let Ctrl-C end a statement that takes long; it would otherwise be heard when the statement is done."""
    sql.set_progress_handler(lambda: 0, _INSTRUCTIONS_A_LOOK)  # whatever is raised in there ends the statement
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from None
        raise
    finally:
        sql.set_progress_handler(None, 0)


async def run(connection: Sql, work: Callable[[sqlite3.Connection], T]) -> T:
    """Have the connection's own thread do `work`: one trip, whatever the number of statements. Raises StoreError.

    It is done to its end even when this task is cancelled.
    """
    with store_errors():
        # aiosqlite's own way of doing anything; its public calls make one trip per statement.
        done: T = await connection._execute(work, connection._conn)  # type: ignore[no-untyped-call]  # noqa: SLF001
    return done


@contextmanager
def transaction(sql: sqlite3.Connection) -> Iterator[None]:
    """Commit what happens inside, or nothing."""
    sql.execute("BEGIN IMMEDIATE")
    try:
        yield
        sql.execute("COMMIT")
    except BaseException:
        if sql.in_transaction:
            sql.rollback()
        raise
