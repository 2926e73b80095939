"""Commands of tenant admins about customers, users, roles, groups and tenants (design 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

from claimsvc.core.commands.base import Command
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import Customer, Device, DeviceGroup, Event, Group, Role, Tenant, User
from claimsvc.core.names import principal_name
from claimsvc.core.policy import BOOTSTRAP, BOOTSTRAP_ALIAS, MANAGEMENT_TENANT, Policy
from claimsvc.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class Establish(Command):
    """Make what every store begins with. The caller is the service; no dialect makes this command.

    `secret` is its password at the broker, where the broker looks logins up in this store.
    """

    secret: Secret | None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,) if self.secret else ()

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.tenants.update((policy.default_tenant, MANAGEMENT_TENANT))
        needs.services = True


@dataclass(frozen=True, slots=True)
class AdmitShared(Command):
    """Make a login that new devices share, or give it another password; no dialect makes this command."""

    name: str
    secret: Secret

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.principals.add(self.name)
        needs.logins.update(self.logins)

    @property
    def logins(self) -> tuple[str, ...]:
        """Return what devices may write it as."""
        return (self.name, BOOTSTRAP_ALIAS) if self.name == BOOTSTRAP else (self.name,)


@dataclass(frozen=True, slots=True)
class CreateCustomer(Command):
    """Make a customer."""

    title: str


@dataclass(frozen=True, slots=True)
class ReadCustomer(Command):
    """Read a customer."""

    customer_id: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.customers.add(self.customer_id)


@dataclass(frozen=True, slots=True)
class DeleteCustomer(ReadCustomer):
    """Remove a customer that has neither users nor devices."""


@dataclass(frozen=True, slots=True)
class OnUser(Command):
    """A command about a user of the caller's tenant, by username."""

    username: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        name = self.principal(facts, policy)
        needs.principals.add(name)
        needs.users.add(name)
        needs.logins.add(name)

    def principal(self, facts: Facts, policy: Policy) -> str:
        """Return the principal of the user this is about."""
        return principal_name(facts.tenant_of(self.caller), self.username, policy)


@dataclass(frozen=True, slots=True)
class CreateUser(OnUser):
    """Make a user with a login; `tenant` only from the management tenant. Groups and roles are None if not given."""

    customer_id: str | None
    groups: tuple[str, ...] | None
    roles: tuple[str, ...] | None
    secret: Secret
    tenant: str | None = None

    @property
    def roles_meant(self) -> tuple[str, ...]:
        """Return the roles given; a customer's user without roles and groups may claim, as such users are for."""
        if self.roles is None and self.groups is None and self.customer_id is not None:
            return ("customer",)
        return self.roles or ()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,)

    def tenant_meant(self, facts: Facts) -> str:
        """Return the tenant the user is to belong to."""
        return self.tenant or facts.tenant_of(self.caller)

    def principal(self, facts: Facts, policy: Policy) -> str:
        """Return the principal of the user to make."""
        return principal_name(self.tenant_meant(facts), self.username, policy)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnUser.needs(self, needs, facts, policy)
        tenant = self.tenant_meant(facts)
        needs.tenants.add(tenant)
        _membership_needs(needs, tenant, self.customer_id, self.groups or (), self.roles_meant)


@dataclass(frozen=True, slots=True)
class ReadUser(OnUser):
    """Read a user."""


@dataclass(frozen=True, slots=True)
class UpdateUser(OnUser):
    """Change a user's customer ("": none), groups, roles or password; what is None stays."""

    customer_id: str | None
    groups: tuple[str, ...] | None
    roles: tuple[str, ...] | None
    secret: Secret | None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,) if self.secret else ()

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnUser.needs(self, needs, facts, policy)
        tenant = facts.tenant_of(self.caller)
        _membership_needs(needs, tenant, self.customer_id, self.groups or (), self.roles or ())


@dataclass(frozen=True, slots=True)
class DeleteUser(OnUser):
    """Remove a user; the login ends."""


@dataclass(frozen=True, slots=True)
class CreateRole(Command):
    """Make a role."""

    name: str
    permissions: tuple[str, ...]

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.roles.add((facts.tenant_of(self.caller), self.name))


@dataclass(frozen=True, slots=True)
class CreateGroup(Command):
    """Make a group of users."""

    name: str
    roles: tuple[str, ...]

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        tenant = facts.tenant_of(self.caller)
        needs.groups.add((tenant, self.name))
        needs.roles.update((tenant, role) for role in self.roles)


@dataclass(frozen=True, slots=True)
class CreateTenant(Command):
    """Make a tenant; management tenant only."""

    tenant: str
    title: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.tenants.add(self.tenant)


@dataclass(frozen=True, slots=True)
class ListItems(Command):
    """Read a page of one kind. `after` is where the page before ended."""

    kind: type[Tenant | Customer | User | Group | Role | Device | DeviceGroup | Event]
    limit: int
    after: str | None
    named: str | None = None
    """Events of this device only."""
    since_ms: int | None = None

    @property
    def device(self) -> str | None:
        return self.named


def _membership_needs(
    needs: Needs, tenant: str, customer_id: str | None, groups: tuple[str, ...], roles: tuple[str, ...]
) -> None:
    if customer_id:
        needs.customers.add(customer_id)
    needs.groups.update((tenant, name) for name in groups)
    needs.roles.update((tenant, name) for name in roles)
