"""Counts of what the store holds at a time, for whoever watches the service; taking them changes nothing.

Every reading opens a read-only connection of its own: it holds up neither the writer nor a listing, and leaves no
snapshot open that the write-ahead log would have to be kept for.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from claimsvc.store.database import StoreError, load_queries, quoted, store_errors


class Census:
    """Counts of one store. For any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queries = load_queries()

    def take(self, now_ms: int) -> dict[str, float]:
        """Return the counts by name; `now_ms` is epoch milliseconds. Raises StoreError."""
        uri = f"file:{quoted(self._path)}?mode=ro"
        with store_errors(), closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as sql:
            counted = sql.execute(self._queries["census"], {"now": now_ms})
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
