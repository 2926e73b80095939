"""Server-side claim keys: set, extended, and replaced only on request.

A server-side key may be printed on a label. Replacing an open key makes that label useless, so every command that
sets a key calls `set_key`.
"""

from __future__ import annotations

import hmac
from dataclasses import replace

from claimsvc.core.decision import Change, Put, Refused, device_event
from claimsvc.core.facts import Facts
from claimsvc.core.model import ClaimWindow, Device, WindowSource
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.immutable import immutable

KEY_REPLACED = "claim_key_replaced"
"""The audit event of an open key that stopped working because another key replaced it."""
_LASTS_LONGER = "The device has this claim key for longer: add replace=true to shorten it"


@immutable
class KeySet:
    """The key is valid until `until_ms`. `is_replaced`: another key, which was still open, stopped working."""

    changes: tuple[Change, ...]
    until_ms: int
    is_replaced: bool = False


@immutable(kw_only=True)
class NewKey:
    """A key to set. `expires_at_ms` is None if the caller names no end: then the service's default applies."""

    key_hash: str
    expires_at_ms: int | None
    may_replace: bool
    by: str


def set_key(device: Device, new: NewKey, facts: Facts, given: Given) -> KeySet | Refused:
    """Set a device's server-side key. Setting the same key again only extends it.

    A key that has expired, or whose device has an owner, is not open and can be replaced. Refuses with KEY_EXISTS.
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
    return KeySet((Put(window), *(device_event(device, name, new.by, given) for name in names)), until_ms, is_open)


def _move_end(device: Device, present: ClaimWindow, until_ms: int, new: NewKey, given: Given) -> KeySet | Refused:
    """Move the end of an open key. An earlier end shortens the life of a label, so only `may_replace` allows it."""
    if until_ms < present.expires_at_ms and not new.may_replace:
        return Refused(Reason.KEY_EXISTS, _LASTS_LONGER)
    moved = Put(replace(present, expires_at_ms=until_ms))
    return KeySet((moved, device_event(device, "claiming_data_set", new.by, given)), until_ms)
