from __future__ import annotations

import pytest

from claimsvc.core.claiming import Claimed
from claimsvc.core.decision import Refused
from claimsvc.core.model import ClaimAttempts, ClaimWindow, UserFailures
from claimsvc.core.policy import DAY_MS, HOUR_MS
from claimsvc.core.reasons import Reason
from tests.support.factories import (
    NOW,
    attempts,
    claim_device,
    customer,
    device,
    events,
    facts,
    given,
    removed,
    result,
    user,
    window,
)
from tests.support.memory import Memory, decide

DEVICE = device()
OPEN = window(DEVICE, expires_at_ms=NOW + 1000 * DAY_MS)
LOCKOUT = 900_000


def ready(*rows: ClaimAttempts | UserFailures) -> Memory:
    """Return facts of two users and a device with a window that outlasts every test."""
    return facts(customer(), user(), user("bob"), DEVICE, OPEN, *rows)


def guess(known: Memory, at_ms: int = NOW, *, times: int = 1, by: str = "alice") -> list[object]:
    """Claim with a wrong key and return what came of it."""
    command = claim_device(text="wrong", by=by)
    return [result(decide(command, known, given(at_ms))) for _ in range(times)]


def lock(known: Memory, at_ms: int) -> int:
    """Guess until locked out and return for how long, in milliseconds."""
    assert guess(known, at_ms, times=5) == [Reason.WRONG_KEY] * 5
    outcome = decide(claim_device(), known, given(at_ms)).outcome
    assert isinstance(outcome, Refused)
    assert Reason.LOCKED_OUT is outcome.reason
    assert outcome.retry_after_ms is not None
    return outcome.retry_after_ms


def test_sixth_attempt_is_refused_even_with_the_right_key() -> None:
    """Five failures lock the user out for fifteen minutes; before, the right key still claims."""
    known = ready()
    assert guess(known, times=4) == [Reason.WRONG_KEY] * 4
    assert Claimed is result(decide(claim_device(), known, given()))
    assert lock(ready(), NOW) == LOCKOUT


def test_lockout_ends() -> None:
    """The time left counts down, and at its end the right key claims."""
    known = ready()
    lock(known, NOW)
    left = decide(claim_device(), known, given(NOW + LOCKOUT - 1)).outcome
    assert Refused(Reason.LOCKED_OUT, retry_after_ms=1) == left
    assert Claimed is result(decide(claim_device(), known, given(NOW + LOCKOUT)))


def test_each_lockout_is_twice_the_one_before_until_a_day() -> None:
    """A quarter of an hour doubles with every lockout and is never longer than a day."""
    known, at_ms, seen = ready(), NOW, []
    for _ in range(9):
        seen.append(lock(known, at_ms))
        at_ms += seen[-1]
    assert [LOCKOUT * 2**n for n in range(7)] == seen[:7]
    assert seen[7:] == [DAY_MS, DAY_MS]


def test_operators_longer_lockout_is_not_cut_to_a_day() -> None:
    """Where the first lockout is longer than a day already, every one is that long."""
    known = ready()
    week = 7 * DAY_MS
    for _ in range(5):
        decide(claim_device(text="wrong"), known, given(lockout_ms=week, max_attempts=5))
    outcome = decide(claim_device(), known, given(lockout_ms=week)).outcome
    assert Refused(Reason.LOCKED_OUT, retry_after_ms=week) == outcome


def test_refusals_during_a_lockout_count_for_nothing() -> None:
    """A locked-out user's attempts change nothing, so hammering does not lengthen the lockout."""
    known = ready()
    lock(known, NOW)
    decision = decide(claim_device(text="wrong"), known, given(NOW + 1))
    assert Refused(Reason.LOCKED_OUT, retry_after_ms=LOCKOUT - 1) == decision.outcome
    assert decision.changes == ()


@pytest.mark.parametrize(
    ("later_ms", "expected"),
    [
        pytest.param(DAY_MS, LOCKOUT * 2, id="remembered for a day after the lockout ended"),
        pytest.param(DAY_MS + 1, LOCKOUT, id="forgotten after that"),
    ],
)
def test_lockouts_are_forgotten_after_a_day(later_ms: int, expected: int) -> None:
    """A day after the last lockout the doubling begins afresh."""
    known = ready()
    assert lock(known, NOW) == LOCKOUT
    assert expected == lock(known, NOW + LOCKOUT + later_ms)


@pytest.mark.parametrize(("later_ms", "expected"), [(DAY_MS, Reason.LOCKED_OUT), (DAY_MS + 1, Reason.WRONG_KEY)])
def test_failures_are_forgotten_after_a_day(later_ms: int, expected: Reason) -> None:
    """Four failures count for a day."""
    known = ready()
    guess(known, times=4)
    assert [Reason.WRONG_KEY, expected] == guess(known, NOW + later_ms, times=2)


def test_success_forgets_the_failures_there() -> None:
    """A success clears the user's failures at that device, and nowhere else."""
    other = device("Other")
    here, there = attempts(DEVICE, count=4, lockouts=3), attempts(other, count=4)
    known = ready(here, there)
    known.put(other)
    decision = decide(claim_device(), known, given())
    assert Claimed is result(decision)
    assert [here.key] == [key for kind, key in removed(decision.changes) if kind is ClaimAttempts]
    assert there == known.get(ClaimAttempts, there.key)


def test_nobody_elses_guessing_locks_a_user_out() -> None:
    """Attempts count per user and device: a stranger cannot lock the owner out."""
    known = ready()
    lock(known, NOW)
    assert Claimed is result(decide(claim_device(by="bob"), known, given()))


def test_lockout_is_for_that_device_only() -> None:
    """A user locked out of one device can claim another."""
    other = device("Other")
    known = ready()
    known.put(other)
    known.put(window(other))
    lock(known, NOW)
    assert Claimed is result(decide(claim_device("Other"), known, given()))


def test_nobodys_guessing_closes_or_shortens_a_window() -> None:
    """Whatever is guessed, by whom and how often, key and end of the window stay."""
    known = ready()
    for by in ("alice", "bob"):
        guess(known, times=30, by=by)
    (kept,) = known.windows(DEVICE.id)
    assert isinstance(kept, ClaimWindow)
    assert (OPEN.key_hash, OPEN.opened_at_ms, OPEN.expires_at_ms) == (
        kept.key_hash,
        kept.opened_at_ms,
        kept.expires_at_ms,
    )
    assert kept.attempts == 10


def spread(known: Memory, at_ms: int, *, count: int) -> list[object]:
    """Guess once at each of `count` devices without a window, a second apart."""
    outcomes: list[object] = []
    for number in range(count):
        name = f"d{at_ms}-{number}"
        known.put(device(name))
        outcomes.append(result(decide(claim_device(name), known, given(at_ms + number * 1000))))
    return outcomes


def test_twenty_failures_an_hour_lock_out_of_everything() -> None:
    """A user who tries twenty devices within an hour is refused all of them, the right key too."""
    known = ready()
    assert spread(known, NOW, count=20) == [Reason.NO_WINDOW] * 20
    locked = NOW + 19_000
    outcome = decide(claim_device(), known, given(locked)).outcome
    assert Refused(Reason.LOCKED_OUT, retry_after_ms=LOCKOUT) == outcome
    assert Claimed is result(decide(claim_device(by="bob"), known, given(locked)))


def test_failures_older_than_an_hour_do_not_count() -> None:
    """Nineteen failures and, an hour later, another nineteen are no reason for a lockout."""
    known = ready()
    assert [
        *spread(known, NOW, count=19),
        *spread(known, NOW + HOUR_MS + 19_000, count=19),
    ] == [Reason.NO_WINDOW] * 38
    assert Claimed is result(decide(claim_device(), known, given(NOW + 2 * HOUR_MS)))


def test_lockouts_over_all_devices_double_too() -> None:
    """The second lockout over all devices is twice the first."""
    known = ready()
    spread(known, NOW, count=20)
    spread(known, NOW + HOUR_MS, count=20)
    outcome = decide(claim_device(), known, given(NOW + HOUR_MS + 19_000)).outcome
    assert Refused(Reason.LOCKED_OUT, retry_after_ms=2 * LOCKOUT) == outcome


def test_longer_lockout_counts() -> None:
    """Where a user is locked out twice over, the later end is told."""
    rows = (
        attempts(DEVICE, locked_until_ms=NOW + 5_000),
        UserFailures("alice", (), 1, NOW + 7_000),
    )
    outcome = decide(claim_device(), ready(*rows), given()).outcome
    assert Refused(Reason.LOCKED_OUT, retry_after_ms=7_000) == outcome


def test_lockout_is_an_audit_event() -> None:
    """The failure that locks out leaves two events; those before leave one."""
    known = ready(attempts(DEVICE, count=3))
    decisions = [decide(claim_device(text="wrong"), known, given()) for _ in range(3)]
    assert [events(decision.changes) for decision in decisions] == [
        ["claim_refused"],
        ["claim_refused", "claim_locked_out"],
        [],
    ]


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_operator_chooses_the_number_of_attempts(limit: int) -> None:
    """`claim.max_attempts` failures lock out, not one more or fewer."""
    known = ready()
    command = claim_device(text="wrong")
    outcomes = [result(decide(command, known, given(max_attempts=limit))) for _ in range(limit + 1)]
    assert [Reason.WRONG_KEY] * limit + [Reason.LOCKED_OUT] == outcomes


def test_claimed_counts_as_no_failure() -> None:
    """CLAIMED tells nothing worth guessing, so it is not counted."""
    owned = device("Owned", owner="c2")
    known = ready()
    known.put(owned)
    decisions = [decide(claim_device("Owned"), known, given()) for _ in range(30)]
    assert {Reason.ALREADY_CLAIMED} == {result(decision) for decision in decisions}


BACK = [
    pytest.param(back_ms, id=name)
    for name, back_ms in (("a second", 1_000), ("a day", DAY_MS), ("a year", 365 * DAY_MS))
]


@pytest.mark.parametrize("back_ms", BACK)
def test_a5_a_lockout_ends_in_its_own_length_after_the_clock_was_set_back(back_ms: int) -> None:
    """However far back: from the first claim after it no more is left than the lockout lasts, and that passes."""
    known = ready()
    lock(known, NOW)
    at_ms = NOW - back_ms
    outcome = decide(claim_device(), known, given(at_ms)).outcome
    assert Refused(Reason.LOCKED_OUT, retry_after_ms=LOCKOUT) == outcome
    outcome = decide(claim_device(), known, given(at_ms + LOCKOUT - 1)).outcome
    assert Refused(Reason.LOCKED_OUT, retry_after_ms=1) == outcome
    assert Claimed is result(decide(claim_device(), known, given(at_ms + LOCKOUT)))


@pytest.mark.parametrize("back_ms", BACK)
def test_a5_a_lockout_over_all_devices_ends_in_its_own_length_too(back_ms: int) -> None:
    """It is kept in another row."""
    known = ready()
    spread(known, NOW, count=20)
    at_ms = NOW + 19_000 - back_ms
    outcome = decide(claim_device(), known, given(at_ms)).outcome
    assert Refused(Reason.LOCKED_OUT, retry_after_ms=LOCKOUT) == outcome
    assert Claimed is result(decide(claim_device(), known, given(at_ms + LOCKOUT)))


def test_a5_setting_the_clock_back_ends_no_lockout() -> None:
    """It would give a guesser new tries."""
    known = ready()
    lock(known, NOW)
    for back_ms in (1_000, DAY_MS):
        assert Reason.LOCKED_OUT is result(decide(claim_device(), known, given(NOW - back_ms)))


def test_a5_failures_of_a_clock_that_was_ahead_are_forgotten() -> None:
    """Those of two days ahead count neither at the device nor over all devices; those of a minute ahead count."""
    ahead = ready()
    guess(ahead, NOW + 2 * DAY_MS, times=4)
    assert guess(ahead) == [Reason.WRONG_KEY]
    assert Claimed is result(decide(claim_device(), ahead, given()))
    over_all = ready(UserFailures("alice", tuple([NOW + 2 * DAY_MS] * 19), 0, 0))
    assert spread(over_all, NOW, count=1) == [Reason.NO_WINDOW]
    assert Claimed is result(decide(claim_device(), over_all, given(NOW + 1_000)))
    close = ready()
    guess(close, NOW + 60_000, times=4)
    assert guess(close, times=2) == [Reason.WRONG_KEY, Reason.LOCKED_OUT]
