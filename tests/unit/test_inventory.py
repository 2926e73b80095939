from __future__ import annotations

from typing import Any

import pytest

from claimsvc.core.command import Command
from claimsvc.core.decision import Listing, Page
from claimsvc.core.inventory import TOLD_OF, ClaimingQuestion, ClaimingState, ExamineClaiming, ListDevices
from claimsvc.core.model import Device, Event, UserFailures
from claimsvc.core.reasons import Reason
from claimsvc.core.server_keys import KEY_REPLACED
from tests.support.factories import (
    MINUTE,
    NOW,
    admin,
    allowed,
    attempts,
    device,
    facts,
    given,
    refused,
    server_window,
    user,
    window,
)
from tests.support.memory import decide
from tests.unit.test_thingsboard_rest import answer_to, command_of, malformed_detail

THERMOSTAT = device(owner="c1", gateway_id="g", label="Flur", claimed_at_ms=NOW + 1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("GET/claimsvc/devices", ListDevices("alice", 100, None, "", None)),
        ("GET/claimsvc/devices?limit=7&after=a%20b&prefix=Th%25", ListDevices("alice", 7, "a b", "Th%", None)),
        ("GET/claimsvc/devices?group=g%201", ListDevices("alice", 100, None, "", "g 1")),
        ("GET/claimsvc/devices?limit=99999", ListDevices("alice", 1000, None, "", None)),
        ("GET/claimsvc/devices?limit=0", ListDevices("alice", 1, None, "", None)),
        ("GET/claimsvc/devices/7/claiming", ExamineClaiming("alice", "7")),
    ],
)
def test_calls(call: str, expected: Command) -> None:
    """Each call is the command it says."""
    assert command_of(call) == expected


def test_a_limit_is_a_number() -> None:
    """Anything else is named."""
    assert "limit" in malformed_detail("GET/claimsvc/devices?limit=many")


def test_an_admin_sees_the_devices_of_the_own_tenant() -> None:
    """The listing is of the caller's tenant, whatever it begins with."""
    decision = decide(ListDevices("root", 5, "a", "b", "g"), facts(admin(tenant="acme")), given())
    assert decision.outcome == Listing(Device, "acme", 5, "a", prefix="b", group_id="g")


@pytest.mark.parametrize(
    "command", [ListDevices("alice", 5, None, "", None), ExamineClaiming("alice", THERMOSTAT.id)]
)
def test_a_customer_sees_no_inventory(command: Command) -> None:
    """Who claims learns nothing here about lockouts, windows or others' devices."""
    refused(Reason.NOT_PERMITTED, facts(user(), THERMOSTAT), command)


def test_an_admin_may_look_at_the_claiming_of_a_device() -> None:
    """The store is asked for what decides about claims."""
    decision = decide(
        ExamineClaiming("root", THERMOSTAT.id), facts(admin(), THERMOSTAT), given(allow_by_default=False)
    )
    assert decision.outcome == ClaimingQuestion(THERMOSTAT, TOLD_OF, KEY_REPLACED, allow_by_default=False)
    assert decision.changes == ()


@pytest.mark.parametrize("device_id", ["none", THERMOSTAT.id])
def test_another_tenants_device_is_not_there(device_id: str) -> None:
    """An id of another tenant tells as little as one that nobody has."""
    refused(Reason.NOT_FOUND, facts(admin(tenant="acme"), THERMOSTAT), ExamineClaiming("root", device_id))


DEVICE_JSON = {
    "name": "Thermostat",
    "id": "device-Thermostat",
    "principal": "Thermostat",
    "type": "default",
    "label": "Flur",
    "tenantId": "default",
    "customerId": "c1",
    "gatewayId": "g",
    "gateway": False,
    "createdTime": NOW,
    "claimedTime": NOW + 1,
}


@pytest.mark.parametrize(
    ("prefix", "more"), [pytest.param("", "", id="of all"), pytest.param("T&", "&prefix=T%26", id="of a prefix")]
)
def test_a_page_says_where_it_goes_on(prefix: str, more: str) -> None:
    """All that is known of a device, and paths that can be called as they stand."""
    page = Page(Listing(Device, "default", 1, None, prefix=prefix), (THERMOSTAT,), "Thermostat")
    assert answer_to("GET/claimsvc/devices", page) == (
        200,
        {
            "devices": [DEVICE_JSON],
            "self": f"/claimsvc/devices?limit=1{more}",
            "next": f"/claimsvc/devices?after=Thermostat&limit=1{more}",
        },
    )


def state(**fields: Any) -> ClaimingState:
    """Return the state of a device nobody has done anything with."""
    nothing: dict[str, Any] = {
        "windows": (),
        "claiming_allowed": None,
        "attempts": (),
        "failures": (),
        "events": (),
        "key_replaced": None,
    }
    return ClaimingState(
        ClaimingQuestion(THERMOSTAT, TOLD_OF, KEY_REPLACED, allow_by_default=True), **(nothing | fields)
    )


def test_a_state_of_nothing() -> None:
    """What is not there is an empty list or null."""
    assert answer_to("GET/claimsvc/devices/7/claiming", state()) == (
        200,
        {
            "device": DEVICE_JSON,
            "time": NOW,
            "allowByDefault": True,
            "claimingAllowed": None,
            "windows": [],
            "attempts": [],
            "events": [],
            "keyReplaced": None,
        },
    )


def test_a_state_tells_no_key() -> None:
    """Windows with their times and whether they are open, and neither key nor hash."""
    windows = (window(THERMOSTAT, expires_at_ms=NOW - 1), server_window(THERMOSTAT, attempts=2, expires_at_ms=NOW))
    _, body = answer_to(
        "GET/claimsvc/devices/7/claiming", state(windows=windows, claiming_allowed=allowed(THERMOSTAT))
    )
    assert body["claimingAllowed"] is True
    assert body["windows"] == [
        {"source": "device", "openedTime": NOW, "expirationTime": NOW - 1, "open": False, "attempts": 0},
        {"source": "server", "openedTime": NOW, "expirationTime": NOW, "open": True, "attempts": 2},
    ]


def test_a_state_tells_who_is_locked_out() -> None:
    """Lockouts that are over are null; one over all devices shows at the user's attempts here."""
    here = attempts(THERMOSTAT, count=2, lockouts=1, locked_until_ms=NOW + MINUTE)
    over = attempts(THERMOSTAT, "bob", locked_until_ms=NOW)
    failures = (UserFailures("bob", (NOW,), 1, NOW + 2 * MINUTE),)
    event = Event("default", NOW, "claim_refused", "bob", THERMOSTAT.id, "Thermostat", "wrong_key")
    _, body = answer_to(
        "GET/claimsvc/devices/7/claiming", state(attempts=(here, over), failures=failures, events=(event,))
    )
    assert body["attempts"] == [
        {
            "principal": "alice",
            "failures": 2,
            "lockouts": 1,
            "lockedUntil": NOW + MINUTE,
            "lastFailedTime": NOW,
            "allDevicesLockedUntil": None,
        },
        {
            "principal": "bob",
            "failures": 1,
            "lockouts": 0,
            "lockedUntil": None,
            "lastFailedTime": NOW,
            "allDevicesLockedUntil": NOW + 2 * MINUTE,
        },
    ]
    assert [(event["event"], event["detail"]) for event in body["events"]] == [("claim_refused", "wrong_key")]
