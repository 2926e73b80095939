"""Files: one request registers many devices, or sets many claim keys.

command         | who may              | what it does
ImportDevices   | DEVICE_CONTROL_ADMIN | allows a file of devices
RegisterDevices | DEVICE_CONTROL_ADMIN | registers the devices of some rows
ImportClaimKeys | TENANT_ADMIN         | allows a list of claim keys
SetClaimKeys    | TENANT_ADMIN         | sets the claim keys of some rows

The file as a whole is allowed first. Then the service splits it into slices of rows and decides each as a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from itertools import accumulate
from typing import Any, TypeVar

from claimsvc.core.admission import STEPS, Admitted, Newcomer, Step, admit, announced, is_full, needs_names
from claimsvc.core.command import Command, Rule
from claimsvc.core.decision import Change, Decision, Outcome, Put, Refused, Remove, device_event, refuse
from claimsvc.core.device_groups import find_or_create_group, group_membership
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import Attribute, Device, DeviceRequest, Event, Tenant
from claimsvc.core.names import device_id_error, name_error
from claimsvc.core.permissions import DEVICE_CONTROL_ADMIN, TENANT_ADMIN
from claimsvc.core.policy import MANAGEMENT_TENANT, Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import RequestRefused, barred
from claimsvc.core.secrets import Secret
from claimsvc.core.server_keys import NewKey, set_key
from claimsvc.immutable import immutable


class Entry(StrEnum):
    """The way in which a device of a file gets its login. Facts: docs/original-systems.md#bulk-columns."""

    REQUEST = "request"  # only announced: the device polls, and an operator accepts it
    PASSWORD = "password"  # noqa: S105 - the file has its password
    ONE_TIME_PASSWORD = "one_time_password"  # noqa: S105 - the device gets its login for it
    ELSEWHERE = "elsewhere"  # the service issues no login: the device has a certificate, for example


@immutable
class NewDevice:
    """A row that registers a device. Only the management tenant may set `tenant`. `attributes` are JSON texts."""

    device_id: str
    entry: Entry
    secret: Secret | None
    tenant: str | None
    type: str | None
    label: str | None
    path: tuple[str, ...]
    """Names of nested groups, outermost first."""
    attributes: tuple[tuple[str, str], ...]

    @property
    def paths(self) -> Iterator[str]:
        """Return the paths of its groups, outermost first."""
        return accumulate(self.path, lambda above, name: f"{above}/{name}")


@immutable
class ImportDevices(Command):
    """Allow a file of devices. `names_tenants` is True if it has a column with each device's tenant."""

    names_tenants: bool


@immutable
class RegisterDevices(Command):
    """Register the devices of a slice of a file. Malformed rows are refused one by one."""

    rows: tuple[NewDevice | RowRefused, ...]

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(row.secret for row in self.rows if isinstance(row, NewDevice) and row.secret)

    def issues_logins(self, facts: Facts) -> bool:
        return True

    def tenant_meant(self, row: NewDevice, facts: Facts) -> str:
        """Return the tenant that a row's device will belong to."""
        own = facts.tenant_of(self.caller)
        return (row.tenant or "") if own == MANAGEMENT_TENANT else own

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        for row in self.rows:
            if isinstance(row, NewDevice):
                tenant = self.tenant_meant(row, facts)
                needs.tenants.add(tenant)
                needs.requests.add(row.device_id)
                needs.device_groups.update((tenant, path) for path in row.paths)
                needs_names(tenant, row.device_id, needs, policy)
                needs.credentials = needs.credentials or row.entry is Entry.PASSWORD
                if policy.device_limit:
                    needs.device_counts.add(tenant)


@immutable
class KeyedDevice:
    """A row that sets a device's claim key. `expires_at_ms` is epoch milliseconds; None means the default."""

    name: str
    key: Secret
    expires_at_ms: int | None
    type: str | None
    label: str | None


@immutable
class ImportClaimKeys(Command):
    """Allow a list of claim keys."""


@immutable
class SetClaimKeys(Command):
    """Set the claim keys of a slice of a list. Malformed rows are refused one by one."""

    rows: tuple[KeyedDevice | RowRefused, ...]
    may_replace: bool
    """True if a key may replace another key that is still open."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(row.key for row in self.rows if isinstance(row, KeyedDevice))

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        tenant = facts.tenant_of(self.caller)
        needs.device_names.update((tenant, row.name) for row in self.rows if isinstance(row, KeyedDevice))
        needs.windows = True


class RowStatus(StrEnum):
    """The result of a row that succeeded."""

    CREATED = "created"
    UPDATED = "updated"


class RowField(StrEnum):
    """The field of a row that was refused. The dialect knows its column."""

    DEVICE_ID = "device_id"
    TENANT = "tenant"
    SECRET = "secret"  # noqa: S105 - a name
    EXPIRES_AT = "expires_at"


@immutable
class RowDone:
    """A row that succeeded. `until_ms`: the end of its claim key, epoch milliseconds."""

    status: RowStatus
    until_ms: int | None = None
    is_replaced: bool = False
    """True if another claim key, which was still open, stopped working."""


@immutable
class RowRefused:
    """A row that was refused. `column` is the field, or the dialect's column, that caused it, if there is one."""

    refused: Refused
    column: RowField | str | None = None


@immutable
class RowsDone(Outcome):
    """The results of a slice, in the order of its rows."""

    results: tuple[RowDone | RowRefused, ...]


@immutable
class ImportAllowed(Outcome):
    """The file may be imported, slice by slice, for the caller's tenant."""

    tenant: str


@immutable
class ImportCounts:
    """The progress of a file: all its `rows`, and the results so far."""

    rows: int
    created: int = 0
    updated: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        return self.created + self.updated + self.failed


@immutable
class ImportFinished(Outcome):
    """A file was imported. `parts` are the dialect's notes of each slice."""

    counts: ImportCounts
    parts: tuple[Any, ...]
    is_rehearsal: bool
    """True if the file was only checked and nothing was changed."""


R = TypeVar("R")


Row = tuple[RowDone | RowRefused, tuple[Change, ...], tuple[str, ...]]
"""The result of a row, its changes, and the principals whose sessions end."""


def begin_device_file(command: ImportDevices, facts: Facts, given: Given) -> Decision:
    """Allow a file of devices. A file of the management tenant must have a column for the tenant."""
    if facts.tenant_of(command.caller) == MANAGEMENT_TENANT and not command.names_tenants:
        return refuse(Reason.INVALID_VALUE, "TENANT: files of the management tenant need this column")
    return Decision(ImportAllowed(facts.tenant_of(command.caller)))


def begin_claim_key_file(command: ImportClaimKeys, facts: Facts, given: Given) -> Decision:
    """Allow a list of claim keys."""
    return Decision(ImportAllowed(facts.tenant_of(command.caller)))


def register_devices(command: RegisterDevices, facts: Facts, given: Given) -> Decision:
    """Register the devices of a slice of a file."""

    def decide(row: NewDevice) -> Row:
        tenant = command.tenant_meant(row, facts)
        if facts.get(Tenant, tenant) is None:
            return _refused(Refused(Reason.NOT_FOUND, f"no tenant {tenant!r}"), RowField.TENANT)
        if row.entry is Entry.REQUEST:
            return _announce(row, tenant, command.caller, facts, given)
        return _let_in(row, tenant, command.caller, facts, given)

    return _each(command.rows, decide, facts)


def set_claim_keys(command: SetClaimKeys, facts: Facts, given: Given) -> Decision:
    """Set the claim keys of a slice of a list."""
    tenant = facts.tenant_of(command.caller)
    return _each(command.rows, lambda row: _set_key(row, tenant, command, facts, given), facts)


def file_imported(tenant: str, by: str, counts: ImportCounts, now_ms: int) -> Event:
    """Return the audit event of an imported file. Each row that changed something also has its own events."""
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
            facts.apply(change)  # the next row builds on it
        results.append(result)
        changes += row_changes
        ended += row_ended
    return Decision(RowsDone(tuple(results)), tuple(changes), ended=tuple(ended))


def _announce(row: NewDevice, tenant: str, by: str, facts: Facts, given: Given) -> Row:
    """Announce a device. It gets its login after it has polled and an operator has accepted it."""
    if refused := barred(row.device_id, tenant, facts, given):
        return _refused(refused, RowField.DEVICE_ID)
    group, grouped = find_or_create_group(tenant, row.paths, by, facts, given)
    request = _request(row, tenant, by, given, group.id if group else None)
    return _done((*grouped, Put(request), device_event(request, "request_created", by, given)))


def _let_in(row: NewDevice, tenant: str, by: str, facts: Facts, given: Given) -> Row:
    """Create or update a device from its row."""
    error = device_id_error(row.device_id)
    if error is not None:
        return _refused(RequestRefused(Reason.INVALID_DEVICE_ID, error, device_id=row.device_id), RowField.DEVICE_ID)
    has_password = row.entry is Entry.PASSWORD
    if has_password and not given.policy.issue_logins:
        return _refused(Refused(Reason.INVALID_VALUE, "the service keeps no logins"), RowField.SECRET)
    if row.entry is Entry.ONE_TIME_PASSWORD and (refused := barred(row.device_id, tenant, facts, given)):
        return _refused(refused, RowField.DEVICE_ID)
    newcomer = Newcomer(tenant, row.device_id, row.type, row.label)
    made = admit(newcomer, row.secret if has_password else None, by, facts, given)
    if isinstance(made, Refused):
        return _refused(RequestRefused(made.reason, made.detail, device_id=row.device_id), RowField.DEVICE_ID)
    if made.is_new and is_full(tenant, facts, given):
        return _refused(RequestRefused(Reason.DEVICE_LIMIT, device_id=row.device_id), None)
    group, grouped = find_or_create_group(tenant, row.paths, by, facts, given)
    changes = (
        *made.changes,
        *(Put(Attribute(made.device.id, name, value, given.now_ms)) for name, value in row.attributes),
        *grouped,
        *group_membership(made.device, group),
        *_registered(row, made, by, facts, given),
    )
    if made.is_new:
        return _done(changes)
    return RowDone(RowStatus.UPDATED), changes, (made.principal,) if has_password else ()


def _registered(row: NewDevice, made: Admitted, by: str, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Return the changes of the device's request: a one-time password creates one, all else deletes it."""
    if row.entry is Entry.ONE_TIME_PASSWORD:
        request = announced(_request(row, made.device.tenant, by, given, None), row.secret, given)
        return (Put(request), device_event(request, "request_created", by, given))
    changes: list[Change] = []
    if row.entry is Entry.PASSWORD and not made.is_new:
        changes.append(device_event(made.device, "credentials_replaced", by, given))
    earlier = facts.get(DeviceRequest, row.device_id)
    if earlier is not None and earlier.tenant == made.device.tenant:
        # If it were accepted later, the client that polled would get another login.
        changes += [Remove(DeviceRequest, earlier.id), device_event(earlier, "request_deleted", by, given)]
    return tuple(changes)


def _request(row: NewDevice, tenant: str, by: str, given: Given, group_id: str | None) -> DeviceRequest:
    status = STEPS[None, Step.ANNOUNCE]
    return DeviceRequest(row.device_id, tenant, status, by, given.now_ms, group_id, row.type)


def _set_key(row: KeyedDevice, tenant: str, command: SetClaimKeys, facts: Facts, given: Given) -> Row:
    """Open a server window for a device. Create the device if it is missing."""
    if error := name_error(row.name):
        return _refused(Refused(Reason.INVALID_NAME, error), RowField.DEVICE_ID)
    if row.expires_at_ms is not None and row.expires_at_ms <= given.now_ms:
        return _refused(Refused(Reason.INVALID_VALUE, "this time has passed"), RowField.EXPIRES_AT)
    known = facts.device_named(tenant, row.name)
    if known is not None and known.owner is not None:
        return _refused(Refused(Reason.ALREADY_CLAIMED), RowField.DEVICE_ID)
    device = known or Device(given.new_id(), tenant, row.name, None, given.now_ms)
    described = replace(device, type=row.type or device.type, label=row.label or device.label)
    changes: list[Change] = [] if described == known else [Put(described)]
    if known is None:
        changes.append(device_event(described, "device_created", command.caller, given))
        facts.apply(Put(described))  # a new device is known to have no windows
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


RULES: dict[type[Command], Rule] = {
    ImportDevices: Rule(begin_device_file, frozenset({DEVICE_CONTROL_ADMIN})),
    RegisterDevices: Rule(register_devices, frozenset({DEVICE_CONTROL_ADMIN})),
    ImportClaimKeys: Rule(begin_claim_key_file, frozenset({TENANT_ADMIN})),
    SetClaimKeys: Rule(set_claim_keys, frozenset({TENANT_ADMIN})),
}
