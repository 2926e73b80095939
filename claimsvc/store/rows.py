"""How a row of the rules becomes the JSON array a statement takes, and how a result becomes a row again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from claimsvc.core.model import (
    Answered,
    Attribute,
    ClaimAttempts,
    ClaimWindow,
    Credential,
    CredentialKind,
    Customer,
    Device,
    DeviceGroup,
    DeviceGroupMember,
    DeviceProfile,
    DeviceRequest,
    EndedPrincipal,
    Event,
    FormerCredential,
    Group,
    Import,
    ImportPart,
    Principal,
    PrincipalKind,
    RequestStatus,
    Role,
    Row,
    Strategy,
    Tenant,
    User,
    UserFailures,
    WindowSource,
)
from claimsvc.immutable import immutable

Values = list[object]


def tenant(values: Any) -> Tenant:
    return Tenant(*values)


def customer(values: Any) -> Customer:
    return Customer(*values[:4])


def principal(values: Any) -> Principal:
    return Principal(values[0], PrincipalKind(values[1]), values[2])


def ended_principal(values: Any) -> EndedPrincipal:
    return EndedPrincipal(*values)


def role(values: Any) -> Role:
    return Role(values[0], values[1], _names(values[2]))


def group(values: Any) -> Group:
    return Group(values[0], values[1], _names(values[2]))


def user(values: Any) -> User:
    name, tenant_id, username, customer_id, roles, groups, created_at_ms = values
    return User(name, tenant_id, username, customer_id, _names(roles), _names(groups), created_at_ms)


def device(values: Any) -> Device:
    id_, tenant_id, name, login, created_at, owner, gateway_id, is_gateway, *rest = values
    type_, label, claimed_at, claimed_with = rest
    return Device(
        id_,
        tenant_id,
        name,
        login,
        created_at,
        owner,
        gateway_id,
        bool(is_gateway),
        type_,
        label,
        claimed_at,
        claimed_with,
    )


def profile(values: Any) -> DeviceProfile:
    id_, tenant_id, name, strategy, provision_key, secret_hash, created_at = values
    return DeviceProfile(id_, tenant_id, name, Strategy(strategy), provision_key, secret_hash, created_at)


def window(values: Any) -> ClaimWindow:
    return ClaimWindow(values[0], WindowSource(values[1]), *values[2:])


def attribute(values: Any) -> Attribute:
    return Attribute(*values)


def attempts(values: Any) -> ClaimAttempts:
    return ClaimAttempts(*values)


def failures(values: Any) -> UserFailures:
    return UserFailures(values[0], tuple(json.loads(values[1])), *values[2:])


def credential(values: Any) -> Credential:
    return Credential(values[0], values[1], CredentialKind(values[2]), *values[3:])


def former_credential(values: Any) -> FormerCredential:
    return FormerCredential(*values)


def device_request(values: Any) -> DeviceRequest:
    id_, tenant_id, status, owner, created_at, group_id, type_, properties, lane, token_hash, *rest = values
    failures_, contested, enrollment_hash, enrollment_until, issued_at = rest
    return DeviceRequest(
        id_,
        tenant_id,
        RequestStatus(status),
        owner,
        created_at,
        group_id,
        type_,
        properties,
        lane,
        token_hash,
        failures_,
        bool(contested),
        enrollment_hash,
        enrollment_until,
        issued_at,
    )


def device_group(values: Any) -> DeviceGroup:
    return DeviceGroup(*values)


def import_(values: Any) -> Import:
    return Import(*values)


def answered(values: Any) -> Answered:
    return Answered(*values)


def event(values: Any) -> Event:
    return Event(*values[:7])


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted(json.loads(text)))


def event_values(row: Event) -> Values:
    """Return the values `append_events` takes."""
    return [row.tenant, row.at_ms, row.event, row.principal, row.device_id, row.device, row.detail]


def _user_values(row: User) -> Values:
    return [
        row.principal,
        row.tenant,
        row.username,
        row.customer_id,
        row.roles,
        row.groups,
        row.created_at_ms,
    ]


def _device_values(row: Device) -> Values:
    return [
        row.id,
        row.tenant,
        row.name,
        row.principal,
        row.created_at_ms,
        row.owner,
        row.gateway_id,
        int(row.is_gateway),
        row.type,
        row.label,
        row.claimed_at_ms,
        row.claimed_with,
    ]


def _profile_values(row: DeviceProfile) -> Values:
    return [row.id, row.tenant, row.name, row.strategy, row.provision_key, row.secret_hash, row.created_at_ms]


def _window_values(row: ClaimWindow) -> Values:
    return [row.device_id, row.source, row.key_hash, row.opened_at_ms, row.expires_at_ms, row.attempts]


def _attempts_values(row: ClaimAttempts) -> Values:
    return [row.user, row.device_id, row.count, row.lockouts, row.locked_until_ms, row.last_failed_at_ms]


def _credential_values(row: Credential) -> Values:
    return [
        row.login,
        row.principal,
        row.kind,
        row.secret_hash,
        row.sealed,
        row.sealed_until_ms,
        row.created_at_ms,
        row.revoked_at_ms,
    ]


def _request_values(row: DeviceRequest) -> Values:
    return [
        row.id,
        row.tenant,
        row.status,
        row.owner,
        row.created_at_ms,
        row.group_id,
        row.type,
        row.properties,
        row.lane,
        row.token_hash,
        row.token_failures,
        int(row.contested),
        row.enrollment_hash,
        row.enrollment_until_ms,
        row.issued_at_ms,
    ]


def _import_values(row: Import) -> Values:
    return [
        row.lane,
        row.request_id,
        row.digest,
        row.done,
        row.created,
        row.updated,
        row.failed,
        row.touched_at_ms,
    ]


@immutable
class Table:
    """How one kind of row is written: its statements in order, and the one that removes it."""

    put: tuple[str, ...]
    values: Callable[[Any], Values]
    remove: str | None = None
    has_dependents: bool = False
    """Removing such a row takes others along, so nothing may be reordered across its removal."""


TABLES: dict[type[Row], Table] = {
    # In the order of their references: a row is written after those it refers to.
    Tenant: Table(("put_tenant",), lambda row: [row.id, row.title, row.created_at_ms]),
    Principal: Table(
        ("put_principal",),
        lambda row: [row.name, row.kind, row.tenant],
        "remove_principal",
        has_dependents=True,
    ),
    EndedPrincipal: Table(("put_ended_principal",), lambda row: [row.name, row.ended_at_ms]),
    Customer: Table(
        ("put_customer",),
        lambda row: [row.id, row.tenant, row.title, row.created_at_ms],
        "remove_customer",
        has_dependents=True,
    ),
    Role: Table(
        ("put_role", "clear_role_permissions", "put_role_permissions"),
        lambda row: [row.tenant, row.name, row.permissions],
    ),
    Group: Table(
        ("put_group", "clear_group_roles", "put_group_roles"),
        lambda row: [row.tenant, row.name, row.roles],
    ),
    User: Table(
        ("put_user", "clear_user_roles", "put_user_roles", "clear_user_groups", "put_user_groups"),
        _user_values,
        "remove_user",
        has_dependents=True,
    ),
    Device: Table(("put_device",), _device_values, "remove_device", has_dependents=True),
    DeviceProfile: Table(("put_profile",), _profile_values, "remove_profile"),
    Credential: Table(
        ("put_credential", "clear_ended_principals"), _credential_values, "remove_credential", has_dependents=True
    ),
    FormerCredential: Table(
        ("put_former_credential",),
        lambda row: [row.login, row.secret_hash, row.until_ms],
        "remove_former_credential",
    ),
    ClaimWindow: Table(("put_window",), _window_values, "remove_window"),
    Attribute: Table(
        ("put_attribute",),
        lambda row: [row.device_id, row.name, row.value, row.updated_at_ms],
        "remove_attribute",
    ),
    ClaimAttempts: Table(("put_attempts",), _attempts_values, "remove_attempts"),
    UserFailures: Table(
        ("put_failures",),
        lambda row: [row.user, json.dumps(row.recent_ms), row.lockouts, row.locked_until_ms],
    ),
    DeviceRequest: Table(("put_request",), _request_values, "remove_request"),
    DeviceGroup: Table(("put_device_group",), lambda row: [row.id, row.tenant, row.path, row.created_at_ms]),
    DeviceGroupMember: Table(("put_device_group_member",), lambda row: [row.group_id, row.device_id]),
    Import: Table(("put_import",), _import_values, "remove_import", has_dependents=True),
    ImportPart: Table(("put_import_part",), lambda row: [row.lane, row.request_id, row.number, row.sealed]),
    Answered: Table(
        ("put_answered",),
        lambda row: [row.lane, row.request_id, row.digest, row.sealed, row.expires_at_ms],
    ),
}
