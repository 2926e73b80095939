"""A request id stands for its first answer for a while, so that a repeat does nothing twice."""

from __future__ import annotations

from claimsvc.core.decision import Refused, Repeated
from claimsvc.core.model import Answered
from claimsvc.core.reasons import Reason


def recall(
    earlier: Answered | None, digest: str, now_ms: int, *, window_ms: int, redelivered: bool
) -> Repeated | Refused | None:
    """Return the first answer to a repeat, a refusal of other content, or None for a new request.

    What the broker delivers again was sent when it was sent first, however long ago that is. An answer that lasts
    longer than `window_ms` from now was given while the clock was ahead: it keeps no other request from its id.
    """
    if earlier is None:
        return None
    if earlier.expires_at_ms < now_ms:
        return Repeated(earlier.sealed) if redelivered and earlier.digest == digest else None
    if earlier.digest != digest:
        is_from_ahead = earlier.expires_at_ms > now_ms + window_ms
        return None if is_from_ahead else Refused(Reason.REQUEST_ID_REUSED)
    return Repeated(earlier.sealed)
