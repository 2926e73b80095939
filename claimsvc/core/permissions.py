"""Permissions: users get them through roles and groups, as in ThingsBoard PE and Cumulocity.

They are computed from the facts for each command, so a change of roles applies to the next command.
"""

from __future__ import annotations

from claimsvc.core.facts import Facts
from claimsvc.core.model import Principal, PrincipalKind, Role, User
from claimsvc.core.policy import MANAGEMENT_TENANT

CLAIM_DEVICES = "DEVICE:CLAIM_DEVICES"
DEVICE_CONTROL_ADMIN = "ROLE_DEVICE_CONTROL_ADMIN"
DEVICE_CONTROL_READ = "ROLE_DEVICE_CONTROL_READ"
DEVICE_BOOTSTRAP = "ROLE_DEVICE_BOOTSTRAP"
TENANT_ADMIN = "TENANT_ADMIN"
MANAGE_TENANTS = "MANAGE_TENANTS"
"""Tenant admins of the management tenant have it. No role can grant it."""
GRANTABLE = frozenset({CLAIM_DEVICES, DEVICE_CONTROL_ADMIN, DEVICE_CONTROL_READ, TENANT_ADMIN})
"""The permissions that a tenant can grant through its own roles."""
BUILT_IN_ROLES: dict[str, frozenset[str]] = {
    "customer": frozenset({CLAIM_DEVICES}),
    "operator": frozenset({DEVICE_CONTROL_ADMIN, DEVICE_CONTROL_READ}),
    "viewer": frozenset({DEVICE_CONTROL_READ}),
    "admin": frozenset({TENANT_ADMIN, CLAIM_DEVICES, DEVICE_CONTROL_ADMIN, DEVICE_CONTROL_READ}),
    "bootstrap": frozenset({DEVICE_BOOTSTRAP}),
}


def missing_permission(needed: frozenset[str]) -> str:
    """Return the text that names the permissions, of which the caller needs one, and a built-in role that has one."""
    role = next((name for name, granted in BUILT_IN_ROLES.items() if granted & needed), None)
    holder = f", which the role {role} has" if role else ""
    return f"it needs the permission {' or '.join(sorted(needed))}{holder}"


_EVERYTHING = frozenset({*GRANTABLE, MANAGE_TENANTS})


def permissions(facts: Facts, caller: str) -> frozenset[str]:
    """Return the permissions of `caller`: none for a device or an unknown caller."""
    known = facts.permissions.get(caller)
    if known is None:
        known = facts.permissions[caller] = _granted(facts, caller)
    return known


def _granted(facts: Facts, caller: str) -> frozenset[str]:
    principal = facts.get(Principal, caller)
    if principal is None:
        return frozenset()
    if principal.kind is PrincipalKind.SERVICE:
        return _EVERYTHING
    user = facts.get(User, caller)
    if user is None:
        return frozenset()
    granted: set[str] = set()
    for name in facts.roles_of(user):
        built_in = BUILT_IN_ROLES.get(name)
        role = facts.get(Role, (user.tenant, name))
        granted.update(built_in if built_in is not None else role.permissions if role else ())
    if TENANT_ADMIN in granted and user.tenant == MANAGEMENT_TENANT:
        granted.add(MANAGE_TENANTS)
    return frozenset(granted)
