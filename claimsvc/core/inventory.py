"""What a tenant admin may see of devices: a listing, and the state of one's claiming."""

from __future__ import annotations

from claimsvc.core.commands.inventory import ExamineClaiming, ListDevices
from claimsvc.core.facts import Facts
from claimsvc.core.model import Device
from claimsvc.core.outcomes import ClaimingQuestion, Decision, Listing, refuse
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.core.server_keys import KEY_REPLACED

TOLD_OF = (
    "device_claimed",
    "device_released",
    "claim_refused",
    "claim_locked_out",
    "claiming_data_set",
    KEY_REPLACED,
)
"""Audit events that say what became of a device's claims, and what they stood on."""


def list_devices(command: ListDevices, facts: Facts, given: Given) -> Decision:
    """Allow a page of the caller's tenant's devices."""
    tenant = facts.tenant_of(command.caller)
    return Decision(
        Listing(Device, tenant, command.limit, command.after, prefix=command.prefix, group_id=command.group_id)
    )


def examine(command: ExamineClaiming, facts: Facts, given: Given) -> Decision:
    """Allow a look at the claiming of a device of the caller's tenant."""
    device = facts.get(Device, command.device_id)
    if device is None or device.tenant != facts.tenant_of(command.caller):
        return refuse(Reason.NOT_FOUND)
    return Decision(ClaimingQuestion(device, TOLD_OF, KEY_REPLACED, allow_by_default=given.policy.allow_by_default))
