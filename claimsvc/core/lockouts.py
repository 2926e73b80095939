"""Guessing must not pay: failures are counted per user and device, and per user over all devices.

Only the guesser is held up. Nobody's guessing closes or shortens a claim window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from claimsvc.core.facts import Facts
from claimsvc.core.model import ClaimAttempts, UserFailures
from claimsvc.core.outcomes import Change, Put, Remove
from claimsvc.core.policy import DAY_MS, HOUR_MS, Given


@dataclass(frozen=True, slots=True)
class Lockout:
    """How long a user is still refused, in milliseconds, 0 or less when not at all; and what to write with it."""

    left_ms: int
    changes: tuple[Change, ...]


def lockout(facts: Facts, given: Given, user: str, device_id: str) -> Lockout:
    """Return how long `user` is refused this device.

    No more is left of a lockout than its own length. A row that says more was written before the clock was set back:
    it is cut to end in that time from now, so that it does end.
    """
    known = (facts.get(ClaimAttempts, (user, device_id)), facts.get(UserFailures, user))
    rows = [row for row in known if row is not None]
    cut = [replace(row, locked_until_ms=min(row.locked_until_ms, _latest_ms(row, given))) for row in rows]
    left_ms = max((row.locked_until_ms - given.now_ms for row in cut), default=0)
    return Lockout(left_ms, tuple(Put(new) for new, old in zip(cut, rows, strict=True) if new != old))


def _latest_ms(row: ClaimAttempts | UserFailures, given: Given) -> int:
    return given.now_ms + _lockout_ms(given, max(0, row.lockouts - 1))


@dataclass(frozen=True, slots=True)
class Counted:
    """A failure counted: what to write, and whether it was one too many."""

    changes: tuple[Change, Change]
    locked: bool


def count_failure(facts: Facts, given: Given, user: str, device_id: str) -> Counted:
    """Count one failure of a user who is not locked out, and lock out where that was one too many."""
    attempts = _counted_attempt(facts.get(ClaimAttempts, (user, device_id)), given, user, device_id)
    failures = _counted_failure(facts.get(UserFailures, user), given, user)
    locked = max(attempts.locked_until_ms, failures.locked_until_ms) > given.now_ms
    return Counted((Put(attempts), Put(failures)), locked)


def forget(facts: Facts, user: str, device_id: str) -> tuple[Change, ...]:
    """Return the change that clears a user's failures at a device after a success there."""
    key = (user, device_id)
    return (Remove(ClaimAttempts, key),) if facts.get(ClaimAttempts, key) else ()


def _counted_attempt(row: ClaimAttempts | None, given: Given, user: str, device_id: str) -> ClaimAttempts:
    # A time ahead is from before the clock was set back: it counts as one that is as long past.
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
    """Doubling each time, at most a day (or the first lockout, when that is longer)."""
    first = given.policy.lockout_ms
    return min(first << min(earlier, 32), max(first, DAY_MS))
