"""Reading the database file while the service has it open: a copy, an inspection, counts. Nothing is changed.

Each opens its own read-only connection. So it delays neither the writer nor a listing, and leaves no snapshot open
that would keep the write-ahead log from shrinking.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from claimsvc.immutable import immutable
from claimsvc.store.contract import StoreError
from claimsvc.store.sqlite.sqlite_database import connect, interruptible, load_migrations
from claimsvc.store.sqlite.sqlite_store import load_queries, store_errors

_PAGES_A_STEP = 1_024
_NOT_OURS = "this is not a claimsvc database"


# --- a copy


def copy(source: Path, target: Path, progress: Callable[[int, int], None]) -> int:
    """Copy the database at `source` to the new file `target`, mode 0600, and return its schema's number.

    The copy shows one moment, is checked, and needs no other file. `progress` gets the numbers of copied and of all
    pages; an exception that it raises ends the copying. The writer is not delayed. Raises FileExistsError, and
    StoreError, also if the copy is damaged. After an error, delete `target`.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with store_errors():
            schema = _copy(source, target, progress)
            _examine(target)
    except StoreError as error:
        raise StoreError(f"cannot back up {source}: {error}") from error
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return schema


def _copy(source: Path, target: Path, progress: Callable[[int, int], None]) -> int:
    with closing(connect(source)) as reader, closing(sqlite3.connect(target, isolation_level=None)) as writer:
        # One transaction for all steps: otherwise every commit of the service would restart the copy.
        reader.execute("BEGIN")
        schema = _schema(reader)
        writer.execute("PRAGMA synchronous = OFF")  # `copy` syncs the whole file at the end
        reader.backup(
            writer, pages=_PAGES_A_STEP, progress=lambda _status, left, pages: progress(pages - left, pages)
        )
    return schema


def _schema(sql: sqlite3.Connection) -> int:
    ours = sql.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'service'").fetchone()[0]
    version = int(sql.execute("PRAGMA user_version").fetchone()[0])
    if not ours or not version:
        raise StoreError(_NOT_OURS)
    return version


def _examine(target: Path) -> None:
    """Turn the copy into a single file, and let SQLite check every page of it."""
    with closing(sqlite3.connect(target, isolation_level=None)) as sql, interruptible(sql):
        sql.execute("PRAGMA journal_mode = DELETE")
        (first,) = sql.execute("PRAGMA integrity_check(1)").fetchone()
    if first != "ok":
        raise StoreError(f"the database is damaged: {first}")


# --- an inspection


@immutable
class Inspection:
    """The state of the file. `damage` is None if SQLite finds none. `values` are those of the service itself."""

    schema: int
    newest_schema: int
    damage: str | None
    values: dict[str, str]


def inspect(path: Path, *names: str) -> Inspection:
    """Return the state of the database and the service's values of these names.

    Reads the whole file: half a gigabyte takes seconds. Raises StoreError if the file cannot be read or is not a
    claimsvc database.
    """
    with store_errors(), closing(connect(path)) as sql:
        schema = int(sql.execute("PRAGMA user_version").fetchone()[0])
        if not schema:
            raise StoreError(_NOT_OURS)
        with interruptible(sql):
            (said,) = sql.execute("PRAGMA quick_check(1)").fetchone()
        query = load_queries()["service_value"]
        found = {name: sql.execute(query, {"name": name}).fetchone() for name in names}
        values = {name: str(row[0]) for name, row in found.items() if row}
    return Inspection(schema, len(load_migrations()), None if said == "ok" else str(said), values)


# --- counts


class Census:
    """Counts of a store's rows, for monitoring. Any thread may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._query = load_queries()["census"]

    def take(self, now_ms: int) -> dict[str, float]:
        """Return the counts by name; `now_ms` is epoch milliseconds. Raises StoreError."""
        with store_errors(), closing(connect(self._path)) as sql:
            counted = sql.execute(self._query, {"now": now_ms})
            names = [column[0] for column in counted.description]
            counts: dict[str, float] = dict(zip(names, counted.fetchone(), strict=True))
        try:
            counts["database_bytes"] = self._size()
            counts["disk_free_bytes"] = shutil.disk_usage(self._path.parent).free
        except OSError as error:
            raise StoreError(f"{error.strerror}: {self._path}") from error
        return counts

    def _size(self) -> int:
        log = self._path.with_name(self._path.name + "-wal")
        return self._path.stat().st_size + (log.stat().st_size if log.exists() else 0)
