"""Cumulocity's REST calls for new devices. Facts: docs/original-systems.md#device-requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import from_json, to_json

from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found, Outcome
from claimsvc.core.model import DeviceRequest, RequestStatus
from claimsvc.core.policy import BOOTSTRAP
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import (
    AcceptAll,
    AcceptedAll,
    AcceptRequest,
    CreateRequest,
    CredentialsGiven,
    DeleteRequest,
    DeviceLimit,
    ListRequests,
    PollCredentials,
    ReadLimit,
    ReadRequest,
    RequestPage,
    RequestRefused,
)
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.cumulocity.error_words import error_of, refuse
from claimsvc.dialects.message import Rejected, malformed
from claimsvc.dialects.rest import Answer, Call, EncodeAnswer, Route, Section, number, parse

REQUESTS = "/devicecontrol/newDeviceRequests"
CREDENTIALS = "/devicecontrol/deviceCredentials"
_ACCEPT_ALL, _LIMIT = "acceptAll", "limit"
PAGE, LARGEST_PAGE = 5, 2_000
LONGEST_ENROLLMENT_TOKEN = 32

# --- wire models; unknown members are ignored


class RequestBody(BaseModel):
    """A request to create."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    tenantId: str | None = None
    groupId: str | None = None
    type: str | None = None
    customProperties: dict[str, JsonValue] | None = None
    enrollmentToken: Annotated[str, Field(min_length=1, max_length=LONGEST_ENROLLMENT_TOKEN)] | None = None


class StatusBody(BaseModel):
    """The new status of a request."""

    model_config = ConfigDict(strict=True, extra="ignore")

    status: str
    securityToken: str | None = None


class PollBody(BaseModel):
    """A device's poll."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    securityToken: str | None = None


# --- decoding


def _create(call: Call) -> Command:
    body = parse(RequestBody, call.body)
    if body.id in {_ACCEPT_ALL, _LIMIT}:
        raise Rejected(Reason.INVALID_VALUE, f"{body.id} is the name of a call and cannot be a device id")
    properties = to_json(body.customProperties).decode() if body.customProperties is not None else None
    enrollment = _token(body.enrollmentToken)
    return CreateRequest(call.caller, body.id, body.tenantId, body.groupId, body.type, properties, enrollment)


def _update(call: Call) -> Command:
    body = parse(StatusBody, call.body)
    if body.status != RequestStatus.ACCEPTED:
        raise Rejected(Reason.INVALID_VALUE, "the only status that can be set is ACCEPTED")
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
    """Return the answer to a poll. Its status is 201, because some clients accept no other."""
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
        body["login"] = "must exist on the broker: this service keeps no logins"
    return Answer(201, body)


def encode_page(outcome: Outcome, now_ms: int) -> Answer:
    """Return a page with its statistics and the paths of the previous and the next page."""
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
    """Return a request in Cumulocity's shape, without members that have no value."""
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
    return {"id": device_id, "successful": False, "error": error_of(refused)[2]}


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
        # Before the routes of one request: no device can have these ids.
        _route("POST", f"{REQUESTS}/{_ACCEPT_ALL}", lambda call: AcceptAll(call.caller), "AcceptAll"),
        _route("GET", f"{REQUESTS}/{_LIMIT}", lambda call: ReadLimit(call.caller), "ReadLimit"),
        _route("GET", _ONE, _on_request(ReadRequest), "ReadRequest"),
        _route("PUT", _ONE, _update, "AcceptRequest"),
        _route("DELETE", _ONE, _on_request(DeleteRequest), "DeleteRequest"),
        Route("POST", CREDENTIALS, _poll, encode_credentials, "PollCredentials", login=BOOTSTRAP),
    ),
    "cumulocity",
)
