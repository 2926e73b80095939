"""New credentials for a device while the old ones stay valid for a time, and the end of all of them.

    standing --rotate--> former, until a time --> over        standing or former --revoke--> over

A rotation keeps the kind of login and its names. Where the broker admits a login by several passwords, the new one is
good at once. Where it knows one, the old one stays until its time and the new one follows: there, what has not come
into effect yet is replaced by a further rotation, and the time stays, but for what it takes to read the answer. Some
credential always lets in.
"""

from __future__ import annotations

from dataclasses import replace

from claimsvc.core.commands.credentials import RevokeCredentials, RotateCredentials, RotateOwnCredentials
from claimsvc.core.commands.devices import OnDevice
from claimsvc.core.facts import Facts
from claimsvc.core.logins import forget_formers, is_anothers
from claimsvc.core.model import (
    AT_ONCE_MS,
    PROVISION_STATE,
    PROVISIONED,
    Attribute,
    CredentialKind,
    Device,
    EndedPrincipal,
    Event,
)
from claimsvc.core.names import login_error
from claimsvc.core.outcomes import Append, Change, Decision, Done, NewCredentials, Put, Refused, refuse
from claimsvc.core.policy import DAY_MS, Given
from claimsvc.core.reasons import Reason
from claimsvc.core.renewal import ends_of, kind_of, living, renew, standing, username_of
from claimsvc.core.secrets import SecretKind

MOST_OVERLAP_MS = 30 * DAY_MS
MOST_FORMERS = 3
"""Former credentials that are valid at the same time: so many more the broker has to try for each wrong password."""
TIME_TO_READ_MS = 10_000
"""Where the broker ends a session with its password, a device needs so long to read what the new one is."""
OWN_PAUSE_MS = 5_000
"""There each rotation has the service look through all logins: no device may have it do so all the time. Whoever lost
an answer can ask again before the old password is over."""


def rotate(command: RotateCredentials, facts: Facts, given: Given) -> Decision:
    """Replace a device's credentials; one that has none left gets some again."""
    meant = _meant(command, facts, given)
    if isinstance(meant, Refused):
        return Decision(meant)
    device, principal = meant
    rows = standing(principal, facts)
    if not rows:
        return _make_anew(device, principal, command, facts, given)
    if command.kind not in {None, kind_of(rows)}:
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
    rows = standing(principal, facts)
    if not rows:
        return refuse(Reason.NO_LOGIN)
    policy, now_ms = given.policy, given.now_ms
    overlap_ms = policy.overlap_ms if command.overlap_ms is None else min(command.overlap_ms, policy.overlap_ms)
    if not policy.overlapping_logins:
        wait_ms = max(row.created_at_ms for row in rows) + OWN_PAUSE_MS - now_ms
        # More than the pause is left only of a login that was made before the clock was set back.
        if 0 < wait_ms <= OWN_PAUSE_MS and ends_of(rows, facts, now_ms):
            return Decision(Refused(Reason.RATE_LIMITED, retry_after_ms=wait_ms))
        overlap_ms = max(overlap_ms, TIME_TO_READ_MS)
    return _rotate(device, principal, principal, overlap_ms, facts, given)


def rotate_released(device: Device, caller: str, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Return what shuts out whoever knew a released device's credentials; an admin may read the new ones."""
    if device.principal is None or not given.policy.issue_logins or not standing(device.principal, facts):
        return ()
    return _rotate(device, device.principal, caller, 0, facts, given).changes


def revoke(command: RevokeCredentials, facts: Facts, given: Given) -> Decision:
    """End a device's credentials, former ones too, and its sessions. Its names stay its own.

    The key of its profile lets it in no more, which all devices of the profile know: an admin takes the mark away.
    """
    meant = _meant(command, facts, given)
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
        changes.append(_event("credentials_revoked", device, command.caller, given))
    return Decision(Done(), tuple(changes), ended=(principal,))


# --- in common


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
    event = _event("credentials_rotated", device, caller, given, f"old ones until {until_ms}")
    outcome = NewCredentials(
        device, username_of(rows, principal, kind), secret, now_ms if is_at_once else until_ms, until_ms
    )
    return Decision(outcome, (*changes, event), ended=() if overlap_ms else (principal,))


def _make_anew(device: Device, principal: str, command: RotateCredentials, facts: Facts, given: Given) -> Decision:
    """Give a device credentials that has none: a name of its own that somebody else uses by now is not taken over."""
    if error := login_error(principal, given.policy):
        return refuse(Reason.INVALID_NAME, error)
    if is_anothers(principal, principal, facts, given):
        return refuse(Reason.NAME_TAKEN)
    kind = command.kind or SecretKind.PASSWORD
    if kind is SecretKind.ACCESS_TOKEN and not given.policy.access_tokens:
        return refuse(Reason.UNSUPPORTED_CREDENTIALS, "this broker cannot admit access tokens")
    is_password = kind is SecretKind.PASSWORD
    known = facts.credentials(principal) if is_password else []
    rows = [row for row in known if row.kind is CredentialKind.PASSWORD]
    secret, changes = renew(rows, principal, kind, given.now_ms, facts, given)
    event = _event("credentials_made", device, command.caller, given)
    outcome = NewCredentials(device, username_of(rows, principal, kind), secret, given.now_ms, None)
    return Decision(outcome, (*changes, event))


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
        why = (
            "it has not registered, been provisioned or spoken yet"
            if device.is_loginless
            else "a gateway speaks for it"
        )
        return Refused(Reason.NO_LOGIN, why)
    return device, device.principal


def _event(event: str, device: Device, caller: str, given: Given, detail: str | None = None) -> Append:
    return Append(Event(device.tenant, given.now_ms, event, caller, device.id, device.name, detail))
