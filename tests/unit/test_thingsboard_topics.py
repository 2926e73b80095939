from __future__ import annotations

import json
import time
from typing import Any

import pytest

from claimsvc.app import lanes_of
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
from claimsvc.core.decision import Refused
from claimsvc.core.reasons import MESSAGES, Reason
from claimsvc.dialects.message import Request
from claimsvc.settings import Settings
from tests.support.factories import MINUTE, NOW, inbound

DIALECTS = lanes_of(Settings())
CLAIM, GATEWAY = "v1/devices/me/claim", "v1/gateway/claim"
RPC = "v1/devices/me/rpc/request/1"
MALFORMED = "The request could not be understood"


def _read(tail: str, payload: bytes | str = b"", **fields: Any) -> Request:
    request = DIALECTS.read(inbound(tail, payload, **fields))
    assert request is not None
    return request


def _command(tail: str, payload: bytes | str = b"", **fields: Any) -> Command:
    command = _read(tail, payload, **fields).command
    assert command is not None
    return command


def _refusal(tail: str, payload: bytes | str = b"") -> tuple[Reason, str]:
    refused = _read(tail, payload).asked
    assert isinstance(refused, Refused)
    return refused.reason, refused.detail


def _member(name: str, value: str) -> str:
    return f'{{"{name}":{value}}}'


BIG = "9" * 400


@pytest.mark.parametrize("topic", [CLAIM, "v2/c", "v2/c/j"])
@pytest.mark.parametrize(
    ("payload", "key", "duration_ms"),
    [
        pytest.param("", "", None, id="nothing at all"),
        pytest.param("{}", "", None, id="an empty object"),
        pytest.param(' {"secretKey":"value","durationMs":60000}\n', "value", MINUTE, id="the documented message"),
        pytest.param('{"secretKey":null,"durationMs":null}', "", None, id="null is absent"),
        pytest.param('{"secretKey":""}', "", None, id="an empty key"),
        pytest.param('{"secretKey":123}', "123", None, id="a number is its text"),
        pytest.param('{"secretKey":0}', "0", None, id="nought is a key"),
        pytest.param('{"secretKey":1.0}', "1.0", None, id="a fraction is the text it was written as"),
        pytest.param('{"secretKey":1e2}', "1e2", None, id="an exponent stays"),
        pytest.param('{"secretKey":-7}', "-7", None, id="a sign stays"),
        pytest.param(_member("secretKey", BIG), BIG, None, id="no digit of a long number is lost"),
        pytest.param('{"secretKey":true}', "true", None, id="true is its text"),
        pytest.param('{"secretKey":false}', "false", None, id="false is its text"),
        pytest.param('{"secretKey":"ä€😀"}', "ä€😀", None, id="any characters"),
        pytest.param('{"secretKey":"a","secretKey":"b"}', "b", None, id="the last of two keys"),
        pytest.param('{"secretKey":"a","secretKey":1}', "1", None, id="the last of two, a number"),
        pytest.param('{"secretkey":"a","Other":[1]}', "", None, id="case matters, unknown members do not"),
        pytest.param('{"durationMs":"60000"}', "", MINUTE, id="a text of digits is a duration"),
        pytest.param('{"durationMs":0}', "", 0, id="nought"),
        pytest.param('{"durationMs":-5}', "", -5, id="less than nothing"),
        pytest.param('{"durationMs":9223372036854775807}', "", 2**53, id="the longest"),
        pytest.param('{"durationMs":9223372036854775808}', "", 2**53, id="longer than the longest"),
        pytest.param(_member("durationMs", f'"{BIG}"'), "", 2**53, id="a text longer than the longest"),
    ],
)
def test_claim_messages(topic: str, payload: str, key: str, duration_ms: int | None) -> None:
    """A usual claim is read as ThingsBoard reads it: docs/original-systems.md#claim-payload."""
    command = _command(topic, payload, caller="Thermostat", received_at_ms=NOW)
    assert isinstance(command, OpenWindow)
    assert (command.caller, command.key.text) == ("Thermostat", key)
    assert (command.duration_ms, command.received_at_ms) == (duration_ms, NOW)


SECRET_KEY = "secretKey: a text, number or boolean is expected"
DURATION = "durationMs: a whole number of milliseconds is expected"
OBJECT = "a JSON object is expected"


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        *((text, OBJECT) for text in (" ", "null", "[]", '"x"', "5", "{", "{} junk", '{"secretKey":"a",}')),
        *((text, OBJECT) for text in ("{secretKey:abc}", "{'secretKey':'a'}", "{}//x", "\ufeff{}", "NaN")),
        *((_member("secretKey", text), SECRET_KEY) for text in ("{}", "[]", '["a"]', '["a","b"]')),
        *((_member("durationMs", text), DURATION) for text in ('" 60000"', '"6e4"', '"60000.0"', '""', '"abc"')),
        *((_member("durationMs", text), DURATION) for text in ("true", "1.9", "6e4", "[7]", "{}", '"-5"', '"٣"')),
        (_member("secretKey", "NaN"), OBJECT),
        (b"\xff", OBJECT),
        (b'{"secretKey":"\\ud800"}', OBJECT),
        ("[" * 60_000, OBJECT),
    ],
)
def test_malformed_claims_name_the_field(payload: bytes | str, detail: str) -> None:
    """A form that only a lenient parser takes is malformed, and the answer names the member."""
    assert _refusal(CLAIM, payload) == (Reason.MALFORMED, detail)


@pytest.mark.parametrize("payload", ['{"other":NaN}', '{"other":Infinity}'])
def test_unknown_members_are_strict_json_too(payload: str) -> None:
    """What is no JSON is malformed wherever it stands."""
    assert _refusal(CLAIM, payload)[0] is Reason.MALFORMED


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (WindowOpened("A", 1640995200000), b'{"status":"SUCCESS","expirationTime":1640995200000}'),
        (
            Refused(Reason.ALREADY_CLAIMED),
            b'{"status":"FAILURE","error":"already_claimed","message":"The device has been claimed already"}',
        ),
        (
            Refused(Reason.MALFORMED, DURATION),
            f'{{"status":"FAILURE","error":"malformed","message":"{MALFORMED}: {DURATION}"}}'.encode(),
        ),
    ],
)
def test_claim_answers(outcome: WindowOpened | Refused, answer: bytes) -> None:
    """A device is answered in exactly these bytes, on its answer topic, at QoS 1, never retained."""
    (out,) = _read("v2/c", caller="Thermostat").answer(outcome, NOW)
    assert (out.topic, out.payload) == (f"claimsvc/u/Thermostat/{CLAIM}/response", answer)
    assert (out.qos, out.retain, out.correlation) == (1, False, None)


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_has_an_answer(reason: Reason) -> None:
    """Each reason comes with its code and a text on every topic."""
    for tail in (CLAIM, GATEWAY, RPC):
        answer = json.loads(_read(tail).answer(Refused(reason), NOW)[0].payload)
        assert (answer["error"], answer["message"]) == (reason.value, MESSAGES[reason])


# --- gateways


def _entries(payload: str) -> list[tuple[str, str | None, int | None] | tuple[str, str]]:
    command = _command(GATEWAY, payload)
    assert isinstance(command, OpenWindows)
    return [
        (entry.name, entry.key.text, entry.duration_ms)
        if isinstance(entry, WindowEntry)
        else (entry[0], entry[1].detail)
        for entry in command.entries
    ]


@pytest.mark.parametrize(
    ("payload", "entries"),
    [
        pytest.param(
            '{"Device A":{"secretKey":"value","durationMs":60000},"Device B":{}}',
            [("Device A", "value", MINUTE), ("Device B", "", None)],
            id="the documented message",
        ),
        pytest.param('{"A":{"secretKey":1.0}}', [("A", "1.0", None)], id="a number is its text"),
        pytest.param('{"A":{"secretKey":true}}', [("A", "true", None)], id="true is its text"),
        pytest.param('{"A":{},"A":{"secretKey":"b"}}', [("A", "b", None)], id="the last of two"),
        pytest.param('{"A":{"durationMs":"60000"}}', [("A", "", MINUTE)], id="a text of digits"),
        pytest.param('{"A":5,"B":{}}', [("A", OBJECT), ("B", "", None)], id="a number is no entry"),
        pytest.param('{"A":null,"B":{}}', [("A", OBJECT), ("B", "", None)], id="null is no entry"),
        pytest.param('{"A":[],"B":{}}', [("A", OBJECT), ("B", "", None)], id="an array is no entry"),
        pytest.param(
            '{"A":{"durationMs":1.5},"B":{}}',
            [("A", DURATION), ("B", "", None)],
            id="a bad field stops no other",
        ),
        pytest.param('{"":{}}', [("", "", None)], id="a nameless device is refused by the rules"),
    ],
)
def test_gateway_messages(payload: str, entries: list[object]) -> None:
    """One bad entry never hides or stops the others."""
    assert _entries(payload) == entries


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        ("{", "the payload is not JSON"),
        ('{"A":{"secretKey":NaN}}', "the payload is not JSON"),
        ("[]", "an object with a member for each device is expected"),
        ("null", "an object with a member for each device is expected"),
        ("{}", "the message names no device"),
        ("", "the message names no device"),
    ],
)
def test_gateway_payload_that_is_no_object(payload: str, detail: str) -> None:
    """It gets a single failure object."""
    assert _refusal(GATEWAY, payload) == (Reason.MALFORMED, detail)
    request = _read(GATEWAY, payload)
    assert isinstance(request.asked, Refused)
    answer = json.loads(request.answer(request.asked, NOW)[0].payload)
    assert answer == {"status": "FAILURE", "error": "malformed", "message": f"{MALFORMED}: {detail}"}


def test_gateway_answer_has_an_object_per_device() -> None:
    """The answers stand in the message's order, under the devices' names."""
    outcome = WindowsOpened((("B", WindowOpened("B", 7)), ("A", Refused(Reason.NOT_PERMITTED))))
    (out,) = _read(GATEWAY, caller="Gateway").answer(outcome, NOW)
    assert out.topic == "claimsvc/u/Gateway/v1/gateway/claim/response"
    message = MESSAGES[Reason.NOT_PERMITTED]
    assert out.payload.decode() == (
        '{"B":{"status":"SUCCESS","expirationTime":7},'
        f'"A":{{"status":"FAILURE","error":"not_permitted","message":"{message}"}}}}'
    )


def test_numbers_as_keys_cost_no_more_than_texts() -> None:
    """A gateway's message within the limits is read in time in line with its size, whatever its keys are."""
    message = json.dumps({f"d{n}": {"secretKey": n} for n in range(4_000)})
    began = time.process_time()
    command = _command(GATEWAY, message)
    spent_s = time.process_time() - began
    assert isinstance(command, OpenWindows)
    assert len(command.entries) == 4_000
    assert spent_s < 1


# --- session limits

UNLIMITED = {"messages": "", "telemetryMessages": "", "telemetryDataPoints": ""}


@pytest.mark.parametrize("is_gateway", [False, True])
def test_session_limits(*, is_gateway: bool) -> None:
    """ThingsBoard's clients get the limits that they read after they connect, under their request's number."""
    request = _read(RPC, '{"method":"getSessionLimits","params":{"timeout":5000}}')
    assert isinstance(request.command, ReadSessionLimits)
    (out,) = request.answer(SessionLimits(is_gateway), NOW)
    more = {"gatewayRateLimits": UNLIMITED} if is_gateway else {}
    limits = {"maxPayloadSize": 65536, "maxInflightMessages": 100, "rateLimits": UNLIMITED, **more}
    assert out.topic == "claimsvc/u/alice/v1/devices/me/rpc/response/1"
    assert json.loads(out.payload) == limits


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", Reason.MALFORMED),
        ("x", Reason.MALFORMED),
        ("[]", Reason.NO_SUCH_CALL),
        ('{"method":"reboot"}', Reason.NO_SUCH_CALL),
        ('{"method":["getSessionLimits"]}', Reason.NO_SUCH_CALL),
    ],
)
def test_other_calls_of_a_device_are_refused(payload: str, reason: Reason) -> None:
    """There is one method here; a refusal has no `status`, which clients take for limits."""
    assert _refusal(RPC, payload)[0] is reason
    assert set(json.loads(_read(RPC).answer(Refused(reason), NOW)[0].payload)) == {"error", "message"}


@pytest.mark.parametrize(("claimed", "state"), [(True, "claimed"), (False, "released")])
def test_device_is_told(*, claimed: bool, state: str) -> None:
    """A claim or release is published on the device's own topic."""
    out = DIALECTS.notice(ClaimNotice("Thermostat", claimed=claimed, at_ms=7))
    assert out is not None
    assert (out.topic, out.qos, out.retain) == (f"claimsvc/u/Thermostat/{CLAIM}/state", 1, False)
    assert json.loads(out.payload) == {"state": state, "time": 7}
