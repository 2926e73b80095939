"""What every command has in common, and the table entry that decides it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from claimsvc.core.decision import Decision
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import EndedPrincipal
from claimsvc.core.policy import Given, Policy
from claimsvc.core.secrets import LOGIN_KINDS, Secret
from claimsvc.immutable import immutable


@immutable
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


@immutable
class OnNamedDevice(Command):
    """A command about one of the caller's tenant's devices, by its name."""

    name: str

    @property
    def device(self) -> str | None:
        return self.name

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.device_names.add((facts.tenant_of(self.caller), self.name))


@immutable
class OnDevice(Command):
    """A command about a device, by its id."""

    device_id: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.device_ids.add(self.device_id)


@immutable
class Rule:
    """What decides a command, and which permissions let it be asked: any of them; none means anybody."""

    decide: Callable[[Any, Facts, Given], Decision]
    permissions: frozenset[str] = frozenset()
