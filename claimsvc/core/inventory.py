"""Inventory: listing devices, and finding out why one cannot be claimed.

command         | who may      | what it does
ListDevices     | TENANT_ADMIN | lists a page of devices, in order of their names
ExamineClaiming | TENANT_ADMIN | reads what decides whether a device can be claimed
"""

from __future__ import annotations

from claimsvc.core.command import Command, OnDevice, Rule
from claimsvc.core.decision import Decision, Listing, Outcome, Query, refuse
from claimsvc.core.facts import Facts
from claimsvc.core.model import Attribute, ClaimAttempts, ClaimWindow, Device, Event, UserFailures
from claimsvc.core.permissions import TENANT_ADMIN
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.core.server_keys import KEY_REPLACED
from claimsvc.immutable import immutable


@immutable
class ListDevices(Command):
    """List a page of the devices whose names begin with `prefix`, optionally only those of a group."""

    limit: int
    after: str | None
    prefix: str
    group_id: str | None


@immutable
class ExamineClaiming(OnDevice):
    """Read what decides whether a device can be claimed, and its last claims."""


@immutable
class ClaimingQuestion(Query):
    """The device whose claiming state the caller may read."""

    device: Device
    events: tuple[str, ...]
    """The audit events to return."""
    key_replaced: str
    """The audit event of a replaced key. The newest one is returned, even if many other events followed."""
    allow_by_default: bool


@immutable
class ClaimingState(Outcome):
    """The claiming state of a device, and its events, newest first."""

    question: ClaimingQuestion
    windows: tuple[ClaimWindow, ...]
    claiming_allowed: Attribute | None
    attempts: tuple[ClaimAttempts, ...]
    """The users whose claims of this device failed, latest first."""
    failures: tuple[UserFailures, ...]
    """The failures of those users over all devices."""
    events: tuple[Event, ...]
    key_replaced: Event | None
    """The last replacement of an open claim key."""


TOLD_OF = (
    "device_claimed",
    "device_released",
    "claim_refused",
    "claim_locked_out",
    "claiming_data_set",
    KEY_REPLACED,
)
"""Audit events about a device's claims and its claim keys."""


def list_devices(command: ListDevices, facts: Facts, given: Given) -> Decision:
    """Allow a page of the caller's tenant's devices."""
    tenant = facts.tenant_of(command.caller)
    return Decision(
        Listing(Device, tenant, command.limit, command.after, prefix=command.prefix, group_id=command.group_id)
    )


def examine_claiming(command: ExamineClaiming, facts: Facts, given: Given) -> Decision:
    """Allow the claiming state of a device of the caller's tenant."""
    device = facts.get(Device, command.device_id)
    if device is None or device.tenant != facts.tenant_of(command.caller):
        return refuse(Reason.NOT_FOUND)
    return Decision(ClaimingQuestion(device, TOLD_OF, KEY_REPLACED, allow_by_default=given.policy.allow_by_default))


RULES: dict[type[Command], Rule] = {
    ListDevices: Rule(list_devices, frozenset({TENANT_ADMIN})),
    ExamineClaiming: Rule(examine_claiming, frozenset({TENANT_ADMIN})),
}
