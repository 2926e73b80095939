"""Groups of devices, named by their path. A missing group is created when a device is put into it."""

from __future__ import annotations

from collections.abc import Iterable

from claimsvc.core.decision import Append, Change, Put
from claimsvc.core.facts import Facts
from claimsvc.core.model import Device, DeviceGroup, DeviceGroupMember, Event
from claimsvc.core.policy import Given

Made = tuple[DeviceGroup | None, list[Change]]


def find_or_create_group(tenant: str, paths: Iterable[str], by: str, facts: Facts, given: Given) -> Made:
    """Return the innermost group of these paths, outermost first, with the changes that make what is missing."""
    group: DeviceGroup | None = None
    changes: list[Change] = []
    for path in paths:
        group = facts.group_at(tenant, path)
        if group is None:
            group = DeviceGroup(given.new_id(), tenant, path, given.now_ms)
            changes += [Put(group), Append(Event(tenant, given.now_ms, "device_group_created", by, detail=path))]
    return group, changes


def group_membership(device: Device, group: DeviceGroup | None) -> tuple[Change, ...]:
    """Put a device into a group of its own tenant; what is no group is nothing."""
    if group is None or group.tenant != device.tenant:
        return ()
    return (Put(DeviceGroupMember(group.id, device.id)),)
