"""Commands of devices, gateways and the customers who claim them (TB 1 and 3)."""

from __future__ import annotations

from dataclasses import dataclass

from claimsvc.core.commands.base import Command, OnNamedDevice
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.outcomes import Refused
from claimsvc.core.policy import Policy
from claimsvc.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class OpenWindow(Command):
    """A device opens its own claim window. Milliseconds; None means the default."""

    key: Secret
    duration_ms: int | None
    received_at_ms: int | None
    redelivered: bool

    @property
    def device(self) -> str | None:
        return self.caller

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.key,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        if facts.device_of(self.caller) is None:
            needs.device_names.add((facts.tenant_of(self.caller), self.caller))
        needs.claiming_allowed |= not policy.allow_by_default


@dataclass(frozen=True, slots=True)
class WindowEntry:
    """One device of a gateway's message."""

    name: str
    key: Secret
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class OpenWindows(Command):
    """A gateway opens windows for devices it speaks for; an entry not understood is refused on its own."""

    entries: tuple[WindowEntry | tuple[str, Refused], ...]
    received_at_ms: int | None
    redelivered: bool

    @property
    def device(self) -> str | None:
        return self.caller

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(entry.key for entry in self.entries if isinstance(entry, WindowEntry))

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        tenant = facts.tenant_of(self.caller)
        needs.device_names.update((tenant, entry.name) for entry in self.entries if isinstance(entry, WindowEntry))
        needs.claiming_allowed |= not policy.allow_by_default


@dataclass(frozen=True, slots=True)
class ReadSessionLimits(Command):
    """What may this client send (TB 5.1)?"""


@dataclass(frozen=True, slots=True)
class ClaimDevice(OnNamedDevice):
    """A customer user claims a device with its key."""

    key: Secret

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.key,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnNamedDevice.needs(self, needs, facts, policy)
        needs.attempts_at.add((self.caller, facts.tenant_of(self.caller), self.name))
        needs.windows = needs.claiming_allowed = True


@dataclass(frozen=True, slots=True)
class ReleaseDevice(OnNamedDevice):
    """The owner or a tenant admin gives a device back."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnNamedDevice.needs(self, needs, facts, policy)
        needs.windows = needs.claiming_allowed = True
        if policy.rotate_on_release:
            needs.credentials = needs.provision_state = True
