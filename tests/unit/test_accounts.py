from __future__ import annotations

from typing import Any

import pytest

from claimsvc.core import accounts as commands
from claimsvc.core.accounts import (
    AdmitShared,
    CreateCustomer,
    CreateGroup,
    CreateRole,
    CreateTenant,
    CreateUser,
    DeleteCustomer,
    DeleteUser,
    Establish,
    ListItems,
    ReadCustomer,
    ReadUser,
    UpdateUser,
)
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found, Listing
from claimsvc.core.model import (
    Credential,
    Customer,
    Device,
    Event,
    Group,
    Principal,
    PrincipalKind,
    Role,
    Row,
    Tenant,
    User,
)
from claimsvc.core.permissions import TENANT_ADMIN
from claimsvc.core.reasons import Reason
from tests.support.factories import (
    admin,
    customer,
    device,
    events,
    facts,
    given,
    password,
    refused,
    removed,
    result,
    user,
    written,
)
from tests.support.memory import Memory, decide

ROOT = admin()
MANAGER = admin("management%2Fmanager", username="manager", tenant="management")


def create_user(username: str = "bob", **fields: Any) -> CreateUser:
    """Return an admin's order for a user of no customer."""
    values: dict[str, Any] = {
        "caller": "root",
        "customer_id": None,
        "groups": (),
        "roles": (),
        "secret": password(),
        "tenant": None,
    }
    return CreateUser(username=username, **(values | fields))


def update_user(username: str = "alice", **fields: Any) -> UpdateUser:
    """Return an admin's change that leaves everything as it is."""
    values: dict[str, Any] = {"caller": "root"} | dict.fromkeys(("customer_id", "groups", "roles", "secret"))
    return UpdateUser(username=username, **(values | fields))


ALL: list[Command] = [
    CreateCustomer("root", "ACME"),
    ReadCustomer("root", "c1"),
    DeleteCustomer("root", "c1"),
    create_user(),
    ReadUser("root", "alice"),
    update_user(),
    DeleteUser("root", "alice"),
    CreateRole("root", "r", ()),
    CreateGroup("root", "g", ()),
    ListItems("root", User, 10, None),
    CreateTenant("root", "acme", "ACME"),
]


def test_every_command_is_among_the_samples() -> None:
    """The table covers every command about accounts but the service's own."""
    named = {kind for kind in vars(commands).values() if isinstance(kind, type) and issubclass(kind, Command)}
    concrete = {kind for kind in named if kind.__module__ == commands.__name__ and not kind.__name__.startswith("On")}
    assert concrete - {Establish, AdmitShared} == {type(command) for command in ALL}


@pytest.mark.parametrize("command", ALL, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize(
    "caller", [user("root"), device("root"), None], ids=["a customer's user", "a device", "whom nobody knows"]
)
def test_accounts_are_the_admins(command: Command, caller: Row | None) -> None:
    """Nobody but an admin makes, reads or changes accounts."""
    decision = decide(command, facts(customer(), user(), *([caller] if caller else [])), given())
    assert (result(decision), decision.changes) == (Reason.NOT_PERMITTED, ())


# --- what every store begins with


def test_store_begins_with_two_tenants_and_the_service() -> None:
    """Establish makes what is missing, and the second time nothing."""
    known = Memory("default")
    first, second = (decide(Establish("claimsvc", None), known, given()) for _ in range(2))
    assert {row.id for row in written(first.changes, Tenant)} == {"default", "management"}
    assert written(first.changes, Principal) == [Principal("claimsvc", PrincipalKind.SERVICE, "default")]
    assert (second.outcome, second.changes) == (Done(), ())


@pytest.mark.parametrize("row", [device("svc"), user("svc")], ids=["a device", "a user"])
def test_service_does_not_take_a_name_over(row: Row) -> None:
    """The service's own name must not be a device's or user's."""
    refused(Reason.NAME_TAKEN, facts(row), Establish("svc", None))


@pytest.mark.parametrize(
    ("name", "several", "logins"),
    [
        ("bootstrap", True, ["bootstrap", "management/devicebootstrap"]),
        ("bootstrap", False, ["bootstrap"]),
        ("provision", True, ["provision"]),
        ("provision", False, ["provision"]),
    ],
)
def test_logins_that_new_devices_share(name: str, several: bool, logins: list[str]) -> None:  # noqa: FBT001 - a column
    """Made once, then given another password; whoever came by the old one has to go."""
    known, now = facts(), given(several_logins=several)
    for expected in ([name], []):
        decision = decide(AdmitShared("claimsvc", name, password()), known, now)
        assert [row.login for row in written(decision.changes, Credential)] == logins
        assert [row.name for row in written(decision.changes, Principal)] == expected
        assert decision.ended == (name,)


def test_who_has_a_lane_is_shared_by_nobody() -> None:
    """No mistake of ours makes anybody's login everybody's."""
    with pytest.raises(ValueError, match="not a shared login"):
        decide(AdmitShared("claimsvc", "admin", password()), facts(), given())


# --- tenants


@pytest.mark.parametrize(
    ("caller", "id_", "expected"),
    [
        pytest.param(MANAGER, "acme", Found, id="the management tenant's admin"),
        pytest.param(ROOT, "acme", Reason.NOT_PERMITTED, id="another tenant's admin"),
        pytest.param(MANAGER, "default", Reason.ALREADY_EXISTS, id="a tenant there is"),
        pytest.param(MANAGER, "", Reason.INVALID_NAME, id="no name"),
        pytest.param(MANAGER, "a%2Fb", Reason.INVALID_NAME, id="a name that could hide a tenant"),
        pytest.param(MANAGER, "a/b", Reason.INVALID_NAME, id="a name of two levels"),
        pytest.param(MANAGER, "x" * 65, Reason.INVALID_NAME, id="a name too long"),
    ],
)
def test_management_makes_tenants(caller: User, id_: str, expected: object) -> None:
    """Tenants are made by the management tenant alone, with ids that can stand in a principal."""
    assert result(decide(CreateTenant(caller.principal, id_, ""), facts(caller), given())) == expected


# --- customers


def test_customer_is_made_and_read() -> None:
    """A customer gets an id and can be read."""
    known = facts(ROOT)
    made = decide(CreateCustomer("root", "ACME"), known, given())
    assert made.outcome == Found(customer("id-1", title="ACME"), created=True)
    assert events(made.changes) == ["customer_created"]
    read = decide(ReadCustomer("root", "id-1"), known, given())
    assert read.outcome == Found(customer("id-1", title="ACME"))


@pytest.mark.parametrize("title", ["", "x" * 256, "a\nb"])
def test_title_must_be_usable(title: str) -> None:
    """A title is a name for people."""
    refused(Reason.INVALID_VALUE, facts(ROOT), CreateCustomer("root", title))


@pytest.mark.parametrize("command", [ReadCustomer("root", "c1"), DeleteCustomer("root", "c1")])
@pytest.mark.parametrize("rows", [[], [customer(tenant="acme")]], ids=["none", "another tenant's"])
def test_strange_customers_are_not_found(command: Command, rows: list[Row]) -> None:
    """Another tenant's customer looks like none."""
    refused(Reason.NOT_FOUND, facts(ROOT, *rows), command)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], Done, id="an empty one goes"),
        pytest.param([user()], Reason.IN_USE, id="one with a user stays"),
        pytest.param([device(owner="c1")], Reason.IN_USE, id="one with a device stays"),
    ],
)
def test_customer_in_use_stays(rows: list[Row], expected: object) -> None:
    """No device changes hands because a customer went away."""
    decision = decide(DeleteCustomer("root", "c1"), facts(ROOT, customer(), *rows), given())
    assert result(decision) == expected
    assert removed(decision.changes) == ([(Customer, "c1")] if expected is Done else [])


# --- roles and groups


@pytest.mark.parametrize(
    ("name", "permissions", "expected"),
    [
        pytest.param("r", ("DEVICE:CLAIM_DEVICES", TENANT_ADMIN), Found, id="what can be granted"),
        pytest.param("r", ("MANAGE_TENANTS",), Reason.INVALID_VALUE, id="managing tenants"),
        pytest.param("r", ("ROLE_DEVICE_BOOTSTRAP",), Reason.INVALID_VALUE, id="bootstrap"),
        pytest.param("r", ("fly",), Reason.INVALID_VALUE, id="what nobody knows"),
        pytest.param("admin", (), Reason.ALREADY_EXISTS, id="a built-in role's name"),
        pytest.param("known", (), Reason.ALREADY_EXISTS, id="a name there is"),
        pytest.param("", (), Reason.INVALID_NAME, id="no name"),
    ],
)
def test_roles(name: str, permissions: tuple[str, ...], expected: object) -> None:
    """A role holds grantable permissions and takes nobody's name."""
    known = facts(ROOT, Role("default", "known", ()))
    decision = decide(CreateRole("root", name, permissions), known, given())
    assert result(decision) == expected
    made = [Role("default", name, permissions)] if expected is Found else []
    assert written(decision.changes, Role) == made


@pytest.mark.parametrize(
    ("name", "roles", "expected"),
    [
        pytest.param("g", ("customer", "known"), Found, id="of built-in and own roles"),
        pytest.param("g", ("theirs",), Reason.NOT_FOUND, id="with another tenant's role"),
        pytest.param("known", (), Reason.ALREADY_EXISTS, id="a name there is"),
        pytest.param("", (), Reason.INVALID_NAME, id="no name"),
    ],
)
def test_groups(name: str, roles: tuple[str, ...], expected: object) -> None:
    """A group has roles of its tenant."""
    rows: list[Row] = [
        Role("default", "known", ()),
        Role("acme", "theirs", ()),
        Group("default", "known", ()),
    ]
    assert result(decide(CreateGroup("root", name, roles), facts(ROOT, *rows), given())) == expected


# --- listings


@pytest.mark.parametrize("kind", [Customer, User, Group, Role, Device, Event])
def test_listings_are_of_the_callers_tenant(kind: Any) -> None:
    """A page is bound to the tenant of who asks."""
    known = facts(admin(tenant="acme"))
    outcome = decide(ListItems("root", kind, 10, "x", "Thermostat", 5), known, given()).outcome
    assert outcome == Listing(kind, "acme", 10, "x", "Thermostat", 5)


def test_tenants_are_managements_to_see() -> None:
    """Only the management tenant's admin lists tenants."""
    known = facts(ROOT, MANAGER)
    refused(Reason.NOT_PERMITTED, known, ListItems("root", Tenant, 10, None))
    outcome = decide(ListItems(MANAGER.principal, Tenant, 10, None), known, given()).outcome
    assert outcome == Listing(Tenant, None, 10, None)
