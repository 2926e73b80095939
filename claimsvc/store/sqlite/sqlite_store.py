"""The store in one SQLite file: opening it, its schema, its statements, and its transactions.

One process has the file open at a time; a lock file keeps a second one out. The process has two connections:

* The writer. Its statements run in the event loop's thread, because most take less time than a change of threads.
  COMMIT waits for the disk, so it runs in another thread. `_owned` lets one task at a time use this connection, from
  BEGIN to COMMIT or ROLLBACK, so nothing else uses it meanwhile. Waiting for another program's lock inside SQLite
  would block the event loop, so BEGIN is tried again and again instead.
* The reader. It is read-only, has its own thread, and sees committed rows.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import to_json

from claimsvc.core.command import Command
from claimsvc.core.decision import Change, Listing, Outcome, Page, Query
from claimsvc.core.facts import Facts, Lookup
from claimsvc.core.inventory import ClaimingQuestion, ClaimingState
from claimsvc.core.model import (
    CLAIMING_ALLOWED,
    Attribute,
    ClaimAttempts,
    ClaimWindow,
    Customer,
    Device,
    DeviceGroup,
    DeviceProfile,
    DeviceRequest,
    Event,
    Group,
    Import,
    Role,
    Row,
    Tenant,
    User,
    UserFailures,
)
from claimsvc.core.policy import DAY_MS, Policy
from claimsvc.core.provisioning import ProfileListing, ProfilePage
from claimsvc.core.registration import RequestListing, RequestPage
from claimsvc.store.contract import (
    MOST_ATTEMPTS,
    MOST_EVENTS,
    InconsistentError,
    SchemaTooNewError,
    StoreError,
    StoreInUseError,
)
from claimsvc.store.mapping import EVENTS, TABLES, Loading, OnConflict, Table, Values, Writing

DIRECTORY_MODE = 0o2770
FILE_MODE = 0o660
"""The broker's plugin reads the file under another uid of the same group."""
SLICE = 5_000
"""Rows of each kind that `delete_expired` reads in one transaction."""
PATIENCE_S = 5.0
"""The longest wait for another program's lock on the file, in seconds."""
_ASK_AGAIN_S = 0.02
_CHUNKS = (64, 16, 4, 1)
"""Numbers of rows in one INSERT. There are few, so that each statement is prepared only once."""
_INSTRUCTIONS_A_LOOK = 100_000
"""Steps of SQLite's virtual machine between two checks for Ctrl-C; they take some milliseconds."""
_NAMED = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COLUMNS = re.compile(r"\{(?:(\w+):)?(\w+)\}")
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")
_LAST = "9223372036854775807"
_AFTER_ALL = "\U0010ffff"
"""Sorts after every continuation of a name. No name contains it."""

T = TypeVar("T")


# --- the file and its schema


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
        read = _READERS[type(question)]
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


# --- listings

_LISTINGS: dict[type[Any], tuple[str, int]] = {
    # kind: (statement, the column that continues the listing)
    Tenant: ("list_tenants", 0),
    Customer: ("list_customers", 0),
    User: ("list_users", 2),
    Group: ("list_groups", 1),
    Role: ("list_roles", 1),
    Device: ("list_gateways", 2),
    DeviceGroup: ("list_device_groups", 2),
    Event: ("list_events", 7),
}


def _page(statements: SqliteStatements, listing: Listing) -> Page:
    query, column = _LISTINGS[listing.kind]
    is_newest_first = listing.kind is Event
    after = int(listing.after or _LAST) if is_newest_first else listing.after or ""
    parameters: dict[str, object] = {"tenant": listing.tenant, "after": after, "limit": listing.limit + 1}
    if listing.device is not None:
        query = "list_device_events"
        parameters["device"] = listing.device
    if listing.prefix is not None:
        query = "list_devices" if listing.group_id is None else "list_group_devices"
        parameters |= {"prefix": listing.prefix, "end": listing.prefix + _AFTER_ALL, "group": listing.group_id}
    found = statements.run(query, **parameters)
    if listing.since_ms is not None:
        # The events are newest first, so all that follow the first older one are older too.
        found = [values for values in found if values[1] >= listing.since_ms]
    more = len(found) > listing.limit
    shown = found[: listing.limit]
    items = _events(shown) if is_newest_first else TABLES[listing.kind].decode(shown)
    return Page(listing, tuple(items), str(shown[-1][column]) if more else None)


def _events(found: Iterable[Values]) -> list[Event]:
    """Return the events of values that end with the event's number."""
    made: list[Event] = EVENTS.decode(values[:-1] for values in found)
    return made


def _requests(statements: SqliteStatements, listing: RequestListing) -> RequestPage:
    offset, limit = (listing.page - 1) * listing.size, listing.size + 1
    parameters: dict[str, object] = {"tenant": listing.tenant, "offset": offset, "limit": limit}
    if listing.status is None:
        found = statements.run("list_requests", **parameters)
    else:
        found = statements.run("list_requests_of_status", **parameters, status=listing.status)
    total: int | None = None
    if listing.with_total:
        ((total,),) = statements.run("count_requests", tenant=listing.tenant, status=listing.status)
    items = TABLES[DeviceRequest].decode(found[: listing.size])
    return RequestPage(listing, tuple(items), len(found) <= listing.size, total)


def _profiles(statements: SqliteStatements, listing: ProfileListing) -> ProfilePage:
    offset = listing.page * listing.size
    found = statements.run("list_profiles", tenant=listing.tenant, offset=offset, limit=listing.size)
    ((total,),) = statements.run("count_profiles", tenant=listing.tenant)
    return ProfilePage(listing, tuple(TABLES[DeviceProfile].decode(found)), total)


def _claiming(statements: SqliteStatements, question: ClaimingQuestion) -> ClaimingState:
    device = question.device
    allowed = statements.select(Lookup.ATTRIBUTES_NAMED, [(device.id, CLAIMING_ALLOWED)])
    attempts = statements.run("device_attempts", device=device.id, limit=MOST_ATTEMPTS)
    failures = statements.select(Lookup.FAILURES, [values[0] for values in attempts])
    shown = {"tenant": device.tenant, "device": device.name, "id": device.id, "limit": MOST_EVENTS}
    events = statements.run("events_of_kind", **shown, kinds=to_json(question.events).decode())
    replaced = statements.run(
        "events_of_kind", **(shown | {"limit": 1}), kinds=to_json([question.key_replaced]).decode()
    )
    windows = statements.select(Lookup.WINDOWS, [device.id])
    return ClaimingState(
        question,
        tuple(TABLES[ClaimWindow].decode(windows)),
        next(iter(TABLES[Attribute].decode(allowed)), None),
        tuple(TABLES[ClaimAttempts].decode(attempts)),
        tuple(TABLES[UserFailures].decode(failures)),
        tuple(_events(events)),
        next(iter(_events(replaced)), None),
    )


_READERS: dict[type[Any], Callable[[SqliteStatements, Any], Outcome]] = {
    Listing: _page,
    RequestListing: _requests,
    ProfileListing: _profiles,
    ClaimingQuestion: _claiming,
}


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[SqliteStore]:
    """Open the store for this process alone. Raises StoreError, also if another process has it."""
    with lock(path), open_writer(path) as writer, closing(connect(path)) as reader:
        store = SqliteStore(writer, reader)
        try:
            yield store
        finally:
            await store.close()
