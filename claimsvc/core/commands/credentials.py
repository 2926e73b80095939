"""Commands about the credentials of devices that exist: new ones, and none any more."""

from __future__ import annotations

from dataclasses import dataclass

from claimsvc.core.commands.base import Command
from claimsvc.core.commands.devices import OnDevice
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.policy import Policy
from claimsvc.core.secrets import SecretKind


@dataclass(frozen=True, slots=True)
class RotateCredentials(OnDevice):
    """A tenant admin gives a device new credentials. Milliseconds; None means the default.

    `kind` is for a device that has none left; one that has some keeps its kind.
    """

    overlap_ms: int | None
    kind: SecretKind | None

    def issues_logins(self, facts: Facts) -> bool:
        return True

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.credentials = True


@dataclass(frozen=True, slots=True)
class RevokeCredentials(OnDevice):
    """A tenant admin ends whatever a device can log in with; the device stays."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.credentials = True


@dataclass(frozen=True, slots=True)
class RotateOwnCredentials(Command):
    """A device asks for new credentials for itself. Milliseconds; None means the default."""

    overlap_ms: int | None

    @property
    def device(self) -> str | None:
        return self.caller

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.credentials = True
