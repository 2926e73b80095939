from __future__ import annotations

import pytest

from claimsvc.core.decision import Refused, Repeated
from claimsvc.core.model import Answered
from claimsvc.core.reasons import Reason
from claimsvc.core.rules import recall
from tests.support.factories import MINUTE, NOW

FIRST = Answered("claimsvc/u/alice/", "1", "digest", "sealed", NOW + MINUTE)


@pytest.mark.parametrize(
    ("earlier", "digest", "at_ms", "expected"),
    [
        pytest.param(None, "digest", NOW, None, id="a new request"),
        pytest.param(FIRST, "digest", NOW, Repeated("sealed"), id="the same again"),
        pytest.param(FIRST, "digest", NOW + MINUTE, Repeated("sealed"), id="at the last millisecond"),
        pytest.param(FIRST, "digest", NOW + MINUTE + 1, None, id="the same, too late"),
        pytest.param(FIRST, "other", NOW, Refused(Reason.REQUEST_ID_REUSED), id="the id for something else"),
        pytest.param(FIRST, "other", NOW + MINUTE + 1, None, id="the id used again later"),
        pytest.param(FIRST, "", NOW, Refused(Reason.REQUEST_ID_REUSED), id="without a digest"),
    ],
)
def test_request_id_stands_for_its_first_answer(
    earlier: Answered | None, digest: str, at_ms: int, expected: object
) -> None:
    """A repeat within the window is answered as before, other content is refused, later it is new."""
    assert recall(earlier, digest, at_ms, window_ms=MINUTE, redelivered=False) == expected


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        pytest.param("digest", Repeated("sealed"), id="what was sent before the broker was away for long"),
        pytest.param("other", None, id="another request that has the id by now"),
    ],
)
def test_redelivery_is_a_repeat_however_late(digest: str, expected: object) -> None:
    """The broker delivers again what was sent in time; how long it was away does not make it new."""
    assert recall(FIRST, digest, NOW + 60 * MINUTE, window_ms=MINUTE, redelivered=True) == expected


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        pytest.param("digest", Repeated("sealed"), id="a repeat is done once"),
        pytest.param("other", None, id="the id is free for something else"),
    ],
)
@pytest.mark.parametrize("ahead_ms", [1, 60 * MINUTE, 2_880 * MINUTE])
def test_a5_an_answer_given_while_the_clock_was_ahead_keeps_nobody_from_the_id(
    ahead_ms: int, digest: str, expected: object
) -> None:
    """A client that numbers its requests from 1 would be refused until the time the clock showed."""
    assert recall(FIRST, digest, NOW - ahead_ms, window_ms=MINUTE, redelivered=False) == expected
