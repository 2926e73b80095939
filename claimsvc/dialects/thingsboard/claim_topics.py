"""ThingsBoard's device and gateway topics. Facts: docs/original-systems.md#claim-topics and #session-limits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from claimsvc.core.claiming import (
    ClaimNotice,
    OpenWindow,
    OpenWindows,
    ReadSessionLimits,
    SessionLimits,
    WindowEntry,
    WindowOpened,
    WindowsOpened,
)
from claimsvc.core.command import Command
from claimsvc.core.decision import Outcome, Refused
from claimsvc.core.reasons import Reason
from claimsvc.dialects import values
from claimsvc.dialects.message import USERS, Encode, Endpoint, Inbound, Limits, Rejected, Request, asked, malformed
from claimsvc.dialects.values import KeyValue

DIALECT = "thingsboard"
CLAIM_TOPICS = ("v1/devices/me/claim", "v2/c", "v2/c/j")
CLAIM_ANSWER = "v1/devices/me/claim/response"
CLAIM_STATE = "v1/devices/me/claim/state"
GATEWAY_TOPIC = "v1/gateway/claim"
GATEWAY_ANSWER = "v1/gateway/claim/response"
RPC_TOPIC = "v1/devices/me/rpc/request/"
RPC_ANSWER = "v1/devices/me/rpc/response/"

LONGEST_DURATION_MS = 2**53
"""The longest duration. Longer ones are cut to it; the operator's maximum is much shorter."""
_MAX_INFLIGHT = 100  # ThingsBoard's value; its clients send no more messages at a time
_UNLIMITED = {"messages": "", "telemetryMessages": "", "telemetryDataPoints": ""}

_EXPECTED = {
    "secretKey": values.EXPECTED,
    "durationMs": "durationMs: a whole number of milliseconds is expected",
}


class ClaimBody(BaseModel):
    """The body of a claim message. Both members are optional; null means absent."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    secretKey: KeyValue = None
    durationMs: int | str | None = None


_CLAIM = TypeAdapter(ClaimBody)


def endpoints(limits: Limits) -> list[Endpoint]:
    """Return the endpoints of devices and gateways."""
    claim = _reader("OpenWindow", _decode_claim, encode_claim, limits.payload_bytes, lambda _: CLAIM_ANSWER)
    gateway = _reader(
        "OpenWindows",
        lambda inbound: _decode_gateway(inbound, limits.gateway_devices),
        encode_gateway,
        limits.gateway_bytes,
        lambda _: GATEWAY_ANSWER,
    )
    rpc = _reader(
        "ReadSessionLimits",
        _decode_rpc,
        lambda outcome, _now_ms: encode_rpc(outcome, limits),
        limits.payload_bytes,
        lambda tail: RPC_ANSWER + tail.removeprefix(RPC_TOPIC),
    )
    return [
        *(Endpoint(DIALECT, topic, claim) for topic in CLAIM_TOPICS),
        Endpoint(DIALECT, GATEWAY_TOPIC, gateway),
        Endpoint(DIALECT, f"{RPC_TOPIC}+", rpc),
    ]


def encode_notice(notice: ClaimNotice) -> tuple[str, bytes]:
    """Return the topic below the root and the payload that inform a device of its claim or release."""
    state = "claimed" if notice.claimed else "released"
    return f"{USERS}/{notice.principal}/{CLAIM_STATE}", b'{"state":"%s","time":%d}' % (state.encode(), notice.at_ms)


def _reader(
    name: str,
    decode: Callable[[Inbound], Command],
    encode: Encode,
    limit_bytes: int,
    answer_tail: Callable[[str], str],
) -> Callable[[Inbound], Request]:
    def read(inbound: Inbound) -> Request:
        return Request(inbound, asked(decode, inbound, limit_bytes), encode, answer_tail(inbound.tail), name, DIALECT)

    return read


# --- decoding


def _decode_claim(inbound: Inbound) -> OpenWindow:
    payload = inbound.payload or b"{}"
    try:
        # Parse first: the validating parser accepts NaN in members that it does not know.
        body = _CLAIM.validate_python(from_json(payload, allow_inf_nan=False))
    except ValidationError as error:
        raise _malformed_claim(error) from None
    except ValueError:
        raise malformed("a JSON object is expected") from None
    key = values.key_of(body.secretKey, lambda: values.number_texts(payload)["secretKey"])
    return OpenWindow(
        inbound.caller, key, _duration_ms(body), inbound.received_at_ms, redelivered=inbound.redelivered
    )


def _decode_gateway(inbound: Inbound, most: int) -> OpenWindows:
    payload = inbound.payload or b"{}"
    try:
        entries = from_json(payload, allow_inf_nan=False)
    except ValueError:
        raise malformed("the payload is not JSON") from None
    if not isinstance(entries, dict):
        raise malformed("an object with a member for each device is expected")
    if not entries:
        raise malformed("the message names no device")
    if len(entries) > most:
        raise Rejected(Reason.TOO_LARGE, f"at most {most} devices in a message")
    texts = cache(lambda: values.number_texts(payload))  # parse once, and only if a key is a number
    decoded = tuple(_decode_entry(name, value, texts) for name, value in entries.items())
    return OpenWindows(inbound.caller, decoded, inbound.received_at_ms, redelivered=inbound.redelivered)


def _decode_entry(name: str, value: object, texts: Callable[[], Any]) -> WindowEntry | tuple[str, Refused]:
    try:
        body = _CLAIM.validate_python(value)
        key = values.key_of(body.secretKey, lambda: texts()[name]["secretKey"])
        return WindowEntry(name, key, _duration_ms(body))
    except ValidationError as error:
        return name, _malformed_claim(error).refused
    except Rejected as rejected:
        return name, rejected.refused


def _malformed_claim(error: ValidationError) -> Rejected:
    location = error.errors(include_input=False, include_url=False)[0]["loc"]
    if location and location[0] in _EXPECTED:
        return malformed(_EXPECTED[str(location[0])])
    return malformed("a JSON object is expected")


def _duration_ms(body: ClaimBody) -> int | None:
    duration = body.durationMs
    if isinstance(duration, str):
        if not (duration.isascii() and duration.isdigit()):
            raise malformed(_EXPECTED["durationMs"])
        # Java's parser reads a long. Cut longer texts instead of parsing them, which would be slow.
        duration = int(duration) if len(duration) <= len(str(2**63)) else LONGEST_DURATION_MS
    return min(duration, LONGEST_DURATION_MS) if duration is not None else None


def _decode_rpc(inbound: Inbound) -> ReadSessionLimits:
    try:
        body = from_json(inbound.payload)
    except ValueError:
        raise malformed("the payload is not JSON") from None
    method = body.get("method") if isinstance(body, dict) else None
    if method != "getSessionLimits":
        raise Rejected(Reason.NO_SUCH_CALL, "the only method is getSessionLimits")
    return ReadSessionLimits(inbound.caller)


# --- encoding


def encode_claim(outcome: Outcome, _now_ms: int) -> bytes:
    """Return the answer to a device's claim message."""
    if isinstance(outcome, WindowOpened):
        return b'{"status":"SUCCESS","expirationTime":%d}' % outcome.expires_at_ms
    return to_json(_failure(outcome))


def encode_gateway(outcome: Outcome, _now_ms: int) -> bytes:
    """Return the answer to a gateway: an object for each device, or one failure."""
    if not isinstance(outcome, WindowsOpened):
        return to_json(_failure(outcome))
    return to_json({name: _entry(entry) for name, entry in outcome.entries})


def encode_rpc(outcome: Outcome, limits: Limits) -> bytes:
    """Return the limits that ThingsBoard's clients read after connecting."""
    if not isinstance(outcome, SessionLimits):
        return to_json({key: value for key, value in _failure(outcome).items() if key != "status"})
    answer: dict[str, object] = {
        "maxPayloadSize": limits.payload_bytes,
        "maxInflightMessages": _MAX_INFLIGHT,
        "rateLimits": _UNLIMITED,
    }
    if outcome.is_gateway:
        answer["gatewayRateLimits"] = _UNLIMITED
    return to_json(answer)


def _entry(outcome: WindowOpened | Refused) -> dict[str, object]:
    if isinstance(outcome, WindowOpened):
        return {"status": "SUCCESS", "expirationTime": outcome.expires_at_ms}
    return _failure(outcome)


def _failure(outcome: Outcome) -> dict[str, object]:
    if not isinstance(outcome, Refused):
        raise TypeError(f"no answer for {type(outcome).__name__} on this topic")
    failure: dict[str, object] = {"status": "FAILURE", "error": outcome.reason.value, "message": outcome.message}
    if outcome.retry_after_ms is not None:
        failure["retryAfterMs"] = outcome.retry_after_ms
    return failure
