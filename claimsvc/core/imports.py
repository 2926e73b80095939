"""Files of devices: each row is decided for itself, so that a bad one stops no other (C8Y 3, seed).

A device that is known already is updated, so a file can be sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from claimsvc.core import groups
from claimsvc.core.commands.imports import (
    Entry,
    ImportClaimKeys,
    ImportDevices,
    KeyedDevice,
    NewDevice,
    RegisterDevices,
    SetClaimKeys,
)
from claimsvc.core.enrolment import Admitted, Newcomer, admit
from claimsvc.core.facts import Facts
from claimsvc.core.model import (
    Attribute,
    Device,
    DeviceRequest,
    Event,
    Tenant,
)
from claimsvc.core.names import device_id_error, name_error
from claimsvc.core.outcomes import (
    Append,
    Change,
    Decision,
    ImportAllowed,
    ImportCounts,
    Put,
    Refused,
    Remove,
    RequestRefused,
    RowDone,
    RowField,
    RowRefused,
    RowsDone,
    RowStatus,
    refuse,
)
from claimsvc.core.policy import MANAGEMENT_TENANT, Given
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import announced, barred, is_full, request_event
from claimsvc.core.request_states import STEPS, Step
from claimsvc.core.server_keys import NewKey, set_key

R = TypeVar("R")
Row = tuple[RowDone | RowRefused, tuple[Change, ...], tuple[str, ...]]
"""What became of a row, the changes that make it so, and whose sessions end."""


def begin_devices(command: ImportDevices, facts: Facts, given: Given) -> Decision:
    """Let a file of devices be worked through; the management tenant has to say whose each is (C8Y B6)."""
    if facts.tenant_of(command.caller) == MANAGEMENT_TENANT and not command.names_tenants:
        return refuse(Reason.INVALID_VALUE, "TENANT: the management tenant says in this column whose a device is")
    return Decision(ImportAllowed(facts.tenant_of(command.caller)))


def begin_claim_keys(command: ImportClaimKeys, facts: Facts, given: Given) -> Decision:
    """Let a list of devices with their claim keys be worked through."""
    return Decision(ImportAllowed(facts.tenant_of(command.caller)))


def register(command: RegisterDevices, facts: Facts, given: Given) -> Decision:
    """Register a slice of a file."""

    def decide(row: NewDevice) -> Row:
        tenant = command.tenant_meant(row, facts)
        if facts.get(Tenant, tenant) is None:
            return _refused(Refused(Reason.NOT_FOUND, f"there is no tenant {tenant!r}"), RowField.TENANT)
        if row.entry is Entry.REQUEST:
            return _announce(row, tenant, command.caller, facts, given)
        return _let_in(row, tenant, command.caller, facts, given)

    return _each(command.rows, decide, facts)


def set_claim_keys(command: SetClaimKeys, facts: Facts, given: Given) -> Decision:
    """Give a slice of a list its keys."""
    tenant = facts.tenant_of(command.caller)
    return _each(command.rows, lambda row: _set_key(row, tenant, command, facts, given), facts)


def file_imported(tenant: str, by: str, counts: ImportCounts, now_ms: int) -> Event:
    """Return the audit event of a file that was worked through; each row that did something has its own besides."""
    detail = f"rows={counts.rows} created={counts.created} updated={counts.updated} failed={counts.failed}"
    return Event(tenant, now_ms, "file_imported", by, detail=detail)


def _each(rows: Iterable[R | RowRefused], decide: Callable[[R], Row], facts: Facts) -> Decision:
    results: list[RowDone | RowRefused] = []
    changes: list[Change] = []
    ended: list[str] = []
    for row in rows:
        if isinstance(row, RowRefused):
            results.append(row)
            continue
        result, row_changes, row_ended = decide(row)
        for change in row_changes:
            facts.apply(change)  # the next row stands on it
        results.append(result)
        changes += row_changes
        ended += row_ended
    return Decision(RowsDone(tuple(results)), tuple(changes), ended=tuple(ended))


def _announce(row: NewDevice, tenant: str, by: str, facts: Facts, given: Given) -> Row:
    """Announce a device: it asks for its login, and somebody accepts it."""
    if refused := barred(row.device_id, tenant, facts, given):
        return _refused(refused, RowField.DEVICE_ID)
    group, grouped = groups.make(tenant, row.paths, by, facts, given)
    request = _request(row, tenant, by, given, group.id if group else None)
    return _done((*grouped, Put(request), request_event("request_created", request, by, given)))


def _let_in(row: NewDevice, tenant: str, by: str, facts: Facts, given: Given) -> Row:
    """Make a device, or update one that is known, with what its row says of it."""
    error = device_id_error(row.device_id)
    if error is not None:
        return _refused(RequestRefused(Reason.INVALID_DEVICE_ID, error, device_id=row.device_id), RowField.DEVICE_ID)
    has_password = row.entry is Entry.PASSWORD
    if has_password and not given.policy.issue_logins:
        return _refused(Refused(Reason.INVALID_VALUE, "this service keeps no logins"), RowField.SECRET)
    if row.entry is Entry.ONE_TIME_PASSWORD and (refused := barred(row.device_id, tenant, facts, given)):
        return _refused(refused, RowField.DEVICE_ID)
    newcomer = Newcomer(tenant, row.device_id, row.type, row.label)
    made = admit(newcomer, row.secret if has_password else None, by, facts, given)
    if isinstance(made, Refused):
        return _refused(RequestRefused(made.reason, made.detail, device_id=row.device_id), RowField.DEVICE_ID)
    if made.is_new and is_full(tenant, facts, given):
        return _refused(RequestRefused(Reason.DEVICE_LIMIT, device_id=row.device_id), None)
    group, grouped = groups.make(tenant, row.paths, by, facts, given)
    changes = (
        *made.changes,
        *(Put(Attribute(made.device.id, name, value, given.now_ms)) for name, value in row.attributes),
        *grouped,
        *groups.join(made.device, group),
        *_registered(row, made, by, facts, given),
    )
    if made.is_new:
        return _done(changes)
    return RowDone(RowStatus.UPDATED), changes, (made.principal,) if has_password else ()


def _registered(row: NewDevice, made: Admitted, by: str, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Note how the device got in: a one-time password opens a request, all else ends one that waits."""
    if row.entry is Entry.ONE_TIME_PASSWORD:
        request = announced(_request(row, made.device.tenant, by, given, None), row.secret, given)
        return (Put(request), request_event("request_created", request, by, given))
    changes: list[Change] = []
    if row.entry is Entry.PASSWORD and not made.is_new:
        device = made.device
        replaced = Event(device.tenant, given.now_ms, "credentials_replaced", by, device.id, device.name)
        changes.append(Append(replaced))
    earlier = facts.get(DeviceRequest, row.device_id)
    if earlier is not None and earlier.tenant == made.device.tenant:
        # Accepted later, it would give whoever polled for it another login.
        changes += [Remove(DeviceRequest, earlier.id), request_event("request_deleted", earlier, by, given)]
    return tuple(changes)


def _request(row: NewDevice, tenant: str, by: str, given: Given, group_id: str | None) -> DeviceRequest:
    status = STEPS[None, Step.ANNOUNCE]
    return DeviceRequest(row.device_id, tenant, status, by, given.now_ms, group_id, row.type)


def _set_key(row: KeyedDevice, tenant: str, command: SetClaimKeys, facts: Facts, given: Given) -> Row:
    """Open a server window for a device, made where it is missing."""
    if error := name_error(row.name):
        return _refused(Refused(Reason.INVALID_NAME, error), RowField.DEVICE_ID)
    if row.expires_at_ms is not None and row.expires_at_ms <= given.now_ms:
        return _refused(Refused(Reason.INVALID_VALUE, "this time is over"), RowField.EXPIRES_AT)
    known = facts.device_named(tenant, row.name)
    if known is not None and known.owner is not None:
        return _refused(Refused(Reason.ALREADY_CLAIMED), RowField.DEVICE_ID)
    device = known or Device(given.new_id(), tenant, row.name, None, given.now_ms)
    described = replace(device, type=row.type or device.type, label=row.label or device.label)
    changes: list[Change] = [] if described == known else [Put(described)]
    if known is None:
        changes.append(_event("device_created", described, command.caller, given))
    new = NewKey(
        key_hash=row.key.hardened,
        expires_at_ms=row.expires_at_ms,
        may_replace=command.may_replace,
        by=command.caller,
    )
    made = set_key(described, new, facts, given)
    if isinstance(made, Refused):
        return _refused(made, RowField.DEVICE_ID)
    done = RowDone(RowStatus.UPDATED if known else RowStatus.CREATED, made.until_ms, made.is_replaced)
    return done, (*changes, *made.changes), ()


def _refused(refused: Refused, field: RowField | None) -> Row:
    return RowRefused(refused, field), (), ()


def _done(changes: tuple[Change, ...]) -> Row:
    return RowDone(RowStatus.CREATED), changes, ()


def _event(event: str, device: Device, by: str, given: Given) -> Append:
    return Append(Event(device.tenant, given.now_ms, event, by, device.id, device.name))
