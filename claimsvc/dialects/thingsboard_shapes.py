"""What all REST calls of ThingsBoard's have in common: ids, and how a refusal is told (TB 3.1)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from claimsvc.core.decision import Outcome, Refused
from claimsvc.core.reasons import OF_PROVISIONING, OF_REGISTRATION, Reason
from claimsvc.dialects.rest import Answer

FORBIDDEN = 403

# reason: (status, ThingsBoard's errorCode)
STATUSES: dict[Reason, tuple[int, int]] = {
    Reason.MALFORMED: (400, 31),
    Reason.TOO_LARGE: (413, 31),
    Reason.NO_SUCH_CALL: (404, 32),
    Reason.METHOD_NOT_ALLOWED: (405, 31),
    Reason.ALREADY_CLAIMED: (400, 31),
    Reason.CLAIMING_NOT_ALLOWED: (400, 31),
    Reason.NO_WINDOW: (400, 31),
    Reason.WINDOW_EXPIRED: (400, 31),
    Reason.WRONG_KEY: (400, 31),
    Reason.LOCKED_OUT: (429, 33),
    Reason.RATE_LIMITED: (429, 33),
    Reason.KEY_EXISTS: (409, 35),
    Reason.NOT_PERMITTED: (403, 20),
    Reason.NOT_A_CUSTOMER: (403, 20),
    Reason.NOT_A_DEVICE: (403, 20),
    Reason.NOT_A_GATEWAY: (403, 20),
    Reason.NOT_THE_OWNER: (403, 20),
    Reason.UNKNOWN_DEVICE: (404, 32),
    Reason.NOT_FOUND: (404, 32),
    Reason.ALREADY_EXISTS: (400, 31),
    Reason.NAME_TAKEN: (400, 31),
    Reason.INVALID_NAME: (400, 31),
    Reason.INVALID_VALUE: (400, 31),
    Reason.IN_USE: (400, 31),
    Reason.NO_LOGIN: (400, 31),
    Reason.REQUEST_ID_REUSED: (409, 35),
    Reason.INTERNAL: (500, 2),
    **dict.fromkeys(OF_REGISTRATION | OF_PROVISIONING, (400, 31)),
}


class EntityId(BaseModel):
    """A ThingsBoard id."""

    id: str


def entity_id(entity: str, value: str) -> dict[str, str]:
    """Return an id as ThingsBoard writes it."""
    return {"entityType": entity, "id": value}


def error(outcome: Outcome, now_ms: int, texts: Mapping[Reason, str]) -> Answer:
    """Return ThingsBoard's error object, with our code and, after a lockout, the time left beside it.

    `texts` are ThingsBoard's own sentences. Its sentence for everything a caller may not do says neither why nor
    what is missing: `detail` does.
    """
    if not isinstance(outcome, Refused):
        raise TypeError(f"no ThingsBoard answer for {type(outcome).__name__}")
    status, code = STATUSES[outcome.reason]
    body: dict[str, object] = {
        "status": status,
        "message": texts.get(outcome.reason, outcome.detail or outcome.message),
        "errorCode": code,
        "timestamp": now_ms,
        "error": outcome.reason.value,
    }
    if status == FORBIDDEN:
        body["detail"] = outcome.message
    if outcome.retry_after_ms is not None:
        seconds = -(-outcome.retry_after_ms // 1000)
        body["message"] = f"{outcome.message}. Try again in {seconds} seconds"
        body["retryAfterMs"] = outcome.retry_after_ms
    return Answer(status, body)
