"""The database file: its lock, its schema and its connections."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from importlib import resources
from pathlib import Path

from claimsvc.store.contract import SchemaTooNewError, StoreInUseError
from claimsvc.store.sqlite.sqlite_store import PATIENCE_S, SqliteStore, store_errors

DIRECTORY_MODE = 0o2770
FILE_MODE = 0o660
"""The broker's plugin reads the file under another uid of the same group."""
_INSTRUCTIONS_A_LOOK = 100_000
"""Steps of SQLite's virtual machine between two checks for Ctrl-C; they take some milliseconds."""
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[SqliteStore]:
    """Open the store for this process alone. Raises StoreError, also if another process has it."""
    with lock(path), open_writer(path) as writer, closing(connect(path)) as reader:
        store = SqliteStore(writer, reader)
        try:
            yield store
        finally:
            await store.close()


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Lock the database at `path` for this process. Raises StoreInUseError if another process has it."""
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
    """Create the file with its mode before SQLite does. SQLite gives its side files the same mode."""
    _make_directory(path.parent)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE))
        path.chmod(FILE_MODE)


@contextmanager
def open_writer(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the writer connection and migrate the file to the newest schema. Raises StoreError."""
    _make_file(path)
    with closing(connect(path, is_read_only=False)) as sql:
        with store_errors():
            sql.execute("PRAGMA journal_mode = WAL")
            sql.execute("PRAGMA synchronous = FULL")
            sql.execute("PRAGMA foreign_keys = ON")
            migrate(sql)
            sql.execute("PRAGMA busy_timeout = 0")  # from now on the event loop's thread must not wait
        yield sql


def connect(path: Path, *, is_read_only: bool = True) -> sqlite3.Connection:
    """Return a connection without implicit transactions, for any thread, one at a time. Raises StoreError."""
    quoted = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    uri = f"file:{quoted}?mode=ro" if is_read_only else f"file:{quoted}"
    with store_errors():
        sql = sqlite3.connect(
            uri, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False, cached_statements=512, uri=True
        )
        if is_read_only:
            sql.execute("PRAGMA query_only = ON")
        return sql


def load_migrations() -> list[str]:
    """Return the migrations in order. The first one migrates an empty file to version 1."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted(entry.name for entry in folder.iterdir() if _MIGRATION.fullmatch(entry.name))
    if [int(name[:4]) for name in files] != list(range(1, len(files) + 1)):
        raise RuntimeError(f"migrations are not numbered 1 to {len(files)}: {files}")
    return [folder.joinpath(name).read_text() for name in files]


def migrate(sql: sqlite3.Connection, migrations: list[str] | None = None) -> None:
    """Migrate the schema to the newest version, with one transaction for each step. Raises SchemaTooNewError."""
    steps = load_migrations() if migrations is None else migrations
    ((version,),) = sql.execute("PRAGMA user_version")
    if version > len(steps):
        raise SchemaTooNewError(
            f"the database has schema {version}, this release knows {len(steps)}: use the newer release"
        )
    for number, script in enumerate(steps[version:], start=version + 1):
        # executescript() commits an open transaction, so BEGIN and COMMIT are part of the script.
        whole = f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
        try:
            sql.executescript(whole)
        except BaseException:
            sql.rollback()
            raise


@contextmanager
def interruptible(sql: sqlite3.Connection) -> Iterator[None]:
    """Let Ctrl-C end a long statement. Otherwise Python would handle it only after the statement."""
    sql.set_progress_handler(lambda: 0, _INSTRUCTIONS_A_LOOK)  # an exception in the handler ends the statement
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from None
        raise
    finally:
        sql.set_progress_handler(None, 0)
