from __future__ import annotations

import pytest

from claimsvc.core.admission import STEPS, Step, after
from claimsvc.core.model import RequestStatus


@pytest.mark.parametrize("step", Step)
def test_every_step_leads_somewhere(step: Step) -> None:
    """No step is only a name; what each rule makes of it is in test_registration.py's table."""
    assert any(after(status, step) for status in (None, *RequestStatus))


def test_every_state_is_reached() -> None:
    """A request can come into each of its states."""
    assert set(STEPS.values()) == set(RequestStatus)


def test_blocked_is_left_by_deletion_only() -> None:
    """Whoever guessed too often does not get further by any step."""
    assert [step for status, step in STEPS if status is RequestStatus.BLOCKED] == []
