"""Devices: creating and managing devices, gateways and their SERVER_SCOPE attributes.

command          | who may      | what it does
FindDevice       | TENANT_ADMIN | reads a device by its name
CreateDevice     | TENANT_ADMIN | creates a device and its login
ReadDevice       | TENANT_ADMIN | reads a device by its id
UpdateDevice     | TENANT_ADMIN | changes a device's type, label or gateway mark
DeleteDevice     | TENANT_ADMIN | deletes a device and its logins
ReadCredentials  | TENANT_ADMIN | reads a device's login
SetAttributes    | TENANT_ADMIN | sets attributes; `claimingData` opens a claim window
ReadAttributes   | TENANT_ADMIN | reads attributes
DeleteAttributes | TENANT_ADMIN | deletes attributes; `claimingData` closes the claim window
CreateGateway    | TENANT_ADMIN | creates a gateway, or marks a device as one
BindDevices      | TENANT_ADMIN | lets a gateway speak for devices
"""

from __future__ import annotations

from dataclasses import replace

from claimsvc.core.command import Command, OnDevice, OnNamedDevice, Rule
from claimsvc.core.credentials import FoundCredential, end_logins, issue_login, newest
from claimsvc.core.decision import Change, Decision, Done, Found, Outcome, Put, Refused, Remove, device_event, refuse
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import CLAIMING_DATA, Attribute, ClaimWindow, Device, PrincipalKind, WindowSource
from claimsvc.core.names import name_error, principal_name
from claimsvc.core.permissions import TENANT_ADMIN
from claimsvc.core.policy import Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.core.server_keys import NewKey, set_key
from claimsvc.immutable import immutable


@immutable
class FindDevice(OnNamedDevice):
    """Read a device by its name."""


@immutable
class CreateDevice(Command):
    """Create a device and its login: an access token, or a username and password."""

    name: str
    type: str
    label: str | None
    is_gateway: bool
    secret: Secret

    @property
    def device(self) -> str | None:
        return self.name

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        _new_device_needs(self.caller, self.name, self.secret, needs, facts, policy)


@immutable
class ReadDevice(OnDevice):
    """Read a device by its id."""


@immutable
class UpdateDevice(OnDevice):
    """Change a device's type, label and gateway mark. `name` must be its name."""

    name: str
    type: str
    label: str | None
    is_gateway: bool


@immutable
class DeleteDevice(OnDevice):
    """Delete a device, its windows, attributes and logins."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.credentials = True


@immutable
class ReadCredentials(OnDevice):
    """Read a device's login. The secret is shown only during the reissue window."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.credentials = True


@immutable
class ServerWindow:
    """The `claimingData` attribute: a key, and its end in epoch milliseconds."""

    key: Secret
    expires_at_ms: int
    may_replace: bool
    """True if it may replace another key that is still open."""


@immutable
class SetAttributes(OnDevice):
    """Set SERVER_SCOPE attributes (name, JSON text). `claimingData` opens a server window."""

    attributes: tuple[tuple[str, str], ...]
    server_window: ServerWindow | None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.server_window.key,) if self.server_window else ()

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.windows |= self.server_window is not None


@immutable
class ReadAttributes(OnDevice):
    """Read SERVER_SCOPE attributes: all, or those of `names`."""

    names: tuple[str, ...]

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.windows = needs.attributes = True


@immutable
class DeleteAttributes(ReadAttributes):
    """Delete SERVER_SCOPE attributes. `claimingData` closes the server window."""


@immutable
class CreateGateway(Command):
    """Create a gateway and its login, or mark an existing device as a gateway."""

    name: str
    secret: Secret

    @property
    def device(self) -> str | None:
        return self.name

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        _new_device_needs(self.caller, self.name, self.secret, needs, facts, policy)


@immutable
class BindDevices(Command):
    """Let a gateway speak for existing devices."""

    gateway: str
    names: tuple[str, ...]

    @property
    def device(self) -> str | None:
        return self.gateway

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        tenant = facts.tenant_of(self.caller)
        needs.device_names.add((tenant, self.gateway))
        needs.device_names.update((tenant, name) for name in self.names)


@immutable
class FoundAttributes(Outcome):
    """A device's SERVER_SCOPE attributes. `server_window` is its `claimingData`, whose key is never shown."""

    attributes: tuple[Attribute, ...]
    server_window: ClaimWindow | None


@immutable
class Bound(Outcome):
    """A gateway and the devices that were bound to it."""

    gateway: Device
    devices: tuple[str, ...]


def find_device(command: FindDevice, facts: Facts, given: Given) -> Decision:
    """Read a device of the caller's tenant by its name."""
    device = facts.device_named(facts.tenant_of(command.caller), command.name)
    return Decision(Found(device)) if device else refuse(Reason.NOT_FOUND)


def create_device(command: CreateDevice, facts: Facts, given: Given) -> Decision:
    """Create a device and its login. Refused if the name or the login exists."""
    tenant = facts.tenant_of(command.caller)
    if facts.device_named(tenant, command.name):
        return refuse(Reason.ALREADY_EXISTS)
    device = Device(
        given.new_id(),
        tenant,
        command.name,
        None,
        given.now_ms,
        is_gateway=command.is_gateway,
        type=command.type,
        label=command.label,
    )
    return _create(device, command.secret, command.caller, facts, given)


def read_device(command: ReadDevice, facts: Facts, given: Given) -> Decision:
    """Read a device of the caller's tenant."""
    device = _own_device(command.caller, command.device_id, facts)
    return Decision(Found(device)) if device else refuse(Reason.NOT_FOUND)


def update_device(command: UpdateDevice, facts: Facts, given: Given) -> Decision:
    """Change a device's type, label and gateway mark. Its name is its identity and cannot change."""
    device = _own_device(command.caller, command.device_id, facts)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    if command.name != device.name:
        return refuse(Reason.INVALID_VALUE, "a device cannot be renamed")
    changed = replace(device, type=command.type, label=command.label, is_gateway=command.is_gateway)
    if changed == device:
        return Decision(Found(device))
    return Decision(Found(changed), (Put(changed), device_event(device, "device_updated", command.caller, given)))


def delete_device(command: DeleteDevice, facts: Facts, given: Given) -> Decision:
    """Delete a device and its logins."""
    device = _own_device(command.caller, command.device_id, facts)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    logins = end_logins(device.principal, facts, given) if device.principal else ()
    deleted = device_event(device, "device_deleted", command.caller, given)
    ended = (device.principal,) if device.principal else ()
    return Decision(Done(), (Remove(Device, device.id), *logins, deleted), ended=ended)


def read_credentials(command: ReadCredentials, facts: Facts, given: Given) -> Decision:
    """Read a device's newest login, with the sealed secret only while it may be shown again."""
    device = _own_device(command.caller, command.device_id, facts)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    found = newest(device.principal, facts)
    if found is not None and found.sealed_until_ms < given.now_ms:
        found = replace(found, sealed=None)
    return Decision(FoundCredential(device, found))


def set_attributes(command: SetAttributes, facts: Facts, given: Given) -> Decision:
    """Set all attributes or none. `claimingData` sets the server-side key."""
    device = _own_device(command.caller, command.device_id, facts)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    changes: list[Change] = [
        Put(Attribute(device.id, name, value, given.now_ms)) for name, value in command.attributes
    ]
    if window := command.server_window:
        new = NewKey(
            key_hash=window.key.hardened,
            expires_at_ms=window.expires_at_ms,
            may_replace=window.may_replace,
            by=command.caller,
        )
        made = set_key(device, new, facts, given)
        if isinstance(made, Refused):
            return Decision(made)
        changes += made.changes
    return Decision(Done(), tuple(changes))


def read_attributes(command: ReadAttributes, facts: Facts, given: Given) -> Decision:
    """Read all attributes, or those named."""
    device = _own_device(command.caller, command.device_id, facts)
    return Decision(_named(command, device, facts)) if device else refuse(Reason.NOT_FOUND)


def delete_attributes(command: DeleteAttributes, facts: Facts, given: Given) -> Decision:
    """Delete the named attributes. `claimingData` closes the server window."""
    device = _own_device(command.caller, command.device_id, facts)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    named = _named(command, device, facts)
    changes: list[Change] = [Remove(Attribute, row.key) for row in named.attributes]
    if named.server_window:
        changes.append(Remove(ClaimWindow, named.server_window.key))
        changes.append(device_event(device, "claiming_data_removed", command.caller, given))
    return Decision(Done(), tuple(changes))


def create_gateway(command: CreateGateway, facts: Facts, given: Given) -> Decision:
    """Create a gateway, or mark an existing device as one. An existing login stays as it is."""
    tenant = facts.tenant_of(command.caller)
    device = facts.device_named(tenant, command.name)
    if device is None:
        device = Device(given.new_id(), tenant, command.name, None, given.now_ms, is_gateway=True)
        return _create(device, command.secret, command.caller, facts, given)
    if device.principal is None:
        return refuse(Reason.NAME_TAKEN, "a gateway speaks for the device of this name")
    marked = replace(device, is_gateway=True)
    return Decision(Found(marked), (Put(marked), device_event(marked, "gateway_marked", command.caller, given)))


def bind_devices(command: BindDevices, facts: Facts, given: Given) -> Decision:
    """Let a gateway speak for existing devices: all of them or none."""
    tenant = facts.tenant_of(command.caller)
    gateway = facts.device_named(tenant, command.gateway)
    if gateway is None:
        return refuse(Reason.NOT_FOUND)
    if not gateway.is_gateway:
        return refuse(Reason.NOT_A_GATEWAY)
    changes: list[Change] = []
    for name in dict.fromkeys(command.names):
        device = facts.device_named(tenant, name)
        if device is None:
            return refuse(Reason.NOT_FOUND, f"no device {name!r}")
        if device.gateway_id != gateway.id:
            bound = replace(device, gateway_id=gateway.id)
            changes += [Put(bound), device_event(bound, "device_bound", command.caller, given, gateway.name)]
    return Decision(Bound(gateway, command.names), tuple(changes))


def _create(device: Device, secret: Secret, caller: str, facts: Facts, given: Given) -> Decision:
    if error := name_error(device.name):
        return refuse(Reason.INVALID_NAME, error)
    login = issue_login(device.tenant, device.name, PrincipalKind.DEVICE, secret, facts, given)
    if isinstance(login, Refused):
        return Decision(login)
    made = replace(device, principal=login.principal)
    created = device_event(made, "device_created", caller, given)
    # The principal is first because the device and its credential refer to it.
    changes = (login.changes[0], Put(made), *login.changes[1:], created)
    return Decision(Found(made, secret if login.issued else None, created=True), changes)


def _named(command: ReadAttributes, device: Device, facts: Facts) -> FoundAttributes:
    wanted = set(command.names)
    attributes = tuple(row for row in facts.attributes(device.id) if not wanted or row.name in wanted)
    window = facts.get(ClaimWindow, (device.id, WindowSource.SERVER))
    return FoundAttributes(attributes, window if not wanted or CLAIMING_DATA in wanted else None)


def _own_device(caller: str, device_id: str, facts: Facts) -> Device | None:
    device = facts.get(Device, device_id)
    return device if device and device.tenant == facts.tenant_of(caller) else None


def _new_device_needs(caller: str, name: str, secret: Secret, needs: Needs, facts: Facts, policy: Policy) -> None:
    tenant = facts.tenant_of(caller)
    principal = principal_name(tenant, name, policy)
    needs.device_names.add((tenant, name))
    needs.principals.add(principal)
    if secret.kind is SecretKind.PASSWORD:
        needs.logins.add(principal)
    elif secret.is_hardened:  # otherwise the needs are collected again after hardening
        needs.logins.add(secret.hardened)


RULES: dict[type[Command], Rule] = {
    FindDevice: Rule(find_device, frozenset({TENANT_ADMIN})),
    CreateDevice: Rule(create_device, frozenset({TENANT_ADMIN})),
    ReadDevice: Rule(read_device, frozenset({TENANT_ADMIN})),
    UpdateDevice: Rule(update_device, frozenset({TENANT_ADMIN})),
    DeleteDevice: Rule(delete_device, frozenset({TENANT_ADMIN})),
    ReadCredentials: Rule(read_credentials, frozenset({TENANT_ADMIN})),
    SetAttributes: Rule(set_attributes, frozenset({TENANT_ADMIN})),
    ReadAttributes: Rule(read_attributes, frozenset({TENANT_ADMIN})),
    DeleteAttributes: Rule(delete_attributes, frozenset({TENANT_ADMIN})),
    CreateGateway: Rule(create_gateway, frozenset({TENANT_ADMIN})),
    BindDevices: Rule(bind_devices, frozenset({TENANT_ADMIN})),
}
