"""Cumulocity's REST calls for new devices: requests, their acceptance, credentials (C8Y 1, 2 and 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import from_json, to_json

from claimsvc.core.commands.base import Command
from claimsvc.core.commands.registration import (
    AcceptAll,
    AcceptRequest,
    CreateRequest,
    DeleteRequest,
    ListRequests,
    PollCredentials,
    ReadLimit,
    ReadRequest,
)
from claimsvc.core.model import DeviceRequest, RequestStatus
from claimsvc.core.outcomes import (
    AcceptedAll,
    CredentialsGiven,
    DeviceLimit,
    Done,
    Found,
    Outcome,
    Refused,
    RequestPage,
    RequestRefused,
)
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.exchange import Rejected, malformed
from claimsvc.dialects.rest import Answer, Call, EncodeAnswer, Route, Section, number, parse

REQUESTS = "/devicecontrol/newDeviceRequests"
CREDENTIALS = "/devicecontrol/deviceCredentials"
_ACCEPT_ALL, _LIMIT = "acceptAll", "limit"
PAGE, LARGEST_PAGE = 5, 2_000
LONGEST_ENROLLMENT_TOKEN = 32
INFO = "https://www.cumulocity.com/guides/reference-guide/#error_reporting"

_NO_MATCH = "Provided security key does not match key stored for device {id}."
# Cumulocity puts this behind the sentence before without a blank.
_NOW_BLOCKED = (
    "Reached maximum number of failed attempts while trying to register this device. "
    "Request will now be blocked and has to be removed manually to restart the process."
)
_NOT_AVAILABLE = "Credentials for device id {id} are not available."
_FORBIDDEN = (403, "security/Forbidden", "Access is denied")

ERRORS: dict[Reason, tuple[int, str, str]] = {
    # reason: status, Cumulocity's type of error, its text; ours where there is none (C8Y 1.6)
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
    # Its parentheses are Cumulocity's.
    Reason.NOT_ACCEPTED: (
        404,
        "devicecontrol/Not Found",
        f"{_NOT_AVAILABLE} Device is in state {{status}}, (not ACCEPTED)).",
    ),
    Reason.CREDENTIALS_GIVEN: (
        404,
        "devicecontrol/Not Found",
        f"{_NOT_AVAILABLE} The time to fetch them is over: register the device again.",
    ),
    Reason.NOT_PENDING: (
        422,
        "devicecontrol/Invalid State",
        "NewDeviceRequest for device id {id} is in state {status}, not PENDING_ACCEPTANCE.",
    ),
    Reason.CONTESTED: (
        422,
        "devicecontrol/Contested",
        "Another client asked for device id {id} too. Accept it with its security token, or delete it.",
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


# --- wire models; members nobody knows mean nothing


class RequestBody(BaseModel):
    """A request to make."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    tenantId: str | None = None
    groupId: str | None = None
    type: str | None = None
    customProperties: dict[str, JsonValue] | None = None
    enrollmentToken: Annotated[str, Field(min_length=1, max_length=LONGEST_ENROLLMENT_TOKEN)] | None = None


class StatusBody(BaseModel):
    """What an operator makes of a request."""

    model_config = ConfigDict(strict=True, extra="ignore")

    status: str
    securityToken: str | None = None


class PollBody(BaseModel):
    """A device's question."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    securityToken: str | None = None


# --- decoding


def _create(call: Call) -> Command:
    body = parse(RequestBody, call.body)
    if body.id in {_ACCEPT_ALL, _LIMIT}:
        raise Rejected(Reason.INVALID_VALUE, f"{body.id} stands for a call, not for a device")
    properties = to_json(body.customProperties).decode() if body.customProperties is not None else None
    enrollment = _token(body.enrollmentToken)
    return CreateRequest(call.caller, body.id, body.tenantId, body.groupId, body.type, properties, enrollment)


def _update(call: Call) -> Command:
    body = parse(StatusBody, call.body)
    if body.status != RequestStatus.ACCEPTED:
        raise Rejected(Reason.INVALID_VALUE, "the one status that can be set is ACCEPTED")
    return AcceptRequest(call.caller, call.variables["id"], _token(body.securityToken))


def _poll(call: Call) -> Command:
    body = parse(PollBody, call.body)
    return PollCredentials(call.caller, body.id, call.lane, _token(body.securityToken))


def _list(call: Call) -> Command:
    query = call.query
    status = query.get("status")
    if status is not None and status not in RequestStatus.__members__:
        raise malformed(f"status: one of {', '.join(RequestStatus.__members__)} is expected")
    return ListRequests(
        call.caller,
        max(1, number(query, "currentPage", 1, 2**31)),
        max(1, number(query, "pageSize", PAGE, LARGEST_PAGE)),
        RequestStatus(status) if status is not None else None,
        with_total=_is_set(query, "withTotalElements") or _is_set(query, "withTotalPages"),
    )


def _is_set(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() == "true"


def _token(text: str | None) -> Secret | None:
    return Secret(SecretKind.SECURITY_TOKEN, text) if text else None


def _on_request(command: Callable[[str, str], Command]) -> Callable[[Call], Command]:
    return lambda call: command(call.caller, call.variables["id"])


# --- encoding


def refuse(outcome: Outcome, _now_ms: int) -> Answer:
    """Return Cumulocity's error object, with our code beside it."""
    if not isinstance(outcome, Refused):
        raise TypeError(f"no Cumulocity answer for {type(outcome).__name__}")
    status, kind, text = _error(outcome)
    body: dict[str, object] = {"error": kind, "message": text, "info": INFO, "code": outcome.reason.value}
    if outcome.retry_after_ms is not None:
        body["retryAfterMs"] = outcome.retry_after_ms
    return Answer(status, body)


def _error(outcome: Refused) -> tuple[int, str, str]:
    status, kind, text = ERRORS[outcome.reason]
    if not text:
        return status, kind, outcome.message
    if outcome.reason is Reason.INVALID_DEVICE_ID and not outcome.detail:
        return status, kind, _BAD_LENGTH
    device_id, state = "", None
    if isinstance(outcome, RequestRefused):
        device_id, state = outcome.device_id, outcome.status
    return status, kind, text.format(id=device_id, status=state, detail=outcome.detail)


def encode(outcome: Outcome, now_ms: int) -> Answer:
    """Return the answer to a call about one request."""
    if isinstance(outcome, Found) and isinstance(outcome.item, DeviceRequest):
        return Answer(201 if outcome.created else 200, request_json(outcome.item))
    if isinstance(outcome, Done):
        return Answer(200, None)
    if isinstance(outcome, DeviceLimit):
        limit: dict[str, object] = {"isReached": outcome.is_reached, "deviceCount": outcome.devices}
        return Answer(200, limit | ({"limit": outcome.limit} if outcome.limit else {}))
    if isinstance(outcome, AcceptedAll):
        return Answer(200, [_accepted(device_id, refused) for device_id, refused in outcome.results])
    return refuse(outcome, now_ms)


def encode_credentials(outcome: Outcome, now_ms: int) -> Answer:
    """Return the answer to a poll (C8Y 2)."""
    if not isinstance(outcome, CredentialsGiven):
        return refuse(outcome, now_ms)
    body: dict[str, object] = {
        "id": outcome.request.id,
        "self": f"{CREDENTIALS}/{quote(outcome.request.id, safe='')}",
        "tenantId": outcome.request.tenant,
        "username": outcome.username,
    }
    if outcome.secret is not None:
        body["password"] = outcome.secret.text
    else:
        body["login"] = "must exist at the broker: this service keeps no logins"
    return Answer(201, body)


def encode_page(outcome: Outcome, now_ms: int) -> Answer:
    """Return a page with its statistics, and the paths of its neighbours."""
    if not isinstance(outcome, RequestPage):
        return refuse(outcome, now_ms)
    listing = outcome.listing
    statistics: dict[str, object] = {"currentPage": listing.page, "pageSize": listing.size}
    if outcome.total is not None:
        statistics["totalElements"] = outcome.total
        statistics["totalPages"] = -(-outcome.total // listing.size)
    body: dict[str, object] = {
        "self": _page_path(outcome, listing.page),
        "newDeviceRequests": [request_json(item) for item in outcome.items],
        "statistics": statistics,
    }
    if listing.page > 1:
        body["prev"] = _page_path(outcome, listing.page - 1)
    if not outcome.is_last:
        body["next"] = _page_path(outcome, listing.page + 1)
    return Answer(200, body)


def _page_path(page: RequestPage, number_: int) -> str:
    query: dict[str, object] = {"currentPage": number_, "pageSize": page.listing.size}
    if page.listing.status is not None:
        query["status"] = page.listing.status
    if page.listing.with_total:
        query["withTotalPages"] = "true"
    return f"{REQUESTS}?{urlencode(query)}"


def request_json(request: DeviceRequest) -> dict[str, object]:
    """Return a request in Cumulocity's shape; what is not there is left out (C8Y 1.1)."""
    body: dict[str, object] = {
        "id": request.id,
        "self": f"{REQUESTS}/{quote(request.id, safe='')}",
        "status": request.status.value,
        "creationTime": _iso(request.created_at_ms),
        "owner": request.owner,
        "tenantId": request.tenant,
    }
    optional: dict[str, Any] = {
        "groupId": request.group_id,
        "type": request.type,
        "customProperties": from_json(request.properties) if request.properties is not None else None,
        "contested": request.contested or None,
    }
    return body | {name: value for name, value in optional.items() if value is not None}


def _accepted(device_id: str, refused: RequestRefused | None) -> dict[str, object]:
    if refused is None:
        return {"id": device_id, "successful": True}
    return {"id": device_id, "successful": False, "error": _error(refused)[2]}


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _route(
    method: str, path: str, decode: Callable[[Call], Command], name: str, encoder: EncodeAnswer = encode
) -> Route:
    return Route(method, path, decode, encoder, name)


_ONE = f"{REQUESTS}/{{id}}"

SECTION = Section(
    "/devicecontrol/",
    refuse,
    (
        _route("POST", REQUESTS, _create, "CreateRequest"),
        _route("GET", REQUESTS, _list, "ListRequests", encode_page),
        # Before the routes of one request; no device is called so.
        _route("POST", f"{REQUESTS}/{_ACCEPT_ALL}", lambda call: AcceptAll(call.caller), "AcceptAll"),
        _route("GET", f"{REQUESTS}/{_LIMIT}", lambda call: ReadLimit(call.caller), "ReadLimit"),
        _route("GET", _ONE, _on_request(ReadRequest), "ReadRequest"),
        _route("PUT", _ONE, _update, "AcceptRequest"),
        _route("DELETE", _ONE, _on_request(DeleteRequest), "DeleteRequest"),
        Route("POST", CREDENTIALS, _poll, encode_credentials, "PollCredentials", for_clients=True),
    ),
    "cumulocity",
)
