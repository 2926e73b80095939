from __future__ import annotations

from typing import Any

import pytest

from claimsvc.core import devices as commands
from claimsvc.core.command import Command, OnDevice
from claimsvc.core.credentials import FoundCredential
from claimsvc.core.decision import Found, Put
from claimsvc.core.devices import (
    BindDevices,
    CreateDevice,
    CreateGateway,
    DeleteAttributes,
    DeleteDevice,
    FindDevice,
    ReadAttributes,
    ReadCredentials,
    ReadDevice,
    SetAttributes,
    UpdateDevice,
)
from claimsvc.core.model import (
    Credential,
    CredentialKind,
    Device,
    Principal,
    Row,
)
from claimsvc.core.reasons import Reason
from tests.support.factories import (
    NOW,
    admin,
    allowed,
    credential,
    device,
    events,
    facts,
    gateway,
    given,
    password,
    refused,
    removed,
    result,
    token,
    user,
    window,
    written,
)
from tests.support.memory import decide

KNOWN = device()
ID = KNOWN.id


def create_device(name: str = "Thermostat", **fields: Any) -> CreateDevice:
    """Return an admin's order for a device with username and password."""
    values: dict[str, Any] = {"type": "default", "label": None, "is_gateway": False, "secret": password()}
    return CreateDevice("root", name, **(values | fields))


ON_DEVICE: list[Command] = [
    FindDevice("root", "Thermostat"),
    ReadDevice("root", ID),
    UpdateDevice("root", ID, "Thermostat", "default", None, is_gateway=True),
    DeleteDevice("root", ID),
    ReadCredentials("root", ID),
    SetAttributes("root", ID, (("a", "1"),), None),
    ReadAttributes("root", ID, ()),
    DeleteAttributes("root", ID, ("a",)),
    BindDevices("root", "Gateway", ("Thermostat",)),
]
ALL: list[Command] = [*ON_DEVICE, create_device(), CreateGateway("root", "Gateway", password())]


def test_every_command_is_among_the_samples() -> None:
    """The tables below cover every command about devices."""
    named = {kind for kind in vars(commands).values() if isinstance(kind, type) and issubclass(kind, Command)}
    concrete = {kind for kind in named if kind.__module__ == commands.__name__ and kind is not OnDevice}
    assert concrete == {type(command) for command in ALL}


@pytest.mark.parametrize("command", ON_DEVICE, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize("rows", [[], [device(tenant="acme")]], ids=["no such device", "another tenant's"])
def test_what_is_not_there_looks_like_what_is_another_tenants(command: Command, rows: list[Row]) -> None:
    """A tenant never sees, changes or removes another tenant's device."""
    known = facts(admin(), gateway(), *rows)
    decision = decide(command, known, given())
    assert (result(decision), decision.changes) == (Reason.NOT_FOUND, ())


@pytest.mark.parametrize("command", ALL, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize(
    "caller",
    [user("root"), user("root", roles=("operator",)), device("root"), None],
    ids=["a customer's user", "an operator", "a device", "whom nobody knows"],
)
def test_devices_are_the_admins(command: Command, caller: Row | None) -> None:
    """Only a tenant admin makes, reads or changes devices by these calls."""
    known = facts(KNOWN, gateway(), *([caller] if caller else []))
    decision = decide(command, known, given())
    assert (result(decision), decision.changes) == (Reason.NOT_PERMITTED, ())


# --- making


def test_device_is_made_with_its_login() -> None:
    """The principal is written first, then the device that refers to it, then the login; told once."""
    secret = password()
    decision = decide(create_device(type="meter", label="cellar", secret=secret), facts(admin()), given())
    made = device(id="id-1", type="meter", label="cellar")
    login = credential("Thermostat", secret_hash=secret.digest, sealed=secret.sealed)
    assert decision.outcome == Found(made, secret, created=True)
    assert [type(change.row) for change in decision.changes if isinstance(change, Put)] == [
        Principal,
        Device,
        Credential,
    ]
    assert written(decision.changes, Credential) == [login]
    assert events(decision.changes) == ["device_created"]


def test_access_token_is_the_login() -> None:
    """With a token the keyed hash of the token is the login, never the token."""
    secret = token("T0")
    (login,) = written(decide(create_device(secret=secret), facts(admin()), given()).changes, Credential)
    assert (login.login, login.kind) == (secret.digest, CredentialKind.ACCESS_TOKEN)
    assert "T0" not in {login.login, login.secret_hash, login.sealed}


def test_principal_is_percent_encoded_and_names_a_foreign_tenant() -> None:
    """What could be more than one level is encoded; outside the default tenant the tenant goes in front."""
    known = facts(admin(tenant="acme"))
    (made,) = written(decide(create_device("a/b"), known, given()).changes, Device)
    assert (made.name, made.tenant, made.principal) == ("a/b", "acme", "acme%2Fa%2Fb")


@pytest.mark.parametrize("command", [create_device(), CreateGateway("root", "Thermostat", password())])
def test_no_login_is_told_where_somebody_else_keeps_logins(command: Command) -> None:
    """With `credentials.store = none` nothing is issued and no password is given."""
    decision = decide(command, facts(admin()), given(issue_logins=False))
    assert isinstance(decision.outcome, Found)
    assert decision.outcome.secret is None
    assert written(decision.changes, Credential) == []


@pytest.mark.parametrize("make", ["device", "gateway"])
@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        pytest.param("", [], Reason.INVALID_NAME, id="no name"),
        pytest.param("x" * 256, [], Reason.INVALID_NAME, id="a name too long"),
        pytest.param("a\nb", [], Reason.INVALID_NAME, id="a name of two lines"),
        pytest.param(" a", [], Reason.INVALID_NAME, id="a name that begins with a blank"),
        pytest.param("a:b", [], Reason.INVALID_NAME, id="a name the password file cannot hold"),
        pytest.param("claimsvc", [], Reason.INVALID_NAME, id="the service's name"),
        pytest.param("bootstrap", [], Reason.INVALID_NAME, id="bootstrap"),
        pytest.param("provision", [], Reason.INVALID_NAME, id="provision"),
        pytest.param("alice", [user()], Reason.NAME_TAKEN, id="a user's name"),
        pytest.param(
            "acme/x",
            [device("x", tenant="acme", principal="acme%2Fx")],
            Reason.NAME_TAKEN,
            id="another tenant's principal",
        ),
        pytest.param("other", [credential("other")], Reason.NAME_TAKEN, id="a login in use"),
    ],
)
def test_names_are_never_taken_over(make: str, name: str, rows: list[Row], expected: Reason) -> None:
    """A name that is unusable, reserved or taken by another kind or tenant is refused; nothing is written."""
    command: Command = create_device(name) if make == "device" else CreateGateway("root", name, password())
    decision = decide(command, facts(admin(), *rows), given(login_excludes=":"))
    assert (result(decision), decision.changes) == (expected, ())


def test_token_in_use_is_refused() -> None:
    """Two devices cannot log in with the same token."""
    known = facts(admin())
    decide(create_device("A", secret=token()), known, given())
    refused(Reason.NAME_TAKEN, known, create_device("B", secret=token()))


def test_existing_device_is_not_made_again() -> None:
    """A second device of the name is refused."""
    refused(Reason.ALREADY_EXISTS, facts(admin(), KNOWN), create_device())


def test_device_becomes_a_gateway_and_keeps_its_login() -> None:
    """A device that exists is marked; no login is issued."""
    known = facts(admin(), KNOWN)
    decision = decide(CreateGateway("root", "Thermostat", password()), known, given())
    assert decision.outcome == Found(device(is_gateway=True))
    assert written(decision.changes, Credential) == []
    assert events(decision.changes) == ["gateway_marked"]


def test_child_of_a_gateway_cannot_become_one() -> None:
    """A device without a login cannot speak for others."""
    known = facts(admin(), device(principal=None, gateway_id="g"))
    refused(Reason.NAME_TAKEN, known, CreateGateway("root", "Thermostat", password()))


# --- reading, changing, removing


def test_device_is_read_by_id_and_by_name() -> None:
    """Both give the same device and change nothing."""
    known = facts(admin(), KNOWN)
    for command in (ReadDevice("root", ID), FindDevice("root", "Thermostat")):
        decision = decide(command, known, given())
        assert (decision.outcome, decision.changes) == (Found(KNOWN), ())


def test_update_changes_what_is_descriptive() -> None:
    """Type, label and the gateway mark change; the owner stays; the same update again changes nothing."""
    known = facts(admin(), device(owner="c1"))
    command = UpdateDevice("root", ID, "Thermostat", "meter", "cellar", is_gateway=True)
    changed = device(owner="c1", type="meter", label="cellar", is_gateway=True)
    first, second = (decide(command, known, given()) for _ in range(2))
    assert first.outcome == second.outcome == Found(changed)
    assert events(first.changes) == ["device_updated"]
    assert second.changes == ()


def test_device_is_not_renamed() -> None:
    """A name is an identity."""
    refused(
        Reason.INVALID_VALUE,
        facts(admin(), KNOWN),
        UpdateDevice("root", ID, "Other", "default", None, is_gateway=False),
    )


def test_deleted_device_leaves_nothing() -> None:
    """Device, windows, attributes, logins and the principal go; the name is free again."""
    logins = [credential("Thermostat"), credential("hash", principal="Thermostat")]
    known = facts(admin(), KNOWN, window(KNOWN), allowed(KNOWN), *logins)
    decision = decide(DeleteDevice("root", ID), known, given())
    assert set(removed(decision.changes)) == {
        (Device, ID),
        (Credential, "Thermostat"),
        (Credential, "hash"),
        (Principal, "Thermostat"),
    }
    assert (known.windows(ID), known.attributes(ID), known.device_of("Thermostat")) == ([], [], None)
    assert events(decision.changes) == ["device_deleted"]
    assert isinstance(decide(create_device(), known, given()).outcome, Found)


# --- credentials


def test_newest_valid_login_is_read() -> None:
    """The newest login that was not revoked is given, sealed while the reissue window lasts."""
    rows = [
        credential("old", principal="Thermostat", created_at_ms=NOW - 2),
        credential("new", principal="Thermostat", created_at_ms=NOW - 1, sealed_until_ms=NOW),
        credential("gone", principal="Thermostat", created_at_ms=NOW, revoked_at_ms=NOW),
        credential("strange", principal="other", created_at_ms=NOW),
    ]
    known = facts(admin(), KNOWN, *rows)
    command = ReadCredentials("root", ID)
    assert decide(command, known, given()).outcome == FoundCredential(KNOWN, rows[1])
    late = decide(command, known, given(NOW + 1)).outcome
    assert isinstance(late, FoundCredential)
    assert late.credential is not None
    assert (late.credential.login, late.credential.sealed) == ("new", None)


@pytest.mark.parametrize("of", [KNOWN, device(principal=None)], ids=["no login is kept", "it has no login"])
def test_device_without_login_has_no_credential(of: Device) -> None:
    """There is nothing to give."""
    outcome = decide(ReadCredentials("root", ID), facts(admin(), of), given()).outcome
    assert outcome == FoundCredential(of, None)
