"""The service's time. Only this module decides when to believe the machine's clocks.

Stored and sent times are wall-clock time, in epoch milliseconds. Intervals are measured on the steady clock, which
cannot be set. The wall clock can be wrong, briefly or permanently. So `Clock` guarantees:

* Within a run, its time advances with the steady clock. It follows a step of the wall clock after the step has lasted
  for BELIEF_MS without a break. A shorter excursion changes nothing.
* Deletions use `sweeping_ms`, which follows a step after PROOF_MS and is never ahead of the time. A service that has
  just started has no earlier reading to compare with, so it deletes nothing for PROOF_MS.
* It follows every step that lasts, of any size. If the steady clock counts suspension (Linux), a suspended machine
  makes no step; otherwise its wake-up is a step.

It cannot know the right time: a wall clock that is wrong for longer than PROOF_MS counts as right.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BELIEF_MS = 60_000
PROOF_MS = 3_600_000
_STEP_MS = 1_000
"""A smaller difference is not a step, because the two clocks are not read at the same moment."""

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def wall_ms() -> int:
    """Return the wall clock's reading, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Return the steady clock's reading, in milliseconds. It counts suspension on Linux."""
    return time.clock_gettime_ns(_STEADY) // 1_000_000


class Clock:
    """Wall-clock time that follows a step of the machine's clock only after the step has lasted.

    `wall` and `steady` read the two clocks, in milliseconds. Call the clock at least once in BELIEF_MS. Otherwise two
    short steps that it did not see can look like one that lasted.
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
        """Record the difference of the clocks, and return the believed one."""
        self._proven.see(offset_ms, steady_ms)
        return self._believed.see(offset_ms, steady_ms)

    def sweeping_ms(self) -> int | None:
        """Return the time to use for deletions, epoch milliseconds; None if it is too early after the start."""
        now_ms = self()
        steady_ms = self.steady_ms()
        if steady_ms < self._proven_from_ms:
            return None
        return min(now_ms, steady_ms + self._proven.value_ms)

    def lag_ms(self) -> int:
        """Return by how much the wall clock is behind this clock, in milliseconds.

        It is more than 0 after the wall clock was set back, until the step is believed. Meanwhile other processes on
        this machine read a time that is too early by as much.
        """
        now_ms = self()
        return max(0, now_ms - self._wall())


class _Offset:
    """The believed difference between wall clock and steady clock. It changes if a new one lasts for `hold_ms`."""

    def __init__(self, value_ms: int, hold_ms: int) -> None:
        self.value_ms = value_ms
        self._hold_ms = hold_ms
        self._other_ms: int | None = None
        self._since_ms = 0

    def see(self, offset_ms: int, at_ms: int) -> int:
        """Record the difference at a time of the steady clock, and return the believed one."""
        if abs(offset_ms - self.value_ms) <= _STEP_MS:
            self.value_ms, self._other_ms = offset_ms, None
        elif self._other_ms is None or abs(offset_ms - self._other_ms) > _STEP_MS:
            self._other_ms, self._since_ms = offset_ms, at_ms
        elif at_ms - self._since_ms >= self._hold_ms:
            self.value_ms, self._other_ms = offset_ms, None
        return self.value_ms
