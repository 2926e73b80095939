"""The store over time: opened once, listed in pages, swept, full, locked, damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimsvc.core.decision import Append, Change, Listing, Put
from claimsvc.core.model import (
    Answered,
    Attribute,
    Customer,
    Device,
    Event,
    Group,
    Principal,
    PrincipalKind,
    Role,
    Tenant,
    User,
    WindowSource,
)
from claimsvc.core.policy import DAY_MS
from claimsvc.store.database import StoreError, StoreInUseError
from claimsvc.store.repository import Repository, open_store
from tests.integration.example import CREDENTIAL, THERMOSTAT, WANT, load
from tests.support.factories import NOW, customer, device, given, user, window

NEW = window(THERMOSTAT, "new")


async def test_a_store_is_open_once(tmp_path: Path) -> None:
    """A second one is told who is in the way, and after the first is gone it opens."""
    path = tmp_path / "claimsvc.db"
    async with open_store(path):
        with pytest.raises(StoreInUseError, match=r"claimsvc\.db"):
            async with open_store(path):
                pass
    async with open_store(path):
        pass


@pytest.mark.parametrize("kind", [Tenant, Customer, User, Group, Role, Device, Event])
async def test_a_listing_pages_through_its_kind(kind: type[Any], store: Repository) -> None:
    """In order, every item once, only of its tenant, and a last page without a next."""
    await store.apply([Put(Tenant("other", "Other", NOW))])
    for number in range(7):
        for tenant in ("default", "other"):
            name = f"{tenant}-{number}"
            login = Put(Principal(name, PrincipalKind.DEVICE, tenant))
            made: dict[type[Any], list[Change]] = {
                Tenant: [Put(Tenant(name, name, NOW))] if tenant == "default" else [],
                Customer: [Put(customer(name, tenant=tenant))],
                User: [login, Put(user(name, tenant=tenant, customer_id=None))],
                Group: [Put(Group(tenant, name, ("viewer",)))],
                Role: [Put(Role(tenant, name, ("TENANT_ADMIN",)))],
                Device: [login, Put(device(name, tenant=tenant, is_gateway=True))],
                Event: [Append(Event(tenant, NOW + number, "happened", name))],
            }
            await store.apply(made[kind])
    of = None if kind is Tenant else "default"
    whole = (await store.read(Listing(kind, of, 100, None))).items
    paged: list[object] = []
    after: str | None = None
    while True:
        page = await store.read(Listing(kind, of, 2, after))
        assert len(page.items) <= 2
        paged += page.items
        after = page.next_after
        if after is None:
            break
    assert paged == list(whole)
    assert len(set(map(repr, whole))) >= 7
    assert all(getattr(item, "tenant", "default") == "default" for item in whole)


async def test_events_are_listed_by_device_and_time(store: Repository) -> None:
    """Newest first, from a time on."""
    events = [Event("default", NOW + n, f"e{n}", "x", "id", ("a", "b")[n % 2]) for n in range(6)]
    await store.apply([Append(event) for event in events])
    page = await store.read(Listing(Event, "default", 10, None, "a", NOW + 2))
    assert page.items == (events[4], events[2])


async def test_a_sweep_forgets_only_what_is_over(store: Repository) -> None:
    """Answers, sealed secrets, windows and events past their time go; the rest stays."""
    late = Answered("claimsvc/u/alice/", "2", "d", "s", NOW + DAY_MS)
    events = [Event("default", NOW + n * DAY_MS, f"day {n}", "x") for n in range(3)]
    server = window(THERMOSTAT, "other", source=WindowSource.SERVER, expires_at_ms=NOW + 5 * DAY_MS)
    await store.apply([Put(late), Put(server), *map(Append, events)])
    await store.sweep(NOW, NOW)
    assert None not in await load(store)
    later = NOW + 2 * DAY_MS
    await store.sweep(NOW + 601_000, NOW + DAY_MS)
    facts = await store.load([WANT], given().policy, [(late.lane, "1"), (late.lane, "2")])
    assert (facts.get(Answered, (late.lane, "1")), facts.get(Answered, (late.lane, "2"))) == (None, late)
    assert await load(store, [CREDENTIAL]) == [replace(CREDENTIAL, sealed=None)]
    assert (await store.read(Listing(Event, "default", 10, None))).items == (events[2], events[1])
    for _ in range(2):  # a round of the walk, and its end
        await store.sweep(later, 0)
    assert await load(store, [window(THERMOSTAT), server]) == [None, server]


async def test_a5_what_a_clock_that_was_ahead_has_written_lasts_no_longer_than_it_can(store: Repository) -> None:
    """First answers and sealed logins end in their time from now; those that end sooner keep their end."""
    ahead = Answered("claimsvc/u/alice/", "2", "d", "s", NOW + 3650 * DAY_MS)
    sealed = replace(CREDENTIAL, login="ahead", sealed_until_ms=NOW + 3650 * DAY_MS)
    await store.apply([Put(ahead), Put(sealed)])
    before = await load(store)
    await store.cut(NOW + 601_000, NOW + 602_000)
    assert await load(store) == before

    async def stored() -> list[tuple[object, ...]]:
        facts = await store.load([WANT], given().policy, [(ahead.lane, "2")])
        kept = facts.get(Answered, (ahead.lane, "2"))
        sql = "SELECT sealed_until, sealed IS NOT NULL FROM credential WHERE login = 'ahead'"
        (row,) = await store._reader.execute_fetchall(sql)  # noqa: SLF001 - no command loads this login alone
        return [(kept.expires_at_ms if kept else None,), tuple(row)]

    assert await stored() == [(NOW + 601_000,), (NOW + 602_000, 1)]
    await store.sweep(NOW + 603_000, 0)
    assert await stored() == [(None,), (NOW + 602_000, 0)]


async def test_a_file_that_is_full_is_a_store_error(store: Repository) -> None:
    """Nothing of the batch is written, and with room again the next one is."""
    writer = store._writer  # noqa: SLF001 - a real SQLite that is full
    ((pages,),) = await writer.execute_fetchall("PRAGMA page_count")
    await writer.execute(f"PRAGMA max_page_count = {pages}")
    many = [Put(Attribute(THERMOSTAT.id, f"a{n}", "1" * 1_000, NOW)) for n in range(1_000)]
    with pytest.raises(StoreError, match="full"):
        await store.apply(many)
    assert await load(store, [many[0].row]) == [None]
    await writer.execute("PRAGMA max_page_count = 1000000")
    await store.apply(many)
    assert None not in await load(store, [change.row for change in many])


async def test_a_file_that_is_locked_is_a_store_error(store: Repository, tmp_path: Path) -> None:
    """Somebody's backup tool that holds the file is waited for a while, and then told of."""
    await store._writer.execute("PRAGMA busy_timeout = 50")  # noqa: SLF001 - the test's patience
    with closing(sqlite3.connect(tmp_path / "claimsvc.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            await store.apply([Put(NEW)])
        other.execute("ROLLBACK")
    await store.apply([Put(NEW)])
    assert await load(store, [NEW]) == [NEW]


async def test_what_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    """The text is for the operator."""
    (tmp_path / "claimsvc.db").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(StoreError, match="not a database"):
        async with open_store(tmp_path / "claimsvc.db"):
            pass
