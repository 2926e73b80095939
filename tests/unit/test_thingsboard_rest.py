from __future__ import annotations

import json
from typing import Any

import pytest

from claimsvc.app import lanes_of
from claimsvc.core.claiming import ClaimDevice, Claimed, Released, ReleaseDevice
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found, Outcome, Refused
from claimsvc.core.devices import CreateDevice, DeleteDevice, FindDevice, ReadCredentials, ReadDevice, UpdateDevice
from claimsvc.core.model import Device
from claimsvc.core.reasons import MESSAGES, Reason
from claimsvc.core.secrets import SecretKind
from claimsvc.dialects.thingsboard.device_calls import TEXTS
from claimsvc.settings import Settings
from tests.support.factories import NOW, device, gateway, inbound

DIALECTS = lanes_of(Settings())
CLAIM = "POST/api/customer/device/Thermostat/claim"
TELEMETRY = "api/plugins/telemetry"
NULL_ID = "13814000-1dd2-11b2-8080-808080808080"
MINE = device(owner="c1", claimed_at_ms=NOW, label="cellar", type="meter")


def command_of(call: str, body: bytes | str = b"") -> Command:
    """Return the command a call makes."""
    request = DIALECTS.read(inbound(f"request/1/{call}", body))
    assert request is not None
    assert isinstance(request.asked, Command), request.asked
    return request.command


def malformed_detail(call: str, body: bytes | str = b"") -> str:
    """Return why a call is malformed."""
    request = DIALECTS.read(inbound(f"request/1/{call}", body))
    assert request is not None
    refused = request.asked
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.MALFORMED
    return refused.detail


def answer_to(call: str, outcome: Outcome) -> tuple[int, Any]:
    """Return status and body of the answer."""
    request = DIALECTS.read(inbound(f"request/1/{call}"))
    assert request is not None
    answer = json.loads(request.answer(outcome, NOW)[0].payload)
    assert set(answer) == {"status", "body"}
    return answer["status"], answer["body"]


# --- claims


@pytest.mark.parametrize(
    ("body", "key"),
    [
        pytest.param('{"secretKey":"value"}', "value", id="the documented body"),
        pytest.param("", "", id="no body at all, which ThingsBoard answers with 500"),
        pytest.param("{}", "", id="no key"),
        pytest.param(" null ", "", id="null for a body"),
        pytest.param('{"secretKey":null}', "", id="null"),
        pytest.param('{"secretKey":0}', "0", id="nought is a key, as on the device's topic"),
        pytest.param('{"secretKey":1.0}', "1.0", id="a fraction is the text it was written as"),
        pytest.param('{"secretKey":false}', "false", id="false is its text"),
        pytest.param('{"secretKey":"a","more":1}', "a", id="unknown members are ignored"),
        pytest.param('{"secretKey":1,"secretKey":"a"}', "a", id="the last of two"),
    ],
)
def test_claim_bodies(body: str, key: str) -> None:
    """Device and customer agree about what a key is."""
    command = command_of(CLAIM, body)
    assert isinstance(command, ClaimDevice)
    assert command.key.text == key


@pytest.mark.parametrize("body", ["[]", "x", '{"secretKey":{}}', '{"secretKey":["a"]}', '{"secretKey":NaN}', " "])
def test_unusable_claim_bodies(body: str) -> None:
    """What is no claim is malformed, as on the device's topic, and costs no attempt."""
    assert malformed_detail(CLAIM, body)


def test_release_needs_no_body() -> None:
    """DELETE on the claim's path is a release."""
    assert command_of("DELETE/api/customer/device/A/claim") == ReleaseDevice("alice", "A")


@pytest.mark.parametrize(
    ("reason", "status", "word"),
    [
        (Reason.NO_WINDOW, 400, "FAILURE"),
        (Reason.WINDOW_EXPIRED, 400, "FAILURE"),
        (Reason.WRONG_KEY, 400, "FAILURE"),
        (Reason.ALREADY_CLAIMED, 400, "CLAIMED"),
    ],
)
def test_refused_claim_is_one_word(reason: Reason, status: int, word: str) -> None:
    """A refused claim says FAILURE or CLAIMED and nothing of the cause."""
    assert answer_to(CLAIM, Refused(reason)) == (status, word)


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.NOT_FOUND, 404, 32),
        (Reason.NOT_A_CUSTOMER, 403, 20),
        (Reason.NOT_PERMITTED, 403, 20),
        (Reason.INVALID_VALUE, 400, 31),
        (Reason.MALFORMED, 400, 31),
        (Reason.TOO_LARGE, 413, 31),
        (Reason.REQUEST_ID_REUSED, 409, 35),
        (Reason.INTERNAL, 500, 2),
        (Reason.KEY_EXISTS, 409, 35),
    ],
)
def test_error_object(reason: Reason, status: int, code: int) -> None:
    """Other refusals have ThingsBoard's error object and the code of the reason."""
    body = {
        "status": status,
        "message": TEXTS.get(reason, MESSAGES[reason]),
        "errorCode": code,
        "timestamp": NOW,
    }
    detail = {"detail": MESSAGES[reason]} if status == 403 else {}
    assert answer_to(CLAIM, Refused(reason)) == (status, body | {"error": reason.value} | detail)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason.NOT_FOUND, "Requested item wasn't found!"),
        (Reason.NOT_PERMITTED, "You don't have permission to perform this operation!"),
        (Reason.NOT_A_CUSTOMER, "You don't have permission to perform this operation!"),
        (Reason.ALREADY_EXISTS, "Device with such name already exists!"),
    ],
)
def test_error_texts_are_thingsboards(reason: Reason, text: str) -> None:
    """A refusal for which ThingsBoard has a sentence has that sentence, because clients show it."""
    assert answer_to(CLAIM, Refused(reason))[1]["message"] == text


def test_u8_what_is_missing_stands_beside_thingsboards_sentence() -> None:
    """The sentence names no permission; `detail` does."""
    _, body = answer_to(CLAIM, Refused(Reason.NOT_PERMITTED, "it needs the permission DEVICE:CLAIM_DEVICES"))
    assert body["message"] == "You don't have permission to perform this operation!"
    assert body["detail"] == "The caller may not do this: it needs the permission DEVICE:CLAIM_DEVICES"


@pytest.mark.parametrize("call", [CLAIM, "DELETE/api/customer/device/A/claim"])
@pytest.mark.parametrize("name", ["", "%20"])
def test_blank_device_name_is_an_invalid_value(call: str, name: str) -> None:
    """A blank name is refused in ThingsBoard's words."""
    path = call.replace("/Thermostat/", f"/{name}/").replace("/A/", f"/{name}/")
    request = DIALECTS.read(inbound(f"request/1/{path}"))
    assert request is not None
    refused = request.asked
    assert refused == Refused(Reason.INVALID_VALUE, "Parameter 'deviceName' can't be empty!")
    assert isinstance(refused, Refused)
    assert answer_to(path, refused)[1]["message"] == "Parameter 'deviceName' can't be empty!"


@pytest.mark.parametrize(("left_ms", "seconds"), [(1, 1), (1_000, 1), (1_001, 2), (900_000, 900)])
def test_lockout_tells_the_seconds_left(left_ms: int, seconds: int) -> None:
    """429, with the time left for people in seconds, rounded up, and for programs in milliseconds."""
    status, body = answer_to(CLAIM, Refused(Reason.LOCKED_OUT, retry_after_ms=left_ms))
    assert (status, body["errorCode"], body["retryAfterMs"]) == (429, 33, left_ms)
    assert f"Try again in {seconds} seconds" in body["message"]


def test_claimed_device_is_in_theanswer_to() -> None:
    """Success gives the device and the word."""
    status, body = answer_to(CLAIM, Claimed(MINE))
    assert (status, body["response"], body["device"]["name"]) == (200, "SUCCESS", "Thermostat")
    assert body["device"]["customerId"] == {"entityType": "CUSTOMER", "id": "c1"}


@pytest.mark.parametrize("was_owned", [True, False])
def test_release_is_answered_as_the_seed_shows(*, was_owned: bool) -> None:
    """200 with the documented body, whether or not there was anything to release."""
    outcome = Released(device(), was_owned)
    body = {"result": {}, "setOrExpired": True}
    assert answer_to("DELETE/api/customer/device/A/claim", outcome) == (200, body)


# --- devices


@pytest.mark.parametrize(
    ("of", "changed"),
    [
        pytest.param(device(), {}, id="nobody's"),
        pytest.param(
            MINE,
            {
                "customerId": {"entityType": "CUSTOMER", "id": "c1"},
                "label": "cellar",
                "type": "meter",
                "additionalInfo": {"claimedTime": NOW},
            },
            id="an owned one tells when it was claimed",
        ),
        pytest.param(gateway("Thermostat", id=device().id), {"additionalInfo": {"gateway": True}}, id="a gateway"),
    ],
)
def test_device_shape(of: Device, changed: dict[str, Any]) -> None:
    """A device looks as in ThingsBoard; an unowned one has the null customer."""
    body = {
        "id": {"entityType": "DEVICE", "id": "device-Thermostat"},
        "createdTime": NOW,
        "tenantId": {"entityType": "TENANT", "id": "default"},
        "customerId": {"entityType": "CUSTOMER", "id": NULL_ID},
        "name": "Thermostat",
        "type": "default",
        "label": None,
        "additionalInfo": {},
    }
    assert answer_to("GET/api/device/1", Found(of)) == (200, body | changed)


def test_device_calls() -> None:
    """Devices are found by name, read and deleted by id."""
    assert command_of("GET/api/tenant/devices?deviceName=A") == FindDevice("alice", "A")
    assert command_of("GET/api/device/7") == ReadDevice("alice", "7")
    assert command_of("DELETE/api/device/7") == DeleteDevice("alice", "7")
    assert command_of("GET/api/device/7/credentials") == ReadCredentials("alice", "7")
    assert answer_to("DELETE/api/device/7", Done()) == (200, {})


@pytest.mark.parametrize(
    ("query", "kind", "text"),
    [
        ("", SecretKind.PASSWORD, None),
        ("?accessToken=Eypdinl1gUF5fSerOPJF", SecretKind.ACCESS_TOKEN, "Eypdinl1gUF5fSerOPJF"),
    ],
)
def test_device_to_make(query: str, kind: SecretKind, text: str | None) -> None:
    """A token in the query is the login, else a password is made up."""
    body = {"name": "A", "label": "l", "additionalInfo": {"gateway": True, "x": 1}, "id": None, "version": 1}
    command = command_of(f"POST/api/device{query}", json.dumps(body))
    assert isinstance(command, CreateDevice)
    assert (command.name, command.type, command.label, command.is_gateway) == ("A", "default", "l", True)
    assert (command.secret.kind, command.secret.text) == (kind, text)


def test_device_with_an_id_is_changed() -> None:
    """A body with an id is an update, as in ThingsBoard."""
    command = command_of("POST/api/device", '{"id":{"id":"7","entityType":"DEVICE"},"name":"A","type":"t"}')
    assert command == UpdateDevice("alice", "7", "A", "t", None, is_gateway=False)


@pytest.mark.parametrize(
    ("call", "body", "word"),
    [
        ("POST/api/device", "", "body"),
        ("POST/api/device", "{}", "name"),
        ("POST/api/device", '{"name":5}', "name"),
        ("POST/api/device", '{"name":"A","type":""}', "type"),
        ("POST/api/device", json.dumps({"name": "A", "label": "x" * 256}), "label"),
        ("POST/api/device", '{"name":"A","additionalInfo":{"gateway":5}}', "additionalInfo.gateway"),
        ("POST/api/device?accessToken=", '{"name":"A"}', "accessToken"),
        ("POST/api/device?accessToken=a%0Ab", '{"name":"A"}', "accessToken"),
        ("POST/api/device?accessToken=%C3%A4", '{"name":"A"}', "accessToken"),
        (f"POST/api/device?accessToken={'x' * 256}", '{"name":"A"}', "accessToken"),
    ],
)
def test_unusable_device_bodies_name_the_field(call: str, body: str, word: str) -> None:
    """The answer says which field is wrong, and never what was in it."""
    assert malformed_detail(call, body).startswith(word)
