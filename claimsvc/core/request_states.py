"""Where a device request may go from where it stands: the whole of it is this table (C8Y 1, 5.1).

A pair that is not here is refused, or cannot happen. None is no request yet. From any state a request can be removed,
which begins afresh.
"""

from __future__ import annotations

from enum import StrEnum

from claimsvc.core.model import RequestStatus

_WAITING, _PENDING = RequestStatus.WAITING_FOR_CONNECTION, RequestStatus.PENDING_ACCEPTANCE
_ACCEPTED, _BLOCKED = RequestStatus.ACCEPTED, RequestStatus.BLOCKED


class Step(StrEnum):
    """What moves a request."""

    ANNOUNCE = "announced"
    ENROLL = "announced with a one-time password"
    FIRST_POLL = "first poll"
    LET_IN = "accepted"
    GIVE_UP = "too many wrong tokens or one-time passwords"


STEPS: dict[tuple[RequestStatus | None, Step], RequestStatus] = {
    (None, Step.ANNOUNCE): _WAITING,
    (None, Step.ENROLL): _ACCEPTED,
    (_WAITING, Step.FIRST_POLL): _PENDING,
    (_PENDING, Step.LET_IN): _ACCEPTED,
    (_ACCEPTED, Step.LET_IN): _ACCEPTED,
    (_PENDING, Step.GIVE_UP): _BLOCKED,
    (_ACCEPTED, Step.GIVE_UP): _BLOCKED,
}


def after(status: RequestStatus | None, step: Step) -> RequestStatus | None:
    """Return where the step leads, or None where it cannot be made."""
    return STEPS.get((status, step))
