"""Our admin API and the tenant admin's calls, over MQTT, with logins that work when the answer is out."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from claimsvc.founding import Account
from tests.conftest import Connect, Visit
from tests.support.clients import Admin, LoginRefusedError, fresh


def path_of(name: str) -> str:
    """Return a name as a path segment."""
    return quote(name, safe="")


# --- customers


def test_a_customer_is_made_read_listed_and_removed(admin: Admin) -> None:
    """201 with id, title and tenant; a removed one is gone."""
    made = admin.call("POST", "/claimsvc/customers", {"title": "A customer"})
    assert (made.status, made.body.keys()) == (201, {"id", "title", "tenantId"})
    path = f"/claimsvc/customers/{made.body['id']}"
    assert admin.call("GET", path).body == made.body
    listed = admin.call("GET", "/claimsvc/customers?limit=1000").body["customers"]
    assert made.body in listed
    assert admin.call("DELETE", path).status == 200
    assert admin.call("GET", path).status == 404
    assert admin.call("DELETE", path).status == 404


def test_a_customer_in_use_stays(admin: Admin) -> None:
    """With a user: 409, until the user is gone."""
    customer = admin.make_customer()
    user = admin.make_user(fresh("user"), customerId=customer, roles=["customer"])
    assert admin.call("DELETE", f"/claimsvc/customers/{customer}").body["error"] == "in_use"
    admin.call("DELETE", f"/claimsvc/users/{user.username}")
    assert admin.call("DELETE", f"/claimsvc/customers/{customer}").status == 200


# --- users and their logins


def test_a_login_works_when_the_answer_is_out(admin: Admin, visit: Visit) -> None:
    """Twenty in a row connect at once."""
    for _ in range(20):
        visit(admin.make_user(fresh("user"))).close()


def test_a_chosen_password_works(admin: Admin, visit: Visit) -> None:
    """A person's password, with characters that files and shells stumble over."""
    password = "pä ss:w#o'r\"d\\$1"
    account = admin.make_user(fresh("user"), password=password)
    assert account.password == password
    visit(account)


def test_a_new_password_ends_the_old_one(admin: Admin, visit: Visit) -> None:
    """The new one works at once, the old one no more, and the session of the old one is over."""
    account = admin.make_user(fresh("user"))
    session = visit(account)
    changed = admin.call("PUT", f"/claimsvc/users/{account.username}", {"password": "another one"})
    assert (changed.status, changed.body["password"]) == (200, "another one")
    visit(Account(account.username, "another one"))
    with pytest.raises(LoginRefusedError):
        visit(account)
    assert session.disconnected.get(timeout=10).is_failure


def test_a_removed_user_is_out(admin: Admin, visit: Visit) -> None:
    """The session is cut off, the login refused, and what comes in the lane makes no device."""
    account = admin.make_user(fresh("user"))
    session = visit(account)
    assert admin.call("DELETE", f"/claimsvc/users/{account.username}").status == 200
    with pytest.raises(LoginRefusedError):
        visit(account)
    assert session.disconnected.get(timeout=10).is_failure
    assert admin.call("GET", f"/claimsvc/users/{account.username}").status == 404
    assert account.username not in {user["username"] for user in admin.users()}
    again = admin.make_user(account.username)
    assert again.password != account.password
    visit(again)


def test_a_listing_pages_through_everything_once(admin: Admin) -> None:
    """In order, without gaps or repeats."""
    made = {admin.make_user(fresh("page")).username for _ in range(9)}
    names = [user["username"] for user in admin.users()]
    assert names == sorted(set(names))
    assert made <= set(names)


NAMES = ["a/b", "x+y", "p#q", "50%", "höhe", "two words", "漢字", "a%2Fb", ".", "quote'\"", "back\\slash"]


@pytest.mark.parametrize("stem", NAMES)
def test_a_user_may_have_any_name(stem: str, admin: Admin, visit: Visit) -> None:
    """The username in the answer logs in, its lane is one level, and the user is found by the name given."""
    name = fresh(stem) if stem != "." else f".{fresh('')}"
    account = admin.make_user(name)
    assert not set("/+#") & set(account.username)
    user = visit(account)
    assert user.call("GET", "/claimsvc/users").status == 403
    path = f"/claimsvc/users/{path_of(name)}"
    assert admin.call("GET", path).body["username"] == name
    assert admin.call("DELETE", path).status == 200


BAD_BODIES: dict[str, tuple[Any, int, str]] = {
    "no body": (None, 400, "malformed"),
    "no username": ({}, 400, "malformed"),
    "an empty username": ({"username": ""}, 400, "invalid_name"),
    "a control character": ({"username": "a\nb:$7$1$x$y"}, 400, "invalid_name"),
    "a colon": ({"username": "a:b"}, 400, "invalid_name"),
    "a blank at the end": ({"username": "a "}, 400, "invalid_name"),
    "256 characters": ({"username": "x" * 256}, 400, "invalid_name"),
    "a reserved name": ({"username": "provision"}, 400, "invalid_name"),
    "an unknown member": ({"username": "x", "admin": True}, 400, "malformed"),
    "a short password": ({"username": "x", "password": "1234567"}, 400, "malformed"),
    "an unknown customer": ({"username": "x", "customerId": "nobody"}, 404, "not_found"),
    "an empty customer": ({"username": "x", "customerId": ""}, 404, "not_found"),
    "an unknown role": ({"username": "x", "roles": ["king"]}, 404, "not_found"),
    "an unknown group": ({"username": "x", "groups": ["kings"]}, 404, "not_found"),
    "another tenant": ({"username": "x", "tenantId": "management"}, 403, "not_permitted"),
    "a name that exists": ({"username": "customer"}, 409, "already_exists"),
    "a device's name": ({"username": "device"}, 409, "name_taken"),
}


@pytest.mark.parametrize(("body", "status", "error"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_user_is_not_made_from(body: Any, status: int, error: str, admin: Admin) -> None:
    """A definite answer, and nobody is made."""
    answer = admin.call("POST", "/claimsvc/users", body)
    assert (answer.status, answer.body["error"]) == (status, error)
    assert admin.call("GET", "/claimsvc/users/x").status == 404


# --- roles and groups


def test_roles_and_groups_give_and_take_permissions(admin: Admin, connect: Connect, visit: Visit) -> None:
    """They count for the next request, without a new login."""
    role, group = fresh("role"), fresh("group")
    made = admin.call("POST", "/claimsvc/roles", {"name": role, "permissions": ["DEVICE:CLAIM_DEVICES"]})
    assert (made.status, made.body) == (201, {"name": role, "permissions": ["DEVICE:CLAIM_DEVICES"]})
    made = admin.call("POST", "/claimsvc/groups", {"name": group, "roles": [role]})
    assert (made.status, made.body) == (201, {"name": group, "roles": [role]})
    account = admin.make_user(fresh("member"), customerId=admin.make_customer(), roles=[])
    member, path = visit(account), f"/claimsvc/users/{account.username}"
    nothing = fresh("nothing")
    assert member.claim(nothing).status == 403
    for change, status in (
        ({"groups": [group]}, 404),
        ({"groups": []}, 403),
        ({"roles": [role]}, 404),
        ({"roles": ["viewer"]}, 403),
        ({"roles": ["admin"]}, 404),
        ({"roles": ["admin"], "customerId": None}, 403),
    ):
        assert admin.call("PUT", path, change).status == 200
        assert member.claim(nothing).status == status, change
    assert member.call("GET", "/claimsvc/users").status == 200


@pytest.mark.parametrize("permission", ["MANAGE_TENANTS", "ROLE_DEVICE_BOOTSTRAP", "anything"])
def test_a_permission_that_is_not_a_tenants_to_give(permission: str, admin: Admin) -> None:
    """No role may hold it."""
    answer = admin.call("POST", "/claimsvc/roles", {"name": fresh("role"), "permissions": [permission]})
    assert (answer.status, answer.body["error"]) == (400, "invalid_value")


ADMINS_CALLS = [
    ("POST", "/claimsvc/customers"),
    ("GET", "/claimsvc/users"),
    ("DELETE", "/claimsvc/users/customer"),
    ("POST", "/claimsvc/roles"),
    ("GET", "/claimsvc/events"),
    ("POST", "/claimsvc/gateways"),
    ("PUT", "/claimsvc/gateways/gateway/devices"),
    ("POST", "/api/device"),
    ("GET", "/api/tenant/devices?deviceName=device"),
    ("DELETE", "/api/device/1"),
    ("POST", "/claimsvc/tenants"),
]
BODIES = {
    "/claimsvc/customers": {"title": "x"},
    "/claimsvc/roles": {"name": "x", "permissions": []},
    "/claimsvc/gateways": {"name": "x"},
    "/claimsvc/gateways/gateway/devices": ["device"],
    "/api/device": {"name": "x"},
    "/claimsvc/tenants": {"id": "x", "title": "x"},
}


@pytest.mark.parametrize(("method", "path"), ADMINS_CALLS, ids=[f"{m} {p}" for m, p in ADMINS_CALLS])
@pytest.mark.parametrize("who", ["customer", "operator", "device", "gateway"])
def test_an_admins_call_is_refused_to(who: str, method: str, path: str, connect: Connect) -> None:
    """403, before anything is looked up."""
    answer = connect(who).call(method, path, BODIES.get(path))
    assert (answer.status, answer.body["error"]) == (403, "not_permitted")
