"""The SQLite store over time: opened once, full, locked, damaged; and how its listings find their rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from claimsvc.core.decision import Put
from claimsvc.core.model import (
    Answered,
    Attribute,
)
from claimsvc.core.policy import DAY_MS
from claimsvc.store.contract import StoreError, StoreInUseError
from claimsvc.store.sqlite import sqlite_store
from claimsvc.store.sqlite.sqlite_database import open_store
from claimsvc.store.sqlite.sqlite_store import SqliteStore, load_queries
from tests.support.example import CREDENTIAL, THERMOSTAT, WANT, load
from tests.support.factories import NOW, given, window
from tests.support.stores import apply

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


async def test_a5_what_a_clock_that_was_ahead_has_written_lasts_no_longer_than_it_can(store: SqliteStore) -> None:
    """First answers and sealed logins end in their time from now; those that end sooner keep their end."""
    ahead = Answered("claimsvc/u/alice/", "2", "d", "s", NOW + 3650 * DAY_MS)
    sealed = replace(CREDENTIAL, login="ahead", sealed_until_ms=NOW + 3650 * DAY_MS)
    await apply(store, [Put(ahead), Put(sealed)])
    before = await load(store)
    await store.cut(NOW + 601_000, NOW + 602_000)
    assert await load(store) == before

    async def stored() -> list[tuple[object, ...]]:
        facts = await store.read([WANT], given().policy, [(ahead.lane, "2")])
        kept = facts.get(Answered, (ahead.lane, "2"))
        sql = "SELECT sealed_until, sealed IS NOT NULL FROM credential WHERE login = 'ahead'"
        (row,) = store._reader.execute(sql).fetchall()  # noqa: SLF001 - no command loads this login alone
        return [(kept.expires_at_ms if kept else None,), tuple(row)]

    assert await stored() == [(NOW + 601_000,), (NOW + 602_000, 1)]
    await store.delete_expired(NOW + 603_000, 0)
    assert await stored() == [(None,), (NOW + 602_000, 0)]


async def test_a_file_that_is_full_is_a_store_error(store: SqliteStore) -> None:
    """Nothing of the batch is written, and with room again the next one is."""
    writer = store._writer  # noqa: SLF001 - a real SQLite that is full
    ((pages,),) = writer.execute("PRAGMA page_count").fetchall()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    many = [Put(Attribute(THERMOSTAT.id, f"a{n}", "1" * 1_000, NOW)) for n in range(1_000)]
    with pytest.raises(StoreError, match="full"):
        await apply(store, many)
    assert await load(store, [many[0].row]) == [None]
    writer.execute("PRAGMA max_page_count = 1000000")
    await apply(store, many)
    assert None not in await load(store, [change.row for change in many])


async def test_a_file_that_is_locked_is_a_store_error(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's backup tool that holds the file is waited for a while, and then told of."""
    monkeypatch.setattr(sqlite_store, "PATIENCE_S", 0.05)
    with closing(sqlite3.connect(tmp_path / "claimsvc.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            await apply(store, [Put(NEW)])
        other.execute("ROLLBACK")
    await apply(store, [Put(NEW)])
    assert await load(store, [NEW]) == [NEW]


async def test_what_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    """The text is for the operator."""
    (tmp_path / "claimsvc.db").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(StoreError, match="not a database"):
        async with open_store(tmp_path / "claimsvc.db"):
            pass


@pytest.mark.parametrize("query", ["list_devices", "list_group_devices", "device_attempts", "events_of_kind"])
async def test_a_million_devices_are_not_looked_through(store: SqliteStore, tmp_path: Path, query: str) -> None:
    """Every step goes by an index from its first column on; nothing is scanned but the names of a few events."""
    parameters = {
        "tenant": "default",
        "after": "",
        "prefix": "a",
        "end": "b",
        "limit": 2,
        "device": "d",
        "id": "i",
        "group": "g",
        "kinds": "[]",
    }
    with closing(sqlite3.connect(tmp_path / "claimsvc.db")) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {load_queries()[query]}", parameters).fetchall()
    steps = [row[3] for row in plan]
    assert any(step.startswith("SEARCH") and "USING" in step for step in steps), steps
    assert [step for step in steps if step.startswith("SCAN") and "json_each" not in step] == []
