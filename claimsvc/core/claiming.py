"""Claiming: devices and gateways open claim windows; customers claim devices and release them.

command           | who may                       | what it does
OpenWindow        | a device                      | opens a claim window for the device
OpenWindows       | a gateway                     | opens claim windows for devices of the gateway
ReadSessionLimits | any client with its own login | reads the limits of the client's messages
ClaimDevice       | CLAIM_DEVICES                 | makes the caller's customer the owner of a device
ReleaseDevice     | CLAIM_DEVICES or TENANT_ADMIN | makes a device free again

Only the owner or a tenant admin may release a device.

Lockouts: a claim that fails with WRONG_KEY, NO_WINDOW or WINDOW_EXPIRED counts against the user, at the device and
per hour. One failure too many (`max_attempts` at a device, `max_failures_per_hour` at all devices) locks the user
out of that device, or of all devices, for `lockout_ms`. Each further lockout lasts twice as long as the one before,
at most a day, until the user has been quiet for a day. While it lasts the right key is refused, too, and nothing is
counted. A successful claim clears the failures at that device, not those of the hour. `count_failure` and
`lockout_of` are the rule. Other refusals count nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import replace

from claimsvc.core.command import Command, OnNamedDevice, Rule
from claimsvc.core.credentials import rotate_released
from claimsvc.core.decision import Change, Decision, Notice, Outcome, Put, Refused, Remove, device_event, refuse
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import (
    CLAIMING_ALLOWED,
    PROVISION_STATE,
    TRUE,
    Attribute,
    ClaimAttempts,
    ClaimWindow,
    Device,
    Principal,
    PrincipalKind,
    User,
    UserFailures,
    WindowSource,
)
from claimsvc.core.names import name_error
from claimsvc.core.permissions import CLAIM_DEVICES, TENANT_ADMIN, permissions
from claimsvc.core.policy import DAY_MS, HOUR_MS, Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret
from claimsvc.immutable import immutable


@immutable
class OpenWindow(Command):
    """Open a claim window for the caller. Times are milliseconds; `duration_ms` None means the default."""

    key: Secret
    duration_ms: int | None
    received_at_ms: int | None
    redelivered: bool

    @property
    def device(self) -> str | None:
        return self.caller

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.key,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        if facts.device_of(self.caller) is None:
            needs.device_names.add((facts.tenant_of(self.caller), self.caller))
        needs.claiming_allowed |= not policy.allow_by_default


@immutable
class WindowEntry:
    """One device of a gateway's message."""

    name: str
    key: Secret
    duration_ms: int | None


@immutable
class OpenWindows(Command):
    """Open claim windows for devices of the calling gateway. Malformed entries are refused one by one."""

    entries: tuple[WindowEntry | tuple[str, Refused], ...]
    received_at_ms: int | None
    redelivered: bool

    @property
    def device(self) -> str | None:
        return self.caller

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(entry.key for entry in self.entries if isinstance(entry, WindowEntry))

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        tenant = facts.tenant_of(self.caller)
        needs.device_names.update((tenant, entry.name) for entry in self.entries if isinstance(entry, WindowEntry))
        needs.claiming_allowed |= not policy.allow_by_default


@immutable
class ReadSessionLimits(Command):
    """Read the limits of a client's messages. Facts: docs/original-systems.md#session-limits."""


@immutable
class ClaimDevice(OnNamedDevice):
    """Claim a device with its key, for the customer of the calling user."""

    key: Secret

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.key,)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnNamedDevice.needs(self, needs, facts, policy)
        needs.attempts_at.add((self.caller, facts.tenant_of(self.caller), self.name))
        needs.windows = needs.claiming_allowed = True


@immutable
class ReleaseDevice(OnNamedDevice):
    """Release a device, as its owner or as a tenant admin."""

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        OnNamedDevice.needs(self, needs, facts, policy)
        needs.windows = True
        if policy.rotate_on_release:
            needs.credentials = needs.provision_state = True


@immutable
class WindowOpened(Outcome):
    """A claim window is open until `expires_at_ms`."""

    device: str
    expires_at_ms: int


@immutable
class WindowsOpened(Outcome):
    """The outcomes for the devices of a gateway's message, in its order."""

    entries: tuple[tuple[str, WindowOpened | Refused], ...]


@immutable
class SessionLimits(Outcome):
    """The limits of a client's messages."""

    is_gateway: bool


@immutable
class Claimed(Outcome):
    """The device now belongs to the caller's customer."""

    device: Device


@immutable
class Released(Outcome):
    """The device has no owner. `was_owned` is False if it had none before."""

    device: Device
    was_owned: bool


@immutable
class ClaimNotice(Notice):
    """Inform a device that it was claimed or released."""

    principal: str
    claimed: bool
    at_ms: int


def open_window(command: OpenWindow, facts: Facts, given: Given) -> Decision:
    """Open a window for the caller. It replaces an older one: docs/differences.md#thingsboard-claiming."""
    device = facts.device_of(command.caller)
    created: tuple[Change, ...] = ()
    if device is None:
        first_word = _first_word(command.caller, facts, given)
        if isinstance(first_word, Refused):
            return Decision(first_word)
        device, created = first_word
    outcome, changes = _open(device, command.key.hardened, command.duration_ms, command, facts, given)
    return Decision(outcome, (*created, *changes))


def open_windows(command: OpenWindows, facts: Facts, given: Given) -> Decision:
    """Open windows for a gateway. Each device has its own result, so one bad entry does not stop the others."""
    gateway = facts.device_of(command.caller)
    if gateway is None or not gateway.is_gateway:
        return refuse(Reason.NOT_A_GATEWAY)
    outcomes: list[tuple[str, WindowOpened | Refused]] = []
    changes: list[Change] = []
    for entry in command.entries:
        if isinstance(entry, WindowEntry):
            outcome, entry_changes = _open_for(gateway, entry, command, facts, given)
            outcomes.append((entry.name, outcome))
            changes.extend(entry_changes)
        else:
            outcomes.append(entry)
    return Decision(WindowsOpened(tuple(outcomes)), tuple(changes))


def read_session_limits(command: ReadSessionLimits, facts: Facts, given: Given) -> Decision:
    """Read the limits of the client's messages."""
    device = facts.device_of(command.caller)
    return Decision(SessionLimits(is_gateway=bool(device and device.is_gateway)))


def claim_device(command: ClaimDevice, facts: Facts, given: Given) -> Decision:
    """Claim a device for the caller's customer. As in ThingsBoard, the key is checked before the owner."""
    user = facts.get(User, command.caller)
    if user is None or user.customer_id is None:
        reason = Reason.NOT_A_CUSTOMER
        return Decision(Refused(reason), refusal_changes(command, reason, facts, given))
    device = facts.device_named(user.tenant, command.name)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    lockout = lockout_of(facts, given, user.principal, device.id)
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


def release_device(command: ReleaseDevice, facts: Facts, given: Given) -> Decision:
    """Release a device. ThingsBoard lets any customer of the tenant do so."""
    device = facts.device_named(facts.tenant_of(command.caller), command.name)
    if device is None:
        return refuse(Reason.NOT_FOUND)
    if device.owner is None:
        return Decision(Released(device, was_owned=False))
    user = facts.get(User, command.caller)
    is_owner = user is not None and user.customer_id == device.owner
    if not is_owner and TENANT_ADMIN not in permissions(facts, command.caller):
        return refuse(Reason.NOT_THE_OWNER)
    released = replace(device, owner=None, claimed_at_ms=None)
    event = device_event(device, "device_released", command.caller, given, device.owner)
    windows = [Remove(ClaimWindow, window.key) for window in facts.windows(device.id)]
    changes: tuple[Change, ...] = (Put(released), *windows, *_allowed_again(device, given), event)
    rotated = _rotate_for_next_owner(released, command.caller, facts, given) if given.policy.rotate_on_release else ()
    ended = (released.principal,) if rotated and released.principal else ()
    outcome = Released(released, was_owned=True)
    return Decision(outcome, (*changes, *rotated), tuple(_notices(released, given)), ended)


def _first_word(caller: str, facts: Facts, given: Given) -> tuple[Device, tuple[Change, ...]] | Refused:
    """Return an unknown principal as a new device of the default tenant. The device's name is the principal."""
    policy = given.policy
    if facts.get(Principal, caller) is not None:
        return Refused(Reason.NOT_A_DEVICE)
    principal = Put(Principal(caller, PrincipalKind.DEVICE, policy.default_tenant))
    listed = facts.device_named(policy.default_tenant, caller)
    if listed is not None and listed.is_loginless:
        device = replace(listed, principal=caller)  # a list created it; this is its first message
        return device, (principal, Put(device))
    if listed is not None:
        return Refused(Reason.NAME_TAKEN, "a gateway speaks for the device of this name")
    if not policy.auto_create:
        return Refused(Reason.UNKNOWN_DEVICE)
    if error := name_error(caller):
        return Refused(Reason.INVALID_NAME, error)
    device = Device(given.new_id(), policy.default_tenant, caller, caller, given.now_ms)
    return device, (principal, *_created(device, caller, facts, given))


def _open_for(
    gateway: Device, entry: WindowEntry, message: OpenWindows, facts: Facts, given: Given
) -> tuple[WindowOpened | Refused, tuple[Change, ...]]:
    device = facts.device_named(gateway.tenant, entry.name)
    created: tuple[Change, ...] = ()
    if device is None:
        if error := name_error(entry.name):
            return Refused(Reason.INVALID_NAME, error), ()
        device = Device(given.new_id(), gateway.tenant, entry.name, None, given.now_ms, gateway_id=gateway.id)
        created = _created(device, gateway.principal or gateway.name, facts, given)
    elif device.gateway_id != gateway.id:
        return Refused(Reason.NOT_PERMITTED, "this device is not bound to the gateway"), ()
    outcome, changes = _open(device, entry.key.hardened, entry.duration_ms, message, facts, given)
    return outcome, (*created, *changes)


def _created(device: Device, caller: str, facts: Facts, given: Given) -> tuple[Change, Change]:
    facts.know_new(device.id)
    return Put(device), device_event(device, "device_created", caller, given)


def _open(
    device: Device,
    key_hash: str,
    duration_ms: int | None,
    message: OpenWindow | OpenWindows,
    facts: Facts,
    given: Given,
) -> tuple[WindowOpened | Refused, tuple[Change, ...]]:
    policy = given.policy
    if device.owner is not None:
        return Refused(Reason.ALREADY_CLAIMED), ()
    if not policy.allow_by_default and not _claiming_allowed(device, facts):
        return Refused(Reason.CLAIMING_NOT_ALLOWED), ()
    if message.redelivered and device.claimed_with == key_hash:
        # The window of this message led to a claim, which closed it. It must not open again after a release.
        return Refused(Reason.WINDOW_EXPIRED, "the device was already claimed with this key"), ()
    wanted = duration_ms if duration_ms is not None and duration_ms > 0 else policy.default_duration_ms
    # The plugin's stamp is when the broker received the message. A forged one can only shorten the window.
    received_at_ms = given.now_ms if message.received_at_ms is None else message.received_at_ms
    opened_at_ms = min(given.now_ms, received_at_ms)
    expires_at_ms = opened_at_ms + min(wanted, policy.max_duration_ms)
    if expires_at_ms < given.now_ms:
        return Refused(Reason.WINDOW_EXPIRED, "the message was delayed for longer than its window lasts"), ()
    window = ClaimWindow(device.id, WindowSource.DEVICE, key_hash, opened_at_ms, expires_at_ms)
    return WindowOpened(device.name, expires_at_ms), (Put(window),)


def _claiming_allowed(device: Device, facts: Facts) -> bool:
    attribute = facts.get(Attribute, (device.id, CLAIMING_ALLOWED))
    return attribute is not None and attribute.is_true


def refusal_changes(command: ClaimDevice, reason: Reason, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Return the audit event of a claim by a user who may not claim at all; none if the device is another tenant's.

    Such a claim does not count towards a lockout, so the user can claim as soon as an admin grants the permission.
    The service limits the number of these events for each user.
    """
    user = facts.get(User, command.caller)
    device = facts.device_named(user.tenant, command.name) if user else None
    if user is None or device is None:
        return ()
    detail = f"{reason.value}: {CLAIM_DEVICES}" if reason is Reason.NOT_PERMITTED else reason.value
    return (device_event(device, "claim_refused", user.principal, given, detail),)


def _granted(claimed: Device, user: User, facts: Facts, given: Given) -> Decision:
    event = device_event(claimed, "device_claimed", user.principal, given, claimed.owner)
    forgotten = forget_failures(facts, user.principal, claimed.id)
    changes = (Put(claimed), *_spent(claimed, facts), *forgotten, event)
    return Decision(Claimed(claimed), changes, tuple(_notices(claimed, given)))


def _owned(device: Device, facts: Facts) -> Decision:
    """Refuse with ALREADY_CLAIMED, even for the owner, and remove the windows: they can lead to no claim."""
    return Decision(Refused(Reason.ALREADY_CLAIMED), _spent(device, facts))


def _failed(device: Device, user: User, windows: list[ClaimWindow], facts: Facts, given: Given) -> Decision:
    ended = Reason.WINDOW_EXPIRED if facts.windows(device.id) else Reason.NO_WINDOW
    reason = Reason.WRONG_KEY if windows else ended
    counted = count_failure(facts, given, user.principal, device.id)
    changes: list[Change] = [Put(replace(window, attempts=window.attempts + 1)) for window in windows]
    changes += counted.changes
    for name in ("claim_refused", "claim_locked_out")[: 1 + counted.locked]:
        changes.append(device_event(device, name, user.principal, given, reason.value))
    return Decision(Refused(reason), tuple(changes))


def _spent(device: Device, facts: Facts) -> tuple[Change, ...]:
    """Return the removal of everything that allowed a claim: all windows and `claimingAllowed`."""
    windows = (Remove(ClaimWindow, window.key) for window in facts.windows(device.id))
    allowed = facts.get(Attribute, (device.id, CLAIMING_ALLOWED))
    return (*windows, *((Remove(Attribute, allowed.key),) if allowed else ()))


def _rotate_for_next_owner(device: Device, caller: str, facts: Facts, given: Given) -> tuple[Change, ...]:
    """Replace the credentials of a released device, because its owner may know them, and allow provisioning again.

    If an admin revoked its credentials, change nothing.
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


@immutable
class Lockout:
    """The time for which a user is still locked out (0 or less: not at all), and the changes to write."""

    left_ms: int
    changes: tuple[Change, ...]


def lockout_of(facts: Facts, given: Given, user: str, device_id: str) -> Lockout:
    """Return for how long `user` may not claim this device.

    A lockout lasts no longer than its own length from now. A row that says more was written before the clock was set
    back: it is cut.
    """
    known = (facts.get(ClaimAttempts, (user, device_id)), facts.get(UserFailures, user))
    rows = [row for row in known if row is not None]
    cut = [replace(row, locked_until_ms=min(row.locked_until_ms, _latest_ms(row, given))) for row in rows]
    left_ms = max((row.locked_until_ms - given.now_ms for row in cut), default=0)
    return Lockout(left_ms, tuple(Put(new) for new, old in zip(cut, rows, strict=True) if new != old))


def _latest_ms(row: ClaimAttempts | UserFailures, given: Given) -> int:
    return given.now_ms + _lockout_ms(given, max(0, row.lockouts - 1))


@immutable
class Counted:
    """The changes that count a failure. `locked` is True if it caused a lockout."""

    changes: tuple[Change, Change]
    locked: bool


def count_failure(facts: Facts, given: Given, user: str, device_id: str) -> Counted:
    """Count one failure of a user who is not locked out. Lock the user out if it is one too many."""
    attempts = _counted_attempt(facts.get(ClaimAttempts, (user, device_id)), given, user, device_id)
    failures = _counted_failure(facts.get(UserFailures, user), given, user)
    locked = max(attempts.locked_until_ms, failures.locked_until_ms) > given.now_ms
    return Counted((Put(attempts), Put(failures)), locked)


def forget_failures(facts: Facts, user: str, device_id: str) -> tuple[Change, ...]:
    """Return the change that clears a user's failures at a device, after a successful claim."""
    key = (user, device_id)
    return (Remove(ClaimAttempts, key),) if facts.get(ClaimAttempts, key) else ()


def _counted_attempt(row: ClaimAttempts | None, given: Given, user: str, device_id: str) -> ClaimAttempts:
    # A time in the future was written before the clock was set back. It counts like one equally long ago.
    if row is None or abs(given.now_ms - max(row.last_failed_at_ms, row.locked_until_ms)) > DAY_MS:
        row = ClaimAttempts(user, device_id, 0, 0, 0, given.now_ms)
    count = row.count + 1
    if count < given.policy.max_attempts:
        return ClaimAttempts(user, device_id, count, row.lockouts, row.locked_until_ms, given.now_ms)
    until = given.now_ms + _lockout_ms(given, row.lockouts)
    return ClaimAttempts(user, device_id, 0, row.lockouts + 1, until, given.now_ms)


def _counted_failure(row: UserFailures | None, given: Given, user: str) -> UserFailures:
    if row is None:
        row = UserFailures(user, (), 0, 0)
    lockouts = row.lockouts if given.now_ms - row.locked_until_ms <= DAY_MS else 0
    recent = (*(at for at in row.recent_ms if abs(given.now_ms - at) < HOUR_MS), given.now_ms)
    if len(recent) < given.policy.max_failures_per_hour:
        return UserFailures(user, recent, lockouts, row.locked_until_ms)
    return UserFailures(user, (), lockouts + 1, given.now_ms + _lockout_ms(given, lockouts))


def _lockout_ms(given: Given, earlier: int) -> int:
    """Return a lockout's length: it doubles each time, up to a day or the first lockout, whichever is longer."""
    first = given.policy.lockout_ms
    return min(first << min(earlier, 32), max(first, DAY_MS))


RULES: dict[type[Command], Rule] = {
    OpenWindow: Rule(open_window),
    OpenWindows: Rule(open_windows),
    ReadSessionLimits: Rule(read_session_limits),
    ClaimDevice: Rule(claim_device, frozenset({CLAIM_DEVICES})),
    ReleaseDevice: Rule(release_device, frozenset({CLAIM_DEVICES, TENANT_ADMIN})),
}
