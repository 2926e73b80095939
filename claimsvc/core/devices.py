"""What a tenant admin does with devices and gateways: make, read, change, remove, bind, attributes (TB 3)."""

from __future__ import annotations

from dataclasses import replace

from claimsvc.core.commands.devices import (
    BindDevices,
    CreateDevice,
    CreateGateway,
    DeleteAttributes,
    DeleteDevice,
    FindDevice,
    ReadAttributes,
    ReadCredentials,
    ReadDevice,
    SetAttributes,
    UpdateDevice,
)
from claimsvc.core.facts import Facts
from claimsvc.core.logins import issue, revoke
from claimsvc.core.model import (
    CLAIMING_DATA,
    Attribute,
    ClaimWindow,
    Device,
    Event,
    PrincipalKind,
    WindowSource,
)
from claimsvc.core.names import name_error
from claimsvc.core.outcomes import (
    Append,
    Bound,
    Change,
    Decision,
    Done,
    Found,
    FoundAttributes,
    FoundCredential,
    Put,
    Refused,
    Remove,
    refuse,
)
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.core.renewal import newest
from claimsvc.core.secrets import Secret
from claimsvc.core.server_keys import NewKey, set_key


def create(command: CreateDevice, facts: Facts, given: Given) -> Decision:
    """Make a device with a login of its own; a taken name or login is refused, never taken over."""
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
    return _make(device, command.secret, command.caller, facts, given)


def create_gateway(command: CreateGateway, facts: Facts, given: Given) -> Decision:
    """Make a gateway, or mark a device that exists as one; an existing login stays as it is."""
    tenant = facts.tenant_of(command.caller)
    device = facts.device_named(tenant, command.name)
    if device is None:
        device = Device(given.new_id(), tenant, command.name, None, given.now_ms, is_gateway=True)
        return _make(device, command.secret, command.caller, facts, given)
    if device.principal is None:
        return refuse(Reason.NAME_TAKEN, "a device of this name is spoken for by a gateway")
    marked = replace(device, is_gateway=True)
    return Decision(Found(marked), (Put(marked), _event("gateway_marked", marked, command.caller, given)))


def _make(device: Device, secret: Secret, caller: str, facts: Facts, given: Given) -> Decision:
    if error := name_error(device.name):
        return refuse(Reason.INVALID_NAME, error)
    login = issue(device.tenant, device.name, PrincipalKind.DEVICE, secret, facts, given)
    if isinstance(login, Refused):
        return Decision(login)
    made = replace(device, principal=login.principal)
    created = _event("device_created", made, caller, given)
    # The principal goes first: the device and its credential refer to it.
    changes = (login.changes[0], Put(made), *login.changes[1:], created)
    return Decision(Found(made, secret if login.issued else None, created=True), changes)


def read(command: ReadDevice, facts: Facts, given: Given) -> Decision:
    """Read a device of the caller's tenant."""
    device = _of_tenant(command.caller, command.device_id, facts)
    return Decision(Found(device)) if device else refuse(Reason.NOT_FOUND)


def find(command: FindDevice, facts: Facts, given: Given) -> Decision:
    """Read a device of the caller's tenant by name."""
    device = facts.device_named(facts.tenant_of(command.caller), command.name)
    return Decision(Found(device)) if device else refuse(Reason.NOT_FOUND)


def update(command: UpdateDevice, facts: Facts, given: Given) -> Decision:
    """Change type, label and the gateway mark; a name is an identity here and stays."""
    device = _of_tenant(command.caller, command.device_id, facts)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    if command.name != device.name:
        return refuse(Reason.INVALID_VALUE, "a device cannot be renamed")
    changed = replace(device, type=command.type, label=command.label, is_gateway=command.is_gateway)
    if changed == device:
        return Decision(Found(device))
    return Decision(Found(changed), (Put(changed), _event("device_updated", device, command.caller, given)))


def delete(command: DeleteDevice, facts: Facts, given: Given) -> Decision:
    """Remove a device and end its logins."""
    device = _of_tenant(command.caller, command.device_id, facts)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    logins = revoke(device.principal, facts, given) if device.principal else ()
    deleted = _event("device_deleted", device, command.caller, given)
    ended = (device.principal,) if device.principal else ()
    return Decision(Done(), (Remove(Device, device.id), *logins, deleted), ended=ended)


def read_credentials(command: ReadCredentials, facts: Facts, given: Given) -> Decision:
    """Read a device's newest login; the sealed secret only while it may be given again."""
    device = _of_tenant(command.caller, command.device_id, facts)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    found = newest(device.principal, facts)
    if found is not None and found.sealed_until_ms < given.now_ms:
        found = replace(found, sealed=None)
    return Decision(FoundCredential(device, found))


def set_attributes(command: SetAttributes, facts: Facts, given: Given) -> Decision:
    """Write attributes, all or none; `claimingData` sets the server-side key (TB 2.1)."""
    device = _of_tenant(command.caller, command.device_id, facts)
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
    """Read attributes, all or those named."""
    device = _of_tenant(command.caller, command.device_id, facts)
    return Decision(_named(command, device, facts)) if device else refuse(Reason.NOT_FOUND)


def delete_attributes(command: DeleteAttributes, facts: Facts, given: Given) -> Decision:
    """Remove the named attributes; `claimingData` closes the server window."""
    device = _of_tenant(command.caller, command.device_id, facts)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    named = _named(command, device, facts)
    changes: list[Change] = [Remove(Attribute, row.key) for row in named.attributes]
    if named.server_window:
        changes.append(Remove(ClaimWindow, named.server_window.key))
        changes.append(_event("claiming_data_removed", device, command.caller, given))
    return Decision(Done(), tuple(changes))


def bind(command: BindDevices, facts: Facts, given: Given) -> Decision:
    """Let a gateway speak for devices that exist; all of them or none."""
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
            changes += [Put(bound), _event("device_bound", bound, command.caller, given, gateway.name)]
    return Decision(Bound(gateway, command.names), tuple(changes))


def _named(command: ReadAttributes, device: Device, facts: Facts) -> FoundAttributes:
    wanted = set(command.names)
    attributes = tuple(row for row in facts.attributes(device.id) if not wanted or row.name in wanted)
    window = facts.get(ClaimWindow, (device.id, WindowSource.SERVER))
    return FoundAttributes(attributes, window if not wanted or CLAIMING_DATA in wanted else None)


def _of_tenant(caller: str, device_id: str, facts: Facts) -> Device | None:
    device = facts.get(Device, device_id)
    return device if device and device.tenant == facts.tenant_of(caller) else None


def _event(event: str, device: Device, caller: str, given: Given, detail: str | None = None) -> Append:
    return Append(Event(device.tenant, given.now_ms, event, caller, device.id, device.name, detail))
