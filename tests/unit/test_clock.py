"""How far the machine's wall clock is believed."""

from __future__ import annotations

import pytest

from claimsvc.clock import BELIEF_MS, PROOF_MS, Clock
from tests.support.factories import DAY, MINUTE, NOW

SECOND, HOUR = 1_000, 60 * MINUTE
READ_EVERY_MS = 30_000
"""As often as an idle service reads its clock."""
STEPS = [
    pytest.param(sign * size_ms, id=f"{name} {way}")
    for way, sign in (("back", -1), ("forward", 1))
    for name, size_ms in (
        ("seconds", 5 * SECOND),
        ("an hour", HOUR),
        ("two days", 2 * DAY),
        ("ten years", 3650 * DAY),
    )
]


class Machine:
    """A machine whose clocks a test drives, with a service that reads them as often as an idle one does."""

    def __init__(self) -> None:
        self.wall_ms = NOW
        self.steady_ms = 12_345
        self.clock = Clock(lambda: self.wall_ms, lambda: self.steady_ms)

    def run(self, ms: int) -> None:
        """Let time pass."""
        while ms > 0:
            step_ms = min(ms, READ_EVERY_MS)
            self.wall_ms += step_ms
            self.steady_ms += step_ms
            ms -= step_ms
            self.clock()

    def set(self, by_ms: int) -> None:
        """Set the wall clock."""
        self.wall_ms += by_ms
        self.clock()


@pytest.fixture
def machine() -> Machine:
    """A machine whose service has run for long enough to delete."""
    machine = Machine()
    machine.run(PROOF_MS)
    return machine


def test_time_passes_as_on_the_wall(machine: Machine) -> None:
    """Also where the clock is slewed, and for what is deleted."""
    for _ in range(1_000):
        machine.run(MINUTE)
        machine.wall_ms -= 30  # 500 ppm, the most that Linux slews
        assert machine.clock() == machine.wall_ms
        assert machine.clock.sweeping_ms() == machine.wall_ms


@pytest.mark.parametrize("by_ms", STEPS)
@pytest.mark.parametrize("for_ms", [0, SECOND, BELIEF_MS - 1], ids=["a moment", "a second", "almost a minute"])
def test_a13_an_excursion_moves_nothing(by_ms: int, for_ms: int, machine: Machine) -> None:
    """Neither while it lasts nor afterwards."""
    began_ms = machine.clock()
    machine.set(by_ms)
    machine.run(for_ms)
    assert machine.clock() == began_ms + for_ms
    assert machine.clock.sweeping_ms() == began_ms + for_ms
    machine.set(-by_ms)
    machine.run(HOUR)
    assert machine.clock() == machine.clock.sweeping_ms() == machine.wall_ms == began_ms + for_ms + HOUR


@pytest.mark.parametrize("by_ms", STEPS)
def test_a13_a_step_that_lasts_is_believed(by_ms: int, machine: Machine) -> None:
    """After a minute for what is decided, whichever way it goes."""
    machine.set(by_ms)
    machine.run(BELIEF_MS)
    assert machine.clock() == machine.wall_ms


@pytest.mark.parametrize("by_ms", STEPS)
def test_a13_what_is_deleted_is_never_deleted_early(by_ms: int, machine: Machine) -> None:
    """Until a step has lasted for an hour, by the earlier of both times; after that the sweep goes on."""
    steady_ms = machine.clock()
    machine.set(by_ms)
    for _ in range(PROOF_MS // MINUTE):
        swept_ms = machine.clock.sweeping_ms()
        assert swept_ms is not None
        assert swept_ms <= min(steady_ms, machine.clock())
        machine.run(MINUTE)
        steady_ms += MINUTE
    assert machine.clock.sweeping_ms() == machine.wall_ms


def test_a13_excursions_again_and_again_are_not_taken_for_one_that_lasts(machine: Machine) -> None:
    """Between them the clock is right."""
    for _ in range(100):
        machine.set(2 * DAY)
        machine.run(50 * SECOND)
        machine.set(-2 * DAY)
        machine.run(10 * SECOND)
        assert machine.clock() == machine.wall_ms


def test_a13_a_service_that_has_just_started_deletes_nothing() -> None:
    """It may have been started while the clock was wrong."""
    machine = Machine()
    machine.run(PROOF_MS - 1)
    assert machine.clock.sweeping_ms() is None
    machine.run(1)
    assert machine.clock.sweeping_ms() == machine.wall_ms


def test_a13_a_service_started_in_an_excursion_deletes_nothing_by_it() -> None:
    """When it deletes, it does so by the time that is right again."""
    machine = Machine()
    machine.wall_ms += 2 * DAY
    machine.clock = Clock(lambda: machine.wall_ms, lambda: machine.steady_ms)
    machine.run(SECOND)
    machine.set(-2 * DAY)
    for _ in range(3 * PROOF_MS // MINUTE):
        machine.run(MINUTE)
        swept_ms = machine.clock.sweeping_ms()
        if machine.steady_ms > PROOF_MS + HOUR:
            assert swept_ms is not None
        assert swept_ms is None or swept_ms <= machine.wall_ms


@pytest.mark.parametrize("for_ms", [HOUR, 30 * DAY])
def test_a13_a_suspended_machine_goes_on_sweeping(for_ms: int, machine: Machine) -> None:
    """At once where the steady clock counts the suspension; where it stands still, after an hour."""
    machine.wall_ms += for_ms
    machine.steady_ms += for_ms
    assert machine.clock() == machine.clock.sweeping_ms() == machine.wall_ms
    machine.wall_ms += for_ms
    machine.clock()
    machine.run(PROOF_MS)
    assert machine.clock() == machine.clock.sweeping_ms() == machine.wall_ms


@pytest.mark.parametrize(("by_ms", "lag_ms"), [(-HOUR, HOUR), (HOUR, 0), (0, 0)])
def test_a5_the_lag_is_what_another_process_is_behind(by_ms: int, lag_ms: int, machine: Machine) -> None:
    """Until the step is believed."""
    machine.set(by_ms)
    assert machine.clock.lag_ms() == lag_ms
    machine.run(BELIEF_MS)
    assert machine.clock.lag_ms() == 0
