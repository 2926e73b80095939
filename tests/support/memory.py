"""An in-memory source of rows behind the real loader, so that a rule's test runs through the needs it declares."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from claimsvc.core import rules
from claimsvc.core.command import Command
from claimsvc.core.decision import Decision
from claimsvc.core.facts import Facts, Key, Lookup
from claimsvc.core.model import Customer, PrincipalKind, RequestStatus, Row
from claimsvc.core.policy import Given
from claimsvc.store.mapping import FOUND, Loading

_KEYS: dict[Lookup, Callable[[Any], object]] = {
    # lookup: the key by which it finds a row; all others find a row by its own
    Lookup.SERVICES: lambda row: "" if row.kind is PrincipalKind.SERVICE else None,
    Lookup.DEVICES_BY_PRINCIPAL: lambda row: row.principal,
    Lookup.DEVICES_BY_NAME: lambda row: (row.tenant, row.name),
    Lookup.WINDOWS: lambda row: row.device_id,
    Lookup.ATTRIBUTES: lambda row: row.device_id,
    Lookup.PROFILES_BY_KEY: lambda row: row.provision_key,
    Lookup.PROFILES_BY_NAME: lambda row: (row.tenant, row.name),
    Lookup.CREDENTIALS_BY_PRINCIPAL: lambda row: row.principal,
    Lookup.FORMER_CREDENTIALS: lambda row: row.login,
    Lookup.PENDING_REQUESTS: lambda row: row.tenant if row.status is RequestStatus.PENDING_ACCEPTANCE else None,
    Lookup.DEVICE_GROUPS_BY_PATH: lambda row: (row.tenant, row.path),
}


class Memory(Facts):
    """Every row there is: a test reads it without asking, and the loader selects from it as from a store."""

    def _not_asked(self, what: str, key: Key) -> None:
        """Let the test read whatever it likes."""

    def select(self, name: str, keys: Collection[Any]) -> list[Any]:
        """Return the values that the lookup of this name finds."""
        lookup = Lookup(name)
        if lookup is Lookup.DEVICE_COUNTS:
            return [(tenant, self._count(tenant)) for tenant in keys]
        if lookup is Lookup.CUSTOMERS:
            found = (self.get(Customer, key) for key in keys)
            return [(*_values(row), self.customer_in_use(row.id)) for row in found if row]
        key_of = _KEYS.get(lookup, _own_key)
        return [_values(row) for row in self._rows[FOUND[lookup]].values() if key_of(row) in keys]

    def _count(self, tenant: str) -> int:
        return self._device_counts.get(tenant, sum(row.tenant == tenant for row in self.devices()))


def _own_key(row: Any) -> object:
    return row.key


def _values(row: Row) -> tuple[object, ...]:
    """Return a row's fields as a store holds them."""
    return tuple(_stored(getattr(row, each.name)) for each in fields(row))


def _stored(value: object) -> object:
    if isinstance(value, tuple):
        return json.dumps(value)
    return value.value if isinstance(value, Enum) else value


def load(commands: Sequence[Command], memory: Memory, at: Given) -> Facts:
    """Return the strict facts of one batch."""
    return Loading(memory, at.policy).load(commands, ())


def decide(command: Command, memory: Memory, at: Given) -> Decision:
    """Decide a command on what it asked for, in a batch of its own, and change the memory."""
    (decision,) = decide_batch([command], memory, at)
    return decision


def decide_batch(commands: Iterable[Command], memory: Memory, at: Given) -> list[Decision]:
    """Decide commands in one batch: each sees the changes of those before it."""
    batch = list(commands)
    known = load(batch, memory, at)
    decisions = [rules.decide(command, known, at) for command in batch]
    for decision in decisions:
        for change in decision.changes:
            memory.apply(change)
    return decisions
