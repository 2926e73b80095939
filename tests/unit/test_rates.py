"""How often a principal may ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimsvc.service.rates import MINUTE_MS, Rates

NOW = 1_700_000_000_000


def taken(rates: Rates, lane: str, now_ms: int, tries: int) -> int:
    """Return how many of some requests at one moment are taken."""
    return sum(rates.wait_ms(lane, now_ms) == 0 for _ in range(tries))


def test_a_sixth_of_a_minutes_requests_may_come_at_once() -> None:
    """And then as many as the time allows."""
    rates = Rates(600)
    assert taken(rates, "a", NOW, 1_000) == 100
    assert taken(rates, "a", NOW + 1_000, 1_000) == 10
    assert taken(rates, "a", NOW + MINUTE_MS, 1_000) == 100


def test_who_is_told_to_wait_is_taken_after_that() -> None:
    """A millisecond earlier it is still too early."""
    rates = Rates(600)
    taken(rates, "a", NOW, 100)
    wait_ms = rates.wait_ms("a", NOW)
    assert 0 < wait_ms <= 101
    assert rates.wait_ms("a", NOW + wait_ms - 2) > 0
    assert rates.wait_ms("a", NOW + wait_ms) == 0


def test_a_flood_does_not_lengthen_the_wait() -> None:
    """What is refused is not counted."""
    rates = Rates(60)
    taken(rates, "a", NOW, 10)
    assert {rates.wait_ms("a", NOW) for _ in range(1_000)} == {rates.wait_ms("a", NOW)}


def test_lanes_do_not_share() -> None:
    """One principal's flood leaves another's requests alone."""
    rates = Rates(60)
    taken(rates, "a", NOW, 1_000)
    assert taken(rates, "b", NOW, 5) == 5


@pytest.mark.parametrize("per_minute", [1, 5])
def test_few_a_minute_still_means_one(per_minute: int) -> None:
    """However small the limit, the first request is taken."""
    assert taken(Rates(per_minute), "a", NOW, 10) == 1


def test_no_limit() -> None:
    """0 is none."""
    assert taken(Rates(0), "a", NOW, 100_000) == 100_000


def test_memory_is_for_those_who_asked_lately() -> None:
    """A million names do not stay."""
    rates = Rates(600)
    for number in range(1_000):
        rates.wait_ms(f"lane {number}", NOW + number * 100)
    assert len(rates._empty_at_ms) < 250  # noqa: SLF001 - memory has no other witness


@given(st.lists(st.integers(0, 2_000), max_size=300), st.integers(1, 1_000))
def test_never_more_than_the_limit_and_the_burst(gaps: list[int], per_minute: int) -> None:
    """Over any run of requests, however they come."""
    rates, now_ms, count = Rates(per_minute), NOW, 0
    for gap in gaps:
        now_ms += gap
        count += rates.wait_ms("a", now_ms) == 0
    assert count <= per_minute / 6 + 1 + (now_ms - NOW) * per_minute / MINUTE_MS + 1


@pytest.mark.parametrize("step_ms", [-1_000, -3_600_000, -2 * 86_400_000, 1_000, 2 * 86_400_000])
def test_a5_a_bucket_holds_no_more_than_its_burst_wherever_time_goes(step_ms: int) -> None:
    """Full before a step, a lane waits no longer than for its next request, and gets its share from then on."""
    rates = Rates(600)
    taken(rates, "a", NOW, 1_000)
    now_ms = NOW + step_ms
    wait_ms = rates.wait_ms("a", now_ms)
    assert wait_ms <= 101
    assert rates.wait_ms("a", now_ms + wait_ms) == 0
    assert taken(rates, "a", now_ms + wait_ms + 1_000, 1_000) >= 10
