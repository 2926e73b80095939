"""Guessing must not pay: failures are counted per user and device, and per user over all devices.

Only the guesser is held up. Nobody's guessing closes or shortens a claim window.
"""

from __future__ import annotations

from dataclasses import dataclass

from claimsvc.core.facts import Facts
from claimsvc.core.model import ClaimAttempts, UserFailures
from claimsvc.core.outcomes import Change, Put, Remove
from claimsvc.core.policy import DAY_MS, HOUR_MS, Given


def locked_until_ms(facts: Facts, user: str, device_id: str) -> int:
    """Return until when `user` is refused this device; a time that is past when there is no lockout."""
    attempts = facts.get(ClaimAttempts, (user, device_id))
    failures = facts.get(UserFailures, user)
    return max(
        attempts.locked_until_ms if attempts else 0,
        failures.locked_until_ms if failures else 0,
    )


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
    if row is None or given.now_ms - max(row.last_failed_at_ms, row.locked_until_ms) > DAY_MS:
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
    recent = (*(at for at in row.recent_ms if given.now_ms - at < HOUR_MS), given.now_ms)
    if len(recent) < given.policy.max_failures_per_hour:
        return UserFailures(user, recent, lockouts, row.locked_until_ms)
    return UserFailures(user, (), lockouts + 1, given.now_ms + _lockout_ms(given, lockouts))


def _lockout_ms(given: Given, earlier: int) -> int:
    """Doubling each time, at most a day (or the first lockout, when that is longer)."""
    first = given.policy.lockout_ms
    return min(first << min(earlier, 32), max(first, DAY_MS))
