"""Migrations bring any older file to the newest schema, in steps that happen whole or not at all."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from claimsvc.core.decision import Listing, Put, Remove
from claimsvc.core.model import (
    Answered,
    Device,
    DeviceGroup,
    DeviceGroupMember,
    DeviceRequest,
    Event,
    Import,
    ImportPart,
)
from claimsvc.core.registration import ReadRequest
from claimsvc.store.contract import SchemaTooNewError
from claimsvc.store.mapping import EVENTS, TABLES
from claimsvc.store.sqlite.sqlite_database import load_migrations, migrate, open_store, open_writer
from claimsvc.store.sqlite.sqlite_store import load_queries
from tests.support.factories import NOW, given, request
from tests.support.stores import apply, query


def schema(path: Path) -> list[tuple[str, str]]:
    """Return what the file's tables and indexes are made of, and its version."""
    with sqlite3.connect(path) as connection:
        found: list[tuple[str, str]] = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
        ).fetchall()
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    connection.close()
    return [*found, ("version", str(version))]


async def test_an_empty_file_comes_to_the_newest_schema(tmp_path: Path) -> None:
    """And opening it again changes nothing."""
    path = tmp_path / "claimsvc.db"
    with open_writer(path):
        pass
    first = schema(path)
    assert first[-1] == ("version", str(len(load_migrations())))
    with open_writer(path):
        pass
    assert schema(path) == first


@pytest.mark.parametrize("version", range(len(load_migrations()) + 1))
async def test_every_older_schema_comes_to_the_newest(version: int, tmp_path: Path) -> None:
    """From each version on the way the end is the same."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with sqlite3.connect(old) as connection:
        for script in load_migrations()[:version]:
            connection.executescript(script)
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    for path in (old, new):
        with open_writer(path):
            pass
    assert schema(old) == schema(new)


_ONE_OF_EACH = """
INSERT INTO service VALUES ('key_fingerprint', 'f');
INSERT INTO tenant VALUES ('default', 'Default', 1), ('acme', 'Acme', 2);
INSERT INTO principal VALUES ('alice', 'user', 'default'), ('d1', 'device', 'default'), ('srv', 'service', 'acme');
INSERT INTO customer VALUES ('c1', 'default', 'Customer', 3);
INSERT INTO role VALUES ('default', 'mover');
INSERT INTO role_permission VALUES ('default', 'mover', 'DEVICE:CLAIM_DEVICES');
INSERT INTO user_group VALUES ('default', 'movers');
INSERT INTO user_group_role VALUES ('default', 'movers', 'mover');
INSERT INTO user VALUES ('alice', 'default', 'alice', 'c1', 4);
INSERT INTO user_role VALUES ('alice', 'customer');
INSERT INTO user_group_member VALUES ('alice', 'movers');
INSERT INTO device VALUES ('i0', 'default', 'gateway', NULL, NULL, NULL, 1, 'default', NULL, 5, NULL, NULL),
                          ('i1', 'default', 'Flur ü', 'd1', 'c1', 'i0', 0, 'sensor', 'label', 6, 7, 'hash');
INSERT INTO claim_window VALUES ('i1', 'device', 'h', 8, 9, 1), ('i1', 'server', 'h', 8, 9, 0);
INSERT INTO attribute VALUES ('i1', 'claimingAllowed', 'true', 10);
INSERT INTO claim_attempt VALUES ('alice', 'i1', 3, 1, 11, 12);
INSERT INTO user_failure VALUES ('alice', '[1,2]', 1, 13);
INSERT INTO credential VALUES ('d1', 'd1', 'password', '$7$h', 'sealed', 14, 15, NULL),
                              ('t', 'd1', 'access_token', 'h', NULL, 0, 1, 2);
INSERT INTO event VALUES (7, 'default', 16, 'device_created', 'd1', 'i1', 'Flur ü', NULL);
INSERT INTO answered VALUES (9, 'claimsvc/u/alice/', '1', 'digest', 'sealed', 17);
"""


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table."""
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
        found = {name: connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall() for (name,) in tables}
    connection.close()
    return found


_A_REQUEST = """
INSERT INTO device_request VALUES ('1234', 'default', 'ACCEPTED', 'alice', 1, 'g', 'c8y_Sensor', '{"a":1}', 'c/1234/',
                                   'token', 2, 1, 'one-time', 9, 3);
"""
OLDER = {
    # schema: what an installation of it may hold, a row in every table
    1: _ONE_OF_EACH,
    2: _ONE_OF_EACH + _A_REQUEST,
}


@pytest.mark.parametrize("version", OLDER)
async def test_an_older_schemas_data_is_kept(version: int, tmp_path: Path) -> None:
    """Every row of every table stays as it was, but for the lanes; what is new is empty, and can be used."""
    path = tmp_path / "claimsvc.db"
    with sqlite3.connect(path) as connection:
        connection.executescript("".join(load_migrations()[:version]) + OLDER[version])
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = rows(path)
    assert [name for name, found in before.items() if not found] == []
    async with open_store(path) as store:
        after = rows(path)
        if version > 1:
            assert [row[8] for row in after.pop("device_request")] == ["c/bootstrap/1234/"]
            before.pop("device_request")
        assert {name: after[name] for name in before} == before
        assert [name for name, found in after.items() if name not in before and found] == []
        await apply(store, [Put(request())])
        facts = await store.read([ReadRequest("alice", "1234")], given().policy)
        assert facts.get(DeviceRequest, "1234") == request()
        group, file = (
            DeviceGroup("g1", "default", "Hall", NOW),
            Import("u/alice/", "1", "digest", 200, 199, 0, 1, NOW),
        )
        await apply(store, [Put(each) for each in (group, DeviceGroupMember("g1", "i1"), file)])
        members = await query(store, Listing(Device, "default", 9, None, prefix="", group_id="g1"))
        assert [each.name for each in members.items if isinstance(each, Device)] == ["Flur ü"]
        assert await store.read_import("u/alice/", "1") == file
        await apply(store, [Put(ImportPart("u/alice/", "1", 0, "sealed")), Remove(Import, file.key)])
        assert await store.read_import_parts("u/alice/", "1") == []


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    """An older release says so and touches nothing."""
    path = tmp_path / "claimsvc.db"
    with open_writer(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(load_migrations()) + 1}")
    before = schema(path)
    with pytest.raises(SchemaTooNewError, match="newer release"), open_writer(path):
        pass
    assert schema(path) == before


FAILING = {
    "a mistake at the end": "CREATE TABLE more (a INTEGER) STRICT; INSERT INTO nowhere VALUES (1);",
    "no SQL": "CREATE TABLE more (a INTEGER) STRICT; this is no SQL;",
    "data that does not fit": "CREATE TABLE more (a INTEGER) STRICT; INSERT INTO more VALUES ('text');",
}


@pytest.mark.parametrize("script", FAILING.values(), ids=FAILING.keys())
async def test_a_migration_that_fails_leaves_the_file_as_it_was(script: str, tmp_path: Path) -> None:
    """The steps before it stay, of its own nothing does, and the right one can follow."""
    path = tmp_path / "claimsvc.db"
    with open_writer(path) as connection:
        before = schema(path)
        good = "CREATE TABLE good (a INTEGER) STRICT;"
        with pytest.raises(sqlite3.Error):
            migrate(connection, [*load_migrations(), script])
        assert not connection.in_transaction
        assert schema(path) == before
        migrate(connection, [*load_migrations(), good])
    assert ("good", "CREATE TABLE good (a INTEGER) STRICT") in schema(path)


async def test_every_table_is_strict(tmp_path: Path) -> None:
    """A text in a number's column is an error, not a surprise."""
    with open_writer(tmp_path / "claimsvc.db") as connection:
        tables = connection.execute("PRAGMA table_list")
        loose = [row[1] for row in tables if row[2] == "table" and not row[5] and row[1][:7] != "sqlite_"]
        broken = list(connection.execute("PRAGMA foreign_key_check"))
    assert (loose, broken) == ([], [])


@pytest.mark.parametrize("name", load_queries())
async def test_every_named_query_fits_the_schema(name: str, tmp_path: Path) -> None:
    """SQLite can prepare it."""
    query = load_queries()[name]
    parameters = dict.fromkeys(re.findall(r":(\w+)", query), "[]")
    with open_writer(tmp_path / "claimsvc.db") as connection:
        connection.execute(f"EXPLAIN {query}", parameters)


async def test_the_columns_are_the_models(tmp_path: Path) -> None:
    """Each field of a row has its column, each column its field; a number gives an order that no rule knows."""
    found: dict[str, set[str]] = {}
    with open_writer(tmp_path / "claimsvc.db") as connection:
        for _schema, name, kind, *_ in connection.execute("PRAGMA table_list").fetchall():
            if kind == "table" and not name.startswith("sqlite_"):
                found[name] = {column[1] for column in connection.execute(f"PRAGMA table_info({name})")}
    for table in (*TABLES.values(), EVENTS):
        of_order = {"number"} if table.kind in {Event, Answered} else set()
        assert (table.name, set(table.own_columns) | of_order) == (table.name, found.pop(table.name))
        for join in table.joins.values():
            assert (join.table, {*join.keys, join.column}) == (join.table, found.pop(join.table))
    assert found.keys() == {"service"}
