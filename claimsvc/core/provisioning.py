"""Provisioning: a device shows the key and secret of its profile and gets its login (TB 4.4).

A repeat gets the same answer while that login may still be given, so a lost answer costs nothing (TB 5.4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from claimsvc.core.commands.provisioning import ProvisionDevice
from claimsvc.core.facts import Facts
from claimsvc.core.logins import credential, forget_formers, is_anothers
from claimsvc.core.model import (
    PROVISION_STATE,
    PROVISIONED,
    Attribute,
    Credential,
    CredentialKind,
    Device,
    DeviceProfile,
    Event,
    Principal,
    PrincipalKind,
    Strategy,
)
from claimsvc.core.names import login_error, name_error, principal_name
from claimsvc.core.outcomes import Append, Change, Decision, Provisioned, Put, Refused, Remove, refuse
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.core.renewal import newest
from claimsvc.core.secrets import Secret, SecretKind


def provision(command: ProvisionDevice, facts: Facts, given: Given) -> Decision:
    """Give a device the login it wishes for, as its profile's strategy allows."""
    profile = command.profile(facts)
    # A profile of this very batch is not known yet: what the device needs was not loaded for it.
    if profile is None or not command.wish.secret.is_hardened:
        return refuse(Reason.UNKNOWN_KEY)
    if not given.policy.issue_logins:
        return refuse(Reason.UNSUPPORTED_CREDENTIALS, "this service keeps no logins")
    if profile.strategy is Strategy.CREATE:
        return _create(command, profile, facts, given)
    return _check(command, profile, facts, given)


def _create(command: ProvisionDevice, profile: DeviceProfile, facts: Facts, given: Given) -> Decision:
    """Make a device of a name that is free."""
    known = facts.device_named(profile.tenant, command.name) if command.name is not None else None
    if known is not None:
        return _again(command, profile, known, facts, given)
    name = command.name if command.name is not None else given.new_code()
    if error := name_error(name):
        return refuse(Reason.INVALID_NAME, error)
    limit = given.policy.device_limit
    if limit and facts.device_count(profile.tenant) >= limit:
        return refuse(Reason.DEVICE_LIMIT)
    device = Device(given.new_id(), profile.tenant, name, None, given.now_ms, type=profile.name)
    return _let_in(command, device, facts, given, is_new=True)


def _check(command: ProvisionDevice, profile: DeviceProfile, facts: Facts, given: Given) -> Decision:
    """Let a device in that was made for this: once, until its mark is taken away."""
    device = facts.device_named(profile.tenant, command.name) if command.name is not None else None
    if device is None or device.type != profile.name:
        return refuse(Reason.NOT_OF_PROFILE)
    if facts.get(Attribute, (device.id, PROVISION_STATE)):
        return _again(command, profile, device, facts, given)
    return _let_in(command, device, facts, given, is_new=False)


def _again(command: ProvisionDevice, profile: DeviceProfile, device: Device, facts: Facts, given: Given) -> Decision:
    """Give a repeat the first answer; whoever asks for anything else, or later, comes too late."""
    state = facts.get(Attribute, (device.id, PROVISION_STATE))
    if state is None or device.type != profile.name:
        return refuse(Reason.ALREADY_EXISTS)
    stored = newest(device.principal, facts)
    is_given_then = stored is not None and stored.created_at_ms <= state.updated_at_ms
    if stored is None or not is_given_then or not _can_be_given(stored, given):
        return refuse(Reason.ALREADY_PROVISIONED)
    if not _asks_for(command, stored, profile, given) or (command.is_gateway and not device.is_gateway):
        return refuse(Reason.ALREADY_PROVISIONED)
    return Decision(Provisioned(device, stored))


def _asks_for(command: ProvisionDevice, stored: Credential, profile: DeviceProfile, given: Given) -> bool:
    """Return whether the login that was given is what is asked for now."""
    wish = command.wish
    if wish.is_open and profile.strategy is Strategy.CHECK:
        return True
    if CredentialKind(wish.secret.kind.value) is not stored.kind:
        return False
    if wish.username is not None and wish.username != stored.login:
        return False
    return not wish.is_secret_given or (stored.sealed is not None and given.holds(stored.sealed, wish.secret))


def _let_in(command: ProvisionDevice, device: Device, facts: Facts, given: Given, *, is_new: bool) -> Decision:
    """Give the device its login, in the place of those it had, and mark it as provisioned."""
    principal = device.principal or principal_name(device.tenant, device.name, given.policy)
    if device.principal is None and (refused := _unusable(principal, facts, given)):
        return Decision(refused)
    stored = newest(device.principal, facts)
    login = _login(command, principal, stored, facts, given)
    if isinstance(login, Refused):
        return Decision(login)
    made = replace(device, principal=principal, is_gateway=device.is_gateway or command.is_gateway)
    changes: list[Change] = []
    if device.principal is None:
        changes.append(Put(Principal(principal, PrincipalKind.DEVICE, device.tenant)))
    if made != device:
        changes.append(Put(made))
    old = [] if login.row is stored else facts.credentials(principal)
    changes += [change for row in old for change in forget_formers(row.login, facts)]
    changes += [Remove(Credential, row.key) for row in old if row.key != login.row.key]
    if login.row is not stored:
        changes.append(Put(login.row))
    changes.append(Put(Attribute(made.id, PROVISION_STATE, PROVISIONED, given.now_ms)))
    names = ("device_created", "device_provisioned") if is_new else ("device_provisioned",)
    changes += [_event(name, made, command, given) for name in names]
    outcome = Provisioned(made, login.row, login.secret, is_name_made_up=command.name is None)
    return Decision(outcome, tuple(changes), ended=(principal,) if old else ())


@dataclass(frozen=True, slots=True)
class _Login:
    """The row a device logs in by; `secret` is None where it is the row it had."""

    row: Credential
    secret: Secret | None


def _login(
    command: ProvisionDevice, principal: str, stored: Credential | None, facts: Facts, given: Given
) -> _Login | Refused:
    """Return the login a device had where any will do, else the one it wishes for, or why it cannot have that."""
    wish = command.wish
    kind = CredentialKind(wish.secret.kind.value)
    if wish.is_open and stored is not None:
        if refused := _unsupported(stored.kind, stored.login, principal, given):
            return refused
        if _can_be_given(stored, given) and _is_in_effect(stored, facts, given):
            return _Login(stored, None)
        if stored.kind is CredentialKind.PASSWORD:
            secret = given.new_login(SecretKind.PASSWORD)
            return _Login(credential(stored.login, principal, secret, given), secret)
    if refused := _unsupported(kind, wish.username, principal, given):
        return refused
    login = wish.secret.hardened if kind is CredentialKind.ACCESS_TOKEN else wish.username or ""
    names = {login, wish.name or login}
    if wish.name in given.policy.reserved_names or any(is_anothers(name, principal, facts, given) for name in names):
        return Refused(Reason.NAME_TAKEN)
    return _Login(credential(login, principal, wish.secret, given), wish.secret)


def _unsupported(kind: CredentialKind, username: str | None, principal: str, given: Given) -> Refused | None:
    """Return why the broker could not admit a login of this kind and name, or None."""
    policy = given.policy
    if kind is CredentialKind.ACCESS_TOKEN:
        detail = "this broker cannot admit access tokens; ask for a username and password"
        return None if policy.access_tokens else Refused(Reason.UNSUPPORTED_CREDENTIALS, detail)
    if username is None:
        return Refused(Reason.UNSUPPORTED_CREDENTIALS, "a username is needed")
    if error := login_error(username, policy):
        return Refused(Reason.INVALID_NAME, f"username: {error}")
    if not policy.several_logins and username != principal:
        detail = f"this broker knows a device by one name; ask for the username {principal}"
        return Refused(Reason.UNSUPPORTED_CREDENTIALS, detail)
    return None


def _unusable(principal: str, facts: Facts, given: Given) -> Refused | None:
    """Return why a device cannot become this principal, or None."""
    if error := login_error(principal, given.policy):
        return Refused(Reason.INVALID_NAME, error)
    is_taken = facts.get(Principal, principal) is not None or is_anothers(principal, principal, facts, given)
    return Refused(Reason.NAME_TAKEN) if is_taken else None


def _can_be_given(stored: Credential, given: Given) -> bool:
    return stored.sealed is not None and given.now_ms <= stored.sealed_until_ms


def _is_in_effect(stored: Credential, facts: Facts, given: Given) -> bool:
    """Return whether a login lets in now: where the broker knows one password, a former one comes first."""
    formers = facts.former_credentials(stored.login)
    return given.policy.overlapping_logins or all(former.until_ms <= given.now_ms for former in formers)


def _event(name: str, device: Device, command: ProvisionDevice, given: Given) -> Append:
    return Append(Event(device.tenant, given.now_ms, name, command.lane, device.id, device.name, device.type))
