"""The store as the pipeline sees it: load the facts of a batch, apply its changes, read a page, sweep.

Each is a handful of statements whose parameter is one JSON array, whatever the size of the batch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from claimsvc.core.commands.base import Command
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import CLAIMING_ALLOWED, Customer, Device, Event, Group, Role, Row, Tenant, User
from claimsvc.core.outcomes import Append, Change, Listing, Page, Put, Remove
from claimsvc.core.policy import DAY_MS, Policy
from claimsvc.store import rows
from claimsvc.store.database import (
    Parameters,
    Sql,
    load_queries,
    lock,
    open_reader,
    open_writer,
    store_errors,
    transaction,
    uninterrupted,
)

SWEEP_SLICE = 5_000
_LAST = "9223372036854775807"

_LISTINGS: dict[type[Any], tuple[str, Callable[[Any], object], int]] = {
    # kind: (statement, how a result becomes a row, which column continues the listing)
    Tenant: ("list_tenants", rows.tenant, 0),
    Customer: ("list_customers", rows.customer, 0),
    User: ("list_users", rows.user, 2),
    Group: ("list_groups", rows.group, 1),
    Role: ("list_roles", rows.role, 1),
    Device: ("list_gateways", rows.device, 2),
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
        """Return what the rules of these commands must see. `requests` are (lane, request id).

        Callers come first, since what else a command needs depends on whose tenant it speaks of.
        Raises StoreError.
        """
        facts = Facts(policy.default_tenant)
        with store_errors():
            await self._callers({command.caller for command in commands}, facts)
            needs = Needs()
            for command in commands:
                command.needs(needs, facts, policy)
            await self._answer_needs(needs, facts)
            await self._fetch("answered", list(requests), rows.answered, facts)
        return facts

    async def _callers(self, callers: set[str], facts: Facts) -> None:
        names = list(callers)
        principals = await self._fetch("principals", names, rows.principal, facts)
        await self._fetch("devices_by_principal", names, rows.device, facts)
        users = [row.name for row in principals if row.kind == "user"]
        members = await self._fetch("users", users, rows.user, facts)
        groups = {(user.tenant, name) for user in members for name in user.groups}
        found = await self._fetch("groups", list(groups), rows.group, facts)
        roles = {(user.tenant, name) for user in members for name in user.roles}
        roles |= {(group.tenant, name) for group in found for name in group.roles}
        await self._fetch("roles", list(roles), rows.role, facts)

    async def _answer_needs(self, needs: Needs, facts: Facts) -> None:
        await self._fetch("principals", list(needs.principals), rows.principal, facts)
        await self._fetch("tenants", list(needs.tenants), rows.tenant, facts)
        await self._customers(needs.customers, facts)
        await self._fetch("users", list(needs.users), rows.user, facts)
        await self._fetch("groups", list(needs.groups), rows.group, facts)
        await self._fetch("roles", list(needs.roles), rows.role, facts)
        await self._fetch("devices_by_name", list(needs.device_names), rows.device, facts)
        await self._fetch("devices_by_id", list(needs.device_ids), rows.device, facts)
        await self._fetch("credentials_by_login", list(needs.logins), rows.credential, facts)
        if needs.services:
            for values in await self._select("services"):
                facts.put(rows.principal(values))
        devices = facts.devices()
        ids = [device.id for device in devices]
        if needs.windows:
            await self._fetch("windows", ids, rows.window, facts)
        if needs.claiming_allowed:
            pairs = [(device_id, CLAIMING_ALLOWED) for device_id in ids]
            await self._fetch("attributes_named", pairs, rows.attribute, facts)
        if needs.attributes:
            await self._fetch("attributes", ids, rows.attribute, facts)
        if needs.credentials:
            owners = [device.principal for device in devices if device.principal]
            await self._fetch("credentials_by_principal", owners, rows.credential, facts)
        users = {user for user, _tenant, _name in needs.attempts_at}
        await self._fetch("failures", list(users), rows.failures, facts)
        targets = [(user, facts.device_named(tenant, name)) for user, tenant, name in needs.attempts_at]
        tries = [(user, device.id) for user, device in targets if device]
        await self._fetch("attempts", tries, rows.attempts, facts)

    async def _customers(self, ids: set[str], facts: Facts) -> None:
        if not ids:
            return
        for values in await self._select("customers", keys=list(ids)):
            facts.put(rows.customer(values))
            if values[4]:
                facts.mark_in_use(values[0])

    async def _fetch(self, query: str, keys: Sequence[object], make: Callable[[Any], Any], facts: Facts) -> list[Any]:
        if not keys:
            return []
        found = [make(values) for values in await self._select(query, keys=keys)]
        for row in found:
            facts.put(row)
        return found

    async def _select(self, query: str, **arrays: object) -> Iterable[Any]:
        parameters = {name: to_json(array).decode() for name, array in arrays.items()}
        return await self._writer.execute_fetchall(self._queries[query], parameters)

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
        with store_errors():
            found = list(await self._reader.execute_fetchall(self._queries[query], parameters))
        if listing.since_ms is not None:
            # Newest first, so the rest is older still: the query need not search for where time stands.
            found = [values for values in found if values[1] >= listing.since_ms]
        more = len(found) > listing.limit
        shown = found[: listing.limit]
        items = tuple(make(values) for values in shown)
        return Page(listing, items, str(shown[-1][column]) if more else None)

    async def password_logins(self) -> list[tuple[str, str]]:
        """Return (login, hash) of every login the broker may admit by password. Raises StoreError."""
        with store_errors():
            found = await self._reader.execute_fetchall(self._queries["password_logins"])
        return [(login, secret_hash) for login, secret_hash in found]

    # --- writing

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write a batch in one durable transaction. Raises StoreError; then nothing is written."""
        if changes:
            await uninterrupted(self._apply(changes))

    async def _apply(self, changes: Sequence[Change]) -> None:
        async with transaction(self._writer):
            events: list[object] = []
            pending: dict[tuple[type[Row], object], Put | Remove] = {}
            for change in changes:
                if isinstance(change, Append):
                    events.append(rows.event_values(change.event))
                elif isinstance(change, Put):
                    pending[type(change.row), change.row.key] = change
                elif rows.TABLES[change.kind].has_dependents:
                    await self._write(pending.values())
                    pending.clear()
                    await self._remove(change.kind, [change.key])
                else:
                    pending[change.kind, change.key] = change
            await self._write(pending.values())
            if events:
                await self._execute("append_events", rows=events)

    async def _write(self, changes: Iterable[Put | Remove]) -> None:
        """Write the last change of each row: removals first, then rows after those they refer to."""
        removed: dict[type[Row], list[object]] = {}
        put: dict[type[Row], list[object]] = {}
        for change in changes:
            if isinstance(change, Remove):
                removed.setdefault(change.kind, []).append(change.key)
            else:
                kind = type(change.row)
                put.setdefault(kind, []).append(rows.TABLES[kind].values(change.row))
        for kind, keys in removed.items():
            await self._remove(kind, keys)
        for kind in sorted(put, key=_ORDER.__getitem__):
            for statement in rows.TABLES[kind].put:
                await self._execute(statement, rows=put[kind])

    async def _remove(self, kind: type[Row], keys: list[Any]) -> None:
        statement = rows.TABLES[kind].remove
        if statement is None:
            raise TypeError(f"{kind.__name__} rows are never removed")
        await self._execute(statement, keys=keys)

    async def _execute(self, query: str, **arrays: object) -> None:
        parameters: Parameters = {name: to_json(array).decode() for name, array in arrays.items()}
        await self._writer.execute_fetchall(self._queries[query], parameters)

    async def service_value(self, name: str) -> str | None:
        """Return a value of the service's own, such as its key's fingerprint. Raises StoreError."""
        with store_errors():
            found = list(await self._writer.execute_fetchall(self._queries["service_value"], {"name": name}))
        return str(found[0][0]) if found else None

    async def put_service_value(self, name: str, value: str) -> None:
        """Keep a value of the service's own. Raises StoreError."""
        with store_errors():
            await self._writer.execute_fetchall(self._queries["put_service_value"], {"name": name, "value": value})

    async def sweep(self, now_ms: int, events_before_ms: int) -> bool:
        """Forget what is long over, a slice of each kind; no rule depends on when.

        Returns whether a slice was full, so that there may be more. Raises StoreError.
        """
        before = self._writer.total_changes
        await uninterrupted(self._sweep(now_ms, events_before_ms))
        return self._writer.total_changes - before >= SWEEP_SLICE

    async def _sweep(self, now_ms: int, events_before_ms: int) -> None:
        common = {"slice": SWEEP_SLICE}
        after = {"after": self._swept_device}
        async with transaction(self._writer):
            run = self._writer.execute_fetchall
            await run(self._queries["sweep_answered"], {**common, "now": now_ms})
            await run(self._queries["sweep_sealed"], {**common, "now": now_ms})
            await run(self._queries["sweep_events"], {**common, "before": events_before_ms})
            ((until,),) = await self._writer.execute_fetchall(self._queries["window_slice_end"], {**common, **after})
            if until is not None:
                # A window stays readable for a day after its end: operators ask why a claim came too late.
                await run(self._queries["sweep_windows"], {**after, "until": until, "before": now_ms - DAY_MS})
        self._swept_device = until or ""


_ORDER = {kind: position for position, kind in enumerate(rows.TABLES)}


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[Repository]:
    """Open the store for this process alone. Raises StoreError, also when another process has it."""
    async with AsyncExitStack() as stack:
        stack.enter_context(lock(path))
        writer = await stack.enter_async_context(open_writer(path))
        reader = await stack.enter_async_context(open_reader(path))
        yield Repository(writer, reader)
