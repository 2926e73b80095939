"""Rows, commands and facts with every field defaulted, so that a test names only what it is about."""

from __future__ import annotations

from itertools import count

from claimsvc.core.facts import Facts
from claimsvc.core.model import (
    ClaimWindow,
    Customer,
    Device,
    Principal,
    PrincipalKind,
    Row,
    Tenant,
    User,
    WindowSource,
)
from claimsvc.core.policy import MANAGEMENT_TENANT, Given, Policy
from claimsvc.core.secrets import Secret, SecretKind

NOW = 1_700_000_000_000
MINUTE = 60_000
SERVICE = "claimsvc"


def hashed(text: str) -> str:
    """Stand for the keyed hash: equal for equal keys, and never the key itself."""
    return f"hash({text})"


def key(text: str = "value") -> Secret:
    """Return a claim key as the rules see it: hashed, its text gone."""
    secret = Secret(SecretKind.CLAIM_KEY, None)
    secret.digest = hashed(text)
    return secret


def password(text: str = "password-1") -> Secret:
    """Return a hardened password."""
    secret = Secret(SecretKind.PASSWORD, text)
    secret.digest, secret.sealed = f"$7$2$salt${hashed(text)}", f"sealed({text})"
    return secret


def token(text: str = "token-1") -> Secret:
    """Return a hardened access token."""
    secret = Secret(SecretKind.ACCESS_TOKEN, text)
    secret.digest, secret.sealed = hashed(text), f"sealed({text})"
    return secret


def given(now_ms: int = NOW, **policy: object) -> Given:
    """Return a batch's arguments; ids are id-1, id-2, ..."""
    numbers = count(1)
    reserved = frozenset({SERVICE, "bootstrap", "provision"})
    choices = {"reserved_names": reserved, **policy}
    return Given(Policy(**choices), now_ms, lambda: f"id-{next(numbers)}")  # type: ignore[arg-type]


def device(name: str = "Thermostat", **fields: object) -> Device:
    """Return an unowned device that logs in with its name."""
    values: dict[str, object] = {
        "id": f"device-{name}",
        "tenant": "default",
        "name": name,
        "principal": name,
        "created_at_ms": NOW,
    }
    return Device(**(values | fields))  # type: ignore[arg-type]


def gateway(name: str = "Gateway", **fields: object) -> Device:
    """Return a gateway."""
    return device(name, **({"is_gateway": True} | fields))


def user(name: str = "alice", **fields: object) -> User:
    """Return a user who may claim for customer `c1`."""
    values: dict[str, object] = {
        "principal": name,
        "tenant": "default",
        "username": name,
        "customer_id": "c1",
        "roles": ("customer",),
        "groups": (),
        "created_at_ms": NOW,
    }
    return User(**(values | fields))  # type: ignore[arg-type]


def admin(name: str = "root", **fields: object) -> User:
    """Return a tenant admin, of no customer."""
    return user(name, **({"customer_id": None, "roles": ("admin",)} | fields))


def customer(id_: str = "c1", **fields: object) -> Customer:
    """Return a customer."""
    values: dict[str, object] = {"id": id_, "tenant": "default", "title": id_, "created_at_ms": NOW}
    return Customer(**(values | fields))  # type: ignore[arg-type]


def window(of: Device, text: str = "value", **fields: object) -> ClaimWindow:
    """Return a window of a minute that was opened just now with this key."""
    values: dict[str, object] = {
        "device_id": of.id,
        "source": WindowSource.DEVICE,
        "key_hash": hashed(text),
        "opened_at_ms": NOW,
        "expires_at_ms": NOW + MINUTE,
    }
    return ClaimWindow(**(values | fields))  # type: ignore[arg-type]


def facts(*rows: Row) -> Facts:
    """Return facts with these rows, the principals they speak as, and the two tenants there always are."""
    known = Facts("default")
    for tenant in ("default", MANAGEMENT_TENANT):
        known.put(Tenant(tenant, tenant, NOW))
    known.put(Principal(SERVICE, PrincipalKind.SERVICE, "default"))
    for row in rows:
        if isinstance(row, Device) and row.principal:
            known.put(Principal(row.principal, PrincipalKind.DEVICE, row.tenant))
        if isinstance(row, User):
            known.put(Principal(row.principal, PrincipalKind.USER, row.tenant))
        known.put(row)
    return known
