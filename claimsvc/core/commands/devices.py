"""Commands of tenant admins about devices, gateways and their attributes."""

from __future__ import annotations

from dataclasses import dataclass

from claimsvc.core.commands.base import Command, OnNamedDevice
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.names import principal_name
from claimsvc.core.policy import Policy
from claimsvc.core.secrets import Secret, SecretKind


@dataclass(frozen=True, slots=True)
class FindDevice(OnNamedDevice):
    """Read a device by its name."""


@dataclass(frozen=True, slots=True)
class CreateDevice(Command):
    """Make a device with a login: an access token when one is given, else username and password."""

    name: str
    type: str
    label: str | None
    is_gateway: bool
    secret: Secret

    @property
    def device(self) -> str | None:
        return self.name

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        _new_device_needs(self.caller, self.name, self.secret, needs, facts, policy)


@dataclass(frozen=True, slots=True)
class OnDevice(Command):
    """A command about a device, by its id."""

    device_id: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.device_ids.add(self.device_id)


@dataclass(frozen=True, slots=True)
class ReadDevice(OnDevice):
    """Read a device by its id."""


@dataclass(frozen=True, slots=True)
class UpdateDevice(OnDevice):
    """Change what is descriptive about a device; its name stays."""

    name: str
    type: str
    label: str | None
    is_gateway: bool


@dataclass(frozen=True, slots=True)
class DeleteDevice(OnDevice):
    """Remove a device, its windows, attributes and logins."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.credentials = True


@dataclass(frozen=True, slots=True)
class ReadCredentials(OnDevice):
    """Read a device's login; its secret is given while the reissue window lasts."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.credentials = True


@dataclass(frozen=True, slots=True)
class ServerWindow:
    """The `claimingData` attribute: a key and when it ends, epoch milliseconds (seed)."""

    key: Secret
    expires_at_ms: int
    may_replace: bool
    """Whether it may take the place of another key that is still open."""


@dataclass(frozen=True, slots=True)
class SetAttributes(OnDevice):
    """Write SERVER_SCOPE attributes (name, JSON text); `claimingData` opens a server window."""

    attributes: tuple[tuple[str, str], ...]
    server_window: ServerWindow | None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.server_window.key,) if self.server_window else ()

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.windows |= self.server_window is not None


@dataclass(frozen=True, slots=True)
class ReadAttributes(OnDevice):
    """Read SERVER_SCOPE attributes, all or those named."""

    names: tuple[str, ...]

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.windows = needs.attributes = True


@dataclass(frozen=True, slots=True)
class DeleteAttributes(ReadAttributes):
    """Remove SERVER_SCOPE attributes; `claimingData` closes the server window."""


@dataclass(frozen=True, slots=True)
class CreateGateway(Command):
    """Make a gateway with a login, or mark a device that exists as one."""

    name: str
    secret: Secret

    @property
    def device(self) -> str | None:
        return self.name

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        _new_device_needs(self.caller, self.name, self.secret, needs, facts, policy)


@dataclass(frozen=True, slots=True)
class BindDevices(Command):
    """Let a gateway speak for devices that exist."""

    gateway: str
    names: tuple[str, ...]

    @property
    def device(self) -> str | None:
        return self.gateway

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        tenant = facts.tenant_of(self.caller)
        needs.device_names.add((tenant, self.gateway))
        needs.device_names.update((tenant, name) for name in self.names)


def _new_device_needs(caller: str, name: str, secret: Secret, needs: Needs, facts: Facts, policy: Policy) -> None:
    tenant = facts.tenant_of(caller)
    principal = principal_name(tenant, name, policy)
    needs.device_names.add((tenant, name))
    needs.principals.add(principal)
    if secret.kind is SecretKind.PASSWORD:
        needs.logins.add(principal)
    elif secret.is_hardened:  # else it is asked again when it is, should the caller be one who may
        needs.logins.add(secret.hardened)
