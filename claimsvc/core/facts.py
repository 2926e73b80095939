"""Needs: the keys of the rows that a batch of commands reads. Facts: those rows in memory.

Every decided change is applied to the facts at once, so later commands of the batch see it.

Facts are strict. Loading marks every key that was looked up, found or not. A rule that reads a key outside the
needs gets `NotAskedError`: a forgotten need is an error, never a wrong decision. Rows that earlier decisions of the
batch created or removed are known without a lookup. A device, principal or login that the batch created has only the
rows that the batch gave it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from claimsvc.core.decision import Append, Change, Put
from claimsvc.core.model import (
    Answered,
    Attribute,
    ClaimAttempts,
    ClaimWindow,
    Credential,
    Customer,
    Device,
    DeviceGroup,
    DeviceProfile,
    DeviceRequest,
    EndedPrincipal,
    FormerCredential,
    Group,
    Principal,
    PrincipalKind,
    RequestStatus,
    Role,
    Row,
    Tenant,
    User,
    UserFailures,
    WindowSource,
)

R = TypeVar("R", bound=Row)
Key = str | tuple[str, str] | tuple[str, str, int]


class Lookup(StrEnum):
    """The ways to look up rows. Every store has a statement for each."""

    PRINCIPALS = "principals"
    ENDED_PRINCIPALS = "ended_principals"
    SERVICES = "services"
    DEVICES_BY_PRINCIPAL = "devices_by_principal"
    DEVICES_BY_NAME = "devices_by_name"
    DEVICES_BY_ID = "devices_by_id"
    USERS = "users"
    GROUPS = "groups"
    ROLES = "roles"
    TENANTS = "tenants"
    CUSTOMERS = "customers"
    WINDOWS = "windows"
    PROFILES_BY_KEY = "profiles_by_key"
    PROFILES_BY_NAME = "profiles_by_name"
    PROFILES_BY_ID = "profiles_by_id"
    ATTRIBUTES = "attributes"
    ATTRIBUTES_NAMED = "attributes_named"
    ATTEMPTS = "attempts"
    FAILURES = "failures"
    CREDENTIALS_BY_LOGIN = "credentials_by_login"
    CREDENTIALS_BY_PRINCIPAL = "credentials_by_principal"
    FORMER_CREDENTIALS = "former_credentials"
    REQUESTS = "requests"
    PENDING_REQUESTS = "pending_requests"
    DEVICE_GROUPS_BY_PATH = "device_groups_by_path"
    DEVICE_GROUPS_BY_ID = "device_groups_by_id"
    DEVICE_COUNTS = "device_counts"
    ANSWERED = "answered"


BY_KEY: dict[type[Any], Lookup] = {
    Principal: Lookup.PRINCIPALS,
    EndedPrincipal: Lookup.ENDED_PRINCIPALS,
    Device: Lookup.DEVICES_BY_ID,
    User: Lookup.USERS,
    Group: Lookup.GROUPS,
    Role: Lookup.ROLES,
    Tenant: Lookup.TENANTS,
    Customer: Lookup.CUSTOMERS,
    DeviceProfile: Lookup.PROFILES_BY_ID,
    Attribute: Lookup.ATTRIBUTES_NAMED,
    ClaimAttempts: Lookup.ATTEMPTS,
    UserFailures: Lookup.FAILURES,
    Credential: Lookup.CREDENTIALS_BY_LOGIN,
    DeviceRequest: Lookup.REQUESTS,
    DeviceGroup: Lookup.DEVICE_GROUPS_BY_ID,
    Answered: Lookup.ANSWERED,
}
"""The lookup that finds a row of a kind by its key. Claim windows are looked up by device instead."""


class NotAskedError(Exception):
    """A rule read a row that its batch's needs do not contain: the `needs` of a command are incomplete."""


@dataclass(slots=True)
class Needs:
    """Keys of the rows that a batch must have in memory. The callers' rows are always loaded."""

    principals: set[str] = field(default_factory=set)
    tenants: set[str] = field(default_factory=set)
    customers: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    groups: set[tuple[str, str]] = field(default_factory=set)
    roles: set[tuple[str, str]] = field(default_factory=set)
    device_ids: set[str] = field(default_factory=set)
    device_names: set[tuple[str, str]] = field(default_factory=set)
    """(tenant, name)"""
    logins: set[str] = field(default_factory=set)
    logins_of: set[str] = field(default_factory=set)
    """Principals, for all their logins."""
    attempts_at: set[tuple[str, str, str]] = field(default_factory=set)
    """(user, tenant, device name), for the user's failures at the device."""
    windows: bool = False
    """True to load the claim windows of this batch's devices."""
    claiming_allowed: bool = False
    """True to load the attribute `claimingAllowed` of this batch's devices."""
    attributes: bool = False
    """True to load all attributes of this batch's devices."""
    credentials: bool = False
    """True to load the logins of this batch's devices."""
    requests: set[str] = field(default_factory=set)
    """Device ids of registrations."""
    accepting: set[str] = field(default_factory=set)
    """Device ids of registrations that may be accepted, with all that acceptance reads."""
    pending_of: set[str] = field(default_factory=set)
    """Tenants, for their pending requests."""
    device_counts: set[str] = field(default_factory=set)
    """Tenants, for the number of their devices."""
    device_groups: set[tuple[str, str]] = field(default_factory=set)
    """(tenant, path)"""
    device_group_ids: set[str] = field(default_factory=set)
    services: bool = False
    """True to load all principals of the service itself."""
    provision_state: bool = False
    """True to load the attribute `provisionState` of this batch's devices."""
    profile_ids: set[str] = field(default_factory=set)
    profile_names: set[tuple[str, str]] = field(default_factory=set)
    """(tenant, name)"""
    profile_keys: set[str] = field(default_factory=set)
    once_profiles_are_known: list[Callable[[], None]] = field(default_factory=list)
    """Functions that add the needs that depend on a profile. They run after the profiles are loaded."""


class Facts:
    """The rows of one batch, by kind and key. Every accessor raises NotAskedError for a key that was not loaded."""

    __slots__ = (
        "_asked",
        "_by_name",
        "_by_principal",
        "_default_tenant",
        "_device_counts",
        "_formers_of",
        "_group_ids",
        "_logins_of",
        "_of_device",
        "_profile_ids",
        "_rows",
        "_used_customers",
        "permissions",
    )

    def __init__(self, default_tenant: str) -> None:
        self._default_tenant = default_tenant
        self._asked: dict[Lookup, set[Any]] = defaultdict(set)
        """The keys that were looked up, or are known without a lookup."""
        # The caller of a device without a login is "".
        self._asked[Lookup.PRINCIPALS].add("")
        self._asked[Lookup.ENDED_PRINCIPALS].add("")
        self._asked[Lookup.DEVICES_BY_PRINCIPAL].add("")
        self._rows: dict[type[Any], dict[Key, Any]] = defaultdict(dict)
        self._by_name: dict[tuple[str, str], str] = {}
        self._by_principal: dict[str, str] = {}
        self._of_device: dict[str, dict[tuple[type[Any], Key], None]] = defaultdict(dict)
        self._profile_ids: dict[Key, str] = {}
        """By provision key, and by (tenant, name). The profile may have changed its key since."""
        self._logins_of: dict[str, dict[str, None]] = defaultdict(dict)
        self._formers_of: dict[str, dict[Key, None]] = defaultdict(dict)
        self._used_customers: set[str] = set()
        self._device_counts: dict[str, int] = {}
        self._group_ids: dict[tuple[str, str], str] = {}
        self.permissions: dict[str, frozenset[str]] = {}
        """Permissions by caller, as computed so far. Cleared when a user, group, role or principal changes."""

    # --- reading

    def get(self, kind: type[R], key: Key) -> R | None:
        """Return the row of this kind and key, or None."""
        row: R | None = self._rows[kind].get(key)
        if row is None:
            lookup = BY_KEY.get(kind)
            if (lookup is None or key not in self._asked[lookup]) and not self._is_known_with_owner(kind, key):
                self._not_asked(kind.__name__, key)
        return row

    def tenant_of(self, caller: str) -> str:
        """Return the caller's tenant; an unknown caller belongs to the default tenant."""
        principal = self.get(Principal, caller)
        return principal.tenant if principal else self._default_tenant

    def device_named(self, tenant: str, name: str) -> Device | None:
        """Return the tenant's device of this name, or None."""
        device_id = self._by_name.get((tenant, name))
        if device_id is None:
            self._require(Lookup.DEVICES_BY_NAME, (tenant, name))
            return None
        return self.get(Device, device_id)

    def device_of(self, principal: str) -> Device | None:
        """Return the device that logs in as `principal`, or None."""
        device_id = self._by_principal.get(principal)
        if device_id is None:
            self._require(Lookup.DEVICES_BY_PRINCIPAL, principal)
            return None
        return self.get(Device, device_id)

    def profile_of_key(self, provision_key: str) -> DeviceProfile | None:
        """Return the profile of this provision key, or None."""
        profile = self._profile(Lookup.PROFILES_BY_KEY, provision_key)
        return profile if profile and profile.provision_key == provision_key else None

    def profile_named(self, tenant: str, name: str) -> DeviceProfile | None:
        """Return the tenant's profile of this name, or None."""
        return self._profile(Lookup.PROFILES_BY_NAME, (tenant, name))

    def _profile(self, lookup: Lookup, key: Key) -> DeviceProfile | None:
        profile_id = self._profile_ids.get(key)
        if profile_id is None:
            self._require(lookup, key)
            return None
        profile: DeviceProfile | None = self._rows[DeviceProfile].get(profile_id)
        return profile

    def group_at(self, tenant: str, path: str) -> DeviceGroup | None:
        """Return the tenant's group of devices of this path, or None."""
        group_id = self._group_ids.get((tenant, path))
        if group_id is None:
            self._require(Lookup.DEVICE_GROUPS_BY_PATH, (tenant, path))
            return None
        return self.get(DeviceGroup, group_id)

    def services(self) -> list[Principal]:
        """Return the principals of the service itself."""
        self._require(Lookup.SERVICES, "")
        return [row for row in self._rows[Principal].values() if row.kind is PrincipalKind.SERVICE]

    def devices(self) -> list[Device]:
        """Return every device in memory."""
        return list(self._rows[Device].values())

    def windows(self, device_id: str) -> list[ClaimWindow]:
        """Return the device's claim windows, open or expired."""
        self._require(Lookup.WINDOWS, device_id)
        rows = self._rows[ClaimWindow]
        return [row for source in _SOURCES if (row := rows.get((device_id, source)))]

    def attributes(self, device_id: str) -> list[Attribute]:
        """Return the device's attributes."""
        self._require(Lookup.ATTRIBUTES, device_id)
        return [self._rows[kind][key] for kind, key in self._of_device[device_id] if kind is Attribute]

    def credentials(self, principal: str) -> list[Credential]:
        """Return the principal's logins, revoked ones too."""
        if principal not in self._asked[Lookup.CREDENTIALS_BY_PRINCIPAL]:
            # A name that is known to be unused has no logins.
            is_free = principal in self._asked[Lookup.PRINCIPALS] and principal not in self._rows[Principal]
            if not is_free:
                self._not_asked(Lookup.CREDENTIALS_BY_PRINCIPAL, principal)
        return self._those(Credential, self._logins_of.get(principal, ()))

    def former_credentials(self, login: str) -> list[FormerCredential]:
        """Return the former passwords of a login, expired ones too."""
        self._require(Lookup.FORMER_CREDENTIALS, login)
        return self._those(FormerCredential, self._formers_of.get(login, ()))

    def roles_of(self, user: User) -> set[str]:
        """Return the names of a user's roles, direct and through groups."""
        names = set(user.roles)
        for group_name in user.groups:
            group = self.get(Group, (user.tenant, group_name))
            if group:
                names.update(group.roles)
        return names

    def customer_in_use(self, customer_id: str) -> bool:
        """Return whether a customer has users or devices."""
        if customer_id in self._used_customers:
            return True
        self._require(Lookup.CUSTOMERS, customer_id)
        return False

    def pending_requests(self, tenant: str) -> list[DeviceRequest]:
        """Return the tenant's pending requests, oldest first."""
        self._require(Lookup.PENDING_REQUESTS, tenant)
        pending = RequestStatus.PENDING_ACCEPTANCE
        found = [row for row in self._rows[DeviceRequest].values() if row.tenant == tenant and row.status is pending]
        return sorted(found, key=lambda row: (row.created_at_ms, row.id))

    def device_count(self, tenant: str) -> int:
        """Return the number of the tenant's devices."""
        count = self._device_counts.get(tenant)
        if count is None:
            self._not_asked(Lookup.DEVICE_COUNTS, tenant)
        return count or 0

    def _those(self, kind: type[R], keys: Iterable[Key]) -> list[R]:
        rows = self._rows[kind]
        return [rows[key] for key in keys if key in rows]

    def _require(self, lookup: Lookup, key: Key) -> None:
        if key not in self._asked[lookup]:
            self._not_asked(lookup, key)

    def _is_known_with_owner(self, kind: type[Any], key: Key) -> bool:
        """Return whether a row is known to be missing because all rows of its owner are known."""
        if kind is ClaimWindow:
            return key[0] in self._asked[Lookup.WINDOWS]
        if kind is Attribute:
            return key[0] in self._asked[Lookup.ATTRIBUTES]
        if kind is FormerCredential:
            return key[0] in self._asked[Lookup.FORMER_CREDENTIALS]
        # Everything about a new device is known, so its attempts are marked by device id only.
        return kind is ClaimAttempts and key[1] in self._asked[Lookup.ATTEMPTS]

    def _not_asked(self, what: str, key: Key) -> None:
        raise NotAskedError(f"the needs of this batch do not contain {what} {key!r}")

    # --- loading

    def mark(self, lookup: Lookup, keys: Iterable[Key]) -> None:
        """Note that these keys were looked up: a row that is not found does not exist."""
        self._asked[lookup].update(keys)

    def count_devices(self, tenant: str, devices: int) -> None:
        """Note the number of a tenant's devices in the store."""
        self._device_counts[tenant] = devices

    def mark_in_use(self, customer_id: str) -> None:
        """Note that a customer has users or devices in the store."""
        self._used_customers.add(customer_id)

    # --- changing

    def know_free(self, name: str) -> None:
        """Note that no principal and no login has this name, because it was just generated."""
        self._asked[Lookup.PRINCIPALS].add(name)
        self._asked[Lookup.CREDENTIALS_BY_LOGIN].add(name)

    def know_new(self, device_id: str) -> None:
        """Note that the store has no rows of this device, because its id was just generated."""
        for lookup in (Lookup.WINDOWS, Lookup.ATTRIBUTES, Lookup.ATTEMPTS):
            self._asked[lookup].add(device_id)

    def apply(self, change: Change) -> None:
        """Make a decided change visible to later commands."""
        if isinstance(change, Append):
            return
        if isinstance(change, Put):
            row = change.row
            if type(row) in _OWNERS and row.key not in self._rows[type(row)]:
                self._note_new(row)
            self.put(row)
        elif change.kind is Device and isinstance(change.key, str):
            self._forget_device(change.key)
        else:
            self._rows[change.kind].pop(change.key, None)
            if change.kind in _GRANTING:
                self.permissions.clear()
            if isinstance(change.key, tuple):
                self._of_device[change.key[0]].pop((change.kind, change.key), None)
            lookup = BY_KEY.get(change.kind)
            if lookup is not None:
                self._asked[lookup].add(change.key)

    def _note_new(self, row: Row) -> None:
        """Note that the store has no rows that belong to this new row."""
        asked = self._asked
        if isinstance(row, Device):
            if row.tenant in self._device_counts:
                self._device_counts[row.tenant] += 1
            self.know_new(row.id)
        elif isinstance(row, Principal):
            asked[Lookup.CREDENTIALS_BY_PRINCIPAL].add(row.name)
        elif isinstance(row, Credential):
            if row.login in asked[Lookup.CREDENTIALS_BY_LOGIN]:
                asked[Lookup.FORMER_CREDENTIALS].add(row.login)
        elif isinstance(row, Customer):
            asked[Lookup.CUSTOMERS].add(row.id)

    def put(self, row: Row) -> None:
        """Add or replace a row, loaded or decided."""
        kind = type(row)
        self._rows[kind][row.key] = row
        index = self._INDEX.get(kind)
        if index is not None:
            index(self, row)

    def _put_device(self, device: Device) -> None:
        self._by_name[device.tenant, device.name] = device.id
        if device.principal is not None:
            self._by_principal[device.principal] = device.id
        if device.owner is not None:
            self._used_customers.add(device.owner)

    def _put_profile(self, profile: DeviceProfile) -> None:
        self._profile_ids[profile.provision_key] = self._profile_ids[profile.tenant, profile.name] = profile.id

    def _put_granting(self, _row: Principal | Role | Group) -> None:
        self.permissions.clear()

    def _put_user(self, user: User) -> None:
        self.permissions.clear()
        if user.customer_id is not None:
            self._used_customers.add(user.customer_id)

    def _put_group(self, group: DeviceGroup) -> None:
        self._group_ids[group.tenant, group.path] = group.id

    def _put_credential(self, credential: Credential) -> None:
        self._logins_of[credential.principal][credential.login] = None
        if credential.revoked_at_ms is None:
            self._rows[EndedPrincipal].pop(credential.principal, None)

    def _put_former(self, former: FormerCredential) -> None:
        self._formers_of[former.login][former.key] = None

    def _put_of_device(self, row: ClaimWindow | Attribute) -> None:
        self._of_device[row.device_id][type(row), row.key] = None

    _INDEX: ClassVar[dict[type[Any], Callable[[Facts, Any], None]]] = {
        Device: _put_device,
        DeviceProfile: _put_profile,
        Principal: _put_granting,
        Role: _put_granting,
        Group: _put_granting,
        User: _put_user,
        DeviceGroup: _put_group,
        Credential: _put_credential,
        FormerCredential: _put_former,
        ClaimWindow: _put_of_device,
        Attribute: _put_of_device,
    }
    """The function that updates the other indexes for each kind of row."""

    def _forget_device(self, device_id: str) -> None:
        asked = self._asked
        device = self._rows[Device].pop(device_id, None)
        asked[Lookup.DEVICES_BY_ID].add(device_id)
        if device is None:
            return
        del self._by_name[device.tenant, device.name]
        asked[Lookup.DEVICES_BY_NAME].add((device.tenant, device.name))
        if device.principal is not None:
            self._by_principal.pop(device.principal, None)
            asked[Lookup.DEVICES_BY_PRINCIPAL].add(device.principal)
        for kind, key in self._of_device.pop(device_id, {}):
            self._rows[kind].pop(key, None)
        self.know_new(device_id)


_SOURCES = tuple(WindowSource)
_GRANTING = frozenset({Principal, User, Role, Group})
"""Kinds of rows that say what a caller may do."""
_OWNERS = frozenset({Device, Principal, Credential, Customer})
"""Kinds with rows that belong to them."""
