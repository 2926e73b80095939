"""The named statements at work on one connection: a parameter is a JSON array, whatever the size of the batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json


class Statements:
    """The statements of `queries.sql` on a connection. For its own thread, as part of one piece of work."""

    def __init__(self, sql: sqlite3.Connection, queries: Mapping[str, str]) -> None:
        self._sql = sql
        self._queries = queries

    def select(self, query: str, **arrays: object) -> list[Any]:
        """Return the rows that a statement finds for its arrays."""
        parameters = {name: to_json(array).decode() for name, array in arrays.items()}
        return self._sql.execute(self._queries[query], parameters).fetchall()

    def execute(self, query: str, **arrays: object) -> None:
        """Have a statement write its arrays' rows."""
        self.select(query, **arrays)

    def run(self, query: str, **parameters: object) -> list[Any]:
        """Return the rows that a statement finds for plain parameters."""
        return self._sql.execute(self._queries[query], parameters).fetchall()
