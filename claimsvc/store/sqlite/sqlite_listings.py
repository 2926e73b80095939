"""Answers queries, such as listings, from committed rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pydantic_core import to_json

from claimsvc.core.decision import Listing, Outcome, Page
from claimsvc.core.facts import Lookup
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
    Role,
    Tenant,
    User,
    UserFailures,
)
from claimsvc.core.provisioning import ProfileListing, ProfilePage
from claimsvc.core.registration import RequestListing, RequestPage
from claimsvc.store.contract import MOST_ATTEMPTS, MOST_EVENTS
from claimsvc.store.mapping import EVENTS, TABLES, Selecting, Values

_LAST = "9223372036854775807"
_AFTER_ALL = "\U0010ffff"
"""Sorts after every continuation of a name. No name contains it."""


class Reading(Selecting, Protocol):
    """The reading statements of the store."""

    def run(self, name: str, /, **parameters: object) -> list[Any]:
        """Return the rows that a statement finds for plain parameters."""


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


def _page(statements: Reading, listing: Listing) -> Page:
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


def _requests(statements: Reading, listing: RequestListing) -> RequestPage:
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


def _profiles(statements: Reading, listing: ProfileListing) -> ProfilePage:
    offset = listing.page * listing.size
    found = statements.run("list_profiles", tenant=listing.tenant, offset=offset, limit=listing.size)
    ((total,),) = statements.run("count_profiles", tenant=listing.tenant)
    return ProfilePage(listing, tuple(TABLES[DeviceProfile].decode(found)), total)


def _claiming(statements: Reading, question: ClaimingQuestion) -> ClaimingState:
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


READERS: dict[type[Any], Callable[[Reading, Any], Outcome]] = {
    Listing: _page,
    RequestListing: _requests,
    ProfileListing: _profiles,
    ClaimingQuestion: _claiming,
}
