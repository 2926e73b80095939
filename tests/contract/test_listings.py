"""Listings of devices, and what decides about a claim, as the store reads them."""

from __future__ import annotations

from typing import Any

import pytest

from claimsvc.core.decision import Append, Change, Listing, Put
from claimsvc.core.inventory import TOLD_OF, ClaimingQuestion
from claimsvc.core.model import (
    Customer,
    Device,
    DeviceGroup,
    DeviceGroupMember,
    Event,
    Group,
    Principal,
    PrincipalKind,
    Role,
    Tenant,
    User,
)
from claimsvc.core.server_keys import KEY_REPLACED
from claimsvc.store.contract import MOST_EVENTS, Store
from tests.support.example import THERMOSTAT
from tests.support.factories import NOW, customer, device, user, window
from tests.support.stores import apply, query


async def names(store: Store, **options: Any) -> list[str]:
    """Return the names of all devices, page by page."""
    found: list[str] = []
    after: str | None = None
    while True:
        given: dict[str, Any] = {"prefix": "", **options}
        page = await query(store, Listing(Device, "default", 2, after, **given))
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
async def test_devices_come_in_order_of_their_names(store: Store, prefix: str, expected: list[str]) -> None:
    """Each once, over pages of two; gateways and devices of gateways too, and no other tenant's."""
    made = [device(name, principal=None) for name in ("s", "rb", "ra", "rüb", "r", "r\U0010fffd", "ü")]
    await apply(store, [Put(each) for each in made])
    assert await names(store, prefix=prefix) == expected
    assert (await query(store, Listing(Device, "acme", 2, None, prefix=""))).items == ()


async def test_the_devices_of_a_group_are_listed(store: Store) -> None:
    """In order of their names, over pages of two, of the caller's tenant, and with the same prefixes."""
    made = [device(name, principal=None) for name in ("rc", "ra", "rb", "s")]
    group = DeviceGroup("hall", "default", "Hall", NOW)
    members = [DeviceGroupMember(group.id, each.id) for each in made]
    await apply(store, [*map(Put, made), Put(group), *map(Put, members[::-1])])
    assert await names(store, group_id=group.id) == ["ra", "rb", "rc", "s"]
    assert await names(store, group_id=group.id, prefix="r") == ["ra", "rb", "rc"]
    assert await names(store, group_id="another") == []
    assert (await query(store, Listing(Device, "acme", 2, None, prefix="", group_id=group.id))).items == ()


async def test_gateways_alone_are_another_listing(store: Store) -> None:
    """Without a prefix a listing of devices is that of gateways, as before."""
    assert await names(store, prefix=None) == ["Gateway"]


async def test_a_state_has_all_that_decides(store: Store) -> None:
    """Windows, the attribute, the users who failed here with their failures elsewhere, and what was told of it."""
    other = device("Other", principal=None)
    await apply(
        store,
        [
            *(Put(row) for row in (other, window(other))),
            *(
                Append(told(f"claim_{what}", detail))
                for what, detail in (("refused", "wrong_key"), ("locked_out", "wrong_key"))
            ),
            Append(told("device_updated")),
            Append(told("claim_refused", "no_window", id_="an earlier one of this name")),
        ],
    )
    question = ClaimingQuestion(THERMOSTAT, TOLD_OF, KEY_REPLACED, allow_by_default=True)
    state = await query(store, question)
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


async def test_a_device_nobody_tried_to_claim(store: Store) -> None:
    """Nothing is an answer too."""
    lonely = device("lonely", principal=None)
    await apply(store, [Put(lonely)])
    state = await query(store, ClaimingQuestion(lonely, TOLD_OF, KEY_REPLACED, allow_by_default=True))
    assert (state.windows, state.claiming_allowed, state.attempts, state.failures, state.events) == (
        (),
        None,
        (),
        (),
        (),
    )


async def test_a_state_is_of_bounded_size(store: Store) -> None:
    """However often a device was guessed at: the newest events, newest first."""
    await apply(store, [Append(told("claim_refused", str(number))) for number in range(MOST_EVENTS + 5)])
    state = await query(store, ClaimingQuestion(THERMOSTAT, TOLD_OF, KEY_REPLACED, allow_by_default=True))
    assert [event.detail for event in state.events] == [str(number) for number in range(MOST_EVENTS + 4, 4, -1)]


def told(event: str, detail: str | None = None, *, id_: str = THERMOSTAT.id) -> Event:
    """Return an audit event about the thermostat."""
    return Event("default", NOW, event, "alice", id_, THERMOSTAT.name, detail)


@pytest.mark.parametrize("kind", [Tenant, Customer, User, Group, Role, Device, Event])
async def test_a_listing_pages_through_its_kind(kind: type[Any], store: Store) -> None:
    """In order, every item once, only of its tenant, and a last page without a next."""
    await apply(store, [Put(Tenant("other", "Other", NOW))])
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
            await apply(store, made[kind])
    of = None if kind is Tenant else "default"
    whole = (await query(store, Listing(kind, of, 100, None))).items
    paged: list[object] = []
    after: str | None = None
    while True:
        page = await query(store, Listing(kind, of, 2, after))
        assert len(page.items) <= 2
        paged += page.items
        after = page.next_after
        if after is None:
            break
    assert paged == list(whole)
    assert len(set(map(repr, whole))) >= 7
    assert all(getattr(item, "tenant", "default") == "default" for item in whole)


async def test_events_are_listed_by_device_and_time(store: Store) -> None:
    """Newest first, from a time on."""
    events = [Event("default", NOW + n, f"e{n}", "x", "id", ("a", "b")[n % 2]) for n in range(6)]
    await apply(store, [Append(event) for event in events])
    page = await query(store, Listing(Event, "default", 10, None, "a", NOW + 2))
    assert page.items == (events[4], events[2])
