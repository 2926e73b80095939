"""The mapping of rows to tables: the tables derived from the model, the loading of facts, the writing of changes.

All stores share this module. Each has its own `Statements`. A column is a field of the model: its name follows from
the field's name, its conversion from the field's type. This module contains no SQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from enum import Enum, StrEnum
from itertools import compress, starmap
from operator import attrgetter, ne
from typing import Any, Protocol, get_origin, get_type_hints

from claimsvc.core.admission import needs_of
from claimsvc.core.command import Command
from claimsvc.core.decision import Append, Change, Put, Remove
from claimsvc.core.facts import BY_KEY, Facts, Lookup, Needs
from claimsvc.core.model import (
    CLAIMING_ALLOWED,
    PROVISION_STATE,
    Answered,
    Attribute,
    ClaimAttempts,
    ClaimWindow,
    Credential,
    Customer,
    Device,
    DeviceGroup,
    DeviceGroupMember,
    DeviceProfile,
    DeviceRequest,
    EndedPrincipal,
    Event,
    FormerCredential,
    Group,
    Import,
    ImportPart,
    Principal,
    PrincipalKind,
    Role,
    Row,
    Tenant,
    User,
    UserFailures,
)
from claimsvc.core.policy import Policy
from claimsvc.immutable import immutable

Values = tuple[Any, ...]


class OnConflict(StrEnum):
    """The effect of inserting a row whose key exists."""

    UPDATE = "update"
    KEEP = "keep"
    REPLACE = "replace"
    FAIL = "fail"


@immutable
class Join:
    """A field whose values are in a separate table, with the columns `keys` and one `column` for the value."""

    table: str
    keys: tuple[str, ...]
    column: str
    of: tuple[str, ...]
    """The columns of the main table that `keys` refer to."""


@immutable(kw_only=True)
class Table:
    """The table of one kind of row."""

    kind: type[Any]
    name: str
    columns: tuple[str, ...]
    """One for each field, in order. A field with a join has the join's column."""
    joins: dict[str, Join]
    """By column."""
    key: tuple[str, ...]
    fixed: frozenset[str]
    """Columns that never change."""
    on_conflict: OnConflict
    then: tuple[str, ...]
    """Named statements that run after the insert, for the joins."""
    removable: bool
    has_dependents: bool
    """True if removing such a row removes others. Then nothing may be reordered across its removal."""
    partial: bool
    """True to write a loaded row by an UPDATE of its changed columns only, which leaves other indexes untouched."""
    decode: Callable[[Iterable[Values]], list[Any]]
    """Turns the values of `columns` into rows."""
    encode: Callable[[Any], Values]
    """Turns a row into the values of `own_columns`."""
    encode_whole: Callable[[Any], Values]
    """Turns a row into the values of `columns`, for the statements of `then`."""

    @property
    def own_columns(self) -> tuple[str, ...]:
        """Return the columns of the table itself, without joins."""
        return tuple(column for column in self.columns if column not in self.joins)

    @property
    def updated_columns(self) -> tuple[str, ...]:
        """Return the columns that are written if the row exists."""
        return tuple(each for each in self.own_columns if each not in self.key and each not in self.fixed)


_COLUMNS = {"tenant": "tenant_id", "user": "principal"}
_NAMES = {Group: "user_group", ClaimAttempts: "claim_attempt", UserFailures: "user_failure"}


def column_of(field: str) -> str:
    """Return the column of a field: without its unit, and with `_id` for a tenant."""
    return _COLUMNS.get(field, field.removesuffix("_ms"))


def _table(  # noqa: PLR0913 - one entry of the list below
    kind: type[Any],
    *,
    key: tuple[str, ...] = (),
    fixed: tuple[str, ...] = (),
    on_conflict: OnConflict = OnConflict.UPDATE,
    joins: dict[str, Join] | None = None,
    then: tuple[str, ...] = (),
    removable: bool = False,
    has_dependents: bool = False,
    partial: bool = False,
) -> Table:
    names = [each.name for each in fields(kind)]
    joins = joins or {}
    columns = tuple(joins[name].column if name in joins else column_of(name) for name in names)
    hints = get_type_hints(kind)
    own = [name for name in names if name not in joins]
    return Table(
        kind=kind,
        name=_NAMES.get(kind, re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()),
        columns=columns,
        joins={join.column: join for join in joins.values()},
        key=key or columns[:1],
        fixed=frozenset(map(column_of, fixed)),
        on_conflict=on_conflict,
        then=then,
        removable=removable or has_dependents,
        has_dependents=has_dependents,
        partial=partial,
        decode=_decoder(kind, [_decoding(hints[name], is_joined=name in joins) for name in names]),
        encode=_encoder([(name, hints[name]) for name in own]),
        encode_whole=attrgetter(*names),
    )


def _decoding(hint: Any, *, is_joined: bool) -> Callable[[Any], Any] | None:
    if hint is bool:
        return bool
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {each.value: each for each in hint}.__getitem__
    if get_origin(hint) is tuple:
        return (lambda text: tuple(sorted(json.loads(text)))) if is_joined else (lambda text: tuple(json.loads(text)))
    return None


def _decoder(
    kind: type[Any], decodings: list[Callable[[Any], Any] | None]
) -> Callable[[Iterable[Values]], list[Any]]:
    conversions = [(place, convert) for place, convert in enumerate(decodings) if convert]
    if not conversions:
        return lambda found: list(starmap(kind, found))

    def decode(found: Iterable[Values]) -> list[Any]:
        made = []
        for values in found:
            converted = list(values)
            for place, convert in conversions:
                converted[place] = convert(converted[place])
            made.append(kind(*converted))
        return made

    return decode


def _encoder(own: list[tuple[str, Any]]) -> Callable[[Any], Values]:
    """Return the function that reads a row's values as plain texts and numbers, which the driver binds fastest."""
    texts = [place for place, (_, hint) in enumerate(own) if get_origin(hint) is tuple]
    read = attrgetter(*(_path(name, hint) for name, hint in own))
    if not texts:
        return read

    def encode(row: Any) -> Values:
        values = list(read(row))
        for place in texts:
            values[place] = json.dumps(values[place])
        return tuple(values)

    return encode


def _path(name: str, hint: Any) -> str:
    if hint is bool:
        return f"{name}.real"  # 0 or 1
    return f"{name}._value_" if isinstance(hint, type) and issubclass(hint, Enum) else name


_DEVICE_AND_NAME = ("device_id", "name")
_ALL = (
    # In the order of references: a row is written after the rows that it refers to.
    _table(Tenant, fixed=("created_at_ms",)),
    _table(Principal, on_conflict=OnConflict.FAIL, has_dependents=True),
    _table(EndedPrincipal),
    _table(Customer, fixed=("tenant", "created_at_ms"), has_dependents=True),
    _table(
        Role,
        key=("tenant_id", "name"),
        on_conflict=OnConflict.KEEP,
        joins={"permissions": Join("role_permission", ("tenant_id", "role"), "permission", ("tenant_id", "name"))},
        then=("clear_role_permissions", "put_role_permissions"),
    ),
    _table(
        Group,
        key=("tenant_id", "name"),
        on_conflict=OnConflict.KEEP,
        joins={"roles": Join("user_group_role", ("tenant_id", "user_group"), "role", ("tenant_id", "name"))},
        then=("clear_group_roles", "put_group_roles"),
    ),
    _table(
        User,
        fixed=("tenant", "username", "created_at_ms"),
        joins={
            "roles": Join("user_role", ("principal",), "role", ("principal",)),
            "groups": Join("user_group_member", ("principal",), "user_group", ("principal",)),
        },
        then=("clear_user_roles", "put_user_roles", "clear_user_groups", "put_user_groups"),
        has_dependents=True,
    ),
    _table(Device, fixed=("tenant", "name", "created_at_ms"), has_dependents=True, partial=True),
    _table(DeviceProfile, fixed=("tenant", "name", "created_at_ms"), removable=True),
    _table(Credential, fixed=("principal",), has_dependents=True, then=("clear_ended_principals",)),
    _table(FormerCredential, key=("login", "secret_hash"), removable=True),
    _table(ClaimWindow, key=("device_id", "source"), removable=True),
    _table(Attribute, key=_DEVICE_AND_NAME, removable=True),
    _table(ClaimAttempts, key=("principal", "device_id"), removable=True),
    _table(UserFailures),
    # A request that a batch deletes and creates again may belong to another tenant, so no column is fixed.
    _table(DeviceRequest, removable=True),
    _table(DeviceGroup, on_conflict=OnConflict.FAIL),
    _table(DeviceGroupMember, key=("group_id", "device_id"), on_conflict=OnConflict.KEEP),
    _table(Import, key=("lane", "request_id"), fixed=("digest",), has_dependents=True),
    _table(ImportPart, key=("lane", "request_id", "number"), on_conflict=OnConflict.FAIL),
    # A request id that is used again after it expired gets a new number, so that numbers are in order of expiry.
    _table(Answered, key=("lane", "request_id"), on_conflict=OnConflict.REPLACE),
)
TABLES: dict[type[Any], Table] = {table.kind: table for table in _ALL}
EVENTS = _table(Event, on_conflict=OnConflict.FAIL)
_ORDER = {kind: position for position, kind in enumerate(TABLES)}

FOUND: dict[Lookup, type[Row]] = {lookup: kind for kind, lookup in BY_KEY.items()} | {
    Lookup.SERVICES: Principal,
    Lookup.DEVICES_BY_PRINCIPAL: Device,
    Lookup.DEVICES_BY_NAME: Device,
    Lookup.WINDOWS: ClaimWindow,
    Lookup.PROFILES_BY_KEY: DeviceProfile,
    Lookup.PROFILES_BY_NAME: DeviceProfile,
    Lookup.ATTRIBUTES: Attribute,
    Lookup.CREDENTIALS_BY_PRINCIPAL: Credential,
    Lookup.FORMER_CREDENTIALS: FormerCredential,
    Lookup.PENDING_REQUESTS: DeviceRequest,
    Lookup.DEVICE_GROUPS_BY_PATH: DeviceGroup,
}
"""The kind of row that each lookup finds. `customers` finds more than rows; `device_counts` finds none."""


class Selecting(Protocol):
    """The reading statements of a store, by name, on one connection."""

    def select(self, name: str, keys: Collection[Any]) -> list[Any]:
        """Return the values of the rows that a lookup finds for its keys."""


class Statements(Selecting, Protocol):
    """The statements of a store within an open transaction."""

    def insert(self, table: Table, values: list[Values]) -> None:
        """Insert rows, each the values of the table's own columns, as its `on_conflict` says."""

    def update(self, table: Table, columns: tuple[str, ...], values: list[Values]) -> None:
        """Set `columns` of stored rows. Each row's values are those of the columns, then those of the key."""

    def remove(self, table: Table, keys: list[Any]) -> None:
        """Delete the rows with these keys."""

    def execute(self, name: str, rows: list[Values]) -> None:
        """Execute a named statement for whole rows."""


class Loading:
    """The loading of one batch's facts."""

    def __init__(self, statements: Selecting, policy: Policy) -> None:
        self._statements = statements
        self._policy = policy
        self._facts = Facts(policy.default_tenant)
        self.stored: dict[object, Row] = {}
        """The loaded rows of partial tables by key, as they are stored."""

    def load(self, commands: Sequence[Command], repeat_keys: Iterable[tuple[str, str]]) -> Facts:
        """Return the rows that the rules of these commands read. `repeat_keys` are (lane, request id).

        The callers' rows are loaded first, because the needs of a command depend on the caller's tenant.
        """
        # The caller of a device without a login is "".
        self._callers({command.caller for command in commands if command.caller})
        needs = Needs()
        for command in commands:
            command.needs(needs, self._facts, self._policy)
        self._requests(needs)
        self._profiles(needs)
        self._named(needs)
        self._of_devices(needs)
        self._failures(needs)
        self._fetch(Lookup.ANSWERED, set(repeat_keys))
        return self._facts

    def _callers(self, callers: set[str]) -> None:
        principals = self._fetch(Lookup.PRINCIPALS, callers)
        self._fetch(Lookup.ENDED_PRINCIPALS, callers)
        self._fetch(Lookup.DEVICES_BY_PRINCIPAL, callers)
        self._facts.mark(Lookup.USERS, callers)
        users = [row.name for row in principals if row.kind is PrincipalKind.USER]
        members = self._fetch(Lookup.USERS, users)
        roles = {(user.tenant, name) for user in members for name in user.roles}
        self._memberships({(user.tenant, name) for user in members for name in user.groups}, roles)

    def _memberships(self, groups: set[tuple[str, str]], roles: set[tuple[str, str]]) -> None:
        """Load groups of users with their roles, and further roles."""
        found = self._fetch(Lookup.GROUPS, groups)
        self._fetch(Lookup.ROLES, roles | {(group.tenant, name) for group in found for name in group.roles})

    def _requests(self, needs: Needs) -> None:
        """Load device requests, and add the needs of those found."""
        found = self._fetch(Lookup.REQUESTS, needs.requests)
        found += self._fetch(Lookup.PENDING_REQUESTS, needs.pending_of)
        for request in found:
            needs_of(request, needs, self._policy)

    def _profiles(self, needs: Needs) -> None:
        """Load device profiles, and add the needs of devices that show the right key and secret."""
        self._fetch(Lookup.PROFILES_BY_KEY, needs.profile_keys)
        self._fetch(Lookup.PROFILES_BY_NAME, needs.profile_names)
        self._fetch(Lookup.PROFILES_BY_ID, needs.profile_ids)
        for add_needs in needs.once_profiles_are_known:
            add_needs()

    def _named(self, needs: Needs) -> None:
        self._fetch(Lookup.PRINCIPALS, needs.principals)
        self._fetch(Lookup.TENANTS, needs.tenants)
        self._customers(needs.customers)
        self._fetch(Lookup.USERS, needs.users)
        self._memberships(needs.groups, needs.roles)
        self._device_counts(needs.device_counts)
        self._fetch(Lookup.DEVICE_GROUPS_BY_PATH, needs.device_groups)
        self._fetch(Lookup.DEVICE_GROUPS_BY_ID, needs.device_group_ids)
        self._fetch(Lookup.DEVICES_BY_NAME, needs.device_names)
        self._fetch(Lookup.DEVICES_BY_ID, needs.device_ids)
        self._credentials(Lookup.CREDENTIALS_BY_LOGIN, needs.logins)
        self._credentials(Lookup.CREDENTIALS_BY_PRINCIPAL, needs.logins_of)
        if needs.services:
            services = self._fetch(Lookup.SERVICES, [""])
            self._credentials(Lookup.CREDENTIALS_BY_PRINCIPAL, [service.name for service in services])

    def _of_devices(self, needs: Needs) -> None:
        devices = self._facts.devices()
        ids = [device.id for device in devices]
        if needs.windows:
            self._fetch(Lookup.WINDOWS, ids)
        wanted = {CLAIMING_ALLOWED: needs.claiming_allowed, PROVISION_STATE: needs.provision_state}
        pairs = [(device_id, name) for name, is_wanted in wanted.items() if is_wanted for device_id in ids]
        self._fetch(Lookup.ATTRIBUTES_NAMED, pairs)
        if needs.attributes:
            self._fetch(Lookup.ATTRIBUTES, ids)
        if needs.credentials:
            owners = [device.principal for device in devices if device.principal]
            self._credentials(Lookup.CREDENTIALS_BY_PRINCIPAL, owners)
            # A name that becomes a login again must not be another principal's login by now.
            self._fetch(Lookup.CREDENTIALS_BY_LOGIN, owners)

    def _credentials(self, lookup: Lookup, keys: Collection[str]) -> None:
        """Load logins with their former passwords."""
        found = self._fetch(lookup, keys)
        self._fetch(Lookup.FORMER_CREDENTIALS, [row.login for row in found])

    def _failures(self, needs: Needs) -> None:
        self._fetch(Lookup.FAILURES, {user for user, _tenant, _name in needs.attempts_at})
        targets = ((user, self._facts.device_named(tenant, name)) for user, tenant, name in needs.attempts_at)
        self._fetch(Lookup.ATTEMPTS, [(user, device.id) for user, device in targets if device])

    def _customers(self, ids: set[str]) -> None:
        if not ids:
            return
        self._facts.mark(Lookup.CUSTOMERS, ids)
        for *values, is_in_use in self._statements.select(Lookup.CUSTOMERS, ids):
            (customer,) = TABLES[Customer].decode([tuple(values)])
            self._facts.put(customer)
            if is_in_use:
                self._facts.mark_in_use(customer.id)

    def _device_counts(self, tenants: set[str]) -> None:
        if tenants:
            for tenant, devices in self._statements.select(Lookup.DEVICE_COUNTS, tenants):
                self._facts.count_devices(tenant, devices)

    def _fetch(self, lookup: Lookup, keys: Collection[Any]) -> list[Any]:
        if not keys:
            return []
        facts, table = self._facts, TABLES[FOUND[lookup]]
        facts.mark(lookup, keys)
        found = table.decode(self._statements.select(lookup, keys))
        for row in found:
            facts.put(row)
        if table.partial:
            self.stored.update((row.key, row) for row in found)
        return found


class Writing:
    """The writing of changes in an open transaction: the last change of each row, one statement for each kind of row.

    `stored` are the rows of partial tables as they are stored.
    """

    def __init__(self, statements: Statements, stored: dict[object, Row] | None = None) -> None:
        self._statements = statements
        self._stored = stored or {}

    def write(self, changes: Sequence[Change]) -> None:
        """Write the changes of a batch. Their order is kept if it matters."""
        events: list[Values] = []
        pending: dict[tuple[type[Row], object], Put | Remove] = {}
        for change in changes:
            if isinstance(change, Append):
                events.append(EVENTS.encode(change.event))
            elif isinstance(change, Put):
                pending[type(change.row), change.row.key] = change
            elif TABLES[change.kind].has_dependents:
                self._write(pending.values())
                pending.clear()
                self._remove(change.kind, [change.key])
                self._stored.clear()  # the removal may have changed other rows
            else:
                pending[change.kind, change.key] = change
        self._write(pending.values())
        if events:
            self._statements.insert(EVENTS, events)

    def _write(self, changes: Iterable[Put | Remove]) -> None:
        """Write the removals first, then the rows in the order of their references."""
        removed: dict[type[Row], list[Any]] = {}
        put: dict[type[Row], list[Any]] = {}
        for change in changes:
            if isinstance(change, Remove):
                removed.setdefault(change.kind, []).append(change.key)
            else:
                put.setdefault(type(change.row), []).append(change.row)
        for kind, keys in removed.items():
            self._remove(kind, keys)
        for kind in sorted(put, key=_ORDER.__getitem__):
            self._put(TABLES[kind], put[kind])

    def _put(self, table: Table, rows: list[Any]) -> None:
        if table.partial:
            inserted = [row for row in rows if row.key not in self._stored]
            updated = [row for row in rows if row.key in self._stored]
        else:
            inserted, updated = rows, []
        if inserted:
            self._statements.insert(table, [*map(table.encode, inserted)])
        if updated:
            self._update(table, updated)
        if table.then:
            whole = [*map(table.encode_whole, rows)]
            for statement in table.then:
                self._statements.execute(statement, whole)

    def _update(self, table: Table, rows: list[Any]) -> None:
        """Write the changed columns, all rows with the same changed columns together."""
        same: dict[tuple[str, ...], list[Values]] = {}
        columns = table.own_columns
        for row in rows:
            key = row.key
            new = table.encode(row)
            is_changed = [*map(ne, new, table.encode(self._stored[key]))]
            same.setdefault(tuple(compress(columns, is_changed)), []).append((*compress(new, is_changed), key))
            self._stored[key] = row
        for changed_columns, values_of in same.items():
            if changed_columns:
                self._statements.update(table, changed_columns, values_of)

    def _remove(self, kind: type[Row], keys: list[Any]) -> None:
        table = TABLES[kind]
        if not table.removable:
            raise TypeError(f"{kind.__name__} rows are never removed")
        self._statements.remove(table, keys)
