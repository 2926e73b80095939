"""Claims and releases: a customer takes a device with its key and gives it back (TB 2.3, 2.4)."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import replace

from claimsvc.core import access, lockouts
from claimsvc.core.commands.claiming import ClaimDevice, ReleaseDevice
from claimsvc.core.facts import Facts
from claimsvc.core.model import CLAIMING_ALLOWED, PROVISION_STATE, TRUE, Attribute, ClaimWindow, Device, Event, User
from claimsvc.core.outcomes import (
    Append,
    Change,
    Claimed,
    ClaimNotice,
    Decision,
    Put,
    Refused,
    Released,
    Remove,
    refuse,
)
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.core.rotation import rotate_released


def claim(command: ClaimDevice, facts: Facts, given: Given) -> Decision:
    """A customer user claims a device; the order of the checks is ThingsBoard's (TB 2.3)."""
    user = facts.get(User, command.caller)
    if user is None or user.customer_id is None:
        reason = Reason.NOT_A_CUSTOMER
        return Decision(Refused(reason), not_allowed(command, reason, facts, given))
    device = facts.device_named(user.tenant, command.name)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    lockout = lockouts.lockout(facts, given, user.principal, device.id)
    if lockout.left_ms > 0:
        return Decision(Refused(Reason.LOCKED_OUT, retry_after_ms=lockout.left_ms), lockout.changes)
    windows = [window for window in facts.windows(device.id) if given.now_ms <= window.expires_at_ms]
    if any(hmac.compare_digest(window.key_hash, command.key.hardened) for window in windows):
        if device.owner:
            return _owned(device, facts)
        claimed = replace(
            device, owner=user.customer_id, claimed_at_ms=given.now_ms, claimed_with=command.key.hardened
        )
        return _granted(claimed, user, facts, given)
    if device.owner and not windows:
        return _owned(device, facts)
    return _failed(device, user, windows, facts, given)


def not_allowed(command: ClaimDevice, reason: Reason, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Return the audit event of a claim by a user who may not claim at all.

    Only users of the device's own tenant leave one. It counts towards no lockout: granting the permission is enough.
    The pipeline limits how many of these events one user can cause.
    """
    user = facts.get(User, command.caller)
    device = facts.device_named(user.tenant, command.name) if user else None
    if user is None or device is None:
        return ()
    detail = f"{reason.value}: {access.CLAIM_DEVICES}" if reason is Reason.NOT_PERMITTED else reason.value
    event = Event(device.tenant, given.now_ms, "claim_refused", user.principal, device.id, device.name, detail)
    return (Append(event),)


def _granted(claimed: Device, user: User, facts: Facts, given: Given) -> Decision:
    event = Event(
        claimed.tenant, given.now_ms, "device_claimed", user.principal, claimed.id, claimed.name, claimed.owner
    )
    forgotten = lockouts.forget(facts, user.principal, claimed.id)
    changes = (Put(claimed), *_spent(claimed, facts), *forgotten, Append(event))
    return Decision(Claimed(claimed), changes, tuple(_notices(claimed, given)))


def _owned(device: Device, facts: Facts) -> Decision:
    """CLAIMED, also to the owner; windows that lead nowhere go (TB 2.3)."""
    return Decision(Refused(Reason.ALREADY_CLAIMED), _spent(device, facts))


def _failed(device: Device, user: User, windows: list[ClaimWindow], facts: Facts, given: Given) -> Decision:
    ended = Reason.WINDOW_EXPIRED if facts.windows(device.id) else Reason.NO_WINDOW
    reason = Reason.WRONG_KEY if windows else ended
    counted = lockouts.count_failure(facts, given, user.principal, device.id)
    changes: list[Change] = [Put(replace(window, attempts=window.attempts + 1)) for window in windows]
    changes += counted.changes
    for name in ("claim_refused", "claim_locked_out")[: 1 + counted.locked]:
        happened = Event(device.tenant, given.now_ms, name, user.principal, device.id, device.name, reason.value)
        changes.append(Append(happened))
    return Decision(Refused(reason), tuple(changes))


def _spent(device: Device, facts: Facts) -> tuple[Change, ...]:
    """Everything that allowed a claim: all windows and `claimingAllowed`."""
    windows = (Remove(ClaimWindow, window.key) for window in facts.windows(device.id))
    allowed = facts.get(Attribute, (device.id, CLAIMING_ALLOWED))
    return (*windows, *((Remove(Attribute, allowed.key),) if allowed else ()))


def release(command: ReleaseDevice, facts: Facts, given: Given) -> Decision:
    """The owning customer or a tenant admin gives a device back (TB lets anybody: we do not)."""
    device = facts.device_named(facts.tenant_of(command.caller), command.name)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    if device.owner is None:
        return Decision(Released(device, was_owned=False))
    user = facts.get(User, command.caller)
    is_owner = user is not None and user.customer_id == device.owner
    if not is_owner and access.TENANT_ADMIN not in access.permissions(facts, command.caller):
        return refuse(Reason.NOT_THE_OWNER)
    released = replace(device, owner=None, claimed_at_ms=None)
    event = Event(
        device.tenant, given.now_ms, "device_released", command.caller, device.id, device.name, device.owner
    )
    windows = [Remove(ClaimWindow, window.key) for window in facts.windows(device.id)]
    changes: tuple[Change, ...] = (Put(released), *windows, *_allowed_again(device, given), Append(event))
    shut_out = _shut_out(released, command.caller, facts, given) if given.policy.rotate_on_release else ()
    ended = (released.principal,) if shut_out and released.principal else ()
    outcome = Released(released, was_owned=True)
    return Decision(outcome, (*changes, *shut_out), tuple(_notices(released, given)), ended)


def _shut_out(device: Device, caller: str, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Whoever owned the device may know its credentials: it gets others, and may be provisioned again.

    One whose credentials an admin revoked stays out.
    """
    rotated = rotate_released(device, caller, facts, given)
    state = facts.get(Attribute, (device.id, PROVISION_STATE))
    return (Remove(Attribute, state.key), *rotated) if state and rotated else rotated


def _allowed_again(device: Device, given: Given) -> Iterator[Put]:
    if not given.policy.allow_by_default:
        yield Put(Attribute(device.id, CLAIMING_ALLOWED, TRUE, given.now_ms))


def _notices(device: Device, given: Given) -> Iterator[ClaimNotice]:
    if device.principal is not None:
        yield ClaimNotice(device.principal, device.owner is not None, given.now_ms)
