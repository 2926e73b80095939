"""Tenants apart, devices and their attributes, request ids, and the audit trail."""

from __future__ import annotations

import pytest

from claimsvc.founding import Account
from tests.conftest import Connect, Visit
from tests.support.clients import CLAIM, Admin, LoginRefusedError, fresh
from tests.support.processes import World

# --- tenants


def test_tenants_are_apart(shared_world: World, admin: Admin, connect: Connect, visit: Visit) -> None:
    """An admin of another tenant neither sees nor touches a device, user or event of this one."""
    tenant, manager = fresh("acme"), connect("manager")
    assert manager.call("POST", "/claimsvc/tenants", {"id": tenant, "title": "Acme"}).status == 201
    assert manager.call("POST", "/claimsvc/tenants", {"id": tenant, "title": "Acme"}).status == 409
    body = {"username": "boss", "roles": ["admin"], "tenantId": tenant}
    made = manager.call("POST", "/claimsvc/users", body)
    assert (made.status, made.body["principal"]) == (201, f"{tenant}%2Fboss")
    device_id, name = admin.device_id("device"), fresh("device")
    with Admin(shared_world.port, Account(made.body["principal"], made.body["password"])) as boss:
        assert boss.call("GET", "/api/tenant/devices?deviceName=device").status == 404
        for method, path in (
            ("GET", f"/api/device/{device_id}"),
            ("DELETE", f"/api/device/{device_id}"),
            ("GET", f"/api/device/{device_id}/credentials"),
            ("GET", f"/api/plugins/telemetry/DEVICE/{device_id}/values/attributes/SERVER_SCOPE"),
            ("GET", "/claimsvc/users/customer"),
            ("DELETE", "/claimsvc/users/customer"),
            ("GET", f"/claimsvc/customers/{admin.customer_of('customer')}"),
        ):
            assert boss.call(method, path).status == 404, path
        assert boss.call("PUT", "/claimsvc/gateways/gateway/devices", ["device"]).status == 404
        assert {user["username"] for user in boss.users()} == {"boss"}
        assert boss.events("device") == []
        claimer = visit(boss.make_claimer("claimer"))
        assert claimer.claim("device").status == 404
        # The same names live in both tenants, as different logins.
        mine, theirs = admin.make_device(name), boss.make_device(name)
        assert (mine.username, theirs.username) == (name, f"{tenant}%2F{name}")
        visit(theirs).open_window({"secretKey": "value"})
        assert connect("customer").claim(name).body == "FAILURE"
        assert claimer.claim(name).body["response"] == "SUCCESS"


@pytest.mark.parametrize("tenant", ["", "a/b", "ä", "x" * 65, "-a", "a b", "a%2Fb"])
def test_a_tenant_id_is_plain(tenant: str, connect: Connect) -> None:
    """Letters, digits and three signs: it becomes a part of topics."""
    answer = connect("manager").call("POST", "/claimsvc/tenants", {"id": tenant})
    assert (answer.status, answer.body["error"]) == (400, "invalid_name")


# --- devices


def test_a_removed_device_is_out(admin: Admin, visit: Visit) -> None:
    """Its login ends, its session is cut off, and its name is free again."""
    name = fresh("device")
    account = admin.make_device(name)
    session, path = visit(account), f"/api/device/{admin.device_id(name)}"
    assert admin.call("DELETE", path).status == 200
    assert session.disconnected.get(timeout=10).is_failure
    with pytest.raises(LoginRefusedError):
        visit(account)
    assert admin.call("GET", path).status == 404
    visit(admin.make_device(name)).open_window({})


def test_attributes_are_kept_as_they_are(admin: Admin) -> None:
    """What is written is read back, by key too, and removed by key."""
    name = fresh("device")
    admin.make_device(name)
    values = {"text": "ü", "number": 1.5, "whole": 2**53, "truth": False, "deep": {"a": [None, 1]}}
    assert admin.set_attributes(name, values).status == 200
    base = f"/api/plugins/telemetry/DEVICE/{admin.device_id(name)}"
    path = f"{base}/values/attributes/SERVER_SCOPE"
    assert {row["key"]: row["value"] for row in admin.call("GET", path).body} == values
    (one,) = admin.call("GET", f"{path}?keys=truth").body
    assert one["value"] is False
    assert admin.call("DELETE", f"{base}/SERVER_SCOPE?keys=text,deep").status == 200
    assert {row["key"] for row in admin.call("GET", path).body} == {"number", "whole", "truth"}


def test_a_number_that_is_no_json_is_refused(admin: Admin) -> None:
    """NaN would come back as an answer nobody can parse."""
    admin.make_device(name := fresh("device"))
    path = f"/api/plugins/telemetry/DEVICE/{admin.device_id(name)}/attributes/SERVER_SCOPE"
    assert admin.call("POST", path, b'{"a": NaN}').status == 400


# --- request ids


def test_a_repeated_request_id_does_nothing_twice(admin: Admin) -> None:
    """The same answer, password included; with other content 409; another lane's id is another's."""
    body, number = {"username": fresh("user")}, fresh("id")
    first = admin.call("POST", "/claimsvc/users", body, request_id=number)
    assert first.status == 201
    assert admin.call("POST", "/claimsvc/users", body, request_id=number) == first
    other = admin.call("POST", "/claimsvc/users", {"username": fresh("user")}, request_id=number)
    assert (other.status, other.body["error"]) == (409, "request_id_reused")
    assert admin.call("GET", "/claimsvc/users", request_id=number).status == 409


@pytest.mark.parametrize("number", ["a b", "ü", "x" * 65, "a:b", "a@b"])
def test_a_request_id_that_is_none(number: str, admin: Admin) -> None:
    """Refused, and answered where it was asked."""
    assert admin.call("GET", "/claimsvc/users", request_id=number).status == 400


def test_audit_events_tell_who_did_what(admin: Admin, connect: Connect, visit: Visit) -> None:
    """Newest first, since a time, page by page."""
    name = fresh("device")
    device = visit(admin.make_device(name))
    device.open_window({"secretKey": "value"}, topic=CLAIM)
    customer = connect("customer")
    customer.claim(name, "wrong")
    customer.claim(name)
    customer.release(name)
    names = admin.events(name)
    assert names == ["device_released", "device_claimed", "claim_refused", "device_created"]
    path: str | None = f"/claimsvc/events?device={name}&limit=1"
    paged = []
    while path:
        page = admin.call("GET", path).body
        paged += [(event["event"], event["principal"]) for event in page["events"]]
        path = page.get("next")
    assert paged == list(zip(names, ["customer", "customer", "customer", "admin"], strict=True))
