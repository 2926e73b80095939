"""What a store promises of transactions: facts, atomicity, errors, and what may run beside what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from claimsvc.core.command import OnDevice
from claimsvc.core.decision import Append, Listing, Put, Remove
from claimsvc.core.facts import NotAskedError
from claimsvc.core.model import Answered, Attribute, ClaimWindow, Device, Event, Import, ImportPart, Tenant
from claimsvc.store.contract import InconsistentError, Store
from tests.contract.conftest import Opening
from tests.support.example import EVERYTHING, IMPORT, THERMOSTAT, WANT, load
from tests.support.factories import NOW, accept_all, claim_device, device, request, window
from tests.support.stores import POLICY, apply, query

NEW = window(THERMOSTAT, "new")
PLACE = ("claimsvc/u/alice/", "1")


# --- facts


async def test_a_transaction_begins_with_the_facts_of_its_commands(store: Store) -> None:
    """The callers', the commands' and the first answers, and nothing that nobody asked for."""
    async with store.begin([claim_device()], POLICY, [PLACE]) as transaction:
        facts = transaction.facts
        assert facts.device_named("default", "Thermostat") == THERMOSTAT
        assert len(facts.windows(THERMOSTAT.id)) == 2
        assert (facts.get(Answered, PLACE) or EVERYTHING[0]).key == PLACE
        with pytest.raises(NotAskedError):
            facts.get(Answered, ("claimsvc/u/alice/", "2"))
        with pytest.raises(NotAskedError):
            facts.attributes(THERMOSTAT.id)


async def test_reading_gives_the_same_facts(store: Store) -> None:
    """Without a transaction."""
    facts = await store.read([claim_device()], POLICY, [PLACE])
    assert facts.device_named("default", "Thermostat") == THERMOSTAT
    assert (facts.get(Answered, PLACE) or EVERYTHING[0]).key == PLACE


async def test_an_expired_answer_is_replaced(store: Store) -> None:
    """By one with the same lane and request id."""
    await apply(store, [Put(Answered(*PLACE, "digest 2", "sealed 2", NOW + 1))])
    facts = await store.read((), POLICY, [PLACE])
    assert facts.get(Answered, PLACE) == Answered(*PLACE, "digest 2", "sealed 2", NOW + 1)


# --- writing


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 85, 150])
async def test_any_number_of_rows_is_written(rows: int, store: Store) -> None:
    """New ones, then changed ones, then none."""
    new = [device(f"d{n}", principal=None) for n in range(rows)]
    await apply(store, [Put(row) for row in new])
    changed = [replace(row, owner="c1", claimed_at_ms=NOW, type=f"t{n % 3}") for n, row in enumerate(new)]
    commands = [OnDevice("alice", row.id) for row in new]
    async with store.begin(commands, POLICY) as transaction:
        assert [transaction.facts.get(Device, row.id) for row in new] == new
        await transaction.commit([Put(row) for row in changed])
    facts = await store.read(commands, POLICY)
    assert [facts.get(Device, row.id) for row in new] == changed
    await apply(store, [Remove(Device, row.id) for row in new])
    facts = await store.read(commands, POLICY)
    assert {facts.get(Device, row.id) for row in new} == {None}


async def test_a_loaded_row_is_written_whole(store: Store) -> None:
    """Whichever columns differ, also if it was removed and comes again within the batch."""
    other = replace(THERMOSTAT, label="new", is_gateway=True, claimed_with="hash")
    async with store.begin([WANT], POLICY) as transaction:
        await transaction.commit([Put(replace(THERMOSTAT, label="between")), Put(other)])
    assert await load(store, [THERMOSTAT]) == [other]
    async with store.begin([WANT], POLICY) as transaction:
        await transaction.commit([Put(other), Remove(Device, other.id), Put(replace(other, owner=None))])
    assert await load(store, [THERMOSTAT]) == [replace(other, owner=None)]


async def test_devices_may_come_before_their_gateway(store: Store) -> None:
    """The last change of each row counts, and in the end all references hold."""
    children = [device(f"d{n}", principal=None, gateway_id="g") for n in range(70)]
    bare = [replace(child, gateway_id=None) for child in children]
    gateway = device("g", id="g", principal=None, is_gateway=True)
    await apply(store, [*map(Put, bare), Put(gateway), *map(Put, children), Put(replace(gateway, label="x"))])
    found = await query(store, Listing(Device, "default", 100, None, prefix="d"))
    assert {row.gateway_id for row in found.items} == {"g"}


async def test_events_keep_the_order_of_the_changes(store: Store) -> None:
    """Whatever else is written between them."""
    events = [Event("default", NOW, f"e{n}", "x") for n in range(70)]
    changes = [change for event in events for change in (Append(event), Put(NEW))]
    await apply(store, changes)
    assert (await query(store, Listing(Event, "default", 100, None))).items == tuple(events[::-1])


async def test_a_file_goes_with_its_parts(store: Store) -> None:
    """How far it is, and what was noted, is read as committed; the parts come in the order of the rows."""
    await apply(store, [Put(ImportPart(*IMPORT.key, number, f"at {number}")) for number in (1_000, 400)])
    assert await store.read_import(*IMPORT.key) == IMPORT
    assert await store.read_import_parts(*IMPORT.key) == ["sealed part", "at 400", "at 1000"]
    await apply(store, [Remove(Import, IMPORT.key)])
    assert await store.read_import(*IMPORT.key) is None
    assert await store.read_import_parts(*IMPORT.key) == []


async def test_service_values_are_kept(opening: Opening) -> None:
    """Over a restart; the last one counts."""
    async with opening() as store:
        assert await store.service_value("name") is None
        await store.put_service_value("name", "first")
        await store.put_service_value("name", "second")
        assert await store.service_value("name") == "second"
    async with opening() as store:
        assert await store.service_value("name") == "second"


async def test_what_is_committed_is_there_after_a_restart(opening: Opening) -> None:
    """Every kind of row."""
    async with opening() as store:
        await apply(store, [Put(row) for row in EVERYTHING])
    async with opening() as store:
        assert await load(store) == list(EVERYTHING)


# --- or nothing


async def test_leaving_without_commit_writes_nothing(store: Store) -> None:
    """Also if an exception leaves."""
    async with store.begin([WANT], POLICY):
        pass
    with pytest.raises(KeyError):
        async with store.begin([WANT], POLICY):
            raise KeyError
    assert await load(store) == list(EVERYTHING)
    await apply(store, [Put(NEW)])
    assert await load(store, [NEW]) == [NEW]


CONTRADICTIONS: dict[str, list[Any]] = {
    "a second device of a name": [device(id="another id", principal=None)],
    "a window of no device": [window(device("nowhere"))],
    "a device of a tenant there is not": [device("d", tenant="nowhere", principal=None)],
}


@pytest.mark.parametrize("rows", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
async def test_contradictions_write_nothing(rows: list[Any], store: Store) -> None:
    """Not even what came before them; the next batch is written."""
    with pytest.raises(InconsistentError):
        await apply(store, [Put(NEW), Put(Tenant("t", "T", NOW)), *map(Put, rows)])
    assert await load(store) == list(EVERYTHING)
    await apply(store, [Put(NEW)])
    assert await load(store, [NEW]) == [NEW]


async def test_a_transaction_commits_once(store: Store) -> None:
    """A second commit is the caller's mistake."""
    async with store.begin((), POLICY) as transaction:
        await transaction.commit([Put(NEW)])
        with pytest.raises(RuntimeError):
            await transaction.commit([Remove(ClaimWindow, NEW.key)])
    assert await load(store, [NEW]) == [NEW]


@pytest.mark.parametrize("rows", [1, 300])
async def test_a_cancelled_commit_is_whole_or_not_there(rows: int, store: Store) -> None:
    """Whenever the cancellation comes, and the next batch is written."""
    for turns in range(20):
        many = [Put(Attribute(THERMOSTAT.id, f"a{turns}-{n}", "1", NOW)) for n in range(rows)]
        task = asyncio.create_task(apply(store, many))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # by now it may be done
            await task
        await apply(store, [Put(NEW)])
        found = [row for row in await load(store, [change.row for change in many]) if row]
        assert len(found) in {0, rows}


# --- beside each other

WRITING: dict[str, Callable[[Store], Coroutine[Any, Any, Any]]] = {
    "a transaction": lambda store: apply(store, []),
    "deleting what has expired": lambda store: store.delete_expired(NOW, 0),
    "a value of the service": lambda store: store.put_service_value("name", "value"),
}


@pytest.mark.parametrize("second", WRITING.values(), ids=WRITING.keys())
async def test_the_writing_side_has_one_owner(
    second: Callable[[Store], Coroutine[Any, Any, Any]], store: Store
) -> None:
    """A second one is an error, not a wait; the first goes on undisturbed."""
    async with store.begin((), POLICY) as transaction:
        with pytest.raises(RuntimeError):
            await second(store)
        await transaction.commit([Put(NEW)])
    assert await load(store, [NEW]) == [NEW]
    await second(store)


async def test_reading_goes_on_beside_a_transaction(store: Store) -> None:
    """It sees what was committed before, and the batch when it is committed."""
    other = Put(Tenant("acme", "Acme", NOW))
    async with store.begin((), POLICY) as transaction:
        await transaction.commit([other, Put(NEW)])
        assert await load(store, [NEW]) == [NEW]
    async with store.begin((), POLICY) as transaction:
        before, *_ = await asyncio.gather(
            query(store, Listing(Tenant, None, 9, None)),
            load(store),
            store.password_logins(NOW),
            store.service_value("name"),
        )
        await transaction.commit([Put(Tenant("later", "Later", NOW))])
    assert [tenant.id for tenant in before.items] == ["acme", "default"]
    after = await query(store, Listing(Tenant, None, 9, None))
    assert [tenant.id for tenant in after.items] == ["acme", "default", "later"]


async def test_a_batch_is_seen_whole_or_not_at_all(store: Store) -> None:
    """By listings that run all the time."""
    seen: set[int] = set()
    writing = True

    async def watch() -> None:
        while writing:
            page = await query(store, Listing(Device, "default", 200, None, prefix="d"))
            seen.add(len(page.items))

    watching = asyncio.create_task(watch())
    for batch in range(5):
        await apply(store, [Put(device(f"d{batch}-{n:02}", principal=None)) for n in range(20)])
    writing = False
    await watching
    assert seen <= {20 * batch for batch in range(6)}


async def test_accept_all_comes_past_those_that_want_a_token(store: Store) -> None:
    """A thousand at a time, but what can be accepted first: else it would never be reached."""
    careful = [request(id=f"careful-{n}", token_hash="t", created_at_ms=NOW + n) for n in range(600)]
    contested = [request(id=f"contested-{n}", contested=True, created_at_ms=NOW + n) for n in range(600)]
    late = request(id="late", created_at_ms=NOW + 9_999)
    await apply(store, [Put(row) for row in (*careful, *contested, late)])
    facts = await store.read([accept_all(by="alice")], POLICY)
    assert late in facts.pending_requests("default")
    assert len(facts.pending_requests("default")) == 1000
