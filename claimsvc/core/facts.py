"""What a batch of commands needs to know, and what is known: rows in memory, changed as decisions fall.

Deciding applies each change here at once, so a later command of the same batch sees what an earlier one did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from claimsvc.core.decision import Append, Change, Put
from claimsvc.core.model import (
    Attribute,
    ClaimWindow,
    Credential,
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
    Row,
    User,
    WindowSource,
)

R = TypeVar("R", bound=Row)
Key = str | tuple[str, str] | tuple[str, str, int]


@dataclass(slots=True)
class Needs:
    """Keys of the rows that a batch must have in memory. Callers themselves are always there."""

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
    attempts_at: set[tuple[str, str, str]] = field(default_factory=set)
    """(user, tenant, device name): whose failures count where."""
    windows: bool = False
    claiming_allowed: bool = False
    attributes: bool = False
    credentials: bool = False
    """Whether this batch's devices are wanted with windows, that one attribute, all of them, logins."""
    requests: set[str] = field(default_factory=set)
    """Device ids of registrations."""
    accepting: set[str] = field(default_factory=set)
    """Those that may be accepted, with what that reads."""
    pending_of: set[str] = field(default_factory=set)
    """Tenants whose pending requests are wanted."""
    device_counts: set[str] = field(default_factory=set)
    """Tenants whose devices are to be counted."""
    device_groups: set[tuple[str, str]] = field(default_factory=set)
    """(tenant, path)"""
    device_group_ids: set[str] = field(default_factory=set)
    services: bool = False
    """Whether every principal of the service's own is wanted."""
    provision_state: bool = False
    """Whether this batch's devices are wanted with what tells that they were provisioned."""
    profile_ids: set[str] = field(default_factory=set)
    profile_names: set[tuple[str, str]] = field(default_factory=set)
    """(tenant, name)"""
    profile_keys: set[str] = field(default_factory=set)
    once_profiles_are_known: list[Callable[[], None]] = field(default_factory=list)
    """What adds the needs that depend on a profile."""


class Facts:
    """The rows of one batch, by kind and key. A row that was not loaded looks like one that is not there."""

    __slots__ = (
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
    )

    def __init__(self, default_tenant: str) -> None:
        self._default_tenant = default_tenant
        self._rows: dict[type[Any], dict[Key, Any]] = defaultdict(dict)
        self._by_name: dict[tuple[str, str], str] = {}
        self._by_principal: dict[str, str] = {}
        self._of_device: dict[str, dict[tuple[type[Any], Key], None]] = defaultdict(dict)
        self._profile_ids: dict[Key, str] = {}
        """By provision key, and by (tenant, name); what they lead to may have changed since."""
        self._logins_of: dict[str, dict[str, None]] = defaultdict(dict)
        self._formers_of: dict[str, dict[Key, None]] = defaultdict(dict)
        self._used_customers: set[str] = set()
        self._device_counts: dict[str, int] = {}
        self._group_ids: dict[tuple[str, str], str] = {}

    # --- reading

    def get(self, kind: type[R], key: Key) -> R | None:
        """Return the row of this kind and key, or None."""
        row: R | None = self._rows[kind].get(key)
        return row

    def tenant_of(self, caller: str) -> str:
        """Return the caller's tenant; whom nobody knows is of the default tenant (design 4.2)."""
        principal = self.get(Principal, caller)
        return principal.tenant if principal else self._default_tenant

    def device_named(self, tenant: str, name: str) -> Device | None:
        """Return the tenant's device of this name, or None."""
        device_id = self._by_name.get((tenant, name))
        return self.get(Device, device_id) if device_id else None

    def device_of(self, principal: str) -> Device | None:
        """Return the device that logs in as `principal`, or None."""
        device_id = self._by_principal.get(principal)
        return self.get(Device, device_id) if device_id else None

    def profile_of_key(self, provision_key: str) -> DeviceProfile | None:
        """Return the profile of this provision key, or None."""
        profile = self.get(DeviceProfile, self._profile_ids.get(provision_key, ""))
        return profile if profile and profile.provision_key == provision_key else None

    def profile_named(self, tenant: str, name: str) -> DeviceProfile | None:
        """Return the tenant's profile of this name, or None."""
        return self.get(DeviceProfile, self._profile_ids.get((tenant, name), ""))

    def group_at(self, tenant: str, path: str) -> DeviceGroup | None:
        """Return the tenant's group of devices of this path, or None."""
        group_id = self._group_ids.get((tenant, path))
        return self.get(DeviceGroup, group_id) if group_id else None

    def services(self) -> list[Principal]:
        """Return the loaded principals of the service's own."""
        return [row for row in self._rows[Principal].values() if row.kind is PrincipalKind.SERVICE]

    def devices(self) -> list[Device]:
        """Return every device in memory."""
        return list(self._rows[Device].values())

    def windows(self, device_id: str) -> list[ClaimWindow]:
        """Return the device's claim windows, open or over."""
        found = (self.get(ClaimWindow, (device_id, source)) for source in WindowSource)
        return [window for window in found if window]

    def attributes(self, device_id: str) -> list[Attribute]:
        """Return the device's loaded attributes."""
        return [row for row in self.of_device(device_id) if isinstance(row, Attribute)]

    def of_device(self, device_id: str) -> list[Row]:
        """Return every loaded row that hangs on the device."""
        return [self._rows[kind][key] for kind, key in self._of_device[device_id]]

    def credentials(self, principal: str) -> list[Credential]:
        """Return the principal's loaded logins, revoked ones too."""
        return self._those(Credential, self._logins_of.get(principal, ()))

    def former_credentials(self, login: str) -> list[FormerCredential]:
        """Return the loaded passwords a login had before, those that are over too."""
        return self._those(FormerCredential, self._formers_of.get(login, ()))

    def roles_of(self, user: User) -> set[str]:
        """Return the names of the roles a user has, directly and through groups."""
        names = set(user.roles)
        for group_name in user.groups:
            group = self.get(Group, (user.tenant, group_name))
            if group:
                names.update(group.roles)
        return names

    def customer_in_use(self, customer_id: str) -> bool:
        """Return whether a customer has users or devices."""
        return customer_id in self._used_customers

    def pending_requests(self, tenant: str) -> list[DeviceRequest]:
        """Return a tenant's loaded requests that wait for acceptance, in order of their making."""
        pending = RequestStatus.PENDING_ACCEPTANCE
        found = [row for row in self._rows[DeviceRequest].values() if row.tenant == tenant and row.status is pending]
        return sorted(found, key=lambda row: (row.created_at_ms, row.id))

    def device_count(self, tenant: str) -> int:
        """Return how many devices a tenant has."""
        return self._device_counts.get(tenant, 0)

    def _those(self, kind: type[R], keys: Iterable[Key]) -> list[R]:
        found = (self.get(kind, key) for key in keys)
        return [row for row in found if row is not None]

    # --- changing

    def count_devices(self, tenant: str, devices: int) -> None:
        """Note how many devices a tenant has in the store."""
        self._device_counts[tenant] = devices

    def mark_in_use(self, customer_id: str) -> None:
        """Note that a customer has users or devices in the store."""
        self._used_customers.add(customer_id)

    def apply(self, change: Change) -> None:
        """Make a decided change visible to the commands that follow."""
        if isinstance(change, Append):
            return
        if isinstance(change, Put):
            row = change.row
            if isinstance(row, Device) and row.tenant in self._device_counts and row.id not in self._rows[Device]:
                self._device_counts[row.tenant] += 1
            self.put(row)
        elif change.kind is Device and isinstance(change.key, str):
            self._forget_device(change.key)
        else:
            self._rows[change.kind].pop(change.key, None)
            if isinstance(change.key, tuple):
                self._of_device[change.key[0]].pop((change.kind, change.key), None)

    def put(self, row: Row) -> None:
        """Hold a row, loaded or decided."""
        self._rows[type(row)][row.key] = row
        if isinstance(row, Device):
            self._put_device(row)
        elif isinstance(row, DeviceProfile):
            self._profile_ids[row.provision_key] = self._profile_ids[row.tenant, row.name] = row.id
        elif isinstance(row, User):
            if row.customer_id is not None:
                self._used_customers.add(row.customer_id)
        elif isinstance(row, DeviceGroup):
            self._group_ids[row.tenant, row.path] = row.id
        elif isinstance(row, Credential):
            self._logins_of[row.principal][row.login] = None
            if row.revoked_at_ms is None:
                self._rows[EndedPrincipal].pop(row.principal, None)
        elif isinstance(row, FormerCredential):
            self._formers_of[row.login][row.key] = None
        elif isinstance(row, ClaimWindow | Attribute):
            self._of_device[row.device_id][type(row), row.key] = None

    def _put_device(self, device: Device) -> None:
        self._by_name[device.tenant, device.name] = device.id
        if device.principal is not None:
            self._by_principal[device.principal] = device.id
        if device.owner is not None:
            self._used_customers.add(device.owner)

    def _forget_device(self, device_id: str) -> None:
        device = self.get(Device, device_id)
        if device is None:
            return
        del self._rows[Device][device_id]
        del self._by_name[device.tenant, device.name]
        if device.principal is not None:
            self._by_principal.pop(device.principal, None)
        for kind, key in self._of_device.pop(device_id, {}):
            self._rows[kind].pop(key, None)
