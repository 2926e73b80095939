"""The base of all commands, and `Rule`, the table entry that decides one."""

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
    """A request that a rule decides."""

    caller: str
    """The principal that sent it; "" if the client has no login of its own yet."""

    @property
    def device(self) -> str | None:
        """Return the name of its device for the log; None if it concerns none or several."""
        return None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Return the secrets that must be hardened before the rule runs."""
        return ()

    def issues_logins(self, facts: Facts) -> bool:
        """Return whether the rule may issue a login. If so, it must know the logins that others issued."""
        return any(secret.kind in LOGIN_KINDS for secret in self.secrets)

    def needs_foreign_logins(self, facts: Facts) -> bool:
        """Return whether the rule needs the logins that the broker admits and the service did not issue."""
        return self.issues_logins(facts) or facts.get(EndedPrincipal, self.caller) is not None

    def is_authentic(self, facts: Facts) -> bool:
        """Return whether the command's proof, such as a provision key, is valid. Most commands carry none."""
        return True

    @property
    def is_poll(self) -> bool:
        """Return whether clients repeat this command. A poll is always decided anew, whatever its request id."""
        return False

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        """Add the keys of all rows that the rule reads. `facts` already holds the callers."""


@immutable
class OnNamedDevice(Command):
    """A command about a device of the caller's tenant, by its name."""

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
    """The function that decides a command. The caller needs one of `permissions`; if empty, any caller may."""

    decide: Callable[[Any, Facts, Given], Decision]
    permissions: frozenset[str] = frozenset()
