"""Accounts: tenants, customers, users, roles and groups, and the logins that every installation needs.

command        | who may        | what it does
Establish      | the service    | creates the built-in tenants and the service's own login
AdmitShared    | TENANT_ADMIN   | creates a login that new devices share, or changes its password
CreateCustomer | TENANT_ADMIN   | creates a customer
ReadCustomer   | TENANT_ADMIN   | reads a customer
DeleteCustomer | TENANT_ADMIN   | deletes a customer without users and devices
CreateUser     | TENANT_ADMIN   | creates a user and its login
ReadUser       | TENANT_ADMIN   | reads a user
UpdateUser     | TENANT_ADMIN   | changes a user's customer, groups, roles or password
DeleteUser     | TENANT_ADMIN   | deletes a user and its login
CreateRole     | TENANT_ADMIN   | creates a role
CreateGroup    | TENANT_ADMIN   | creates a group of users
CreateTenant   | MANAGE_TENANTS | creates a tenant
ListItems      | TENANT_ADMIN   | lists a page of one kind of items

Naming another tenant in CreateUser, and listing tenants, also needs MANAGE_TENANTS.
"""

from __future__ import annotations

from dataclasses import replace

from claimsvc.core.command import Command, Rule
from claimsvc.core.credentials import credential_row, end_logins, issue_login
from claimsvc.core.decision import Change, Decision, Done, Found, Listing, Put, Refused, Remove, refuse, tenant_event
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import (
    Customer,
    Device,
    DeviceGroup,
    Event,
    Group,
    Principal,
    PrincipalKind,
    Role,
    Tenant,
    User,
)
from claimsvc.core.names import name_error, principal_name, tenant_error
from claimsvc.core.permissions import (
    BUILT_IN_ROLES,
    GRANTABLE,
    MANAGE_TENANTS,
    TENANT_ADMIN,
    missing_permission,
    permissions,
)
from claimsvc.core.policy import BOOTSTRAP, BOOTSTRAP_ALIAS, LANELESS, MANAGEMENT_TENANT, Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret
from claimsvc.immutable import immutable

_MANAGE_TENANTS = frozenset({MANAGE_TENANTS})


@immutable
class Establish(Command):
    """Create what every store needs. Only the service itself sends this command, as `caller`.

    `secret` is its password on the broker. It is None unless the broker looks logins up in this store.
    """

    secret: Secret | None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,) if self.secret else ()

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.tenants.update((policy.default_tenant, MANAGEMENT_TENANT))
        needs.services = True


@immutable
class AdmitShared(Command):
    """Create a login that new devices share, or change its password. No dialect creates this command."""

    name: str
    secret: Secret

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.principals.add(self.name)

    @property
    def logins(self) -> tuple[str, ...]:
        """Return the usernames of this login."""
        return (self.name, BOOTSTRAP_ALIAS) if self.name == BOOTSTRAP else (self.name,)


@immutable
class CreateCustomer(Command):
    """Create a customer."""

    title: str


@immutable
class ReadCustomer(Command):
    """Read a customer."""

    customer_id: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.customers.add(self.customer_id)


@immutable
class DeleteCustomer(ReadCustomer):
    """Delete a customer that has neither users nor devices."""


@immutable
class OnUser(Command):
    """A command about a user of the caller's tenant, by username."""

    username: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.users.add(self.principal(facts, policy))

    def principal(self, facts: Facts, policy: Policy) -> str:
        """Return the user's principal."""
        return principal_name(facts.tenant_of(self.caller), self.username, policy)


@immutable
class CreateUser(OnUser):
    """Create a user and its login. Only the management tenant may name a `tenant`. None: not given."""

    customer_id: str | None
    groups: tuple[str, ...] | None
    roles: tuple[str, ...] | None
    secret: Secret
    tenant: str | None = None

    @property
    def roles_meant(self) -> tuple[str, ...]:
        """Return the roles given. The default for a customer's user without groups is the role `customer`."""
        if self.roles is None and self.groups is None and self.customer_id is not None:
            return ("customer",)
        return self.roles or ()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,)

    def tenant_meant(self, facts: Facts) -> str:
        """Return the tenant that the user will belong to."""
        return self.tenant or facts.tenant_of(self.caller)

    def principal(self, facts: Facts, policy: Policy) -> str:
        return principal_name(self.tenant_meant(facts), self.username, policy)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnUser.needs(self, needs, facts, policy)
        name = self.principal(facts, policy)
        needs.principals.add(name)
        needs.logins.add(name)
        tenant = self.tenant_meant(facts)
        needs.tenants.add(tenant)
        _membership_needs(needs, tenant, self.customer_id, self.groups or (), self.roles_meant)


@immutable
class ReadUser(OnUser):
    """Read a user."""


@immutable
class UpdateUser(OnUser):
    """Change a user's customer ("": none), groups, roles or password. None leaves a value as it is."""

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
        _membership_needs(needs, tenant, self.customer_id or None, self.groups or (), self.roles or ())


@immutable
class DeleteUser(OnUser):
    """Delete a user and its login."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnUser.needs(self, needs, facts, policy)
        needs.logins_of.add(self.principal(facts, policy))


@immutable
class CreateRole(Command):
    """Create a role."""

    name: str
    permissions: tuple[str, ...]

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.roles.add((facts.tenant_of(self.caller), self.name))


@immutable
class CreateGroup(Command):
    """Create a group of users."""

    name: str
    roles: tuple[str, ...]

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        tenant = facts.tenant_of(self.caller)
        needs.groups.add((tenant, self.name))
        needs.roles.update((tenant, role) for role in self.roles)


@immutable
class CreateTenant(Command):
    """Create a tenant."""

    tenant: str
    title: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.tenants.add(self.tenant)


@immutable
class ListItems(Command):
    """List a page of one kind of items. `after` is the end of the previous page."""

    kind: type[Tenant | Customer | User | Group | Role | Device | DeviceGroup | Event]
    limit: int
    after: str | None
    named: str | None = None
    """Events: list only those of this device."""
    since_ms: int | None = None

    @property
    def device(self) -> str | None:
        return self.named


def establish(command: Establish, facts: Facts, given: Given) -> Decision:
    """Create the default tenant, the management tenant and the service's principal, if they are missing.

    Sets the password of the service's login. Logins of the service under earlier names stop working.
    """
    service = facts.get(Principal, command.caller)
    if service is not None and service.kind is not PrincipalKind.SERVICE:
        return refuse(
            Reason.NAME_TAKEN,
            f"{command.caller!r} is the name of a {service.kind.value}: choose another name for the service",
        )
    titles = {given.policy.default_tenant: "Default tenant", MANAGEMENT_TENANT: "Management tenant"}
    changes: list[Change] = [
        Put(Tenant(tenant, title, given.now_ms))
        for tenant, title in titles.items()
        if facts.get(Tenant, tenant) is None
    ]
    for other in facts.services():
        if other.name != command.caller:
            changes += end_logins(other.name, facts, given)
    if service is None:
        changes.append(Put(Principal(command.caller, PrincipalKind.SERVICE, given.policy.default_tenant)))
    if command.secret is not None:
        login = credential_row(command.caller, command.caller, command.secret, given)
        changes.append(Put(replace(login, sealed=None)))
    return Decision(Done(), tuple(changes))


def admit_shared(command: AdmitShared, facts: Facts, given: Given) -> Decision:
    """Create a login that devices without credentials share. It does not identify a device."""
    if command.name not in LANELESS:
        raise ValueError(f"{command.name!r} is not a shared login")
    if not given.policy.issue_logins:
        return Decision(Done())
    name = command.name
    logins = command.logins if given.policy.several_logins else (name,)
    changes: list[Change] = [Put(credential_row(login, name, command.secret, given)) for login in logins]
    if facts.get(Principal, name) is None:
        changes.insert(0, Put(Principal(name, PrincipalKind.USER, given.policy.default_tenant)))
    return Decision(Done(), tuple(changes), ended=(name,))


def create_customer(command: CreateCustomer, facts: Facts, given: Given) -> Decision:
    """Create a customer. Several customers may have the same title."""
    if error := name_error(command.title):
        return refuse(Reason.INVALID_VALUE, f"title: {error}")
    tenant = facts.tenant_of(command.caller)
    customer = Customer(given.new_id(), tenant, command.title, given.now_ms)
    event = tenant_event(tenant, "customer_created", command.caller, given, customer.title)
    return Decision(Found(customer, created=True), (Put(customer), event))


def read_customer(command: ReadCustomer, facts: Facts, given: Given) -> Decision:
    """Read a customer of the caller's tenant."""
    customer = _customer(facts.tenant_of(command.caller), command.customer_id, facts)
    return Decision(Found(customer)) if customer else refuse(Reason.NOT_FOUND)


def delete_customer(command: DeleteCustomer, facts: Facts, given: Given) -> Decision:
    """Delete a customer. Refused while it has users or devices, so that no device silently loses its owner."""
    tenant = facts.tenant_of(command.caller)
    customer = _customer(tenant, command.customer_id, facts)
    if customer is None:
        return refuse(Reason.NOT_FOUND)
    if facts.customer_in_use(customer.id):
        return refuse(Reason.IN_USE, "delete the customer's users and release its devices first")
    event = tenant_event(tenant, "customer_deleted", command.caller, given, customer.title)
    return Decision(Done(), (Remove(Customer, customer.id), event))


def create_user(command: CreateUser, facts: Facts, given: Given) -> Decision:
    """Create a user and its login."""
    tenant = command.tenant_meant(facts)
    foreign = tenant != facts.tenant_of(command.caller)
    if foreign and MANAGE_TENANTS not in permissions(facts, command.caller):
        return refuse(Reason.NOT_PERMITTED, missing_permission(_MANAGE_TENANTS))
    if facts.get(Tenant, tenant) is None:
        return refuse(Reason.NOT_FOUND, f"no tenant {tenant!r}")
    if error := name_error(command.username):
        return refuse(Reason.INVALID_NAME, error)
    if missing := _missing(tenant, command.customer_id, command.groups or (), command.roles_meant, facts):
        return refuse(Reason.NOT_FOUND, missing)
    present = facts.get(User, command.principal(facts, given.policy))
    if present and (present.tenant, present.username) == (tenant, command.username):
        return refuse(Reason.ALREADY_EXISTS)
    login = issue_login(tenant, command.username, PrincipalKind.USER, command.secret, facts, given)
    if isinstance(login, Refused):
        return Decision(login)
    user = User(
        login.principal,
        tenant,
        command.username,
        command.customer_id,
        command.roles_meant,
        command.groups or (),
        given.now_ms,
    )
    event = tenant_event(tenant, "user_created", command.caller, given, command.username)
    changes = (login.changes[0], Put(user), *login.changes[1:], event)
    return Decision(Found(user, command.secret if login.issued else None, created=True), changes)


def read_user(command: ReadUser, facts: Facts, given: Given) -> Decision:
    """Read a user of the caller's tenant."""
    user = _user(command, facts, given)
    return Decision(Found(user)) if user else refuse(Reason.NOT_FOUND)


def update_user(command: UpdateUser, facts: Facts, given: Given) -> Decision:
    """Change a user. A new password replaces the old one at once and ends the user's sessions."""
    user = _user(command, facts, given)
    if user is None:
        return refuse(Reason.NOT_FOUND)
    missing = _missing(user.tenant, command.customer_id or None, command.groups or (), command.roles or (), facts)
    if missing:
        return refuse(Reason.NOT_FOUND, missing)
    changed = replace(
        user,
        customer_id=user.customer_id if command.customer_id is None else command.customer_id or None,
        groups=user.groups if command.groups is None else command.groups,
        roles=user.roles if command.roles is None else command.roles,
    )
    changes: list[Change] = [Put(changed)] if changed != user else []
    issued = command.secret if given.policy.issue_logins else None
    if issued:
        changes.append(Put(credential_row(user.principal, user.principal, issued, given)))
    if changes:
        changes.append(tenant_event(user.tenant, "user_updated", command.caller, given, user.username))
    return Decision(Found(changed, issued), tuple(changes), ended=(user.principal,) if issued else ())


def delete_user(command: DeleteUser, facts: Facts, given: Given) -> Decision:
    """Delete a user and its login."""
    user = _user(command, facts, given)
    if user is None:
        return refuse(Reason.NOT_FOUND)
    event = tenant_event(user.tenant, "user_deleted", command.caller, given, user.username)
    changes = (Remove(User, user.principal), *end_logins(user.principal, facts, given), event)
    return Decision(Done(), changes, ended=(user.principal,))


def create_role(command: CreateRole, facts: Facts, given: Given) -> Decision:
    """Create a role. The names of the built-in roles are taken."""
    tenant = facts.tenant_of(command.caller)
    if error := name_error(command.name):
        return refuse(Reason.INVALID_NAME, error)
    unknown = [name for name in command.permissions if name not in GRANTABLE]
    if unknown:
        return refuse(
            Reason.INVALID_VALUE, f"permissions: {unknown[0]!r} is not one of {', '.join(sorted(GRANTABLE))}"
        )
    if command.name in BUILT_IN_ROLES or facts.get(Role, (tenant, command.name)):
        return refuse(Reason.ALREADY_EXISTS)
    role = Role(tenant, command.name, command.permissions)
    event = tenant_event(tenant, "role_created", command.caller, given, command.name)
    return Decision(Found(role, created=True), (Put(role), event))


def create_group(command: CreateGroup, facts: Facts, given: Given) -> Decision:
    """Create a group of users."""
    tenant = facts.tenant_of(command.caller)
    if error := name_error(command.name):
        return refuse(Reason.INVALID_NAME, error)
    if facts.get(Group, (tenant, command.name)):
        return refuse(Reason.ALREADY_EXISTS)
    if missing := _missing(tenant, None, (), command.roles, facts):
        return refuse(Reason.NOT_FOUND, missing)
    group = Group(tenant, command.name, command.roles)
    event = tenant_event(tenant, "group_created", command.caller, given, command.name)
    return Decision(Found(group, created=True), (Put(group), event))


def create_tenant(command: CreateTenant, facts: Facts, given: Given) -> Decision:
    """Create a tenant."""
    if error := tenant_error(command.tenant):
        return refuse(Reason.INVALID_NAME, error)
    if facts.get(Tenant, command.tenant):
        return refuse(Reason.ALREADY_EXISTS)
    tenant = Tenant(command.tenant, command.title, given.now_ms)
    event = tenant_event(tenant.id, "tenant_created", command.caller, given, tenant.id)
    return Decision(Found(tenant, created=True), (Put(tenant), event))


def list_items(command: ListItems, facts: Facts, given: Given) -> Decision:
    """Allow a page of the tenant's items. Only the management tenant may list tenants."""
    tenant = None if command.kind is Tenant else facts.tenant_of(command.caller)
    if tenant is None and MANAGE_TENANTS not in permissions(facts, command.caller):
        return refuse(Reason.NOT_PERMITTED, missing_permission(_MANAGE_TENANTS))
    return Decision(Listing(command.kind, tenant, command.limit, command.after, command.named, command.since_ms))


def _user(command: OnUser, facts: Facts, given: Given) -> User | None:
    """Return the user of the caller's tenant, or None.

    Names of two tenants can give the same principal, so the tenant and the username must match too.
    """
    user = facts.get(User, command.principal(facts, given.policy))
    meant = (facts.tenant_of(command.caller), command.username)
    return user if user and (user.tenant, user.username) == meant else None


def _customer(tenant: str, customer_id: str, facts: Facts) -> Customer | None:
    customer = facts.get(Customer, customer_id)
    return customer if customer and customer.tenant == tenant else None


def _missing(
    tenant: str, customer_id: str | None, groups: tuple[str, ...], roles: tuple[str, ...], facts: Facts
) -> str | None:
    """Return a text that names the first of these that the tenant does not have, or None."""
    if customer_id is not None and _customer(tenant, customer_id, facts) is None:
        return f"no customer {customer_id!r}"
    for name in groups:
        if facts.get(Group, (tenant, name)) is None:
            return f"no group {name!r}"
    for name in roles:
        if name not in BUILT_IN_ROLES and facts.get(Role, (tenant, name)) is None:
            return f"no role {name!r}"
    return None


def _membership_needs(
    needs: Needs, tenant: str, customer_id: str | None, groups: tuple[str, ...], roles: tuple[str, ...]
) -> None:
    if customer_id is not None:
        needs.customers.add(customer_id)
    needs.groups.update((tenant, name) for name in groups)
    needs.roles.update((tenant, name) for name in roles)


RULES: dict[type[Command], Rule] = {
    Establish: Rule(establish),
    AdmitShared: Rule(admit_shared, frozenset({TENANT_ADMIN})),
    CreateCustomer: Rule(create_customer, frozenset({TENANT_ADMIN})),
    ReadCustomer: Rule(read_customer, frozenset({TENANT_ADMIN})),
    DeleteCustomer: Rule(delete_customer, frozenset({TENANT_ADMIN})),
    CreateUser: Rule(create_user, frozenset({TENANT_ADMIN})),
    ReadUser: Rule(read_user, frozenset({TENANT_ADMIN})),
    UpdateUser: Rule(update_user, frozenset({TENANT_ADMIN})),
    DeleteUser: Rule(delete_user, frozenset({TENANT_ADMIN})),
    CreateRole: Rule(create_role, frozenset({TENANT_ADMIN})),
    CreateGroup: Rule(create_group, frozenset({TENANT_ADMIN})),
    ListItems: Rule(list_items, frozenset({TENANT_ADMIN})),
    CreateTenant: Rule(create_tenant, frozenset({MANAGE_TENANTS})),
}
