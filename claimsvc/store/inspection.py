"""A look at the database file from outside the service that has it open; it changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from claimsvc.immutable import immutable
from claimsvc.store.database import StoreError, interruptible, load_migrations, load_queries, quoted, store_errors


@immutable
class Inspection:
    """What the file is. `damage` is None where SQLite finds none; `values` are the service's own."""

    schema: int
    newest_schema: int
    damage: str | None
    values: dict[str, str]


def inspect(path: Path, *names: str) -> Inspection:
    """Look at the database and at the service's own values of these names.

    Reads the whole file: half a gigabyte takes seconds. Raises StoreError where it cannot be read or is none of ours.
    """
    uri = f"file:{quoted(path)}?mode=ro"
    with store_errors(), closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as sql:
        sql.execute("PRAGMA busy_timeout = 5000")
        schema = int(sql.execute("PRAGMA user_version").fetchone()[0])
        if not schema:
            raise StoreError("this is no database of claimsvc's")
        with interruptible(sql):
            (said,) = sql.execute("PRAGMA quick_check(1)").fetchone()
        query = load_queries()["service_value"]
        found = {name: sql.execute(query, {"name": name}).fetchone() for name in names}
        values = {name: str(row[0]) for name, row in found.items() if row}
    return Inspection(schema, len(load_migrations()), None if said == "ok" else str(said), values)
