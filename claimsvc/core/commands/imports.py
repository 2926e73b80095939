"""Commands of files: many devices registered, or given claim keys, in one request (C8Y 3, seed).

A file is first asked for as a whole; then each slice of its rows is a command of its own, decided like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from claimsvc.core.commands.base import Command
from claimsvc.core.enrolment import needs_names
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.outcomes import RowRefused
from claimsvc.core.policy import MANAGEMENT_TENANT, Policy
from claimsvc.core.secrets import Secret


class Entry(StrEnum):
    """How a device of a file gets in (C8Y 3.1)."""

    REQUEST = "request"  # announced only: it asks, and somebody accepts it
    PASSWORD = "password"  # noqa: S105 - with the password it has already
    ONE_TIME_PASSWORD = "one_time_password"  # noqa: S105 - with one that gives it its login
    ELSEWHERE = "elsewhere"  # by a login that somebody else keeps, such as a certificate's


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class ImportDevices(Command):
    """Have a file of devices registered. `names_tenants`: whether it says whose each is."""

    names_tenants: bool


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class KeyedDevice:
    """A row that lets a device be claimed with a key, until a time (epoch milliseconds) where it names one."""

    name: str
    key: Secret
    expires_at_ms: int | None
    type: str | None
    label: str | None


@dataclass(frozen=True, slots=True)
class ImportClaimKeys(Command):
    """Have a list of devices given claim keys (seed: a tenant knows the names of its devices)."""


@dataclass(frozen=True, slots=True)
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
