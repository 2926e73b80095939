"""New credentials for a device while the old ones stay valid for a time, and the end of all of them.

    standing --rotate--> former, until a time --> over        standing or former --revoke--> over

A rotation keeps the kind of login and its names. Where the broker admits a login by several passwords, the new one is
good at once. Where it knows one, the old one stays until its time and the new one follows: there, what has not come
into effect yet is replaced by a further rotation, and the time stays, but for what it takes to read the answer. Some
credential always lets in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from claimsvc.core.commands.credentials import RevokeCredentials, RotateCredentials, RotateOwnCredentials
from claimsvc.core.commands.devices import OnDevice
from claimsvc.core.facts import Facts
from claimsvc.core.logins import credential, forget_formers
from claimsvc.core.model import Credential, CredentialKind, Device, Event, FormerCredential
from claimsvc.core.names import login_error
from claimsvc.core.outcomes import Append, Change, Decision, Done, NewCredentials, Put, Refused, refuse
from claimsvc.core.policy import DAY_MS, Given
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind

MOST_OVERLAP_MS = 30 * DAY_MS
MOST_FORMERS = 3
"""Former credentials that are valid at the same time: so many more the broker has to try for each wrong password."""
TIME_TO_READ_MS = 10_000
"""Where the broker ends a session with its password, a device needs so long to read what the new one is."""


def rotate(command: RotateCredentials, facts: Facts, given: Given) -> Decision:
    """Replace a device's credentials; one that has none left gets some again."""
    meant = _meant(command, facts, given)
    if isinstance(meant, Refused):
        return Decision(meant)
    device, principal = meant
    standing = _standing(principal, facts)
    if not standing:
        return _make_anew(device, principal, command, facts, given)
    if command.kind not in {None, _kind(standing)}:
        return refuse(Reason.INVALID_VALUE, "a rotation keeps the kind of credentials: revoke them first")
    overlap_ms = given.policy.overlap_ms if command.overlap_ms is None else command.overlap_ms
    return _rotate(device, principal, command.caller, overlap_ms, facts, given)


def rotate_own(command: RotateOwnCredentials, facts: Facts, given: Given) -> Decision:
    """Replace the credentials of the device that asks. Without any, nothing it says makes new ones."""
    device = facts.device_of(command.caller)
    if device is None:
        return refuse(Reason.NOT_A_DEVICE)
    ours = _ours(device, given)
    if isinstance(ours, Refused):
        return Decision(ours)
    _, principal = ours
    if not _standing(principal, facts):
        return refuse(Reason.NO_LOGIN)
    policy = given.policy
    overlap_ms = policy.overlap_ms if command.overlap_ms is None else min(command.overlap_ms, policy.overlap_ms)
    if not policy.overlapping_logins:
        overlap_ms = max(overlap_ms, TIME_TO_READ_MS)
    return _rotate(device, principal, principal, overlap_ms, facts, given)


def rotate_released(device: Device, caller: str, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Return what shuts out whoever knew a released device's credentials; an admin may read the new ones."""
    if device.principal is None or not given.policy.issue_logins or not _standing(device.principal, facts):
        return ()
    return _rotate(device, device.principal, caller, 0, facts, given).changes


def revoke(command: RevokeCredentials, facts: Facts, given: Given) -> Decision:
    """End a device's credentials, former ones too, and its sessions. Its names stay its own."""
    meant = _meant(command, facts, given)
    if isinstance(meant, Refused):
        return Decision(meant)
    device, principal = meant
    rows = facts.credentials(principal)
    if not rows:
        return refuse(Reason.NO_LOGIN)
    changes: list[Change] = []
    for row in _living(rows, given.now_ms):
        changes += forget_formers(row.login, facts)
        changes.append(Put(replace(row, sealed=None, revoked_at_ms=given.now_ms)))
    if changes:
        changes.append(_event("credentials_revoked", device, command.caller, given))
    return Decision(Done(), tuple(changes), ended=(principal,))


# --- in common


def _rotate(device: Device, principal: str, caller: str, overlap_ms: int, facts: Facts, given: Given) -> Decision:
    policy, now_ms = given.policy, given.now_ms
    rows = _living(facts.credentials(principal), now_ms)
    kind = _kind(rows)
    ending_ms = _ending_ms(rows, facts, now_ms)
    is_at_once = policy.overlapping_logins or kind is SecretKind.ACCESS_TOKEN
    if is_at_once and overlap_ms and len(ending_ms) >= MOST_FORMERS:
        wait_ms = min(ending_ms) - now_ms
        return Decision(Refused(Reason.RATE_LIMITED, "earlier credentials are still valid", retry_after_ms=wait_ms))
    until_ms = now_ms + overlap_ms
    if not is_at_once:
        soonest_ms = now_ms + min(overlap_ms, TIME_TO_READ_MS)
        until_ms = max(min([until_ms, *ending_ms]), soonest_ms)
    secret, changes = _renewed(rows, principal, kind, until_ms, facts, given)
    event = _event("credentials_rotated", device, caller, given, f"old ones until {until_ms}")
    outcome = NewCredentials(
        device, _username(rows, principal, kind), secret, now_ms if is_at_once else until_ms, until_ms
    )
    return Decision(outcome, (*changes, event), ended=() if overlap_ms else (principal,))


def _make_anew(device: Device, principal: str, command: RotateCredentials, facts: Facts, given: Given) -> Decision:
    """Give a device credentials that has none: a name of its own that somebody else uses by now is not taken over."""
    if error := login_error(principal, given.policy):
        return refuse(Reason.INVALID_NAME, error)
    namesake = facts.get(Credential, principal)
    if principal in given.foreign_logins or (namesake is not None and namesake.principal != principal):
        return refuse(Reason.NAME_TAKEN)
    kind = command.kind or SecretKind.PASSWORD
    is_password = kind is SecretKind.PASSWORD
    known = facts.credentials(principal) if is_password else []
    rows = [row for row in known if row.kind is CredentialKind.PASSWORD]
    secret, changes = _renewed(rows, principal, kind, given.now_ms, facts, given)
    event = _event("credentials_made", device, command.caller, given)
    outcome = NewCredentials(device, _username(rows, principal, kind), secret, given.now_ms, None)
    return Decision(outcome, (*changes, event))


def _renewed(
    rows: Sequence[Credential], principal: str, kind: SecretKind, until_ms: int, facts: Facts, given: Given
) -> tuple[Secret, list[Change]]:
    """Return a new secret with what puts it in the place of those of `rows`, which are good until `until_ms`."""
    secret = given.new_login(kind)
    changes: list[Change] = []
    for row in rows:
        if row.kind is CredentialKind.PASSWORD:
            changes += _replaced(row, secret, until_ms, facts, given)
        else:
            ends_ms = until_ms if row.revoked_at_ms is None else min(row.revoked_at_ms, until_ms)
            changes.append(Put(replace(row, sealed=None, revoked_at_ms=ends_ms)))
    if kind is SecretKind.ACCESS_TOKEN:
        changes.append(Put(credential(secret.hardened, principal, secret, given)))
    elif not rows:
        changes.append(Put(credential(principal, principal, secret, given)))
    return secret, changes


def _replaced(row: Credential, secret: Secret, until_ms: int, facts: Facts, given: Given) -> Iterator[Change]:
    yield Put(credential(row.login, row.principal, secret, given))
    if until_ms <= given.now_ms:
        yield from forget_formers(row.login, facts)
        return
    is_overlapping = given.policy.overlapping_logins
    valid = [former for former in facts.former_credentials(row.login) if former.until_ms > given.now_ms]
    for former in valid:
        yield Put(replace(former, until_ms=min(former.until_ms, until_ms) if is_overlapping else until_ms))
    if is_overlapping or not valid:
        yield Put(FormerCredential(row.login, row.secret_hash, until_ms))


def _ending_ms(rows: Sequence[Credential], facts: Facts, now_ms: int) -> list[int]:
    """Return when each former secret is over that is still good, epoch milliseconds; logins share their secrets."""
    passwords = {
        former.secret_hash: former.until_ms for row in rows for former in facts.former_credentials(row.login)
    }
    tokens = {row.secret_hash: row.revoked_at_ms for row in rows if row.revoked_at_ms is not None}
    return [until_ms for until_ms in (passwords | tokens).values() if until_ms > now_ms]


def _standing(principal: str, facts: Facts) -> list[Credential]:
    return [row for row in facts.credentials(principal) if row.revoked_at_ms is None]


def _living(rows: Sequence[Credential], now_ms: int) -> list[Credential]:
    return [row for row in rows if row.revoked_at_ms is None or row.revoked_at_ms > now_ms]


def _kind(rows: Sequence[Credential]) -> SecretKind:
    has_password = any(row.kind is CredentialKind.PASSWORD for row in rows)
    return SecretKind.PASSWORD if has_password else SecretKind.ACCESS_TOKEN


def _username(rows: Sequence[Credential], principal: str, kind: SecretKind) -> str | None:
    """Return a name to log in as: of several, the principal, which works at every broker."""
    if kind is SecretKind.ACCESS_TOKEN:
        return None
    names = [row.login for row in rows if row.kind is CredentialKind.PASSWORD]
    return principal if principal in names or not names else min(names)


def _meant(command: OnDevice, facts: Facts, given: Given) -> tuple[Device, str] | Refused:
    """Return the device of the caller's tenant, and as whom it logs in."""
    device = facts.get(Device, command.device_id)
    if device is None or device.tenant != facts.tenant_of(command.caller):
        return Refused(Reason.NOT_FOUND)
    return _ours(device, given)


def _ours(device: Device, given: Given) -> tuple[Device, str] | Refused:
    if not given.policy.issue_logins:
        return Refused(Reason.NO_LOGIN, "the broker's logins are kept by somebody else")
    if device.principal is None:
        return Refused(Reason.NO_LOGIN, "a gateway speaks for it")
    return device, device.principal


def _event(event: str, device: Device, caller: str, given: Given, detail: str | None = None) -> Append:
    return Append(Event(device.tenant, given.now_ms, event, caller, device.id, device.name, detail))
