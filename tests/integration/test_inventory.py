"""Listings of devices, and what decides about a claim, as the store reads them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claimsvc.core.decision import Append, Listing, Put
from claimsvc.core.inventory import TOLD_OF, ClaimingQuestion
from claimsvc.core.model import Device, DeviceGroup, DeviceGroupMember, Event
from claimsvc.core.server_keys import KEY_REPLACED
from claimsvc.store.database import load_queries
from claimsvc.store.repository import MOST_EVENTS, Repository
from tests.integration.example import THERMOSTAT
from tests.support.factories import NOW, device, window


async def names(store: Repository, **options: Any) -> list[str]:
    """Return the names of all devices, page by page."""
    found: list[str] = []
    after: str | None = None
    while True:
        given: dict[str, Any] = {"prefix": "", **options}
        page = await store.read(Listing(Device, "default", 2, after, **given))
        found += [item.name for item in page.items if isinstance(item, Device)]
        after = page.next_after
        if after is None:
            return found


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        pytest.param("", ["Gateway", "Thermostat", "r", "ra", "rb", "rüb", "r\U0010fffd", "s", "ü"], id="all"),
        pytest.param("r", ["r", "ra", "rb", "rüb", "r\U0010fffd"], id="one, the one that is only it too"),
        pytest.param("rb", ["rb"], id="a whole name"),
        pytest.param("R", [], id="one nothing begins with"),
        pytest.param("%", [], id="no wildcard"),
    ],
)
async def test_devices_come_in_order_of_their_names(store: Repository, prefix: str, expected: list[str]) -> None:
    """Each once, over pages of two; gateways and devices of gateways too, and no other tenant's."""
    made = [device(name, principal=None) for name in ("s", "rb", "ra", "rüb", "r", "r\U0010fffd", "ü")]
    await store.apply([Put(each) for each in made])
    assert await names(store, prefix=prefix) == expected
    assert (await store.read(Listing(Device, "acme", 2, None, prefix=""))).items == ()


async def test_the_devices_of_a_group_are_listed(store: Repository) -> None:
    """In order of their names, over pages of two, of the caller's tenant, and with the same prefixes."""
    made = [device(name, principal=None) for name in ("rc", "ra", "rb", "s")]
    group = DeviceGroup("hall", "default", "Hall", NOW)
    members = [DeviceGroupMember(group.id, each.id) for each in made]
    await store.apply([*map(Put, made), Put(group), *map(Put, members[::-1])])
    assert await names(store, group_id=group.id) == ["ra", "rb", "rc", "s"]
    assert await names(store, group_id=group.id, prefix="r") == ["ra", "rb", "rc"]
    assert await names(store, group_id="another") == []
    assert (await store.read(Listing(Device, "acme", 2, None, prefix="", group_id=group.id))).items == ()


async def test_gateways_alone_are_another_listing(store: Repository) -> None:
    """Without a prefix a listing of devices is that of gateways, as before."""
    assert await names(store, prefix=None) == ["Gateway"]


@pytest.mark.parametrize("query", ["list_devices", "list_group_devices", "device_attempts", "events_of_kind"])
async def test_a_million_devices_are_not_looked_through(store: Repository, tmp_path: Path, query: str) -> None:
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


async def test_a_state_has_all_that_decides(store: Repository) -> None:
    """Windows, the attribute, the users who failed here with their failures elsewhere, and what was told of it."""
    other = device("Other", principal=None)
    await store.apply(
        [
            *(Put(row) for row in (other, window(other))),
            *(
                Append(told(f"claim_{what}", detail))
                for what, detail in (("refused", "wrong_key"), ("locked_out", "wrong_key"))
            ),
            Append(told("device_updated")),
            Append(told("claim_refused", "no_window", id_="an earlier one of this name")),
        ]
    )
    question = ClaimingQuestion(THERMOSTAT, TOLD_OF, KEY_REPLACED, allow_by_default=True)
    state = await store.read_claiming(question)
    assert state.question == question
    assert sorted(window.source for window in state.windows) == ["device", "server"]
    assert {window.device_id for window in state.windows} == {THERMOSTAT.id}
    assert state.claiming_allowed
    assert [(row.user, row.count) for row in state.attempts] == [("alice", 3)]
    assert [row.user for row in state.failures] == ["alice"]
    assert [(event.event, event.detail) for event in state.events] == [
        ("claim_locked_out", "wrong_key"),
        ("claim_refused", "wrong_key"),
    ]


async def test_a_device_nobody_tried_to_claim(store: Repository) -> None:
    """Nothing is an answer too."""
    lonely = device("lonely", principal=None)
    await store.apply([Put(lonely)])
    state = await store.read_claiming(ClaimingQuestion(lonely, TOLD_OF, KEY_REPLACED, allow_by_default=True))
    assert (state.windows, state.claiming_allowed, state.attempts, state.failures, state.events) == (
        (),
        None,
        (),
        (),
        (),
    )


async def test_a_state_is_of_bounded_size(store: Repository) -> None:
    """However often a device was guessed at: the newest events, newest first."""
    await store.apply([Append(told("claim_refused", str(number))) for number in range(MOST_EVENTS + 5)])
    state = await store.read_claiming(ClaimingQuestion(THERMOSTAT, TOLD_OF, KEY_REPLACED, allow_by_default=True))
    assert [event.detail for event in state.events] == [str(number) for number in range(MOST_EVENTS + 4, 4, -1)]


def told(event: str, detail: str | None = None, *, id_: str = THERMOSTAT.id) -> Event:
    """Return an audit event about the thermostat."""
    return Event("default", NOW, event, "alice", id_, THERMOSTAT.name, detail)
