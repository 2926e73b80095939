"""Calls of the admin API about the devices of a tenant, and the claiming state of one device."""

from __future__ import annotations

from claimsvc.core.command import Command
from claimsvc.core.decision import Outcome
from claimsvc.core.inventory import ClaimingState, ExamineClaiming, ListDevices
from claimsvc.core.model import ClaimAttempts, ClaimWindow, Device, UserFailures
from claimsvc.dialects.admin.item_shapes import LARGEST_PAGE, PAGE, encode_page, item_json, refuse
from claimsvc.dialects.rest import Answer, Call, Route, Section, number

_DEVICES = "/claimsvc/devices"


def _list(call: Call) -> Command:
    limit = max(1, number(call.query, "limit", PAGE, LARGEST_PAGE))
    query = call.query
    return ListDevices(call.caller, limit, query.get("after"), query.get("prefix", ""), query.get("group"))


def _examine(call: Call) -> Command:
    return ExamineClaiming(call.caller, call.variables["id"])


def device_json(device: Device) -> dict[str, object]:
    """Return a device with all its fields."""
    return {
        "name": device.name,
        "id": device.id,
        "principal": device.principal,
        "type": device.type,
        "label": device.label,
        "tenantId": device.tenant,
        "customerId": device.owner,
        "gatewayId": device.gateway_id,
        "gateway": device.is_gateway,
        "createdTime": device.created_at_ms,
        "claimedTime": device.claimed_at_ms,
    }


def encode_claiming(outcome: Outcome, now_ms: int) -> Answer:
    """Return the claiming state of a device, without its keys and their hashes."""
    if not isinstance(outcome, ClaimingState):
        return refuse(outcome, now_ms)
    failures = {row.user: row for row in outcome.failures}
    allowed = outcome.claiming_allowed
    body = {
        "device": device_json(outcome.question.device),
        "time": now_ms,
        "allowByDefault": outcome.question.allow_by_default,
        "claimingAllowed": allowed.is_true if allowed else None,
        "windows": [_window_json(row, now_ms) for row in outcome.windows],
        "attempts": [_attempts_json(row, failures.get(row.user), now_ms) for row in outcome.attempts],
        "events": [item_json(event) for event in outcome.events],
        "keyReplaced": item_json(outcome.key_replaced) if outcome.key_replaced else None,
    }
    return Answer(200, body)


def _window_json(window: ClaimWindow, now_ms: int) -> dict[str, object]:
    return {
        "source": window.source,
        "openedTime": window.opened_at_ms,
        "expirationTime": window.expires_at_ms,
        "open": now_ms <= window.expires_at_ms,
        "attempts": window.attempts,
    }


def _attempts_json(row: ClaimAttempts, over_all: UserFailures | None, now_ms: int) -> dict[str, object]:
    """Return a user's failures at this device, and the ends of the user's lockouts; null if there is no lockout."""
    return {
        "principal": row.user,
        "failures": row.count,
        "lockouts": row.lockouts,
        "lockedUntil": _ahead(row.locked_until_ms, now_ms),
        "lastFailedTime": row.last_failed_at_ms,
        "allDevicesLockedUntil": _ahead(over_all.locked_until_ms, now_ms) if over_all else None,
    }


def _ahead(at_ms: int, now_ms: int) -> int | None:
    return at_ms if at_ms > now_ms else None


SECTION = Section(
    "/claimsvc/",
    refuse,
    (
        Route("GET", _DEVICES, _list, encode_page(_DEVICES, "devices", device_json), "ListDevices"),
        Route("GET", f"{_DEVICES}/{{id}}/claiming", _examine, encode_claiming, "ExamineClaiming"),
    ),
    "claimsvc",
)
