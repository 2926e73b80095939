"""The service's time. Nothing else decides how far the machine's clocks are believed.

An instant that is stored or sent is wall-clock time, in epoch milliseconds. An interval is measured on the steady
clock, which nobody can set. The wall clock can be wrong, for a moment or for good. So `Clock` promises:

* Within a run, its time passes as the steady clock passes. A step of the wall clock moves it when the step has lasted
  for BELIEF_MS without a break. A shorter excursion moves nothing.
* What is deleted is deleted by `sweeping_ms`, which believes a step after PROOF_MS, and never is ahead of the time.
  A service that has just started has no earlier reading to compare with: it deletes nothing for PROOF_MS.
* A step that lasts is believed in the end, whatever its size. A suspended machine costs nothing where the steady
  clock counts the suspension (Linux); elsewhere the wake-up is a step like any other.

It does not know the right time: a clock that is wrong for longer than PROOF_MS is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BELIEF_MS = 60_000
PROOF_MS = 3_600_000
_STEP_MS = 1_000
"""A smaller difference is no step: the two clocks are not read at the same moment."""

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def wall_ms() -> int:
    """Return the wall clock's reading, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Return the steady clock's reading, milliseconds since some moment. It counts suspension on Linux."""
    return time.clock_gettime_ns(_STEADY) // 1_000_000


class Clock:
    """Wall-clock time in which steps of the machine's clock are believed when they have lasted.

    `wall` and `steady` read the two clocks, in milliseconds. Read it at least once in BELIEF_MS, or a step that was
    made and taken back unseen may be taken for one that lasted.
    """

    def __init__(self, wall: Callable[[], int], steady: Callable[[], int]) -> None:
        self._wall = wall
        self.steady_ms = steady
        started_ms = steady()
        offset_ms = wall() - started_ms
        self._proven_from_ms = started_ms + PROOF_MS
        self._believed = _Offset(offset_ms, BELIEF_MS)
        self._proven = _Offset(offset_ms, PROOF_MS)

    def __call__(self) -> int:
        """Return the time, epoch milliseconds."""
        steady_ms = self.steady_ms()
        return steady_ms + self._see(self._wall() - steady_ms, steady_ms)

    def _see(self, offset_ms: int, steady_ms: int) -> int:
        """Take note of what lies between the clocks; returns what is believed to."""
        self._proven.see(offset_ms, steady_ms)
        return self._believed.see(offset_ms, steady_ms)

    def sweeping_ms(self) -> int | None:
        """Return the time by which something may be deleted, epoch milliseconds; None when it is too early to say."""
        now_ms = self()
        steady_ms = self.steady_ms()
        if steady_ms < self._proven_from_ms:
            return None
        return min(now_ms, steady_ms + self._proven.value_ms)

    def lag_ms(self) -> int:
        """Return how far the wall clock is behind this clock: it was set back, and that is not believed yet.

        What another process on this machine reads from the wall clock is too early by as much.
        """
        now_ms = self()
        return max(0, now_ms - self._wall())


class _Offset:
    """The wall clock's distance from the steady clock; another one is believed when it has lasted for `hold_ms`."""

    def __init__(self, value_ms: int, hold_ms: int) -> None:
        self.value_ms = value_ms
        self._hold_ms = hold_ms
        self._other_ms: int | None = None
        self._since_ms = 0

    def see(self, offset_ms: int, at_ms: int) -> int:
        """Take note of the distance at a moment of the steady clock, and return the one that is believed."""
        if abs(offset_ms - self.value_ms) <= _STEP_MS:
            self.value_ms, self._other_ms = offset_ms, None
        elif self._other_ms is None or abs(offset_ms - self._other_ms) > _STEP_MS:
            self._other_ms, self._since_ms = offset_ms, at_ms
        elif at_ms - self._since_ms >= self._hold_ms:
            self.value_ms, self._other_ms = offset_ms, None
        return self.value_ms
