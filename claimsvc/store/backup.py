"""A copy of the database while it is in use: one moment of it, whole and examined, in a file that stands alone."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from claimsvc.store.database import StoreError, interruptible, quoted, store_errors

_PAGES_A_STEP = 1_024


def copy(source: Path, target: Path, progress: Callable[[int, int], None]) -> int:
    """Copy the database at `source` to the new file `target`, mode 0600, and return its schema's number.

    `progress` is told the pages done and all of them; what it raises ends the copying. A writer is not held up.
    Raises StoreError, also where the copy is damaged, or FileExistsError; then `target` is worth nothing.
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
    uri = f"file:{quoted(source)}?mode=ro"
    with (
        closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as reader,
        closing(sqlite3.connect(target, isolation_level=None)) as writer,
    ):
        reader.execute("PRAGMA busy_timeout = 5000")
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
        raise StoreError("this is no database of claimsvc's")
    return version


def _examine(target: Path) -> None:
    """Make the copy a file without companions, and have SQLite look at every page of it."""
    with closing(sqlite3.connect(target, isolation_level=None)) as sql, interruptible(sql):
        sql.execute("PRAGMA journal_mode = DELETE")
        (first,) = sql.execute("PRAGMA integrity_check(1)").fetchone()
    if first != "ok":
        raise StoreError(f"the database is damaged: {first}")
