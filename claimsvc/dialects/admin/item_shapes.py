"""The common parts of all calls of the admin API: bodies, pages, items and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from claimsvc.core.accounts import ListItems
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found, Listing, Outcome, Page, Refused
from claimsvc.core.devices import Bound
from claimsvc.core.model import Customer, Device, DeviceGroup, Event, Group, Role, Tenant, User
from claimsvc.core.reasons import OF_PROVISIONING, OF_REGISTRATION, Reason
from claimsvc.dialects.rest import Answer, Call, EncodeAnswer, Route, number

PAGE = 100
LARGEST_PAGE = 1_000

STATUSES: dict[Reason, int] = {
    Reason.MALFORMED: 400,
    Reason.TOO_LARGE: 413,
    Reason.NO_SUCH_CALL: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.ALREADY_CLAIMED: 409,
    Reason.CLAIMING_NOT_ALLOWED: 409,
    Reason.NO_WINDOW: 409,
    Reason.WINDOW_EXPIRED: 409,
    Reason.WRONG_KEY: 409,
    Reason.LOCKED_OUT: 429,
    Reason.RATE_LIMITED: 429,
    Reason.KEY_EXISTS: 409,
    Reason.NOT_PERMITTED: 403,
    Reason.NOT_A_CUSTOMER: 403,
    Reason.NOT_A_DEVICE: 403,
    Reason.NOT_A_GATEWAY: 409,
    Reason.NOT_THE_OWNER: 403,
    Reason.UNKNOWN_DEVICE: 404,
    Reason.NOT_FOUND: 404,
    Reason.ALREADY_EXISTS: 409,
    Reason.NAME_TAKEN: 409,
    Reason.INVALID_NAME: 400,
    Reason.INVALID_VALUE: 400,
    Reason.IN_USE: 409,
    Reason.NO_LOGIN: 409,
    Reason.REQUEST_ID_REUSED: 409,
    Reason.INTERNAL: 500,
    **dict.fromkeys(OF_REGISTRATION | OF_PROVISIONING, 409),
}


# --- wire models; an unknown member is an error, so that a typing mistake is noticed


class Body(BaseModel):
    """A body of the admin API."""

    model_config = ConfigDict(strict=True, extra="forbid")


Names = tuple[str, ...]
Password = Annotated[str, Field(min_length=8, max_length=256)]


# --- decoding


def read_list(kind: type[Any]) -> Callable[[Call], Command]:
    """Return the decoder of a listing's query."""

    def decode(call: Call) -> Command:
        limit = max(1, number(call.query, "limit", PAGE, LARGEST_PAGE))
        after = call.query.get("after")
        if kind is not Event:
            return ListItems(call.caller, kind, limit, after)
        if after is not None:
            number(call.query, "after", 0, 2**53)
        since = number(call.query, "since", 0, 2**53) if "since" in call.query else None
        return ListItems(call.caller, kind, limit, after, call.query.get("device"), since)

    return decode


# --- encoding


def refuse(outcome: Outcome, _now_ms: int) -> Answer:
    """Return the error object of the admin API."""
    if not isinstance(outcome, Refused):
        raise TypeError(f"the admin API has no answer for {type(outcome).__name__}")
    body: dict[str, object] = {"error": outcome.reason.value, "message": outcome.message}
    if outcome.retry_after_ms is not None:
        body["retryAfterMs"] = outcome.retry_after_ms
    return Answer(STATUSES[outcome.reason], body)


def encode(outcome: Outcome, now_ms: int) -> Answer:
    """Return the answer to a call about one item."""
    if isinstance(outcome, Found):
        return Answer(201 if outcome.created else 200, _found(outcome))
    if isinstance(outcome, Bound):
        return Answer(200, {"name": outcome.gateway.name, "devices": outcome.devices})
    if isinstance(outcome, Done):
        return Answer(200, {})
    return refuse(outcome, now_ms)


def _found(outcome: Found[Any]) -> dict[str, object]:
    body = item_json(outcome.item)
    if outcome.secret is not None:
        body["password"] = outcome.secret.text
    elif outcome.created and isinstance(outcome.item, User | Device):
        body["login"] = "must exist on the broker: this service keeps no logins"
    return body


def encode_page(
    path: str, member: str, encode_item: Callable[[Any], dict[str, object]] | None = None
) -> EncodeAnswer:
    """Return the encoder of a listing: its items and, if there are more, the path of the next page."""
    shape = encode_item or item_json

    def encode_listing(outcome: Outcome, now_ms: int) -> Answer:
        if not isinstance(outcome, Page):
            return refuse(outcome, now_ms)
        body: dict[str, object] = {member: [shape(item) for item in outcome.items]}
        body["self"] = _page_path(path, outcome.listing, outcome.listing.after)
        if outcome.next_after is not None:
            body["next"] = _page_path(path, outcome.listing, outcome.next_after)
        return Answer(200, body)

    return encode_listing


def _page_path(path: str, listing: Listing, after: str | None) -> str:
    query = {"after": after, "limit": listing.limit, "device": listing.device, "since": listing.since_ms}
    query |= {"prefix": listing.prefix or None, "group": listing.group_id}
    given = ((name, value) for name, value in query.items() if value is not None)
    return f"{path}?" + "&".join(f"{name}={quote(str(value), safe='')}" for name, value in given)


def item_json(item: object) -> dict[str, object]:
    """Return one item as the admin API shows it."""
    for kind, encoder in _ITEMS.items():
        if isinstance(item, kind):
            return encoder(item)
    raise TypeError(f"no shape for {type(item).__name__}")


def _user_json(user: User) -> dict[str, object]:
    return {
        "username": user.username,
        "principal": user.principal,
        "tenantId": user.tenant,
        "customerId": user.customer_id,
        "groups": user.groups,
        "roles": user.roles,
    }


def _event_json(event: Event) -> dict[str, object]:
    return {
        "time": event.at_ms,
        "event": event.event,
        "tenantId": event.tenant,
        "principal": event.principal,
        "deviceId": event.device_id,
        "device": event.device,
        "detail": event.detail,
    }


_ITEMS: dict[type[Any], Callable[[Any], dict[str, object]]] = {
    Tenant: lambda item: {"id": item.id, "title": item.title},
    Customer: lambda item: {"id": item.id, "title": item.title, "tenantId": item.tenant},
    User: _user_json,
    Group: lambda item: {"name": item.name, "roles": item.roles},
    Role: lambda item: {"name": item.name, "permissions": item.permissions},
    Device: lambda item: {"name": item.name, "id": item.id, "principal": item.principal},
    DeviceGroup: lambda item: {"id": item.id, "path": item.path},
    Event: _event_json,
}


def encode_event(event: Event) -> bytes:
    """Return the payload of a published audit event."""
    return to_json(_event_json(event))


def listing(path: str, member: str, kind: type[Any]) -> Route:
    """Return the route of a listing of all items of a kind."""
    return Route("GET", path, read_list(kind), encode_page(path, member), "ListItems")
