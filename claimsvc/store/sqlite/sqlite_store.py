"""The store in one SQLite file: its statements and its transactions.

One process has the file open at a time; a lock file keeps a second one out. The process has two connections:

* The writer. Its statements run in the event loop's thread, because most take less time than a change of threads.
  COMMIT waits for the disk, so it runs in another thread. `_owned` lets one task at a time use this connection, from
  BEGIN to COMMIT or ROLLBACK, so nothing else uses it meanwhile. Waiting for another program's lock inside SQLite
  would block the event loop, so BEGIN is tried again and again instead.
* The reader. It is read-only, has its own thread, and sees committed rows.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import resources
from typing import Any, TypeVar

from pydantic_core import to_json

from claimsvc.core.command import Command
from claimsvc.core.decision import Change, Outcome, Query
from claimsvc.core.facts import Facts
from claimsvc.core.model import Device, Import, Row
from claimsvc.core.policy import DAY_MS, Policy
from claimsvc.store.contract import InconsistentError, StoreError
from claimsvc.store.mapping import EVENTS, TABLES, Loading, OnConflict, Table, Values, Writing
from claimsvc.store.sqlite.sqlite_listings import READERS

SLICE = 5_000
"""Rows of each kind that `delete_expired` reads in one transaction."""
PATIENCE_S = 5.0
"""The longest wait for another program's lock on the file, in seconds."""
_ASK_AGAIN_S = 0.02
_CHUNKS = (64, 16, 4, 1)
"""Numbers of rows in one INSERT. There are few, so that each statement is prepared only once."""
_NAMED = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COLUMNS = re.compile(r"\{(?:(\w+):)?(\w+)\}")

T = TypeVar("T")


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn SQLite's errors into those of the contract, except those that are defects of this program."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise InconsistentError(str(error)) from error
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise StoreError(str(error)) from error


# --- statements


def load_queries() -> dict[str, str]:
    """Return the statements of `queries.sql` by name, with their columns inserted."""
    text = resources.files(__package__).joinpath("queries.sql").read_text()
    _comment, *parts = _NAMED.split(text)
    named = zip(parts[::2], parts[1::2], strict=True)
    return {name: _COLUMNS.sub(lambda match: columns(match[2], match[1]), query) for name, query in named}


_BY_NAME = {table.name: table for table in (*TABLES.values(), EVENTS)}


def columns(name: str, alias: str | None = None) -> str:
    """Return the list of a table's columns for a SELECT. A joined field is a JSON array."""
    table = _BY_NAME[name]
    prefix = f"{alias}." if alias else ""
    return ", ".join(
        _joined(table, column, alias or name) if column in table.joins else prefix + column
        for column in table.columns
    )


def _joined(table: Table, column: str, alias: str) -> str:
    join = table.joins[column]
    same = " AND ".join(f"j.{key} = {alias}.{of}" for key, of in zip(join.keys, join.of, strict=True))
    return f"(SELECT json_group_array(j.{column}) FROM {join.table} AS j WHERE {same})"


def insert_statement(table: Table, rows: int) -> str:
    """Return the statement that inserts this number of rows."""
    own = table.own_columns
    verb = "REPLACE" if table.on_conflict is OnConflict.REPLACE else "INSERT"
    one = f"({', '.join('?' * len(own))})"
    text = f"{verb} INTO {table.name} ({', '.join(own)}) VALUES {', '.join([one] * rows)}"
    if table.on_conflict is OnConflict.KEEP:
        return f"{text} ON CONFLICT DO NOTHING"
    if table.on_conflict is OnConflict.UPDATE:
        updated = ", ".join(f"{column} = excluded.{column}" for column in table.updated_columns)
        return f"{text} ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {updated}"
    return text


def remove_statement(table: Table) -> str:
    """Return the statement that deletes rows by a JSON array of keys."""
    parts = ", ".join(f"value ->> {place}" for place in range(len(table.key))) if len(table.key) > 1 else "value"
    return f"DELETE FROM {table.name} WHERE ({', '.join(table.key)}) IN (SELECT {parts} FROM json_each(:keys))"


def update_statement(table: Table, columns: tuple[str, ...], rows: int) -> str:
    """Return the statement that sets these columns of this number of rows."""
    given = (*columns, *table.key)
    one = f"({', '.join('?' * len(given))})"
    changed = ", ".join(f"{column} = v.{column}" for column in columns)
    same = " AND ".join(f"{table.name}.{column} = v.{column}" for column in table.key)
    values = f"WITH v ({', '.join(given)}) AS (VALUES {', '.join([one] * rows)})"
    return f"{values} UPDATE {table.name} SET {changed} FROM v WHERE {same}"


def _chunks(values: list[Values]) -> Iterator[tuple[int, list[Any]]]:
    """Yield (number of rows, their values in one list). Only the numbers of `_CHUNKS` occur."""
    done, left = 0, len(values)
    for size in _CHUNKS:
        while left >= size:
            yield size, [value for row in values[done : done + size] for value in row]
            done, left = done + size, left - size


class SqlText:
    """The text of every statement."""

    def __init__(self) -> None:
        self.named = load_queries()
        tables = (*TABLES.values(), EVENTS)
        self.inserts = {(table.name, rows): insert_statement(table, rows) for table in tables for rows in _CHUNKS}
        self.removes = {table.name: remove_statement(table) for table in tables if table.removable}
        self._updates: dict[tuple[str, tuple[str, ...], int], str] = {}

    def update(self, table: Table, columns: tuple[str, ...], rows: int) -> str:
        """Return the statement that sets these columns of this number of rows."""
        key = (table.name, columns, rows)
        if key not in self._updates:
            self._updates[key] = update_statement(table, columns, rows)
        return self._updates[key]


class SqliteStatements:
    """The statements on one connection."""

    def __init__(self, sql: sqlite3.Connection, text: SqlText) -> None:
        self._sql = sql
        self._text = text

    def select(self, name: str, keys: Collection[Any]) -> list[Any]:
        parameters = {"keys": to_json(list(keys)).decode()}
        return self._sql.execute(self._text.named[name], parameters).fetchall()

    def run(self, name: str, /, **parameters: object) -> list[Any]:
        """Return the rows that a statement finds for plain parameters."""
        return self._sql.execute(self._text.named[name], parameters).fetchall()

    def execute(self, name: str, rows: list[Values]) -> None:
        self._sql.execute(self._text.named[name], {"rows": to_json(rows).decode()})

    def insert(self, table: Table, values: list[Values]) -> None:
        if table.kind is Device and len(values) > 1:
            # A device may refer to a gateway of a later chunk.
            self._sql.execute("PRAGMA defer_foreign_keys = ON")
        for size, flat in _chunks(values):
            self._sql.execute(self._text.inserts[table.name, size], flat)

    def update(self, table: Table, columns: tuple[str, ...], values: list[Values]) -> None:
        for size, flat in _chunks(values):
            self._sql.execute(self._text.update(table, columns, size), flat)

    def remove(self, table: Table, keys: list[Any]) -> None:
        self._sql.execute(self._text.removes[table.name], {"keys": to_json(keys).decode()})


# --- the store


class SqliteTransaction:
    """One batch between loading and commit."""

    def __init__(
        self,
        facts: Facts,
        stored: dict[object, Row],
        statements: SqliteStatements,
        commit: Callable[[], Any],
    ) -> None:
        self.facts = facts
        self._stored = stored
        self._statements = statements
        self._commit = commit
        self._is_done = False

    async def commit(self, changes: Sequence[Change]) -> None:
        """Make the changes durable. Raises StoreError or InconsistentError; then nothing is written."""
        if self._is_done:
            raise RuntimeError("a transaction serves one commit")
        self._is_done = True
        if changes:
            with store_errors():
                Writing(self._statements, self._stored).write(changes)
                await self._commit()


class SqliteStore:
    """The rows of one SQLite file."""

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._text = SqlText()
        self._statements = SqliteStatements(writer, self._text)
        self._committing = ThreadPoolExecutor(1, "store")
        self._reading = ThreadPoolExecutor(1, "store reader")
        self._is_owned = False
        self._last_device = ""
        """The last device whose expired windows were deleted."""

    async def close(self) -> None:
        """Wait until the threads have finished."""
        for executor in (self._committing, self._reading):
            await asyncio.to_thread(executor.shutdown)

    # --- the writer

    @asynccontextmanager
    async def begin(
        self, commands: Sequence[Command], policy: Policy, repeat_keys: Iterable[tuple[str, str]] = ()
    ) -> AsyncIterator[SqliteTransaction]:
        """Open a transaction with the facts of these commands."""
        async with self._owned():
            loading = Loading(self._statements, policy)
            with store_errors():
                facts = loading.load(commands, repeat_keys)
            yield SqliteTransaction(facts, loading.stored, self._statements, self._commit)

    @asynccontextmanager
    async def _owned(self) -> AsyncIterator[None]:
        """Open a transaction on the writer for this task only. Roll it back unless it is committed."""
        if self._is_owned:
            raise RuntimeError("the store has a writer: one task at a time may begin a transaction")
        self._is_owned = True
        try:
            await self._begin()
            yield
        finally:
            try:
                if self._writer.in_transaction:
                    self._writer.rollback()
            finally:
                self._is_owned = False

    async def _begin(self) -> None:
        until = time.monotonic() + PATIENCE_S
        with store_errors():
            while True:
                try:
                    self._writer.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise
                else:
                    return
                await asyncio.sleep(_ASK_AGAIN_S)

    async def _commit(self) -> None:
        await self._in_thread(lambda: self._writer.execute("COMMIT"))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run `work`, a part of a transaction, in the thread. It runs to its end even if this task is cancelled."""
        doing = asyncio.get_running_loop().run_in_executor(self._committing, work)
        cancelled: asyncio.CancelledError | None = None
        while not doing.done():
            try:
                await asyncio.wait({doing})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            with suppress(Exception):
                doing.result()
            raise cancelled
        with store_errors():
            return doing.result()

    async def cut(self, answered_until_ms: int, sealed_until_ms: int) -> None:
        """Shorten the life of first answers and sealed logins: they end at these times at the latest."""
        async with self._owned():
            with store_errors():
                self._statements.run("cut_answered", slice=SLICE, until=answered_until_ms)
                self._statements.run("cut_sealed", slice=SLICE, until=sealed_until_ms)
            await self._commit()

    async def delete_expired(self, now_ms: int, events_before_ms: int) -> bool:
        """Delete a slice of the expired rows of each kind. Return whether there may be more."""
        before = self._writer.total_changes
        async with self._owned():
            until = await self._in_thread(lambda: self._delete(now_ms, events_before_ms))
            await self._commit()
        self._last_device = until or ""
        return self._writer.total_changes - before >= SLICE

    def _delete(self, now_ms: int, events_before_ms: int) -> str | None:
        run = self._statements.run
        run("delete_answered", slice=SLICE, now=now_ms)
        run("delete_imports", before=now_ms - DAY_MS)
        run("clear_sealed", slice=SLICE, now=now_ms)
        run("delete_former_credentials", slice=SLICE, now=now_ms)
        run("delete_tokens", slice=SLICE, now=now_ms)
        run("delete_events", slice=SLICE, before=events_before_ms)
        ((until,),) = run("window_slice_end", slice=SLICE, after=self._last_device)
        if until is not None:
            # A window stays readable for a day after it expired, so that operators can see why a claim was too late.
            run("delete_windows", after=self._last_device, until=until, before=now_ms - DAY_MS)
        return None if until is None else str(until)

    async def put_service_value(self, name: str, value: str) -> None:
        """Store a value of the service itself, durably."""
        async with self._owned():
            with store_errors():
                self._statements.run("put_service_value", name=name, value=value)
            await self._commit()

    # --- the reader

    async def read(
        self, commands: Sequence[Command], policy: Policy, repeat_keys: Iterable[tuple[str, str]] = ()
    ) -> Facts:
        """Return the facts of these commands from committed rows, without locks."""
        keys = list(repeat_keys)
        return await self._look(lambda statements: Loading(statements, policy).load(commands, keys), is_whole=True)

    async def query(self, question: Query) -> Outcome:
        """Return the filled listing or state."""
        read = READERS[type(question)]
        return await self._look(lambda statements: read(statements, question), is_whole=True)

    async def read_import(self, lane: str, request_id: str) -> Import | None:
        """Return the progress of a file, or None."""
        found = await self._look(lambda statements: statements.run("import", lane=lane, request_id=request_id))
        return next(iter(TABLES[Import].decode(found)), None)

    async def read_import_parts(self, lane: str, request_id: str) -> list[str]:
        """Return the sealed results of a file's slices, in the order of its rows."""
        found = await self._look(lambda statements: statements.run("import_parts", lane=lane, request_id=request_id))
        return [sealed for (sealed,) in found]

    async def service_value(self, name: str) -> str | None:
        """Return a value of the service itself."""
        found = await self._look(lambda statements: statements.run("service_value", name=name))
        return str(found[0][0]) if found else None

    async def password_logins(self, now_ms: int) -> tuple[list[tuple[str, str]], int | None]:
        """Return (login, hash) of every login that the broker may admit by password, and until when."""

        def read(statements: SqliteStatements) -> tuple[list[tuple[str, str]], int | None]:
            ((until_ms,),) = statements.run("next_login_change", now=now_ms)
            return statements.run("password_logins", now=now_ms), until_ms

        return await self._look(read, is_whole=True)

    async def _look(self, read: Callable[[SqliteStatements], T], *, is_whole: bool = False) -> T:
        """Run `read` in the reader's thread. With `is_whole` all its statements see the same moment."""

        def work() -> T:
            if not is_whole:
                return read(SqliteStatements(self._reader, self._text))
            self._reader.execute("BEGIN")
            try:
                return read(SqliteStatements(self._reader, self._text))
            finally:
                self._reader.rollback()

        with store_errors():
            return await asyncio.get_running_loop().run_in_executor(self._reading, work)
