from __future__ import annotations

import pytest

from claimsvc.core.model import Answered
from claimsvc.core.outcomes import Refused, Repeated
from claimsvc.core.reasons import Reason
from claimsvc.core.repeats import recall
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
    assert recall(earlier, digest, at_ms) == expected
