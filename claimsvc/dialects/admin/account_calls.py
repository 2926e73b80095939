"""Calls of the admin API about customers, users, groups, roles, gateways, tenants and audit events."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import RootModel

from claimsvc.core.accounts import (
    CreateCustomer,
    CreateGroup,
    CreateRole,
    CreateTenant,
    CreateUser,
    DeleteCustomer,
    DeleteUser,
    ReadCustomer,
    ReadUser,
    UpdateUser,
)
from claimsvc.core.command import Command
from claimsvc.core.devices import BindDevices, CreateGateway
from claimsvc.core.model import Customer, Device, Event, Group, Role, Tenant, User
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.admin.item_shapes import Body, Names, Password, encode, listing, refuse
from claimsvc.dialects.message import malformed
from claimsvc.dialects.rest import Call, Route, Section, parse

# --- wire models


class TenantBody(Body):
    """A tenant to create."""

    id: str
    title: str = ""


class CustomerBody(Body):
    """A customer to create."""

    title: str


class UserBody(Body):
    """A user to create. Without a password the service generates one.

    A user with a customer, but without groups and roles, gets the role `customer`. An empty list means none.
    """

    username: str
    customerId: str | None = None
    groups: Names | None = None
    roles: Names | None = None
    password: Password | None = None
    tenantId: str | None = None


class UserChange(Body):
    """Changes of a user. Missing members stay as they are. A null customer removes the customer."""

    username: str | None = None
    customerId: str | None = None
    groups: Names | None = None
    roles: Names | None = None
    password: Password | None = None


class GroupBody(Body):
    """A group to create."""

    name: str
    roles: Names = ()


class RoleBody(Body):
    """A role to create."""

    name: str
    permissions: Names


class GatewayBody(Body):
    """A gateway to create, or a device to mark as one."""

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


# --- routes


def _customer_id(command: Callable[[str, str], Command]) -> Callable[[Call], Command]:
    return lambda call: command(call.caller, call.variables["id"])


def _username(command: Callable[[str, str], Command]) -> Callable[[Call], Command]:
    return lambda call: command(call.caller, call.variables["username"])


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
        listing(_CUSTOMERS, "customers", Customer),
        Route("GET", f"{_CUSTOMERS}/{{id}}", _customer_id(ReadCustomer), encode, "ReadCustomer"),
        Route("DELETE", f"{_CUSTOMERS}/{{id}}", _customer_id(DeleteCustomer), encode, "DeleteCustomer"),
        Route("POST", _USERS, _create_user, encode, "CreateUser"),
        listing(_USERS, "users", User),
        Route("GET", f"{_USERS}/{{username}}", _username(ReadUser), encode, "ReadUser"),
        Route("PUT", f"{_USERS}/{{username}}", _update_user, encode, "UpdateUser"),
        Route("DELETE", f"{_USERS}/{{username}}", _username(DeleteUser), encode, "DeleteUser"),
        Route("POST", "/claimsvc/groups", _create_group, encode, "CreateGroup"),
        listing("/claimsvc/groups", "groups", Group),
        Route("POST", "/claimsvc/roles", _create_role, encode, "CreateRole"),
        listing("/claimsvc/roles", "roles", Role),
        Route("POST", _GATEWAYS, _create_gateway, encode, "CreateGateway"),
        listing(_GATEWAYS, "gateways", Device),
        Route("PUT", f"{_GATEWAYS}/{{name}}/devices", _bind, encode, "BindDevices"),
        Route("POST", "/claimsvc/tenants", _create_tenant, encode, "CreateTenant"),
        listing("/claimsvc/tenants", "tenants", Tenant),
        listing("/claimsvc/events", "events", Event),
    ),
    "claimsvc",
)
