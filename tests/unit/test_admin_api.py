from __future__ import annotations

import json
from typing import Any

import pytest

from claimsvc.core.accounts import (
    CreateCustomer,
    CreateGroup,
    CreateRole,
    CreateTenant,
    CreateUser,
    DeleteCustomer,
    DeleteUser,
    ListItems,
    ReadCustomer,
    ReadUser,
    UpdateUser,
)
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found, Listing, Outcome, Page, Refused
from claimsvc.core.devices import BindDevices, Bound, CreateGateway
from claimsvc.core.model import Customer, Device, Event, Group, Role, Tenant, User
from claimsvc.core.reasons import Reason
from claimsvc.dialects import admin
from claimsvc.dialects.admin import encode_event
from tests.support.factories import NOW, customer, device, gateway, password, user
from tests.unit.test_thingsboard_rest import answer_to, command_of, malformed_detail


@pytest.mark.parametrize(
    ("call", "body", "expected"),
    [
        ("POST/claimsvc/customers", '{"title":"ACME"}', CreateCustomer("alice", "ACME")),
        ("GET/claimsvc/customers/7", "", ReadCustomer("alice", "7")),
        ("DELETE/claimsvc/customers/7", "", DeleteCustomer("alice", "7")),
        ("GET/claimsvc/users/b%2Fb", "", ReadUser("alice", "b/b")),
        ("DELETE/claimsvc/users/bob", "", DeleteUser("alice", "bob")),
        ("POST/claimsvc/groups", '{"name":"g"}', CreateGroup("alice", "g", ())),
        ("POST/claimsvc/groups", '{"name":"g","roles":["a","b"]}', CreateGroup("alice", "g", ("a", "b"))),
        ("POST/claimsvc/roles", '{"name":"r","permissions":["p"]}', CreateRole("alice", "r", ("p",))),
        ("POST/claimsvc/tenants", '{"id":"acme"}', CreateTenant("alice", "acme", "")),
        ("PUT/claimsvc/gateways/g/devices", '["Device A"]', BindDevices("alice", "g", ("Device A",))),
        ("PUT/claimsvc/gateways/g/devices", "[]", BindDevices("alice", "g", ())),
    ],
)
def test_calls(call: str, body: str, expected: Command) -> None:
    """Each call becomes the right command."""
    assert command_of(call, body) == expected


def test_user_to_make() -> None:
    """Everything but the name may be missing; without a password one is made up."""
    command = command_of("POST/claimsvc/users", '{"username":"bob"}')
    assert isinstance(command, CreateUser)
    assert (command.username, command.customer_id, command.groups, command.roles) == ("bob", None, None, None)
    assert (command.secret.text, command.tenant) == (None, None)
    more = {"username": "bob", "customerId": "c", "groups": ["g"], "roles": ["r"], "password": "12345678"}
    command = command_of("POST/claimsvc/users", json.dumps(more | {"tenantId": "acme"}))
    assert isinstance(command, CreateUser)
    assert (command.customer_id, command.groups, command.roles) == ("c", ("g",), ("r",))
    assert (command.secret.text, command.tenant) == ("12345678", "acme")


@pytest.mark.parametrize(
    ("body", "customer_id", "groups", "password_text"),
    [
        pytest.param("{}", None, None, None, id="what is missing stays"),
        pytest.param('{"customerId":null}', "", None, None, id="a null customer is no customer"),
        pytest.param('{"customerId":"c"}', "c", None, None, id="a customer"),
        pytest.param('{"groups":[]}', None, (), None, id="no groups"),
        pytest.param('{"username":"bob","password":"12345678"}', None, None, "12345678", id="a password"),
    ],
)
def test_user_to_change(
    body: str, customer_id: str | None, groups: tuple[str, ...] | None, password_text: str | None
) -> None:
    """What is missing stays as it is."""
    command = command_of("PUT/claimsvc/users/bob", body)
    assert isinstance(command, UpdateUser)
    assert (command.username, command.customer_id, command.groups) == ("bob", customer_id, groups)
    assert (command.secret.text if command.secret else None) == password_text


@pytest.mark.parametrize(
    ("body", "text"), [('{"name":"g"}', None), ('{"name":"g","password":"12345678"}', "12345678")]
)
def test_gateway_to_make(body: str, text: str | None) -> None:
    """A gateway has a name and perhaps a password."""
    command = command_of("POST/claimsvc/gateways", body)
    assert isinstance(command, CreateGateway)
    assert (command.name, command.secret.text) == ("g", text)


@pytest.mark.parametrize(
    ("call", "body", "word"),
    [
        ("POST/claimsvc/customers", "", "body"),
        ("POST/claimsvc/customers", "{}", "title"),
        ("POST/claimsvc/customers", '{"title":5}', "title"),
        ("POST/claimsvc/customers", '{"title":"a","titel":"b"}', "titel"),
        ("POST/claimsvc/users", '{"username":"a","role":["customer"]}', "role"),
        ("POST/claimsvc/users", '{"username":"a","password":"short"}', "password"),
        ("POST/claimsvc/users", json.dumps({"username": "a", "password": "x" * 257}), "password"),
        ("POST/claimsvc/users", '{"username":"a","roles":"customer"}', "roles"),
        ("POST/claimsvc/users", '{"username":"a","roles":[1]}', "roles.0"),
        ("PUT/claimsvc/users/bob", '{"username":"carl"}', "username"),
        ("PUT/claimsvc/users/bob", '{"tenantId":"acme"}', "tenantId"),
        ("POST/claimsvc/groups", '{"name":"g","permissions":[]}', "permissions"),
        ("POST/claimsvc/roles", '{"name":"r"}', "permissions"),
        ("POST/claimsvc/gateways", '{"name":"g","gateway":true}', "gateway"),
        ("POST/claimsvc/tenants", '{"title":"ACME"}', "id"),
        ("PUT/claimsvc/gateways/g/devices", '{"names":[]}', "body"),
        ("PUT/claimsvc/gateways/g/devices", '["a",5]', "1"),
        ("GET/claimsvc/users?limit=x", "", "limit"),
        ("GET/claimsvc/users?limit=-1", "", "limit"),
        ("GET/claimsvc/users?limit=٣", "", "limit"),
        ("GET/claimsvc/users?limit=" + "9" * 20, "", "limit"),
        ("GET/claimsvc/events?since=now", "", "since"),
        ("GET/claimsvc/events?after=x", "", "after"),
    ],
)
def test_slips_of_the_pen_are_malformed(call: str, body: str, word: str) -> None:
    """An unknown member or a value of the wrong kind is named, never silently nothing."""
    assert malformed_detail(call, body).startswith(word)


# --- listings


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("customers", Customer),
        ("users", User),
        ("groups", Group),
        ("roles", Role),
        ("gateways", Device),
        ("tenants", Tenant),
    ],
)
@pytest.mark.parametrize(
    ("query", "limit", "after"),
    [
        ("", 100, None),
        ("?limit=5&after=a%2Fb", 5, "a/b"),
        ("?limit=0", 1, None),
        ("?limit=99999", 1000, None),
    ],
)
def test_listings(path: str, kind: Any, query: str, limit: int, after: str | None) -> None:
    """A page has a hundred items unless told, and never more than a thousand."""
    assert command_of(f"GET/claimsvc/{path}{query}") == ListItems("alice", kind, limit, after)


def test_events_of_a_device_since_a_time() -> None:
    """Audit events are filtered by device and time."""
    command = command_of("GET/claimsvc/events?device=A%20B&since=5&limit=2&after=77")
    assert command == ListItems("alice", Event, 2, "77", "A B", 5)


@pytest.mark.parametrize(
    ("path", "member", "item", "shown"),
    [
        ("customers", "customers", customer(), {"id": "c1", "title": "c1", "tenantId": "default"}),
        ("groups", "groups", Group("default", "g", ("r",)), {"name": "g", "roles": ["r"]}),
        ("roles", "roles", Role("default", "r", ("p",)), {"name": "r", "permissions": ["p"]}),
        (
            "gateways",
            "gateways",
            gateway(),
            {"name": "Gateway", "id": "device-Gateway", "principal": "Gateway"},
        ),
        ("tenants", "tenants", Tenant("acme", "ACME", NOW), {"id": "acme", "title": "ACME"}),
    ],
)
def test_last_page(path: str, member: str, item: Any, shown: dict[str, object]) -> None:
    """A page has its items under their name; the last one has no `next`."""
    page = Page(Listing(type(item), "default", 100, None), (item,), None)
    assert answer_to(f"GET/claimsvc/{path}", page) == (
        200,
        {member: [shown], "self": f"/claimsvc/{path}?limit=100"},
    )


@pytest.mark.parametrize(
    ("listing", "path"),
    [
        (Listing(User, "default", 2, None), "/claimsvc/users?after=a%2Fb%20c&limit=2"),
        (
            Listing(Event, "default", 2, "9", "A&B", 5),
            "/claimsvc/events?after=a%2Fb%20c&limit=2&device=A%26B&since=5",
        ),
    ],
)
def test_next_page_is_a_path_to_call(listing: Listing, path: str) -> None:
    """`next` repeats what was asked, encoded, and goes on where the page ended."""
    call = f"GET{path.partition('?')[0]}"
    status, body = answer_to(call, Page(listing, (), "a/b c"))
    assert (status, body["next"]) == (200, path)
    again = command_of(f"GET{path}") if listing.kind is User else None
    assert again is None or again == ListItems("alice", User, 2, "a/b c")


# --- answers

USER = {
    "username": "bob",
    "principal": "bob",
    "tenantId": "default",
    "customerId": "c1",
    "groups": [],
    "roles": ["customer"],
}


@pytest.mark.parametrize(
    ("outcome", "status", "body"),
    [
        pytest.param(Found(user("bob"), password("p"), created=True), 201, USER | {"password": "p"}, id="a new user"),
        pytest.param(Found(user("bob")), 200, USER, id="a user that was read"),
        pytest.param(Found(user("bob"), password("p")), 200, USER | {"password": "p"}, id="a new password"),
        pytest.param(
            Found(user("bob"), created=True),
            201,
            USER | {"login": "must exist on the broker: this service keeps no logins"},
            id="a user whose login somebody else keeps",
        ),
        pytest.param(Done(), 200, {}, id="nothing to show"),
        pytest.param(
            Bound(gateway(), ("A",)),
            200,
            {"name": "Gateway", "devices": ["A"]},
            id="a gateway and its devices",
        ),
        pytest.param(
            Refused(Reason.IN_USE, "why"),
            409,
            {"error": "in_use", "message": "The item is still in use: why"},
            id="a refusal",
        ),
        pytest.param(
            Refused(Reason.LOCKED_OUT, retry_after_ms=5),
            429,
            {"error": "locked_out", "message": "Too many failed attempts", "retryAfterMs": 5},
            id="a lockout",
        ),
    ],
)
def test_answers(outcome: Outcome, status: int, body: dict[str, object]) -> None:
    """Items are shown in our shape, a password once, a refusal with its code and text."""
    assert answer_to("GET/claimsvc/users/bob", outcome) == (status, body)


def test_event_is_published_as_it_is_listed() -> None:
    """One shape for an audit event."""
    event = Event("default", NOW, "device_claimed", "alice", device().id, "Thermostat", "c1")
    assert json.loads(encode_event(event)) == {
        "time": NOW,
        "event": "device_claimed",
        "tenantId": "default",
        "principal": "alice",
        "deviceId": "device-Thermostat",
        "device": "Thermostat",
        "detail": "c1",
    }
    assert admin.item_json(event) == json.loads(encode_event(event))


@pytest.mark.parametrize(
    ("body", "groups", "roles"),
    [
        pytest.param("{}", None, None, id="nothing said"),
        pytest.param('{"roles":null,"groups":null}', None, None, id="null"),
        pytest.param('{"roles":[]}', None, (), id="no roles"),
        pytest.param('{"groups":[]}', (), None, id="no groups"),
    ],
)
def test_u8_what_is_not_said_differs_from_nothing(
    body: str, groups: tuple[str, ...] | None, roles: tuple[str, ...] | None
) -> None:
    """An empty list is an order; a missing one leaves it to the service."""
    command = command_of("POST/claimsvc/users", json.dumps({"username": "bob", **json.loads(body)}))
    assert isinstance(command, CreateUser)
    assert (command.groups, command.roles) == (groups, roles)
