"""The store on a real SQLite file: what goes in comes out, in the order it was decided, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from claimsvc.core.decision import Change, Put, Remove
from claimsvc.core.model import (
    Attribute,
    ClaimWindow,
    Credential,
    Device,
    FormerCredential,
    Principal,
    PrincipalKind,
    Row,
    User,
)
from claimsvc.store.contract import InconsistentError, Store
from claimsvc.store.mapping import TABLES
from tests.support.example import CHANGED, CREDENTIAL, EVERYTHING, FORMER, GATEWAY, THERMOSTAT, load
from tests.support.factories import NOW, device, user, window
from tests.support.stores import apply


async def test_each_kind_of_row_comes_out_as_it_went_in(store: Store) -> None:
    """Every kind the store knows is there, in every column."""
    assert {type(row) for row in EVERYTHING} == TABLES.keys()
    assert await load(store) == list(EVERYTHING)


@pytest.mark.parametrize("row", CHANGED.values(), ids=CHANGED.keys())
async def test_a_changed_row_replaces_the_old_one(row: Row, store: Store) -> None:
    """Whole, down to the names of roles and groups, and nothing else changes."""
    await apply(store, [Put(row)])
    expected = [row if (type(old), old.key) == (type(row), row.key) else old for old in EVERYTHING]
    assert await load(store) == expected


NEW = window(THERMOSTAT, "new")
GONE = Remove(ClaimWindow, NEW.key)
SECOND = replace(THERMOSTAT, id="device-2", gateway_id=None, owner=None, claimed_at_ms=None)
PRINCIPAL = Principal("Thermostat", PrincipalKind.DEVICE, "default")
LOGIN_GONE = (Remove(Credential, "Thermostat"), Remove(Principal, "Thermostat"))
ORDERS: dict[str, tuple[list[Change], list[Row], list[Row]]] = {
    # changes: rows that are there afterwards, rows that are not
    "put, then remove": ([Put(NEW), GONE], [], [NEW]),
    "remove, then put": ([GONE, Put(NEW)], [NEW], []),
    "put, remove, put": ([Put(window(THERMOSTAT)), GONE, Put(NEW)], [NEW], []),
    "the last put counts": ([Put(window(THERMOSTAT)), Put(NEW)], [NEW], []),
    "a device that goes takes all along": (
        [Put(NEW), Remove(Device, THERMOSTAT.id)],
        [],
        [THERMOSTAT, NEW, EVERYTHING[14], EVERYTHING[15]],
    ),
    "a device goes, and one of its name comes": (
        [Remove(Device, THERMOSTAT.id), *LOGIN_GONE, Put(PRINCIPAL), Put(SECOND), Put(CREDENTIAL)],
        [SECOND, CREDENTIAL],
        [THERMOSTAT, NEW],
    ),
    "a login that goes takes its former passwords along": (
        [Remove(Credential, "Thermostat")],
        [THERMOSTAT],
        [CREDENTIAL, FORMER],
    ),
    "a former password goes alone": ([Remove(FormerCredential, FORMER.key)], [CREDENTIAL], [FORMER]),
    "a gateway that goes leaves its devices": (
        [Remove(Device, GATEWAY.id)],
        [replace(THERMOSTAT, gateway_id=None)],
        [GATEWAY],
    ),
    "a user goes, and one of the name comes": (
        [
            Remove(User, "alice"),
            Remove(Principal, "alice"),
            Put(EVERYTHING[1]),
            Put(user(roles=(), customer_id=None)),
        ],
        [user(roles=(), customer_id=None)],
        [EVERYTHING[15], EVERYTHING[16]],
    ),
}


@pytest.mark.parametrize(("changes", "there", "gone"), ORDERS.values(), ids=ORDERS.keys())
async def test_the_order_of_a_batch_is_kept(
    changes: list[Change], there: list[Row], gone: list[Row], store: Store
) -> None:
    """As if each change had been written by itself."""
    await apply(store, changes)
    assert await load(store, there) == there
    facts = [row for row in await load(store, gone) if row is not None]
    assert facts == []


async def test_a_transaction_that_fails_writes_nothing(store: Store) -> None:
    """Not even what came before the mistake; the connection goes on."""
    taken = device(id="another id", principal=None)
    with pytest.raises(InconsistentError):
        await apply(store, [Put(NEW), Put(taken)])
    assert await load(store) == list(EVERYTHING)
    await apply(store, [Put(NEW)])
    assert await load(store, [NEW]) == [NEW]


async def test_a_cancelled_apply_leaves_no_transaction_open(store: Store) -> None:
    """Whenever the cancellation comes: the batch is whole or not there, and the next one is written."""
    for turns in range(30):
        many = [Put(Attribute(THERMOSTAT.id, f"a{turns}-{n}", "1", NOW)) for n in range(50)]
        task = asyncio.create_task(apply(store, many))
        for _ in range(turns):
            await asyncio.sleep(0)  # a turn of the loop
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # by now it may be done
            await task
        await apply(store, [Put(NEW)])
        found = [row for row in await load(store, [change.row for change in many]) if row]
        assert len(found) in {0, 50}
