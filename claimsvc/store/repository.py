"""The store as the pipeline sees it: load the facts of a batch, apply its changes, read a page, sweep.

Each is one piece of work for the connection's own thread: a handful of statements, whatever the size of the batch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from claimsvc.core.command import Command
from claimsvc.core.decision import Change, Listing, Page
from claimsvc.core.facts import Facts
from claimsvc.core.inventory import ClaimingQuestion, ClaimingState
from claimsvc.core.model import (
    CLAIMING_ALLOWED,
    Customer,
    Device,
    DeviceGroup,
    Event,
    Group,
    Import,
    Role,
    Tenant,
    User,
)
from claimsvc.core.policy import DAY_MS, Policy
from claimsvc.core.provisioning import ProfileListing, ProfilePage
from claimsvc.core.registration import RequestListing, RequestPage
from claimsvc.store import rows
from claimsvc.store.database import Sql, load_queries, lock, open_reader, open_writer, run, transaction
from claimsvc.store.loading import Loading
from claimsvc.store.statements import Statements
from claimsvc.store.writing import Writing

SWEEP_SLICE = 5_000
MOST_ATTEMPTS, MOST_EVENTS = 100, 20
"""What is told at most of the claims of one device."""
_LAST = "9223372036854775807"
_BEHIND_ALL = "\U0010ffff"
"""Sorts behind whatever a name goes on with; no name contains it."""

_LISTINGS: dict[type[Any], tuple[str, Callable[[Any], object], int]] = {
    # kind: (statement, how a result becomes a row, which column continues the listing)
    Tenant: ("list_tenants", rows.tenant, 0),
    Customer: ("list_customers", rows.customer, 0),
    User: ("list_users", rows.user, 2),
    Group: ("list_groups", rows.group, 1),
    Role: ("list_roles", rows.role, 1),
    Device: ("list_gateways", rows.device, 2),
    DeviceGroup: ("list_device_groups", rows.device_group, 2),
    Event: ("list_events", rows.event, 7),
}


class Repository:
    """The rows of one SQLite file. Only the pipeline may call `load`, `apply` and `sweep`: one writer."""

    def __init__(self, writer: Sql, reader: Sql) -> None:
        self._writer = writer
        self._reader = reader
        self._queries = load_queries()
        self._swept_device = ""

    # --- reading

    async def load(
        self, commands: Sequence[Command], policy: Policy, requests: Iterable[tuple[str, str]] = ()
    ) -> Facts:
        """Return what the rules of these commands must see. `requests` are (lane, request id). Raises StoreError."""
        return await run(self._writer, lambda sql: Loading(self._statements(sql), policy).load(commands, requests))

    async def read(self, listing: Listing) -> Page:
        """Return a page, from the reader connection: what is committed. Raises StoreError."""
        query, make, column = _LISTINGS[listing.kind]
        newest_first = listing.kind is Event
        after = int(listing.after or _LAST) if newest_first else listing.after or ""
        parameters: dict[str, object] = {
            "tenant": listing.tenant,
            "after": after,
            "limit": listing.limit + 1,
        }
        if listing.device is not None:
            query = "list_device_events"
            parameters["device"] = listing.device
        if listing.prefix is not None:
            query = "list_devices" if listing.group_id is None else "list_group_devices"
            parameters |= {"prefix": listing.prefix, "end": listing.prefix + _BEHIND_ALL, "group": listing.group_id}
        found = await run(self._reader, lambda sql: self._statements(sql).run(query, **parameters))
        if listing.since_ms is not None:
            # Newest first, so the rest is older still: the query need not search for where time stands.
            found = [values for values in found if values[1] >= listing.since_ms]
        more = len(found) > listing.limit
        shown = found[: listing.limit]
        items = tuple(make(values) for values in shown)
        return Page(listing, items, str(shown[-1][column]) if more else None)

    async def read_requests(self, listing: RequestListing) -> RequestPage:
        """Return a numbered page of device requests, from the reader connection. Raises StoreError."""
        return await run(self._reader, lambda sql: self._read_requests(self._statements(sql), listing))

    def _read_requests(self, statements: Statements, listing: RequestListing) -> RequestPage:
        offset, limit = (listing.page - 1) * listing.size, listing.size + 1
        parameters: dict[str, object] = {"tenant": listing.tenant, "offset": offset, "limit": limit}
        if listing.status is None:
            found = statements.run("list_requests", **parameters)
        else:
            found = statements.run("list_requests_of_status", **parameters, status=listing.status)
        total: int | None = None
        if listing.with_total:
            ((total,),) = statements.run("count_requests", tenant=listing.tenant, status=listing.status)
        items = tuple(rows.device_request(values) for values in found[: listing.size])
        return RequestPage(listing, items, len(found) <= listing.size, total)

    async def read_claiming(self, question: ClaimingQuestion) -> ClaimingState:
        """Return what decides about claims of a device, from the reader connection. Raises StoreError."""
        return await run(self._reader, lambda sql: self._read_claiming(self._statements(sql), question))

    def _read_claiming(self, statements: Statements, question: ClaimingQuestion) -> ClaimingState:
        device = question.device
        allowed = statements.select("attributes_named", keys=[(device.id, CLAIMING_ALLOWED)])
        attempts = statements.run("device_attempts", device=device.id, limit=MOST_ATTEMPTS)
        failures = statements.select("failures", keys=[values[0] for values in attempts])
        told = {"tenant": device.tenant, "device": device.name, "id": device.id, "limit": MOST_EVENTS}
        events = statements.run("events_of_kind", **told, kinds=to_json(question.events).decode())
        replaced = statements.run(
            "events_of_kind", **(told | {"limit": 1}), kinds=to_json([question.key_replaced]).decode()
        )
        return ClaimingState(
            question,
            tuple(rows.window(values) for values in statements.select("windows", keys=[device.id])),
            next((rows.attribute(values) for values in allowed), None),
            tuple(rows.attempts(values) for values in attempts),
            tuple(rows.failures(values) for values in failures),
            tuple(rows.event(values) for values in events),
            next((rows.event(values) for values in replaced), None),
        )

    async def read_profiles(self, listing: ProfileListing) -> ProfilePage:
        """Return a numbered page of device profiles, from the reader connection. Raises StoreError."""
        return await run(self._reader, lambda sql: self._read_profiles(self._statements(sql), listing))

    def _read_profiles(self, statements: Statements, listing: ProfileListing) -> ProfilePage:
        offset = listing.page * listing.size
        found = statements.run("list_profiles", tenant=listing.tenant, offset=offset, limit=listing.size)
        ((total,),) = statements.run("count_profiles", tenant=listing.tenant)
        return ProfilePage(listing, tuple(map(rows.profile, found)), total)

    async def password_logins(self, now_ms: int) -> tuple[list[tuple[str, str]], int | None]:
        """Return (login, hash) of every login the broker may admit by password, and until when that is so.

        None: until a row changes. Raises StoreError.
        """
        return await run(self._reader, lambda sql: self._password_logins(self._statements(sql), now_ms))

    def _password_logins(self, statements: Statements, now_ms: int) -> tuple[list[tuple[str, str]], int | None]:
        ((until_ms,),) = statements.run("next_login_change", now=now_ms)
        return statements.run("password_logins", now=now_ms), until_ms

    async def read_import(self, lane: str, request_id: str) -> Import | None:
        """Return how far a file is worked through, or None. Raises StoreError."""
        place = {"lane": lane, "request_id": request_id}
        found = await run(self._writer, lambda sql: self._statements(sql).run("import", **place))
        return rows.import_(found[0]) if found else None

    async def read_import_parts(self, lane: str, request_id: str) -> list[str]:
        """Return what was noted of each slice of a file, sealed, in its order. Raises StoreError."""
        place = {"lane": lane, "request_id": request_id}
        found = await run(self._writer, lambda sql: self._statements(sql).run("import_parts", **place))
        return [sealed for (sealed,) in found]

    # --- writing

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write a batch in one durable transaction. Raises StoreError; then nothing is written."""
        if changes:
            await run(self._writer, lambda sql: self._apply(sql, changes))

    def _apply(self, sql: sqlite3.Connection, changes: Sequence[Change]) -> None:
        with transaction(sql):
            Writing(self._statements(sql)).write(changes)

    async def service_value(self, name: str) -> str | None:
        """Return a value of the service's own, such as its key's fingerprint. Raises StoreError."""
        found = await run(self._writer, lambda sql: self._statements(sql).run("service_value", name=name))
        return str(found[0][0]) if found else None

    async def put_service_value(self, name: str, value: str) -> None:
        """Keep a value of the service's own. Raises StoreError."""
        await run(self._writer, lambda sql: self._statements(sql).run("put_service_value", name=name, value=value))

    async def sweep(self, now_ms: int, events_before_ms: int) -> bool:
        """Forget what is long over, a slice of each kind; no rule depends on when.

        Returns whether a slice was full, so that there may be more. Raises StoreError.
        """
        return await run(self._writer, lambda sql: self._sweep(sql, now_ms, events_before_ms))

    def _sweep(self, sql: sqlite3.Connection, now_ms: int, events_before_ms: int) -> bool:
        before = sql.total_changes
        statements = self._statements(sql)
        with transaction(sql):
            statements.run("sweep_answered", slice=SWEEP_SLICE, now=now_ms)
            statements.run("sweep_imports", before=now_ms - DAY_MS)
            statements.run("sweep_sealed", slice=SWEEP_SLICE, now=now_ms)
            statements.run("sweep_former_credentials", slice=SWEEP_SLICE, now=now_ms)
            statements.run("sweep_tokens", slice=SWEEP_SLICE, now=now_ms)
            statements.run("sweep_events", slice=SWEEP_SLICE, before=events_before_ms)
            ((until,),) = statements.run("window_slice_end", slice=SWEEP_SLICE, after=self._swept_device)
            if until is not None:
                # A window stays readable for a day after its end: operators ask why a claim came too late.
                statements.run("sweep_windows", after=self._swept_device, until=until, before=now_ms - DAY_MS)
        self._swept_device = until or ""
        return sql.total_changes - before >= SWEEP_SLICE

    async def cut(self, answered_until_ms: int, sealed_until_ms: int) -> None:
        """Let no first answer and no sealed login last longer than until these times. Raises StoreError.

        Of the answers the oldest are looked at: those that the next sweep looks at.
        """
        await run(self._writer, lambda sql: self._cut(sql, answered_until_ms, sealed_until_ms))

    def _cut(self, sql: sqlite3.Connection, answered_until_ms: int, sealed_until_ms: int) -> None:
        statements = self._statements(sql)
        with transaction(sql):
            statements.run("cut_answered", slice=SWEEP_SLICE, until=answered_until_ms)
            statements.run("cut_sealed", slice=SWEEP_SLICE, until=sealed_until_ms)

    def _statements(self, sql: sqlite3.Connection) -> Statements:
        return Statements(sql, self._queries)


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[Repository]:
    """Open the store for this process alone. Raises StoreError, also when another process has it."""
    async with AsyncExitStack() as stack:
        stack.enter_context(lock(path))
        writer = await stack.enter_async_context(open_writer(path))
        reader = await stack.enter_async_context(open_reader(path))
        yield Repository(writer, reader)
