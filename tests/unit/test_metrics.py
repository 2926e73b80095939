from __future__ import annotations

import time

import pytest
from prometheus_client import CollectorRegistry

from claimsvc import metrics
from claimsvc.metrics import STORE_GAUGES, Latency, StoreGauges


def test_latencies_fall_into_their_buckets() -> None:
    """A histogram as Prometheus wants it: each bucket holds what is not longer, +Inf holds all."""
    registry = CollectorRegistry()
    latency = Latency(registry)
    now = time.monotonic()
    latency.observe([now - 0.003, now - 0.3, now - 100])

    def bucket(le: str) -> float | None:
        return registry.get_sample_value("claimsvc_request_seconds_bucket", {"le": le})

    assert [bucket("0.002"), bucket("0.01"), bucket("0.5"), bucket("30.0"), bucket("+Inf")] == [0, 1, 2, 2, 3]
    assert registry.get_sample_value("claimsvc_request_seconds_count") == 3
    total = registry.get_sample_value("claimsvc_request_seconds_sum")
    assert total == pytest.approx(100.303, abs=0.1)


class BrokenError(Exception):
    """The store cannot be read."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock as the metrics see it."""
    now = [1_000.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    return now


class Reading:
    """A store whose reading takes `takes_s`; counts how often it is read."""

    def __init__(self, clock: list[float], takes_s: float) -> None:
        self.clock = clock
        self.takes_s = takes_s
        self.times = 0
        self.broken = False

    def __call__(self) -> dict[str, float]:
        self.times += 1
        self.clock[0] += self.takes_s
        if self.broken:
            raise BrokenError
        return {name: float(self.times) for name in STORE_GAUGES}


def _value(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value(f"claimsvc_{name}")


@pytest.mark.parametrize(
    ("takes_s", "fresh_s"),
    [(0.0, 10.0), (0.01, 10.0), (0.5, 100.0)],
    ids=["a small store", "a store read in 10 ms", "a large store"],
)
def test_the_store_is_read_as_often_as_it_can_bear(takes_s: float, fresh_s: float, clock: list[float]) -> None:
    """Not with every scrape: at most every ten seconds, and never for more than half a percent of the time."""
    registry, reading = CollectorRegistry(), Reading(clock, takes_s)
    registry.register(StoreGauges(reading, BrokenError))
    assert reading.times == 0
    assert _value(registry, "windows_open") == 1
    clock[0] += fresh_s - 0.1
    assert _value(registry, "windows_open") == 1
    clock[0] += 0.2
    assert _value(registry, "windows_open") == 2
    assert _value(registry, "store_reading_seconds") == pytest.approx(takes_s)


def test_a_store_that_cannot_be_read_is_told_and_costs_no_other_metric(clock: list[float]) -> None:
    """Its gauges are absent rather than old; they are back when it can be read again."""
    registry, reading = CollectorRegistry(), Reading(clock, 0.0)
    registry.register(StoreGauges(reading, BrokenError))
    reading.broken = True
    assert (_value(registry, "store_readable"), _value(registry, "windows_open")) == (0, None)
    reading.broken = False
    clock[0] += 11
    assert (_value(registry, "store_readable"), _value(registry, "windows_open")) == (1, 2)
