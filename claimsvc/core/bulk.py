"""Commands of files: one request registers many devices, or gives them claim keys.

A file is first asked for as a whole; then each slice of its rows is a command of its own, decided like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from itertools import accumulate
from typing import Any, TypeVar

from claimsvc.core.admission import Admitted, Newcomer, admit, needs_names
from claimsvc.core.command import Command, Rule
from claimsvc.core.decision import Append, Change, Decision, Outcome, Put, Refused, Remove, refuse
from claimsvc.core.device_groups import find_or_create_group, group_membership
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import Attribute, Device, DeviceRequest, Event, Tenant
from claimsvc.core.names import device_id_error, name_error
from claimsvc.core.permissions import DEVICE_CONTROL_ADMIN, TENANT_ADMIN
from claimsvc.core.policy import MANAGEMENT_TENANT, Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import STEPS, RequestRefused, Step, announced, barred, is_full, request_event
from claimsvc.core.secrets import Secret
from claimsvc.core.server_keys import NewKey, set_key
from claimsvc.immutable import immutable


class Entry(StrEnum):
    """How a device of a file logs in, or is let in. Facts: docs/original-systems.md#bulk-columns."""

    REQUEST = "request"  # announced only: it asks, and somebody accepts it
    PASSWORD = "password"  # noqa: S105 - with the password it has already
    ONE_TIME_PASSWORD = "one_time_password"  # noqa: S105 - with one that gives it its login
    ELSEWHERE = "elsewhere"  # by a login that somebody else keeps, such as a certificate's


@immutable
class NewDevice:
    """A row that registers a device. `tenant` counts for the management tenant alone; `attributes` are JSON texts."""

    device_id: str
    entry: Entry
    secret: Secret | None
    tenant: str | None
    type: str | None
    label: str | None
    path: tuple[str, ...]
    """Names of groups, the outermost first."""
    attributes: tuple[tuple[str, str], ...]

    @property
    def paths(self) -> Iterator[str]:
        """Return the paths of its groups, the outermost first."""
        return accumulate(self.path, lambda above, name: f"{above}/{name}")


@immutable
class ImportDevices(Command):
    """Have a file of devices registered. `names_tenants`: whether it says whose each is."""

    names_tenants: bool


@immutable
class RegisterDevices(Command):
    """Register a slice of a file; what was not understood is refused on its own."""

    rows: tuple[NewDevice | RowRefused, ...]

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(row.secret for row in self.rows if isinstance(row, NewDevice) and row.secret)

    def issues_logins(self, facts: Facts) -> bool:
        return True

    def tenant_meant(self, row: NewDevice, facts: Facts) -> str:
        """Return the tenant a row's device is to belong to."""
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
    """A row that lets a device be claimed with a key, until a time (epoch milliseconds) where it names one."""

    name: str
    key: Secret
    expires_at_ms: int | None
    type: str | None
    label: str | None


@immutable
class ImportClaimKeys(Command):
    """Allow a list that gives devices their claim keys."""


@immutable
class SetClaimKeys(Command):
    """Give a slice of a list its keys; what was not understood is refused on its own."""

    rows: tuple[KeyedDevice | RowRefused, ...]
    may_replace: bool
    """Whether a key may take the place of another one that is still open."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(row.key for row in self.rows if isinstance(row, KeyedDevice))

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        tenant = facts.tenant_of(self.caller)
        needs.device_names.update((tenant, row.name) for row in self.rows if isinstance(row, KeyedDevice))
        needs.windows = True


class RowStatus(StrEnum):
    """What became of a row that was understood and allowed."""

    CREATED = "created"
    UPDATED = "updated"


class RowField(StrEnum):
    """What of a row is to blame; its dialect has a column for it."""

    DEVICE_ID = "device_id"
    TENANT = "tenant"
    SECRET = "secret"  # noqa: S105 - a name
    EXPIRES_AT = "expires_at"


@immutable
class RowDone:
    """A row of a file that is done; a claim key's with the time until which it is good, epoch milliseconds."""

    status: RowStatus
    until_ms: int | None = None
    is_replaced: bool = False
    """Whether another claim key, which was still open, stopped working."""


@immutable
class RowRefused:
    """A row of a file that is not; where one can be blamed, the field, or the column its dialect read."""

    refused: Refused
    column: RowField | str | None = None


@immutable
class RowsDone(Outcome):
    """A slice of a file: what became of each row, in its order."""

    results: tuple[RowDone | RowRefused, ...]


@immutable
class ImportAllowed(Outcome):
    """The file may be worked through, slice by slice, for the caller's tenant."""

    tenant: str


@immutable
class ImportCounts:
    """How far a file is worked through: `rows` in all, and what became of those that were reached."""

    rows: int
    created: int = 0
    updated: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        return self.created + self.updated + self.failed


@immutable
class ImportFinished(Outcome):
    """A file was worked through. `parts` are what its dialect noted of each slice."""

    counts: ImportCounts
    parts: tuple[Any, ...]
    is_rehearsal: bool
    """Whether nothing was changed: the file was only tried."""


R = TypeVar("R")


Row = tuple[RowDone | RowRefused, tuple[Change, ...], tuple[str, ...]]
"""What became of a row, the changes that make it so, and whose sessions end."""


def begin_device_file(command: ImportDevices, facts: Facts, given: Given) -> Decision:
    """Allow a file of devices. In a file of the management tenant each row must name its device's tenant."""
    if facts.tenant_of(command.caller) == MANAGEMENT_TENANT and not command.names_tenants:
        return refuse(Reason.INVALID_VALUE, "TENANT: the management tenant says in this column whose a device is")
    return Decision(ImportAllowed(facts.tenant_of(command.caller)))


def begin_claim_key_file(command: ImportClaimKeys, facts: Facts, given: Given) -> Decision:
    """Let a list of devices with their claim keys be worked through."""
    return Decision(ImportAllowed(facts.tenant_of(command.caller)))


def register_devices(command: RegisterDevices, facts: Facts, given: Given) -> Decision:
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
    group, grouped = find_or_create_group(tenant, row.paths, by, facts, given)
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


def _event(event: str, device: Device, by: str, given: Given) -> Append:
    return Append(Event(device.tenant, given.now_ms, event, by, device.id, device.name))


RULES: dict[type[Command], Rule] = {
    ImportDevices: Rule(begin_device_file, frozenset({DEVICE_CONTROL_ADMIN})),
    RegisterDevices: Rule(register_devices, frozenset({DEVICE_CONTROL_ADMIN})),
    ImportClaimKeys: Rule(begin_claim_key_file, frozenset({TENANT_ADMIN})),
    SetClaimKeys: Rule(set_claim_keys, frozenset({TENANT_ADMIN})),
}
