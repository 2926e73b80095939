"""The facts of a batch: what its commands need, read by a handful of statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from claimsvc.core.admission import needs_of
from claimsvc.core.command import Command
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import CLAIMING_ALLOWED, PROVISION_STATE
from claimsvc.core.policy import Policy
from claimsvc.store import rows
from claimsvc.store.statements import Statements


class Loading:
    """One batch's facts in the making."""

    def __init__(self, statements: Statements, policy: Policy) -> None:
        self._statements = statements
        self._policy = policy
        self._facts = Facts(policy.default_tenant)

    def load(self, commands: Sequence[Command], requests: Iterable[tuple[str, str]]) -> Facts:
        """Return what the rules of these commands must see. `requests` are (lane, request id).

        Callers come first, since what else a command needs depends on whose tenant it speaks of.
        """
        # Who has no login yet is nobody: polls of new devices need no caller.
        self._callers({command.caller for command in commands if command.caller})
        needs = Needs()
        for command in commands:
            command.needs(needs, self._facts, self._policy)
        self._requests(needs)
        self._profiles(needs)
        self._named(needs)
        self._of_devices(needs)
        self._failures(needs)
        self._fetch("answered", requests, rows.answered)
        return self._facts

    def _callers(self, callers: set[str]) -> None:
        principals = self._fetch("principals", callers, rows.principal)
        self._fetch("ended_principals", callers, rows.ended_principal)
        self._fetch("devices_by_principal", callers, rows.device)
        users = [row.name for row in principals if row.kind == "user"]
        members = self._fetch("users", users, rows.user)
        groups = {(user.tenant, name) for user in members for name in user.groups}
        found = self._fetch("groups", groups, rows.group)
        roles = {(user.tenant, name) for user in members for name in user.roles}
        roles |= {(group.tenant, name) for group in found for name in group.roles}
        self._fetch("roles", roles, rows.role)

    def _requests(self, needs: Needs) -> None:
        """Load device requests before what they name."""
        found = self._fetch("requests", needs.requests, rows.device_request)
        found += self._fetch("pending_requests", needs.pending_of, rows.device_request)
        for request in found:
            needs_of(request, needs, self._policy)

    def _profiles(self, needs: Needs) -> None:
        """Load device profiles before what only those may cost who show the right key and secret."""
        self._fetch("profiles_by_key", needs.profile_keys, rows.profile)
        self._fetch("profiles_by_name", needs.profile_names, rows.profile)
        self._fetch("profiles_by_id", needs.profile_ids, rows.profile)
        for add_needs in needs.once_profiles_are_known:
            add_needs()

    def _named(self, needs: Needs) -> None:
        self._fetch("principals", needs.principals, rows.principal)
        self._fetch("tenants", needs.tenants, rows.tenant)
        self._customers(needs.customers)
        self._fetch("users", needs.users, rows.user)
        self._fetch("groups", needs.groups, rows.group)
        self._fetch("roles", needs.roles, rows.role)
        if needs.device_counts:
            for tenant, devices in self._statements.select("device_counts", keys=list(needs.device_counts)):
                self._facts.count_devices(tenant, devices)
        self._fetch("device_groups_by_path", needs.device_groups, rows.device_group)
        self._fetch("device_groups_by_id", needs.device_group_ids, rows.device_group)
        self._fetch("devices_by_name", needs.device_names, rows.device)
        self._fetch("devices_by_id", needs.device_ids, rows.device)
        self._credentials("credentials_by_login", needs.logins)
        if needs.services:
            services = [rows.principal(values) for values in self._statements.select("services")]
            for service in services:
                self._facts.put(service)
            self._fetch("credentials_by_login", [service.name for service in services], rows.credential)

    def _of_devices(self, needs: Needs) -> None:
        devices = self._facts.devices()
        ids = [device.id for device in devices]
        if needs.windows:
            self._fetch("windows", ids, rows.window)
        wanted = {CLAIMING_ALLOWED: needs.claiming_allowed, PROVISION_STATE: needs.provision_state}
        pairs = [(device_id, name) for name, is_wanted in wanted.items() if is_wanted for device_id in ids]
        self._fetch("attributes_named", pairs, rows.attribute)
        if needs.attributes:
            self._fetch("attributes", ids, rows.attribute)
        if needs.credentials:
            owners = [device.principal for device in devices if device.principal]
            self._credentials("credentials_by_principal", owners)
            # A name that is to be a login again must not be another's by now.
            self._fetch("credentials_by_login", owners, rows.credential)

    def _credentials(self, query: str, keys: Iterable[object]) -> None:
        """Load logins with the passwords they had before."""
        found = self._fetch(query, keys, rows.credential)
        self._fetch("former_credentials", [row.login for row in found], rows.former_credential)

    def _failures(self, needs: Needs) -> None:
        users = {user for user, _tenant, _name in needs.attempts_at}
        self._fetch("failures", users, rows.failures)
        targets = [(user, self._facts.device_named(tenant, name)) for user, tenant, name in needs.attempts_at]
        tries = [(user, device.id) for user, device in targets if device]
        self._fetch("attempts", tries, rows.attempts)

    def _customers(self, ids: set[str]) -> None:
        if not ids:
            return
        for values in self._statements.select("customers", keys=list(ids)):
            self._facts.put(rows.customer(values))
            if values[4]:
                self._facts.mark_in_use(values[0])

    def _fetch(self, query: str, keys: Iterable[object], make: Callable[[Any], Any]) -> list[Any]:
        wanted = list(keys)
        if not wanted:
            return []
        found = [make(values) for values in self._statements.select(query, keys=wanted)]
        for row in found:
            self._facts.put(row)
        return found
