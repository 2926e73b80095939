"""Our own admin API: customers, users, groups, roles, gateways, tenants, audit events (design 4.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic_core import to_json

from claimsvc.core.commands.accounts import (
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
from claimsvc.core.commands.base import Command
from claimsvc.core.commands.devices import BindDevices, CreateGateway
from claimsvc.core.model import Customer, Device, Event, Group, Role, Tenant, User
from claimsvc.core.outcomes import Bound, Done, Found, Listing, Outcome, Page, Refused
from claimsvc.core.reasons import OF_REGISTRATION, Reason
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.exchange import malformed
from claimsvc.dialects.rest import Answer, Call, EncodeAnswer, Route, Section, number, parse

PAGE = 100
LARGEST_PAGE = 1_000

STATUSES: dict[Reason, int] = {
    Reason.MALFORMED: 400,
    Reason.TOO_LARGE: 413,
    Reason.NO_SUCH_CALL: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.ALREADY_CLAIMED: 409,
    Reason.CLAIMING_NOT_ALLOWED: 409,
    Reason.NO_WINDOW: 409,
    Reason.WINDOW_EXPIRED: 409,
    Reason.WRONG_KEY: 409,
    Reason.LOCKED_OUT: 429,
    Reason.RATE_LIMITED: 429,
    Reason.NOT_PERMITTED: 403,
    Reason.NOT_A_CUSTOMER: 403,
    Reason.NOT_A_DEVICE: 403,
    Reason.NOT_A_GATEWAY: 409,
    Reason.NOT_THE_OWNER: 403,
    Reason.UNKNOWN_DEVICE: 404,
    Reason.NOT_FOUND: 404,
    Reason.ALREADY_EXISTS: 409,
    Reason.NAME_TAKEN: 409,
    Reason.INVALID_NAME: 400,
    Reason.INVALID_VALUE: 400,
    Reason.IN_USE: 409,
    Reason.REQUEST_ID_REUSED: 409,
    Reason.INTERNAL: 500,
    **dict.fromkeys(OF_REGISTRATION, 409),
}


# --- wire models; an unknown member is an error, so that a slip of the pen is not silently nothing


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


Names = tuple[str, ...]
Password = Annotated[str, Field(min_length=8, max_length=256)]


class TenantBody(_Body):
    """A tenant to make."""

    id: str
    title: str = ""


class CustomerBody(_Body):
    """A customer to make."""

    title: str


class UserBody(_Body):
    """A user to make; a password is made up when none is given."""

    username: str
    customerId: str | None = None
    groups: Names = ()
    roles: Names = ()
    password: Password | None = None
    tenantId: str | None = None


class UserChange(_Body):
    """What to change about a user; what is missing stays, a null customer is no customer."""

    username: str | None = None
    customerId: str | None = None
    groups: Names | None = None
    roles: Names | None = None
    password: Password | None = None


class GroupBody(_Body):
    """A group to make."""

    name: str
    roles: Names = ()


class RoleBody(_Body):
    """A role to make."""

    name: str
    permissions: Names


class GatewayBody(_Body):
    """A gateway to make, or a device to mark as one."""

    name: str
    password: Password | None = None


class NamesBody(RootModel[tuple[str, ...]]):
    """Names of devices."""


# --- decoding


def _create_user(call: Call) -> Command:
    body = parse(UserBody, call.body)
    secret = Secret(SecretKind.PASSWORD, body.password)
    return CreateUser(call.caller, body.username, body.customerId, body.groups, body.roles, secret, body.tenantId)


def _update_user(call: Call) -> Command:
    body = parse(UserChange, call.body)
    username = call.variables["username"]
    if body.username not in {None, username}:
        raise malformed("username: a user cannot be renamed")
    no_customer = "customerId" in body.model_fields_set and body.customerId is None
    return UpdateUser(
        call.caller,
        username,
        "" if no_customer else body.customerId,
        body.groups,
        body.roles,
        Secret(SecretKind.PASSWORD, body.password) if body.password is not None else None,
    )


def _create_tenant(call: Call) -> Command:
    body = parse(TenantBody, call.body)
    return CreateTenant(call.caller, body.id, body.title)


def _create_group(call: Call) -> Command:
    body = parse(GroupBody, call.body)
    return CreateGroup(call.caller, body.name, body.roles)


def _create_role(call: Call) -> Command:
    body = parse(RoleBody, call.body)
    return CreateRole(call.caller, body.name, body.permissions)


def _create_gateway(call: Call) -> Command:
    body = parse(GatewayBody, call.body)
    return CreateGateway(call.caller, body.name, Secret(SecretKind.PASSWORD, body.password))


def _bind(call: Call) -> Command:
    return BindDevices(call.caller, call.variables["name"], parse(NamesBody, call.body).root)


def _list(kind: type[Any]) -> Callable[[Call], Command]:
    def decode(call: Call) -> Command:
        limit = max(1, number(call.query, "limit", PAGE, LARGEST_PAGE))
        after = call.query.get("after")
        if kind is not Event:
            return ListItems(call.caller, kind, limit, after)
        if after is not None:
            number(call.query, "after", 0, 2**53)
        since = number(call.query, "since", 0, 2**53) if "since" in call.query else None
        return ListItems(call.caller, kind, limit, after, call.query.get("device"), since)

    return decode


# --- encoding


def refuse(outcome: Outcome, _now_ms: int) -> Answer:
    """Return our error object."""
    if not isinstance(outcome, Refused):
        raise TypeError(f"no answer of ours for {type(outcome).__name__}")
    body: dict[str, object] = {"error": outcome.reason.value, "message": outcome.message}
    if outcome.retry_after_ms is not None:
        body["retryAfterMs"] = outcome.retry_after_ms
    return Answer(STATUSES[outcome.reason], body)


def encode(outcome: Outcome, now_ms: int) -> Answer:
    """Return the answer to a call about one item."""
    if isinstance(outcome, Found):
        return Answer(201 if outcome.created else 200, _found(outcome))
    if isinstance(outcome, Bound):
        return Answer(200, {"name": outcome.gateway.name, "devices": outcome.devices})
    if isinstance(outcome, Done):
        return Answer(200, {})
    return refuse(outcome, now_ms)


def _found(outcome: Found[Any]) -> dict[str, object]:
    body = item_json(outcome.item)
    if outcome.secret is not None:
        body["password"] = outcome.secret.text
    elif outcome.created and isinstance(outcome.item, User | Device):
        body["login"] = "must exist at the broker: this service keeps no logins"
    return body


def encode_page(path: str, member: str) -> EncodeAnswer:
    """Return the encoder of a listing: its items and, where there are more, the path of the next page."""

    def encode_listing(outcome: Outcome, now_ms: int) -> Answer:
        if not isinstance(outcome, Page):
            return refuse(outcome, now_ms)
        body: dict[str, object] = {member: [item_json(item) for item in outcome.items]}
        body["self"] = _page_path(path, outcome.listing, outcome.listing.after)
        if outcome.next_after is not None:
            body["next"] = _page_path(path, outcome.listing, outcome.next_after)
        return Answer(200, body)

    return encode_listing


def _page_path(path: str, listing: Listing, after: str | None) -> str:
    query = {"after": after, "limit": listing.limit, "device": listing.device, "since": listing.since_ms}
    given = ((name, value) for name, value in query.items() if value is not None)
    return f"{path}?" + "&".join(f"{name}={quote(str(value), safe='')}" for name, value in given)


def item_json(item: object) -> dict[str, object]:
    """Return one item in our shape."""
    for kind, encoder in _ITEMS.items():
        if isinstance(item, kind):
            return encoder(item)
    raise TypeError(f"no shape for {type(item).__name__}")


def _user_json(user: User) -> dict[str, object]:
    return {
        "username": user.username,
        "principal": user.principal,
        "tenantId": user.tenant,
        "customerId": user.customer_id,
        "groups": user.groups,
        "roles": user.roles,
    }


def _event_json(event: Event) -> dict[str, object]:
    return {
        "time": event.at_ms,
        "event": event.event,
        "tenantId": event.tenant,
        "principal": event.principal,
        "deviceId": event.device_id,
        "device": event.device,
        "detail": event.detail,
    }


_ITEMS: dict[type[Any], Callable[[Any], dict[str, object]]] = {
    Tenant: lambda item: {"id": item.id, "title": item.title},
    Customer: lambda item: {"id": item.id, "title": item.title, "tenantId": item.tenant},
    User: _user_json,
    Group: lambda item: {"name": item.name, "roles": item.roles},
    Role: lambda item: {"name": item.name, "permissions": item.permissions},
    Device: lambda item: {"name": item.name, "id": item.id, "principal": item.principal},
    Event: _event_json,
}


def encode_event(event: Event) -> bytes:
    """Return an audit event as it is published."""
    return to_json(_event_json(event))


def _customer_id(command: Callable[[str, str], Command]) -> Callable[[Call], Command]:
    return lambda call: command(call.caller, call.variables["id"])


def _username(command: Callable[[str, str], Command]) -> Callable[[Call], Command]:
    return lambda call: command(call.caller, call.variables["username"])


def _listing(path: str, member: str, kind: type[Any]) -> Route:
    return Route("GET", path, _list(kind), encode_page(path, member), "ListItems")


_CUSTOMERS, _USERS, _GATEWAYS = "/claimsvc/customers", "/claimsvc/users", "/claimsvc/gateways"

SECTION = Section(
    "/claimsvc/",
    refuse,
    (
        Route(
            "POST",
            _CUSTOMERS,
            lambda call: CreateCustomer(call.caller, parse(CustomerBody, call.body).title),
            encode,
            "CreateCustomer",
        ),
        _listing(_CUSTOMERS, "customers", Customer),
        Route("GET", f"{_CUSTOMERS}/{{id}}", _customer_id(ReadCustomer), encode, "ReadCustomer"),
        Route("DELETE", f"{_CUSTOMERS}/{{id}}", _customer_id(DeleteCustomer), encode, "DeleteCustomer"),
        Route("POST", _USERS, _create_user, encode, "CreateUser"),
        _listing(_USERS, "users", User),
        Route("GET", f"{_USERS}/{{username}}", _username(ReadUser), encode, "ReadUser"),
        Route("PUT", f"{_USERS}/{{username}}", _update_user, encode, "UpdateUser"),
        Route("DELETE", f"{_USERS}/{{username}}", _username(DeleteUser), encode, "DeleteUser"),
        Route("POST", "/claimsvc/groups", _create_group, encode, "CreateGroup"),
        _listing("/claimsvc/groups", "groups", Group),
        Route("POST", "/claimsvc/roles", _create_role, encode, "CreateRole"),
        _listing("/claimsvc/roles", "roles", Role),
        Route("POST", _GATEWAYS, _create_gateway, encode, "CreateGateway"),
        _listing(_GATEWAYS, "gateways", Device),
        Route("PUT", f"{_GATEWAYS}/{{name}}/devices", _bind, encode, "BindDevices"),
        Route("POST", "/claimsvc/tenants", _create_tenant, encode, "CreateTenant"),
        _listing("/claimsvc/tenants", "tenants", Tenant),
        _listing("/claimsvc/events", "events", Event),
    ),
)
