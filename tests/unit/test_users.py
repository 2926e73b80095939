from __future__ import annotations

from typing import Any

import pytest

from claimsvc.core.accounts import DeleteUser, ReadUser
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found, Put, Refused
from claimsvc.core.model import Credential, Group, Principal, Role, Row, Tenant, User
from claimsvc.core.reasons import Reason
from tests.support.factories import (
    NOW,
    admin,
    credential,
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
from tests.support.memory import decide
from tests.unit.test_accounts import MANAGER, ROOT, create_user, update_user

ACME: list[Row] = [
    Tenant("acme", "ACME", NOW),
    user("acme%2Fx", username="x", tenant="acme"),
    customer("theirs", tenant="acme"),
    Role("acme", "theirs", ()),
    Group("acme", "theirs", ()),
]
"""What another tenant has."""


def test_user_is_made_with_a_login() -> None:
    """The principal is written first, then the user, then the login; the password is told once."""
    secret = password()
    known = facts(ROOT, customer())
    decision = decide(create_user(customer_id="c1", roles=("customer",), secret=secret), known, given())
    login = credential("bob", secret_hash=secret.digest, sealed=secret.sealed)
    assert decision.outcome == Found(user("bob"), secret, created=True)
    rows = [type(change.row) for change in decision.changes if isinstance(change, Put)]
    assert rows == [Principal, User, Credential]
    assert written(decision.changes, Credential) == [login]
    assert events(decision.changes) == ["user_created"]


def test_no_login_is_told_where_somebody_else_keeps_logins() -> None:
    """With `credentials.store = none` neither a new user nor a change issues a password."""
    known = facts(ROOT, user())
    for command in (create_user(), update_user(secret=password())):
        decision = decide(command, known, given(issue_logins=False))
        assert isinstance(decision.outcome, Found)
        assert decision.outcome.secret is None
        assert written(decision.changes, Credential) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"username": ""}, Reason.INVALID_NAME, id="no name"),
        pytest.param({"username": "a\nb"}, Reason.INVALID_NAME, id="a name of two lines"),
        pytest.param({"username": "a:b"}, Reason.INVALID_NAME, id="a name the password file cannot hold"),
        pytest.param({"username": "claimsvc"}, Reason.NAME_TAKEN, id="the service's name, not reserved"),
        pytest.param({"username": "bootstrap"}, Reason.INVALID_NAME, id="a reserved name"),
        pytest.param({"username": "Thermostat"}, Reason.NAME_TAKEN, id="a device's name"),
        pytest.param({"username": "alice"}, Reason.ALREADY_EXISTS, id="a user there is"),
        pytest.param({"customer_id": "none"}, Reason.NOT_FOUND, id="of no customer there is"),
        pytest.param({"customer_id": "theirs"}, Reason.NOT_FOUND, id="of another tenant's customer"),
        pytest.param({"roles": ("theirs",)}, Reason.NOT_FOUND, id="with another tenant's role"),
        pytest.param({"groups": ("theirs",)}, Reason.NOT_FOUND, id="in another tenant's group"),
        pytest.param({"tenant": "acme"}, Reason.NOT_PERMITTED, id="in another tenant"),
        pytest.param({"tenant": "management"}, Reason.NOT_PERMITTED, id="in the management tenant"),
    ],
)
def test_users_that_are_not_made(fields: dict[str, Any], expected: Reason) -> None:
    """A name, membership or tenant that is not the admin's to give is refused; nothing is written."""
    known = facts(ROOT, user(), device(), *ACME)
    reserved = frozenset({"bootstrap"})
    at = given(login_excludes=":", reserved_names=reserved)
    decision = decide(create_user(**fields), known, at)
    assert (result(decision), decision.changes) == (expected, ())


@pytest.mark.parametrize(("tenant", "expected"), [("acme", Found), ("nowhere", Reason.NOT_FOUND)])
def test_management_makes_users_of_any_tenant(tenant: str, expected: object) -> None:
    """The management tenant's admin makes a tenant's first admin."""
    command = create_user(caller=MANAGER.principal, tenant=tenant, roles=("admin",))
    decision = decide(command, facts(MANAGER, *ACME), given())
    assert result(decision) == expected
    made = [("acme%2Fbob", "acme", "bob")] if expected is Found else []
    assert [(row.principal, row.tenant, row.username) for row in written(decision.changes, User)] == made


# --- reading, changing, removing


@pytest.mark.parametrize(
    "command",
    [ReadUser("root", "nobody"), update_user("nobody"), DeleteUser("root", "nobody")],
    ids=lambda command: type(command).__name__,
)
def test_missing_user_is_not_found(command: Command) -> None:
    """A user that is not there, or is a device, is not found."""
    refused(Reason.NOT_FOUND, facts(ROOT), command)
    refused(Reason.NOT_FOUND, facts(ROOT, device("nobody")), command)


@pytest.mark.parametrize("username", ["x", "acme/x", "acme%2Fx", "/x", "acme%252Fx"])
@pytest.mark.parametrize("tenant", ["default", "other"])
def test_another_tenants_user_is_out_of_reach(username: str, tenant: str) -> None:
    """However a user of another tenant is spelt, an admin can neither read nor change nor remove it."""
    known = facts(admin(tenant=tenant), *ACME)
    commands: list[Command] = [
        ReadUser("root", username),
        update_user(username, secret=password("mine now")),
        DeleteUser("root", username),
    ]
    for command in commands:
        decision = decide(command, known, given())
        assert (result(decision), decision.changes) == (Reason.NOT_FOUND, ())


def test_admin_of_the_tenant_reaches_its_user() -> None:
    """Within a tenant the plain name is enough."""
    known = facts(admin(tenant="acme"), *ACME)
    outcome = decide(ReadUser("root", "x"), known, given()).outcome
    assert isinstance(outcome, Found)
    assert outcome.item == ACME[1]


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"customer_id": "c2"}, {"customer_id": "c2"}, id="the customer"),
        pytest.param({"customer_id": ""}, {"customer_id": None}, id="to no customer"),
        pytest.param({"roles": ("viewer",)}, {"roles": ("viewer",)}, id="the roles"),
        pytest.param({"roles": ()}, {"roles": ()}, id="to no roles"),
        pytest.param({"groups": ("g",)}, {"groups": ("g",)}, id="the groups"),
    ],
)
def test_user_changes(fields: dict[str, Any], changed: dict[str, Any]) -> None:
    """What is named changes, what is not stays, and the same change again changes nothing."""
    known = facts(ROOT, user(), customer(), customer("c2"), Group("default", "g", ()))
    first, second = (decide(update_user(**fields), known, given()) for _ in range(2))
    assert first.outcome == second.outcome == Found(user(**changed))
    assert written(first.changes, User) == ([user(**changed)] if changed else [])
    assert events(first.changes) == (["user_updated"] if changed else [])
    assert second.changes == ()


@pytest.mark.parametrize("fields", [{"customer_id": "theirs"}, {"roles": ("theirs",)}, {"groups": ("theirs",)}])
def test_user_joins_nothing_of_another_tenant(fields: dict[str, Any]) -> None:
    """Customer, roles and groups of another tenant do not exist here."""
    refused(Reason.NOT_FOUND, facts(ROOT, user(), *ACME), update_user(**fields))


def test_new_password_ends_the_old_one() -> None:
    """A new password replaces the login's hash, and is told once."""
    secret = password("another")
    known = facts(ROOT, user(), credential("alice"))
    decision = decide(update_user(secret=secret), known, given())
    assert decision.outcome == Found(user(), secret)
    (login,) = written(decision.changes, Credential)
    assert (login.login, login.secret_hash) == ("alice", secret.digest)
    assert known.get(Credential, "alice") == login


def test_deleted_user_can_do_nothing_more() -> None:
    """User, login and principal go; the name is free, and the permission ends within the batch."""
    known = facts(ROOT, admin("alice"), credential("alice"))
    rows: set[tuple[type[Row], str]] = {(User, "alice"), (Credential, "alice"), (Principal, "alice")}
    decision = decide(DeleteUser("root", "alice"), known, given())
    assert decision.outcome == Done()
    assert set(removed(decision.changes)) == rows
    assert events(decision.changes) == ["user_deleted"]
    assert isinstance(decide(ReadUser("alice", "root"), known, given()).outcome, Refused)
    assert isinstance(decide(create_user("alice"), known, given()).outcome, Found)


MEANT: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a customer's, nothing said": ({"customer_id": "c1"}, ("customer",)),
    "a customer's, with no roles": ({"customer_id": "c1", "roles": ()}, ()),
    "a customer's, with a role": ({"customer_id": "c1", "roles": ("viewer",)}, ("viewer",)),
    "a customer's, in a group": ({"customer_id": "c1", "groups": ("staff",)}, ()),
    "a customer's, in no groups": ({"customer_id": "c1", "groups": ()}, ()),
    "of no customer": ({}, ()),
}


@pytest.mark.parametrize(("said", "roles"), MEANT.values(), ids=MEANT.keys())
def test_u8_a_customers_user_may_claim(said: dict[str, Any], roles: tuple[str, ...]) -> None:
    """Unless the admin says something about roles or groups: then that is all there is."""
    command = create_user(**({"roles": None, "groups": None} | said))
    decision = decide(command, facts(ROOT, customer(), Group("default", "staff", ())), given())
    assert [row.roles for row in written(decision.changes, User)] == [roles]
