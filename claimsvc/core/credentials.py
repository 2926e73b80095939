"""Credentials of existing devices: rotating and revoking them, and issuing logins for the other features.

command              | who may      | what it does
RotateCredentials    | TENANT_ADMIN | replaces a device's credentials
RotateOwnCredentials | a device     | replaces the calling device's credentials
RevokeCredentials    | TENANT_ADMIN | ends a device's credentials and its sessions; the device stays
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from claimsvc.core.command import Command, OnDevice, Rule
from claimsvc.core.decision import Change, Decision, Done, Outcome, Put, Refused, Remove, device_event, refuse
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import (
    AT_ONCE_MS,
    PROVISION_STATE,
    PROVISIONED,
    Attribute,
    Credential,
    CredentialKind,
    Device,
    EndedPrincipal,
    FormerCredential,
    Principal,
    PrincipalKind,
)
from claimsvc.core.names import login_error, principal_name
from claimsvc.core.permissions import TENANT_ADMIN
from claimsvc.core.policy import DAY_MS, Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.immutable import immutable

MOST_OVERLAP_MS = 30 * DAY_MS


MOST_FORMERS = 3
"""Former credentials of a login that may be valid at the same time. The broker tries each for a wrong password."""


TIME_TO_READ_MS = 10_000
"""The least overlap if the broker knows one password for each login: the device must read its new one meanwhile."""


OWN_PAUSE_MS = 5_000
"""The least time between two rotations that one device requests, if the broker knows one password for each login.

Each rotation then rewrites all logins. The pause is shorter than the overlap, so that a device that lost the answer
can repeat its request with its old password."""


@immutable
class RotateCredentials(OnDevice):
    """Replace a device's credentials. `overlap_ms` is milliseconds; None means the default.

    `kind` applies only to a device without credentials. Otherwise the kind stays.
    """

    overlap_ms: int | None
    kind: SecretKind | None

    def issues_logins(self, facts: Facts) -> bool:
        return True

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.credentials = True


@immutable
class RotateOwnCredentials(Command):
    """Replace the credentials of the calling device. `overlap_ms` is milliseconds; None means the default."""

    overlap_ms: int | None

    @property
    def device(self) -> str | None:
        return self.caller

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.credentials = True


@immutable
class RevokeCredentials(OnDevice):
    """End all credentials of a device. The device stays."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnDevice.needs(self, needs, facts, policy)
        needs.credentials = True


@immutable
class NewCredentials(Outcome):
    """A device's new login. `username` is None for an access token.

    It works from `valid_from_ms`. The old credentials work until `old_valid_until_ms`; None if there were none.
    """

    device: Device
    username: str | None
    secret: Secret
    valid_from_ms: int
    old_valid_until_ms: int | None


@immutable
class FoundCredential(Outcome):
    """A device's newest login. `credential` is None if the service keeps none for it."""

    device: Device
    credential: Credential | None
    secret: Secret | None = None
    """The login's secret. The service opens it while it may be shown again."""


def rotate_credentials(command: RotateCredentials, facts: Facts, given: Given) -> Decision:
    """Replace a device's credentials. A device without credentials gets new ones."""
    meant = _own_device(command, facts, given)
    if isinstance(meant, Refused):
        return Decision(meant)
    device, principal = meant
    rows = standing(principal, facts)
    if not rows:
        return _issue_again(device, principal, command, facts, given)
    if command.kind not in {None, kind_of(rows)}:
        return refuse(Reason.INVALID_VALUE, "a rotation cannot change the kind of credentials: revoke them first")
    overlap_ms = given.policy.overlap_ms if command.overlap_ms is None else command.overlap_ms
    return _rotate(device, principal, command.caller, overlap_ms, facts, given)


def rotate_own_credentials(command: RotateOwnCredentials, facts: Facts, given: Given) -> Decision:
    """Replace the credentials of the calling device. Refused if all its credentials were revoked."""
    device = facts.device_of(command.caller)
    if device is None:
        return refuse(Reason.NOT_A_DEVICE)
    ours = _ours(device, given)
    if isinstance(ours, Refused):
        return Decision(ours)
    _, principal = ours
    rows = standing(principal, facts)
    if not rows:
        return refuse(Reason.NO_LOGIN)
    policy, now_ms = given.policy, given.now_ms
    overlap_ms = policy.overlap_ms if command.overlap_ms is None else min(command.overlap_ms, policy.overlap_ms)
    if not policy.overlapping_logins:
        wait_ms = max(row.created_at_ms for row in rows) + OWN_PAUSE_MS - now_ms
        # A longer wait means that the login was created before the clock was set back: do not wait.
        if 0 < wait_ms <= OWN_PAUSE_MS and ends_of(rows, facts, now_ms):
            return Decision(Refused(Reason.RATE_LIMITED, retry_after_ms=wait_ms))
        overlap_ms = max(overlap_ms, TIME_TO_READ_MS)
    return _rotate(device, principal, principal, overlap_ms, facts, given)


def revoke_credentials(command: RevokeCredentials, facts: Facts, given: Given) -> Decision:
    """End a device's credentials, also former ones, and its sessions. The device keeps its names.

    The device is marked as provisioned, so that its profile's key, which all devices of the profile know, gives it no
    new credentials. An admin can delete the mark.
    """
    meant = _own_device(command, facts, given)
    if isinstance(meant, Refused):
        return Decision(meant)
    device, principal = meant
    rows = facts.credentials(principal)
    if not rows:
        return refuse(Reason.NO_LOGIN)
    changes: list[Change] = []
    for row in living(rows, given.now_ms):
        changes += forget_formers(row.login, facts)
        changes.append(Put(replace(row, sealed=None, revoked_at_ms=AT_ONCE_MS)))
    if changes:
        changes.append(Put(Attribute(device.id, PROVISION_STATE, PROVISIONED, given.now_ms)))
        changes.append(Put(EndedPrincipal(principal, given.now_ms)))
        changes.append(device_event(device, "credentials_revoked", command.caller, given))
    return Decision(Done(), tuple(changes), ended=(principal,))


def rotate_released(device: Device, caller: str, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Return the changes that replace a released device's credentials at once. An admin may read the new ones."""
    if device.principal is None or not given.policy.issue_logins or not standing(device.principal, facts):
        return ()
    return _rotate(device, device.principal, caller, 0, facts, given).changes


def _rotate(device: Device, principal: str, caller: str, overlap_ms: int, facts: Facts, given: Given) -> Decision:
    policy, now_ms = given.policy, given.now_ms
    rows = living(facts.credentials(principal), now_ms)
    kind = kind_of(rows)
    ending_ms = ends_of(rows, facts, now_ms)
    is_at_once = policy.overlapping_logins or kind is SecretKind.ACCESS_TOKEN
    if is_at_once and overlap_ms and len(ending_ms) >= MOST_FORMERS:
        wait_ms = min(ending_ms) - now_ms
        return Decision(Refused(Reason.RATE_LIMITED, "earlier credentials are still valid", retry_after_ms=wait_ms))
    until_ms = now_ms + overlap_ms
    if not is_at_once:
        soonest_ms = now_ms + min(overlap_ms, TIME_TO_READ_MS)
        until_ms = max(min([until_ms, *ending_ms]), soonest_ms)
    secret, changes = renew(rows, principal, kind, until_ms, facts, given)
    event = device_event(device, "credentials_rotated", caller, given, f"old ones until {until_ms}")
    outcome = NewCredentials(
        device, login_name(rows, principal, kind), secret, now_ms if is_at_once else until_ms, until_ms
    )
    return Decision(outcome, (*changes, event), ended=() if overlap_ms else (principal,))


def _issue_again(device: Device, principal: str, command: RotateCredentials, facts: Facts, given: Given) -> Decision:
    """Issue credentials to a device without any. Refused if another login now uses one of its names."""
    if error := login_error(principal, given.policy):
        return refuse(Reason.INVALID_NAME, error)
    if is_anothers(principal, principal, facts, given):
        return refuse(Reason.NAME_TAKEN)
    kind = command.kind or SecretKind.PASSWORD
    if kind is SecretKind.ACCESS_TOKEN and not given.policy.access_tokens:
        return refuse(Reason.UNSUPPORTED_CREDENTIALS, "this broker does not support access tokens")
    is_password = kind is SecretKind.PASSWORD
    known = facts.credentials(principal) if is_password else []
    rows = [row for row in known if row.kind is CredentialKind.PASSWORD]
    secret, changes = renew(rows, principal, kind, given.now_ms, facts, given)
    event = device_event(device, "credentials_made", command.caller, given)
    outcome = NewCredentials(device, login_name(rows, principal, kind), secret, given.now_ms, None)
    return Decision(outcome, (*changes, event))


def _own_device(command: OnDevice, facts: Facts, given: Given) -> tuple[Device, str] | Refused:
    """Return the device of the caller's tenant and its principal."""
    device = facts.get(Device, command.device_id)
    if device is None or device.tenant != facts.tenant_of(command.caller):
        return Refused(Reason.NOT_FOUND)
    return _ours(device, given)


def _ours(device: Device, given: Given) -> tuple[Device, str] | Refused:
    if not given.policy.issue_logins:
        return Refused(Reason.NO_LOGIN, "credentials.store is none")
    if device.principal is None:
        why = (
            "it has not registered, been provisioned or sent a message yet"
            if device.is_loginless
            else "a gateway speaks for it"
        )
        return Refused(Reason.NO_LOGIN, why)
    return device, device.principal


@immutable
class Login:
    """A new principal and the changes that create it. The first change is the principal itself."""

    principal: str
    changes: tuple[Change, ...]
    issued: bool
    """False if the service keeps no logins. Then the login must exist on the broker."""


def issue_login(
    tenant: str, name: str, kind: PrincipalKind, secret: Secret, facts: Facts, given: Given
) -> Login | Refused:
    """Return a new principal for `name` with its login, or the refusal."""
    principal = principal_name(tenant, name, given.policy)
    if error := login_error(principal, given.policy):
        return Refused(Reason.INVALID_NAME, error)
    login = secret.hardened if secret.kind is SecretKind.ACCESS_TOKEN else principal
    if principal in given.foreign_logins or facts.get(Principal, principal) or facts.get(Credential, login):
        return Refused(Reason.NAME_TAKEN)
    row = Put(Principal(principal, kind, tenant))
    if not given.policy.issue_logins:
        return Login(principal, (row,), issued=False)
    return Login(principal, (row, Put(credential_row(login, principal, secret, given))), issued=True)


def is_anothers(login: str, principal: str, facts: Facts, given: Given) -> bool:
    """Return whether a login belongs to another principal than `principal`, or is another principal's name."""
    known = facts.get(Credential, login)
    if login in given.foreign_logins or (known is not None and known.principal != principal):
        return True
    return login != principal and facts.get(Principal, login) is not None


def credential_row(login: str, principal: str, secret: Secret, given: Given) -> Credential:
    """Return a new login of `principal` with `secret`."""
    return Credential(
        login,
        principal,
        CredentialKind(secret.kind.value),
        secret.hardened,
        secret.sealed,
        given.now_ms + given.policy.reissue_window_ms,
        given.now_ms,
    )


def end_logins(principal: str, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Return the removal of a principal and all its logins."""
    rows = facts.credentials(principal)
    formers = (change for row in rows for change in forget_formers(row.login, facts))
    logins = (Remove(Credential, row.key) for row in rows)
    ended = (Put(EndedPrincipal(principal, given.now_ms)),) if rows else ()
    return (*formers, *logins, Remove(Principal, principal), *ended)


def is_ended(principal: str, facts: Facts, given: Given) -> bool:
    """Return whether the service ended all logins of a principal and the broker has no other login of this name.

    The broker may still publish a will in that name, much later. A new login makes the name valid again.
    """
    is_kept = given.policy.issue_logins and principal not in given.foreign_logins
    return is_kept and facts.get(EndedPrincipal, principal) is not None


def forget_formers(login: str, facts: Facts) -> Iterator[Change]:
    """Return the removal of all former passwords of a login."""
    return (Remove(FormerCredential, row.key) for row in facts.former_credentials(login))


def renew(
    rows: Sequence[Credential], principal: str, kind: SecretKind, until_ms: int, facts: Facts, given: Given
) -> tuple[Secret, list[Change]]:
    """Return a new secret and the changes that replace the secrets of `rows`, which stay valid until `until_ms`."""
    secret = given.new_login(kind)
    changes: list[Change] = []
    for row in rows:
        if row.kind is CredentialKind.PASSWORD:
            changes += _replaced(row, secret, until_ms, facts, given)
        else:
            end_ms = until_ms if until_ms > given.now_ms else AT_ONCE_MS
            ends_ms = end_ms if row.revoked_at_ms is None else min(row.revoked_at_ms, end_ms)
            changes.append(Put(replace(row, sealed=None, revoked_at_ms=ends_ms)))
    if kind is SecretKind.ACCESS_TOKEN:
        changes.append(Put(credential_row(secret.hardened, principal, secret, given)))
    elif not rows:
        changes.append(Put(credential_row(principal, principal, secret, given)))
    return secret, changes


def _replaced(row: Credential, secret: Secret, until_ms: int, facts: Facts, given: Given) -> Iterator[Change]:
    yield Put(credential_row(row.login, row.principal, secret, given))
    if until_ms <= given.now_ms:
        yield from forget_formers(row.login, facts)
        return
    is_overlapping = given.policy.overlapping_logins
    valid = [former for former in facts.former_credentials(row.login) if former.until_ms > given.now_ms]
    for former in valid:
        yield Put(replace(former, until_ms=min(former.until_ms, until_ms) if is_overlapping else until_ms))
    if is_overlapping or not valid:
        yield Put(FormerCredential(row.login, row.secret_hash, until_ms))


def ends_of(rows: Sequence[Credential], facts: Facts, now_ms: int) -> list[int]:
    """Return the end of each former secret that is still valid, epoch milliseconds. Logins share their secrets."""
    passwords = {
        former.secret_hash: former.until_ms for row in rows for former in facts.former_credentials(row.login)
    }
    tokens = {row.secret_hash: row.revoked_at_ms for row in rows if row.revoked_at_ms is not None}
    return [until_ms for until_ms in (passwords | tokens).values() if until_ms > now_ms]


def standing(principal: str, facts: Facts) -> list[Credential]:
    """Return the logins of a principal that are not revoked."""
    return [row for row in facts.credentials(principal) if row.revoked_at_ms is None]


def newest(principal: str | None, facts: Facts) -> Credential | None:
    """Return the newest login of a principal; of several, the one that every broker admits."""
    rows = standing(principal, facts) if principal is not None else []
    return max(rows, key=lambda row: (row.created_at_ms, row.login == row.principal), default=None)


def living(rows: Sequence[Credential], now_ms: int) -> list[Credential]:
    """Return the logins that still work."""
    return [row for row in rows if row.revoked_at_ms is None or row.revoked_at_ms > now_ms]


def kind_of(rows: Sequence[Credential]) -> SecretKind:
    """Return the kind of secret that replaces those of these logins: a password if one of them has one."""
    has_password = any(row.kind is CredentialKind.PASSWORD for row in rows)
    return SecretKind.PASSWORD if has_password else SecretKind.ACCESS_TOKEN


def login_name(rows: Sequence[Credential], principal: str, kind: SecretKind) -> str | None:
    """Return the username of these logins; of several, the principal, which works on every broker."""
    if kind is SecretKind.ACCESS_TOKEN:
        return None
    names = [row.login for row in rows if row.kind is CredentialKind.PASSWORD]
    return principal if principal in names or not names else min(names)


RULES: dict[type[Command], Rule] = {
    RotateCredentials: Rule(rotate_credentials, frozenset({TENANT_ADMIN})),
    RotateOwnCredentials: Rule(rotate_own_credentials),
    RevokeCredentials: Rule(revoke_credentials, frozenset({TENANT_ADMIN})),
}
