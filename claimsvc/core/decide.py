"""One table from command to rule, and the function that asks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from claimsvc.core import accounts, claims, devices, imports, inventory, profiles, provisioning, rotation, windows
from claimsvc.core import registration as requests
from claimsvc.core.access import (
    CLAIM_DEVICES,
    DEVICE_CONTROL_ADMIN,
    DEVICE_CONTROL_READ,
    MANAGE_TENANTS,
    TENANT_ADMIN,
    missing,
    permissions,
)
from claimsvc.core.commands import accounts as account
from claimsvc.core.commands import claiming, credentials, registration
from claimsvc.core.commands import devices as device
from claimsvc.core.commands import imports as file
from claimsvc.core.commands import inventory as look
from claimsvc.core.commands import provisioning as provision
from claimsvc.core.commands.base import Command
from claimsvc.core.facts import Facts
from claimsvc.core.logins import is_ended
from claimsvc.core.outcomes import Decision, Refused, refuse
from claimsvc.core.policy import LANELESS, Given
from claimsvc.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Rule:
    """What decides a command, and which permissions let it be asked: any of them; none means anybody."""

    decide: Callable[[Any, Facts, Given], Decision]
    permissions: frozenset[str] = frozenset()


def _admin(decide: Callable[[Any, Facts, Given], Decision]) -> Rule:
    return Rule(decide, frozenset({TENANT_ADMIN}))


def _control(decide: Callable[[Any, Facts, Given], Decision], *also: str) -> Rule:
    return Rule(decide, frozenset({DEVICE_CONTROL_ADMIN, *also}))


RULES: dict[type[Command], Rule] = {
    claiming.OpenWindow: Rule(windows.open_window),
    claiming.OpenWindows: Rule(windows.open_windows),
    claiming.ReadSessionLimits: Rule(windows.session_limits),
    claiming.ClaimDevice: Rule(claims.claim, frozenset({CLAIM_DEVICES})),
    claiming.ReleaseDevice: Rule(claims.release, frozenset({CLAIM_DEVICES, TENANT_ADMIN})),
    device.FindDevice: _admin(devices.find),
    device.CreateDevice: _admin(devices.create),
    device.ReadDevice: _admin(devices.read),
    device.UpdateDevice: _admin(devices.update),
    device.DeleteDevice: _admin(devices.delete),
    device.ReadCredentials: _admin(devices.read_credentials),
    device.SetAttributes: _admin(devices.set_attributes),
    device.ReadAttributes: _admin(devices.read_attributes),
    device.DeleteAttributes: _admin(devices.delete_attributes),
    device.CreateGateway: _admin(devices.create_gateway),
    device.BindDevices: _admin(devices.bind),
    look.ListDevices: _admin(inventory.list_devices),
    look.ExamineClaiming: _admin(inventory.examine),
    credentials.RotateCredentials: _admin(rotation.rotate),
    credentials.RotateOwnCredentials: Rule(rotation.rotate_own),
    credentials.RevokeCredentials: _admin(rotation.revoke),
    account.Establish: Rule(accounts.establish),
    account.AdmitShared: _admin(accounts.admit_shared),
    account.CreateCustomer: _admin(accounts.create_customer),
    account.ReadCustomer: _admin(accounts.read_customer),
    account.DeleteCustomer: _admin(accounts.delete_customer),
    account.CreateUser: _admin(accounts.create_user),
    account.ReadUser: _admin(accounts.read_user),
    account.UpdateUser: _admin(accounts.update_user),
    account.DeleteUser: _admin(accounts.delete_user),
    account.CreateRole: _admin(accounts.create_role),
    account.CreateGroup: _admin(accounts.create_group),
    account.ListItems: _admin(accounts.list_items),
    provision.SaveProfile: _admin(profiles.save),
    provision.ReadProfile: _admin(profiles.read),
    provision.DeleteProfile: _admin(profiles.delete),
    provision.ListProfiles: _admin(profiles.list_profiles),
    provision.ProvisionDevice: Rule(provisioning.provision),
    registration.CreateRequest: _control(requests.create),
    registration.ReadRequest: _control(requests.read, DEVICE_CONTROL_READ),
    registration.ListRequests: _control(requests.list_requests, DEVICE_CONTROL_READ),
    registration.ReadLimit: _control(requests.read_limit, DEVICE_CONTROL_READ),
    registration.AcceptRequest: _control(requests.accept),
    registration.AcceptAll: _control(requests.accept_all),
    registration.DeleteRequest: _control(requests.delete),
    registration.PollCredentials: Rule(requests.poll),
    file.ImportDevices: _control(imports.begin_devices),
    file.RegisterDevices: _control(imports.register),
    file.ImportClaimKeys: _admin(imports.begin_claim_keys),
    file.SetClaimKeys: _admin(imports.set_claim_keys),
    account.CreateTenant: Rule(accounts.create_tenant, frozenset({MANAGE_TENANTS})),
}


def permitted(command: Command, facts: Facts) -> bool:
    """Return whether the caller may ask this at all."""
    rule = RULES[type(command)]
    return not rule.permissions or bool(rule.permissions & permissions(facts, command.caller))


def _forbid(command: Command, facts: Facts, given: Given) -> Decision:
    """Refuse a command whose permission is missing, and say which."""
    needed = RULES[type(command)].permissions
    refused = Refused(Reason.NOT_PERMITTED, missing(needed))
    if isinstance(command, claiming.ClaimDevice):
        return Decision(refused, claims.not_allowed(command, refused.reason, facts, given))
    return Decision(refused)


def decide(command: Command, facts: Facts, given: Given) -> Decision:
    """Decide one command on the facts, and make its changes visible to the next one of the batch."""
    if command.caller in LANELESS:
        return refuse(Reason.NOT_PERMITTED, "this login has no lane of its own")
    if is_ended(command.caller, facts, given):
        return refuse(Reason.NOT_PERMITTED, "all logins of this name have ended")
    if not permitted(command, facts):
        return _forbid(command, facts, given)
    decision = RULES[type(command)].decide(command, facts, given)
    for change in decision.changes:
        facts.apply(change)
    return decision
