"""ThingsBoard's REST calls about devices, claims and attributes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json

from claimsvc.core.claiming import ClaimDevice, Claimed, Released, ReleaseDevice
from claimsvc.core.command import Command
from claimsvc.core.credentials import FoundCredential
from claimsvc.core.decision import Done, Found, Outcome, Refused
from claimsvc.core.devices import (
    CreateDevice,
    DeleteAttributes,
    DeleteDevice,
    FindDevice,
    FoundAttributes,
    ReadAttributes,
    ReadCredentials,
    ReadDevice,
    ServerWindow,
    SetAttributes,
    UpdateDevice,
)
from claimsvc.core.model import CLAIMING_DATA, Credential, CredentialKind, Device
from claimsvc.core.names import name_error
from claimsvc.core.reasons import OF_PROVISIONING, OF_REGISTRATION, Reason
from claimsvc.core.secrets import Secret, SecretKind, claim_key
from claimsvc.dialects.message import Rejected, malformed
from claimsvc.dialects.rest import Answer, Call, Route, Section, flag, parse
from claimsvc.dialects.values import KeyValue, key_of, number_texts

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
    """Return ThingsBoard's error object. Members of claimsvc are the code and, after a lockout, the time left.

    `texts` are ThingsBoard's own sentences. For a missing permission, the member `detail` adds the cause, which
    ThingsBoard's sentence does not name.
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


NOBODY = "13814000-1dd2-11b2-8080-808080808080"
"""ThingsBoard's null id: the customer of a device without an owner."""


_LATEST = 2**53


_TOKEN_MAX = 255


TEXTS: dict[Reason, str] = {
    # ThingsBoard's own sentences. For other reasons its clients show those of `MESSAGES`.
    Reason.NOT_PERMITTED: "You don't have permission to perform this operation!",
    Reason.NOT_A_CUSTOMER: "You don't have permission to perform this operation!",
    Reason.NOT_THE_OWNER: "You don't have permission to perform this operation!",
    Reason.NOT_FOUND: "Requested item wasn't found!",
    Reason.ALREADY_EXISTS: "Device with such name already exists!",
}


CLAIM_WORDS: dict[Reason, str] = {
    # ThingsBoard's whole answer to a refused claim; the log has the exact reason.
    Reason.NO_WINDOW: "FAILURE",
    Reason.WINDOW_EXPIRED: "FAILURE",
    Reason.WRONG_KEY: "FAILURE",
    Reason.ALREADY_CLAIMED: "CLAIMED",
}


# --- wire models
class ClaimRequest(BaseModel):
    """The key of a claim. Null, a missing member or a missing body mean the empty key."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    secretKey: KeyValue = None


class AdditionalInfo(BaseModel):
    """ThingsBoard's additional information. Only the gateway mark is used."""

    gateway: bool = False


class DeviceBody(BaseModel):
    """A device to create or, with an id, to change."""

    name: str
    type: Annotated[str, Field(min_length=1, max_length=255)] = "default"
    label: Annotated[str, Field(max_length=255)] | None = None
    additionalInfo: AdditionalInfo | None = None
    id: EntityId | None = None


class ClaimingData(BaseModel):
    """The `claimingData` attribute. Its end is required."""

    model_config = ConfigDict(strict=True)

    secretKey: str | None = None
    expirationTime: Annotated[int, Field(gt=0, le=_LATEST)]


# --- decoding
def _claim(call: Call) -> Command:
    given = b"{}" if call.body.strip() == b"null" else call.body
    body = parse(ClaimRequest, given, empty=b"{}")
    key = key_of(body.secretKey, lambda: number_texts(given)["secretKey"])
    return ClaimDevice(call.caller, _device_name(call), key)


def _release(call: Call) -> Command:
    return ReleaseDevice(call.caller, _device_name(call))


def _device_name(call: Call) -> str:
    name = call.variables["deviceName"]
    if not name.strip():
        raise Rejected(Reason.INVALID_VALUE, "Parameter 'deviceName' can't be empty!")
    return name


def _create_device(call: Call) -> Command:
    body = parse(DeviceBody, call.body)
    is_gateway = body.additionalInfo is not None and body.additionalInfo.gateway
    if body.id is not None:
        return UpdateDevice(call.caller, body.id.id, body.name, body.type, body.label, is_gateway)
    token = call.query.get("accessToken")
    if token is not None and not (0 < len(token) <= _TOKEN_MAX and token.isascii() and token.isprintable()):
        raise malformed(f"accessToken: 1 to {_TOKEN_MAX} printable ASCII characters are expected")
    kind = SecretKind.PASSWORD if token is None else SecretKind.ACCESS_TOKEN
    return CreateDevice(call.caller, body.name, body.type, body.label, is_gateway, Secret(kind, token))


def _find_device(call: Call) -> Command:
    if "deviceName" not in call.query:
        raise malformed("deviceName: the query must name the device")
    return FindDevice(call.caller, call.query["deviceName"])


def _set_attributes(call: Call) -> Command:
    try:
        attributes = from_json(call.body, allow_inf_nan=False)
    except ValueError:
        raise malformed("the body is not JSON") from None
    if not isinstance(attributes, dict):
        raise malformed("an object with a member for each attribute is expected")
    may_replace = flag(call.query, "replace")
    window = None
    if CLAIMING_DATA in attributes:
        window = _server_window(attributes.pop(CLAIMING_DATA), may_replace=may_replace)
    for name, value in attributes.items():
        if error := name_error(name):
            raise malformed(f"an attribute: {error}")
        if value is None:
            raise malformed(f"{name}: null is not a value; delete the attribute instead")
    texts = tuple((name, _json_text(name, value)) for name, value in attributes.items())
    return SetAttributes(call.caller, call.variables["deviceId"], texts, window)


def _json_text(name: str, value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise malformed(f"{name}: the number is too large") from None


def _server_window(value: Any, *, may_replace: bool) -> ServerWindow:
    """Read `claimingData`: an object or, as in ThingsBoard, the text of an object."""
    data = parse(ClaimingData, value.encode() if isinstance(value, str) else to_json(value))
    return ServerWindow(claim_key(data.secretKey or ""), data.expirationTime, may_replace)


def _keys(call: Call) -> tuple[str, ...]:
    return tuple(name for name in call.query.get("keys", "").split(",") if name)


def _read_attributes(call: Call) -> Command:
    return ReadAttributes(call.caller, call.variables["deviceId"], _keys(call))


def _delete_attributes(call: Call) -> Command:
    names = _keys(call)
    if not names:
        raise malformed("keys: the query must name the attributes")
    return DeleteAttributes(call.caller, call.variables["deviceId"], names)


def _by_id(command: Callable[[str, str], Command]) -> Callable[[Call], Command]:
    return lambda call: command(call.caller, call.variables["deviceId"])


# --- encoding
def refuse(outcome: Outcome, now_ms: int) -> Answer:
    """Return ThingsBoard's error object."""
    return error(outcome, now_ms, TEXTS)


def encode(outcome: Outcome, now_ms: int) -> Answer:
    """Return the answer to a call, except a claim."""
    if isinstance(outcome, Found) and isinstance(outcome.item, Device):
        return Answer(200, device_json(outcome.item))
    if isinstance(outcome, Released):
        return Answer(200, {"result": {}, "setOrExpired": True})  # as documented: original-systems.md#release
    if isinstance(outcome, FoundCredential):
        return Answer(200, _credentials_json(outcome))
    if isinstance(outcome, FoundAttributes):
        return Answer(200, _attributes_json(outcome))
    if isinstance(outcome, Done):
        return Answer(200, {})
    return refuse(outcome, now_ms)


def encode_claim(outcome: Outcome, now_ms: int) -> Answer:
    """Return SUCCESS with the device, or the bare word FAILURE or CLAIMED."""
    if isinstance(outcome, Claimed):
        return Answer(200, {"device": device_json(outcome.device), "response": "SUCCESS"})
    if isinstance(outcome, Refused) and outcome.reason in CLAIM_WORDS:
        return Answer(400, CLAIM_WORDS[outcome.reason])
    return refuse(outcome, now_ms)


def device_json(device: Device) -> dict[str, object]:
    """Return a device in ThingsBoard's shape. `claimedTime` is not ThingsBoard's."""
    info: dict[str, object] = {"gateway": True} if device.is_gateway else {}
    if device.claimed_at_ms is not None:
        info["claimedTime"] = device.claimed_at_ms
    return {
        "id": entity_id("DEVICE", device.id),
        "createdTime": device.created_at_ms,
        "tenantId": entity_id("TENANT", device.tenant),
        "customerId": entity_id("CUSTOMER", device.owner or NOBODY),
        "name": device.name,
        "type": device.type,
        "label": device.label,
        "additionalInfo": info,
    }


def _credentials_json(found: FoundCredential) -> dict[str, object]:
    """Return a login. `credentialsId` and the password are null after the reissue window."""
    credential = found.credential
    text = found.secret.text if found.secret else None
    shape: dict[str, object] = {"deviceId": entity_id("DEVICE", found.device.id)}
    if credential is None:
        return {**shape, "credentialsType": None, "credentialsId": None, "credentialsValue": None}
    if credential.kind is CredentialKind.ACCESS_TOKEN:
        shape |= {"credentialsType": "ACCESS_TOKEN", "credentialsId": text, "credentialsValue": None}
    else:
        shape |= {
            "credentialsType": "MQTT_BASIC",
            "credentialsId": credential.login,
            "credentialsValue": _basic(credential, text),
        }
    return {**shape, "createdTime": credential.created_at_ms}


def _basic(credential: Credential, password: str | None) -> str:
    """Return username and password as ThingsBoard does: as a text that contains JSON."""
    return to_json({"clientId": None, "userName": credential.login, "password": password}).decode()


def _attributes_json(found: FoundAttributes) -> list[dict[str, object]]:
    shown = [_attribute(row.updated_at_ms, row.name, json.loads(row.value)) for row in found.attributes]
    if window := found.server_window:
        shown.append(_attribute(window.opened_at_ms, CLAIMING_DATA, {"expirationTime": window.expires_at_ms}))
    return shown


def _attribute(updated_at_ms: int, key: str, value: object) -> dict[str, object]:
    return {"lastUpdateTs": updated_at_ms, "key": key, "value": value}


_DEVICE = "/api/device/{deviceId}"


_CLAIM = "/api/customer/device/{deviceName}/claim"


_TELEMETRY = "/api/plugins/telemetry"


SECTION = Section(
    "/api/",
    refuse,
    (
        Route("POST", _CLAIM, _claim, encode_claim, "ClaimDevice"),
        Route(
            "DELETE",
            _CLAIM,
            _release,
            encode,
            "ReleaseDevice",
        ),
        Route("POST", "/api/device", _create_device, encode, "CreateDevice"),
        Route("GET", "/api/tenant/devices", _find_device, encode, "FindDevice"),
        Route("GET", _DEVICE, _by_id(ReadDevice), encode, "ReadDevice"),
        Route("DELETE", _DEVICE, _by_id(DeleteDevice), encode, "DeleteDevice"),
        Route("GET", f"{_DEVICE}/credentials", _by_id(ReadCredentials), encode, "ReadCredentials"),
        *(
            Route("POST", path, _set_attributes, encode, "SetAttributes")
            for path in (
                f"{_TELEMETRY}/DEVICE/{{deviceId}}/attributes/SERVER_SCOPE",
                f"{_TELEMETRY}/DEVICE/{{deviceId}}/SERVER_SCOPE",
                f"{_TELEMETRY}/{{deviceId}}/SERVER_SCOPE",
            )
        ),
        Route(
            "GET",
            f"{_TELEMETRY}/DEVICE/{{deviceId}}/values/attributes/SERVER_SCOPE",
            _read_attributes,
            encode,
            "ReadAttributes",
        ),
        *(
            Route("DELETE", path, _delete_attributes, encode, "DeleteAttributes")
            for path in (
                f"{_TELEMETRY}/DEVICE/{{deviceId}}/SERVER_SCOPE",
                f"{_TELEMETRY}/{{deviceId}}/SERVER_SCOPE",
            )
        ),
    ),
    "thingsboard",
)
