"""Opening claim windows: a device for itself, a gateway for its devices (TB 1 and 2.2, design 4.1)."""

from __future__ import annotations

from dataclasses import replace

from claimsvc.core.commands.claiming import OpenWindow, OpenWindows, ReadSessionLimits, WindowEntry
from claimsvc.core.facts import Facts
from claimsvc.core.model import (
    CLAIMING_ALLOWED,
    Attribute,
    ClaimWindow,
    Device,
    Event,
    Principal,
    PrincipalKind,
    WindowSource,
)
from claimsvc.core.names import name_error
from claimsvc.core.outcomes import (
    Append,
    Change,
    Decision,
    Put,
    Refused,
    SessionLimits,
    WindowOpened,
    WindowsOpened,
    refuse,
)
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason


def open_window(command: OpenWindow, facts: Facts, given: Given) -> Decision:
    """A device opens its own window; the newest replaces an older one (TB 2.2 has the bug this avoids)."""
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
    """A gateway opens windows; each device gets its own answer, so one bad entry stops no other."""
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


def session_limits(command: ReadSessionLimits, facts: Facts, given: Given) -> Decision:
    """Any client that may speak is told what it may send (TB 5.1)."""
    device = facts.device_of(command.caller)
    return Decision(SessionLimits(is_gateway=bool(device and device.is_gateway)))


def _first_word(caller: str, facts: Facts, given: Given) -> tuple[Device, tuple[Change, ...]] | Refused:
    """A principal nobody knows is a device of the default tenant, named by its principal (design 3)."""
    policy = given.policy
    if facts.get(Principal, caller) is not None:
        return Refused(Reason.NOT_A_DEVICE)
    principal = Put(Principal(caller, PrincipalKind.DEVICE, policy.default_tenant))
    listed = facts.device_named(policy.default_tenant, caller)
    if listed is not None and listed.is_loginless:
        device = replace(listed, principal=caller)  # a list named it, and here it is
        return device, (principal, Put(device))
    if listed is not None:
        return Refused(Reason.NAME_TAKEN, "a device of this name is spoken for by a gateway")
    if not policy.auto_create:
        return Refused(Reason.UNKNOWN_DEVICE)
    if error := name_error(caller):
        return Refused(Reason.INVALID_NAME, error)
    device = Device(given.new_id(), policy.default_tenant, caller, caller, given.now_ms)
    return device, (principal, *_created(device, caller, given))


def _open_for(
    gateway: Device, entry: WindowEntry, message: OpenWindows, facts: Facts, given: Given
) -> tuple[WindowOpened | Refused, tuple[Change, ...]]:
    device = facts.device_named(gateway.tenant, entry.name)
    created: tuple[Change, ...] = ()
    if device is None:
        if error := name_error(entry.name):
            return Refused(Reason.INVALID_NAME, error), ()
        device = Device(given.new_id(), gateway.tenant, entry.name, None, given.now_ms, gateway_id=gateway.id)
        created = _created(device, gateway.principal or gateway.name, given)
    elif device.gateway_id != gateway.id:
        return Refused(Reason.NOT_PERMITTED, "the gateway neither made this device nor was bound to it"), ()
    outcome, changes = _open(device, entry.key.hardened, entry.duration_ms, message, facts, given)
    return outcome, (*created, *changes)


def _created(device: Device, caller: str, given: Given) -> tuple[Change, Change]:
    event = Event(device.tenant, given.now_ms, "device_created", caller, device.id, device.name)
    return Put(device), Append(event)


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
        # The window it opened was claimed with, and ended with that: it must not come back after a release.
        return Refused(Reason.WINDOW_EXPIRED, "the device was claimed with this key already"), ()
    wanted = duration_ms if duration_ms is not None and duration_ms > 0 else policy.default_duration_ms
    # The plugin's stamp says when the broker had the message; a forged one can only shorten the window.
    received_at_ms = given.now_ms if message.received_at_ms is None else message.received_at_ms
    opened_at_ms = min(given.now_ms, received_at_ms)
    expires_at_ms = opened_at_ms + min(wanted, policy.max_duration_ms)
    if expires_at_ms < given.now_ms:
        return Refused(Reason.WINDOW_EXPIRED, "the message waited longer than its window lasts"), ()
    window = ClaimWindow(device.id, WindowSource.DEVICE, key_hash, opened_at_ms, expires_at_ms)
    return WindowOpened(device.name, expires_at_ms), (Put(window),)


def _claiming_allowed(device: Device, facts: Facts) -> bool:
    attribute = facts.get(Attribute, (device.id, CLAIMING_ALLOWED))
    return attribute is not None and attribute.is_true
