from __future__ import annotations

import pytest

from claimsvc.core.claiming import WindowOpened
from claimsvc.core.decision import Done
from claimsvc.core.devices import (
    BindDevices,
    Bound,
    DeleteAttributes,
    FoundAttributes,
    ReadAttributes,
    ServerWindow,
    SetAttributes,
)
from claimsvc.core.model import CLAIMING_DATA, Attribute, ClaimWindow, Device, Row
from claimsvc.core.reasons import Reason
from tests.support.factories import (
    MINUTE,
    NOW,
    admin,
    device,
    events,
    facts,
    gateway,
    given,
    key,
    open_window,
    refused,
    removed,
    result,
    server_window,
    window,
    written,
)
from tests.support.memory import decide

KNOWN = device()
ID = KNOWN.id


def test_claiming_data_opens_a_server_window() -> None:
    """The window has the attribute's key and end; no attribute of that name is kept."""
    command = SetAttributes("root", ID, (("a", "1"),), ServerWindow(key("server"), NOW + MINUTE, may_replace=False))
    over = server_window(KNOWN, "old", attempts=3, expires_at_ms=NOW - 1)
    known = facts(admin(), KNOWN, window(KNOWN), over)
    decision = decide(command, known, given())
    assert decision.outcome == Done()
    assert written(decision.changes, ClaimWindow) == [server_window(KNOWN)]
    assert written(decision.changes, Attribute) == [Attribute(ID, "a", "1", NOW)]
    assert known.windows(ID) == [window(KNOWN), server_window(KNOWN)]
    assert events(decision.changes) == ["claiming_data_set"]


def test_claiming_allowed_lets_the_device_open_its_window() -> None:
    """The attribute counts for the next command of the same batch."""
    known = facts(admin(), KNOWN)
    closed = given(allow_by_default=False)
    refused(Reason.CLAIMING_NOT_ALLOWED, known, open_window(), closed)
    decide(SetAttributes("root", ID, (("claimingAllowed", "true"),), None), known, closed)
    assert result(decide(open_window(), known, closed)) is WindowOpened


@pytest.mark.parametrize(
    ("names", "attributes", "with_window"),
    [
        pytest.param((), ["a", "b"], True, id="all"),
        pytest.param(("a",), ["a"], False, id="one"),
        pytest.param((CLAIMING_DATA, "b"), ["b"], True, id="claimingData and another"),
        pytest.param(("c",), [], False, id="one that is not there"),
    ],
)
def test_attributes_by_name(names: tuple[str, ...], attributes: list[str], *, with_window: bool) -> None:
    """Reading gives, and deleting removes, the named attributes; a device's own window is no attribute."""
    rows: list[Row] = [Attribute(ID, "a", "1", NOW), Attribute(ID, "b", "2", NOW)]
    known = facts(admin(), KNOWN, window(KNOWN), server_window(KNOWN), *rows)
    found = decide(ReadAttributes("root", ID, names), known, given()).outcome
    assert isinstance(found, FoundAttributes)
    assert [row.name for row in found.attributes] == attributes
    assert found.server_window == (server_window(KNOWN) if with_window else None)
    decision = decide(DeleteAttributes("root", ID, names), known, given())
    assert [key[1] for kind, key in removed(decision.changes) if kind is Attribute] == attributes
    assert events(decision.changes) == (["claiming_data_removed"] if with_window else [])
    assert window(KNOWN) in known.windows(ID)


# --- binding


def test_gateway_speaks_for_bound_devices() -> None:
    """After an admin bound a boxed device, the gateway may open its window."""
    box = gateway()
    known = facts(admin(), KNOWN, box)
    decision = decide(BindDevices("root", "Gateway", ("Thermostat",)), known, given())
    assert decision.outcome == Bound(box, ("Thermostat",))
    assert written(decision.changes, Device) == [device(gateway_id=box.id)]
    assert events(decision.changes) == ["device_bound"]
    again = decide(BindDevices("root", "Gateway", ("Thermostat",)), known, given())
    assert (again.outcome, again.changes) == (decision.outcome, ())


def test_name_twice_is_bound_once() -> None:
    """A name that stands twice in the list is one change and one event."""
    known = facts(admin(), KNOWN, gateway())
    decision = decide(BindDevices("root", "Gateway", ("Thermostat", "Thermostat")), known, given())
    assert events(decision.changes) == ["device_bound"]


def test_all_devices_are_bound_or_none() -> None:
    """One name that is not there stops the whole call."""
    known = facts(admin(), KNOWN, gateway())
    outcome = refused(Reason.NOT_FOUND, known, BindDevices("root", "Gateway", ("Thermostat", "Missing")))
    assert "Missing" in outcome.message
    assert known.device_named("default", "Thermostat") == KNOWN


def test_only_a_gateway_is_bound_to() -> None:
    """A plain device cannot be made to speak for others this way."""
    refused(Reason.NOT_A_GATEWAY, facts(admin(), KNOWN, device("A")), BindDevices("root", "Thermostat", ("A",)))
