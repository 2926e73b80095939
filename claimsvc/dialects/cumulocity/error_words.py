"""Cumulocity's status, type and text for each refusal. Facts: docs/original-systems.md#error-texts."""

from __future__ import annotations

from claimsvc.core.decision import Outcome, Refused
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import RequestRefused
from claimsvc.dialects.rest import Answer

INFO = "https://www.cumulocity.com/guides/reference-guide/#error_reporting"

_NO_MATCH = "Provided security key does not match key stored for device {id}."
# Cumulocity appends this to the sentence before without a blank.
_NOW_BLOCKED = (
    "Reached maximum number of failed attempts while trying to register this device. "
    "Request will now be blocked and has to be removed manually to restart the process."
)
_NOT_AVAILABLE = "Credentials for device id {id} are not available."
_FORBIDDEN = (403, "security/Forbidden", "Access is denied")

ERRORS: dict[Reason, tuple[int, str, str]] = {
    # reason: status, Cumulocity's type of error, its text; "" means the text in `MESSAGES`
    **dict.fromkeys(Reason, (422, "devicecontrol/Unprocessable Entity", "")),
    **dict.fromkeys(
        (
            Reason.NOT_PERMITTED,
            Reason.NOT_A_CUSTOMER,
            Reason.NOT_A_DEVICE,
            Reason.NOT_A_GATEWAY,
            Reason.NOT_THE_OWNER,
        ),
        _FORBIDDEN,
    ),
    Reason.ALREADY_REQUESTED: (
        422,
        "devicecontrol/Non Unique Result",
        "NewDeviceRequest for id = {id} already exists.",
    ),
    Reason.NO_REQUEST: (404, "devicecontrol/Not Found", "There is no newDeviceRequest for device id {id}."),
    # The unbalanced parenthesis is Cumulocity's.
    Reason.NOT_ACCEPTED: (
        404,
        "devicecontrol/Not Found",
        f"{_NOT_AVAILABLE} Device is in state {{status}}, (not ACCEPTED)).",
    ),
    Reason.CREDENTIALS_GIVEN: (
        404,
        "devicecontrol/Not Found",
        f"{_NOT_AVAILABLE} The time to fetch them has expired: register the device again.",
    ),
    Reason.NOT_PENDING: (
        422,
        "devicecontrol/Invalid State",
        "NewDeviceRequest for device id {id} is in state {status}, not PENDING_ACCEPTANCE.",
    ),
    Reason.CONTESTED: (
        422,
        "devicecontrol/Contested",
        "Another client also asked for device id {id}. Accept the request with the security token, or delete it.",
    ),
    Reason.WRONG_TOKEN: (422, "devicecontrol/Invalid Security Token", _NO_MATCH),
    Reason.BLOCKED: (422, "devicecontrol/Invalid Security Token", _NO_MATCH + _NOW_BLOCKED),
    Reason.INVALID_DEVICE_ID: (
        422,
        "devicecontrol/Invalid Device Id",
        "Device id '{id}' contains '{detail}' character which is not permitted.",
    ),
    Reason.DEVICE_LIMIT: (
        422,
        "devicecontrol/Limit Reached",
        "You have reached devices limit. No more devices can be registered.",
    ),
    Reason.NAME_TAKEN: (
        422,
        "devicecontrol/Non Unique Result",
        "The name of device {id} belongs to another login or device.",
    ),
    Reason.MALFORMED: (400, "devicecontrol/Bad Request", ""),
    Reason.NOT_FOUND: (404, "devicecontrol/Not Found", ""),
    Reason.NO_SUCH_CALL: (404, "devicecontrol/Not Found", ""),
    Reason.METHOD_NOT_ALLOWED: (405, "devicecontrol/Method Not Allowed", ""),
    Reason.TOO_LARGE: (413, "devicecontrol/Payload Too Large", ""),
    Reason.REQUEST_ID_REUSED: (409, "devicecontrol/Request Id Reused", ""),
    Reason.RATE_LIMITED: (429, "devicecontrol/Too Many Requests", ""),
    Reason.INTERNAL: (500, "devicecontrol/Internal", ""),
}
_BAD_LENGTH = "A device id has 1 to 1000 characters."


def refuse(outcome: Outcome, _now_ms: int) -> Answer:
    """Return Cumulocity's error object, plus the code of claimsvc."""
    if not isinstance(outcome, Refused):
        raise TypeError(f"no Cumulocity answer for {type(outcome).__name__}")
    status, kind, text = error_of(outcome)
    body: dict[str, object] = {"error": kind, "message": text, "info": INFO, "code": outcome.reason.value}
    if (status, kind, text) == _FORBIDDEN:
        body["detail"] = outcome.message  # Cumulocity's text does not name what is missing
    if outcome.retry_after_ms is not None:
        body["retryAfterMs"] = outcome.retry_after_ms
    return Answer(status, body)


def error_of(outcome: Refused) -> tuple[int, str, str]:
    """Return status, type of error and text of a refusal."""
    status, kind, text = ERRORS[outcome.reason]
    if not text:
        return status, kind, outcome.message
    if outcome.reason is Reason.INVALID_DEVICE_ID and not outcome.detail:
        return status, kind, _BAD_LENGTH
    device_id, state = "", None
    if isinstance(outcome, RequestRefused):
        device_id, state = outcome.device_id, outcome.status
    return status, kind, text.format(id=device_id, status=state, detail=outcome.detail)
