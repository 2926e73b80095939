"""Server-side claim keys: opened, extended, and replaced only when the caller asks for it.

A server-side key may be printed on a label. Replacing an open one makes that label useless, so every way of setting
one goes through here.
"""

from __future__ import annotations

import hmac
from dataclasses import replace

from claimsvc.core.decision import Append, Change, Put, Refused
from claimsvc.core.facts import Facts
from claimsvc.core.model import ClaimWindow, Device, Event, WindowSource
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.immutable import immutable

KEY_REPLACED = "claim_key_replaced"
"""The audit event of an open key that stopped working because another one took its place."""
_LASTS_LONGER = "The device has this claim key for longer: add replace=true to end it earlier"


@immutable
class KeySet:
    """A device has the key until `until_ms`. `is_replaced`: another key, which was still open, stopped working."""

    changes: tuple[Change, ...]
    until_ms: int
    is_replaced: bool = False


@immutable(kw_only=True)
class NewKey:
    """A key to set. `expires_at_ms` is None if the caller names no end: then the service's default counts."""

    key_hash: str
    expires_at_ms: int | None
    may_replace: bool
    by: str


def set_key(device: Device, new: NewKey, facts: Facts, given: Given) -> KeySet | Refused:
    """Set a device's server-side key. Setting the same key again extends it, and changes nothing else.

    An expired key, and the key of a device that has an owner, claims nothing: it is not open and can be replaced.
    Refuses with KEY_EXISTS.
    """
    until_ms = given.now_ms + given.policy.server_duration_ms if new.expires_at_ms is None else new.expires_at_ms
    present = facts.get(ClaimWindow, (device.id, WindowSource.SERVER))
    is_open = present is not None and device.owner is None and given.now_ms <= present.expires_at_ms
    if present is not None and hmac.compare_digest(present.key_hash, new.key_hash):
        if is_open and new.expires_at_ms is None:
            until_ms = max(until_ms, present.expires_at_ms)
        if until_ms == present.expires_at_ms:
            return KeySet((), until_ms)
        if is_open:
            return _move_end(device, present, until_ms, new, given)
    if is_open and not new.may_replace:
        return Refused(Reason.KEY_EXISTS)
    window = ClaimWindow(device.id, WindowSource.SERVER, new.key_hash, given.now_ms, until_ms)
    names = ("claiming_data_set", KEY_REPLACED)[: 1 + is_open]
    return KeySet((Put(window), *(_event(name, device, new.by, given) for name in names)), until_ms, is_open)


def _move_end(device: Device, present: ClaimWindow, until_ms: int, new: NewKey, given: Given) -> KeySet | Refused:
    """Keep an open key until another time; an earlier one shortens the life of a label, so it must be asked for."""
    if until_ms < present.expires_at_ms and not new.may_replace:
        return Refused(Reason.KEY_EXISTS, _LASTS_LONGER)
    moved = Put(replace(present, expires_at_ms=until_ms))
    return KeySet((moved, _event("claiming_data_set", device, new.by, given)), until_ms)


def _event(name: str, device: Device, by: str, given: Given) -> Append:
    return Append(Event(device.tenant, given.now_ms, name, by, device.id, device.name))
