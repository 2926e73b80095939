"""The common part of every command."""

from __future__ import annotations

from dataclasses import dataclass

from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import EndedPrincipal
from claimsvc.core.policy import Policy
from claimsvc.core.secrets import LOGIN_KINDS, Secret


@dataclass(frozen=True, slots=True)
class Command:
    """The common part. `device` names the device for the log, where there is one."""

    caller: str

    @property
    def device(self) -> str | None:
        return None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Return what must be hardened before a rule may run."""
        return ()

    def issues_logins(self, facts: Facts) -> bool:
        """Return whether the rule may make a login, and so must know who else makes them."""
        return any(secret.kind in LOGIN_KINDS for secret in self.secrets)

    def needs_foreign_logins(self, facts: Facts) -> bool:
        """Return whether deciding takes the logins that the broker admits and that are not the service's."""
        return self.issues_logins(facts) or facts.get(EndedPrincipal, self.caller) is not None

    def is_authentic(self, facts: Facts) -> bool:
        """Return whether what the command shows for its right is right; most show nothing but their caller."""
        return True

    @property
    def is_poll(self) -> bool:
        """Return whether this is asked over and over: each is answered anew, whatever its request id."""
        return False

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        """Add the keys this command's rule reads; `facts` holds the callers already."""


@dataclass(frozen=True, slots=True)
class OnNamedDevice(Command):
    """A command about one of the caller's tenant's devices, by its name."""

    name: str

    @property
    def device(self) -> str | None:
        return self.name

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.device_names.add((facts.tenant_of(self.caller), self.name))
