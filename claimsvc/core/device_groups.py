"""Groups of devices, named by their path. Adding a device to a missing group creates the group."""

from __future__ import annotations

from collections.abc import Iterable

from claimsvc.core.decision import Change, Put, tenant_event
from claimsvc.core.facts import Facts
from claimsvc.core.model import Device, DeviceGroup, DeviceGroupMember
from claimsvc.core.policy import Given

Made = tuple[DeviceGroup | None, list[Change]]


def find_or_create_group(tenant: str, paths: Iterable[str], by: str, facts: Facts, given: Given) -> Made:
    """Return the innermost group of these paths and the changes that create what is missing. Outermost path first."""
    group: DeviceGroup | None = None
    changes: list[Change] = []
    for path in paths:
        group = facts.group_at(tenant, path)
        if group is None:
            group = DeviceGroup(given.new_id(), tenant, path, given.now_ms)
            changes += [Put(group), tenant_event(tenant, "device_group_created", by, given, path)]
    return group, changes


def group_membership(device: Device, group: DeviceGroup | None) -> tuple[Change, ...]:
    """Return the change that adds a device to a group; none without a group or for another tenant's group."""
    if group is None or group.tenant != device.tenant:
        return ()
    return (Put(DeviceGroupMember(group.id, device.id)),)
