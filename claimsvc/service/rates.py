"""How often each principal may ask: a leaky bucket per lane, in memory, for as long as it is not empty."""

from __future__ import annotations

MINUTE_MS = 60_000
_BURST_MS = 10_000
"""What may come at once: as much as is allowed in this time. More would stand before everybody else's requests."""
_SWEEP_MS = 10_000


class Rates:
    """One limit for every lane; `per_minute` 0 is none. Times are milliseconds on the steady clock.

    As many may come at once as are allowed in `burst_ms`.
    """

    def __init__(self, per_minute: float, burst_ms: int = _BURST_MS) -> None:
        self._interval_ms = MINUTE_MS / per_minute if per_minute else 0.0
        self._burst_ms = max(burst_ms, self._interval_ms)
        self._empty_at_ms: dict[str, float] = {}
        self._next_sweep_ms = 0.0

    def wait_ms(self, lane: str, now_ms: int) -> int:
        """Count a request of a lane and return 0; or, uncounted, in how many milliseconds one would be taken."""
        if not self._interval_ms:
            return 0
        # No bucket holds more than its burst, wherever `now_ms` has come from.
        empty_at_ms = min(max(self._empty_at_ms.get(lane, now_ms), now_ms), now_ms + self._burst_ms)
        over_ms = empty_at_ms + self._interval_ms - now_ms - self._burst_ms
        if over_ms > 0:
            self._empty_at_ms[lane] = empty_at_ms
            return int(over_ms) + 1
        self._empty_at_ms[lane] = empty_at_ms + self._interval_ms
        if now_ms >= self._next_sweep_ms:
            self._sweep(now_ms)
        return 0

    def _sweep(self, now_ms: int) -> None:
        """Forget empty buckets, so that memory is for those who asked within the last seconds."""
        self._next_sweep_ms = now_ms + _SWEEP_MS
        self._empty_at_ms = {lane: at_ms for lane, at_ms in self._empty_at_ms.items() if at_ms > now_ms}
