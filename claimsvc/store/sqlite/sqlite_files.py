"""The database file from outside the service that has it open: a copy, an inspection, counts. Nothing is changed.

Each opens a read-only connection of its own: it holds up neither the writer nor a listing, and leaves no snapshot
open that the write-ahead log would have to be kept for.
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
from claimsvc.store.sqlite.sqlite_store import (
    connect,
    interruptible,
    load_migrations,
    load_queries,
    store_errors,
)

_PAGES_A_STEP = 1_024
_NOT_OURS = "this is not a claimsvc database"


# --- a copy


def copy(source: Path, target: Path, progress: Callable[[int, int], None]) -> int:
    """Copy the database at `source` to the new file `target`, mode 0600, and return its schema's number.

    The copy shows one moment, is examined, and stands alone. `progress` gets the pages done and all pages; an
    exception that it raises ends the copying. A writer is not held up. Raises StoreError, also if the copy is
    damaged, or FileExistsError; then `target` is worthless.
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
        # One transaction around all steps: without it every commit of the service would begin the copy anew.
        reader.execute("BEGIN")
        schema = _schema(reader)
        writer.execute("PRAGMA synchronous = OFF")  # the whole file is synced in the end
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
    """Make the copy a file without companions, and let SQLite check every page of it."""
    with closing(sqlite3.connect(target, isolation_level=None)) as sql, interruptible(sql):
        sql.execute("PRAGMA journal_mode = DELETE")
        (first,) = sql.execute("PRAGMA integrity_check(1)").fetchone()
    if first != "ok":
        raise StoreError(f"the database is damaged: {first}")


# --- an inspection


@immutable
class Inspection:
    """What the file is. `damage` is None if SQLite finds none; `values` are the service's own."""

    schema: int
    newest_schema: int
    damage: str | None
    values: dict[str, str]


def inspect(path: Path, *names: str) -> Inspection:
    """Return the state of the database and the service's own values of these names.

    Reads the whole file: half a gigabyte takes seconds. Raises StoreError if it cannot be read or is not ours.
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
    """Counts of what one store holds at a time, for monitoring. For any thread."""

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
