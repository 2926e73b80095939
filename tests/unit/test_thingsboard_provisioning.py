from __future__ import annotations

import json
from typing import Any

import pytest

from claimsvc.app import lanes_of
from claimsvc.core.decision import Outcome, Refused
from claimsvc.core.model import Credential, CredentialKind
from claimsvc.core.provisioning import ProvisionDevice, Provisioned
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import SecretKind
from claimsvc.dialects.message import Inbound, Request
from claimsvc.settings import Settings
from tests.support.factories import NOW, credential, password, token
from tests.support.profiles import meter

DIALECTS = lanes_of(Settings())
TOPIC = "claimsvc/c/provision/a%2Fb//provision/request"
SHOWN = {"provisionDeviceKey": "key-1", "provisionDeviceSecret": "secret-1"}
TOKEN = credential("h", kind=CredentialKind.ACCESS_TOKEN)


def request(payload: bytes | str, topic: str = TOPIC) -> Request:
    """Return the request a message makes."""
    content = payload.encode() if isinstance(payload, str) else payload
    found = DIALECTS.read(Inbound(topic, content, 1, 1, 1, 0.0))
    assert found is not None
    return found


def command(**fields: Any) -> ProvisionDevice:
    """Return the command of a request with key, secret and these members."""
    found = request(json.dumps(SHOWN | fields)).asked
    assert isinstance(found, ProvisionDevice), found
    return found


def refusal(payload: bytes | str) -> Refused:
    """Return why a request is refused without asking any rule."""
    found = request(payload).asked
    assert isinstance(found, Refused), found
    return found


def said(outcome: Outcome, **fields: Any) -> str:
    """Return the answer to a request with these members, as it is written."""
    (answer,) = request(json.dumps(SHOWN | fields)).answer(outcome, NOW)
    assert answer.topic == "claimsvc/c/provision/a%2Fb//provision/response"
    return answer.payload.decode()


def test_the_request_is_nobodys_and_answered_where_it_was_asked() -> None:
    """The lane is the client id's, and no member changes that."""
    found = command(deviceName="Meter 1", gateway=True, caller="admin", lane="u/admin/", more=[1])
    assert (found.caller, found.lane, found.provision_key) == ("", "c/provision/a%2Fb/", "key-1")
    assert (found.secret.kind, found.secret.text) == (SecretKind.PROVISION_SECRET, "secret-1")
    assert (found.name, found.device, found.is_gateway) == ("Meter 1", "Meter 1", True)


@pytest.mark.parametrize("topic", ["claimsvc/u/admin//provision/request", "claimsvc/c/x/provision/request"])
def test_there_is_no_other_topic(topic: str) -> None:
    """Who has a login is provisioned already."""
    assert not DIALECTS.read(Inbound(topic, b"{}", 1, 1, 1, 0.0)).lane


@pytest.mark.parametrize(
    ("fields", "wish"),
    [
        ({}, (SecretKind.ACCESS_TOKEN, None, None)),
        ({"credentialsType": "ACCESS_TOKEN"}, (SecretKind.ACCESS_TOKEN, None, None)),
        ({"token": "T"}, (SecretKind.ACCESS_TOKEN, None, "T")),
        ({"token": ""}, (SecretKind.ACCESS_TOKEN, None, None)),
        ({"token": None, "credentialsType": None}, (SecretKind.ACCESS_TOKEN, None, None)),
        ({"credentialsType": "MQTT_BASIC"}, (SecretKind.PASSWORD, None, None)),
        (
            {"credentialsType": "MQTT_BASIC", "username": "u", "password": None, "clientId": None},
            (SecretKind.PASSWORD, "u", None),
        ),
        (
            {"credentialsType": "MQTT_BASIC", "username": "u", "password": "p", "clientId": "c", "token": "ignored"},
            (SecretKind.PASSWORD, "u", "p"),
        ),
        ({"credentialsType": "MQTT_BASIC", "username": "u", "password": ""}, (SecretKind.PASSWORD, "u", None)),
    ],
    ids=[
        "nothing: a token that is made up",
        "a token by name",
        "this token",
        "an empty token is none",
        "null is absent",
        "a login that is not named",
        "a username as the vendor's client sends it",
        "username and password",
        "an empty password is made up",
    ],
)
def test_wishes(fields: dict[str, Any], wish: tuple[SecretKind, str | None, str | None]) -> None:
    """What is wished for, by what, and what is left to the service."""
    found = command(**fields).wish
    assert (found.secret.kind, found.username, found.secret.text) == wish
    assert found.is_secret_given == (wish[2] is not None)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Meter 1", "Meter 1"), ("  Meter 1 ", "Meter 1"), ("", None), (None, None)],
    ids=["a name", "blanks around it", "an empty one", "null"],
)
def test_names(text: str | None, name: str | None) -> None:
    """Names are read as ThingsBoard reads them."""
    assert command(deviceName=text).name == name


def body(**fields: Any) -> str:
    """Return a request with key, secret and these members; those that are `...` are left out."""
    return json.dumps({name: value for name, value in (SHOWN | fields).items() if value is not ...})


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        pytest.param("", "a JSON object", id="nothing at all"),
        pytest.param("null", "a JSON object", id="null"),
        pytest.param("[]", "a JSON object", id="a list"),
        pytest.param("{", "a JSON object", id="half an object"),
        pytest.param("{'a':1}", "a JSON object", id="single quotes"),
        pytest.param(b"\xff", "a JSON object", id="no UTF-8"),
        pytest.param(b"\x0a\x05token", "a JSON object", id="protobuf"),
        pytest.param(body(more=float("nan")), "a JSON object", id="NaN in a member nobody knows"),
        pytest.param(body(provisionDeviceKey=...), "provisionDeviceKey", id="no key"),
        pytest.param(body(provisionDeviceKey=None), "provisionDeviceKey", id="null for a key"),
        pytest.param(body(provisionDeviceKey=1), "provisionDeviceKey", id="a number for a key"),
        pytest.param(body(provisionDeviceKey="k" * 256), "provisionDeviceKey", id="an endless key"),
        pytest.param(body(provisionDeviceSecret=...), "provisionDeviceSecret", id="no secret"),
        pytest.param(body(provisionDeviceSecret=[]), "provisionDeviceSecret", id="a list for a secret"),
        pytest.param(body(deviceName=5), "deviceName", id="a number for a name"),
        pytest.param(body(deviceName="  "), "deviceName", id="a name of blanks"),
        pytest.param(body(gateway="true"), "gateway", id="a text for a mark"),
        pytest.param(body(token="ü"), "token", id="a token beyond ASCII"),
        pytest.param(body(token="a\nb"), "token", id="a token of two lines"),
        pytest.param(body(token="t" * 256), "token", id="an endless token"),
        pytest.param(body(credentialsType="MQTT_BASIC", username="u" * 256), "username", id="an endless username"),
        pytest.param(body(clientId={}), "clientId", id="an object for a client id"),
    ],
)
def test_what_is_no_request_is_a_failure_that_names_the_member(payload: bytes | str, field: str) -> None:
    """Never silence, for which the vendor's client waits a minute; and nothing of the payload is told back."""
    refused = refusal(payload)
    assert refused.reason is Reason.MALFORMED
    (answer,) = request(payload).answer(refused, NOW)
    told = json.loads(answer.payload)
    assert list(told) == ["errorMsg", "status"]
    assert (told["status"], field in told["errorMsg"]) == ("FAILURE", True)
    assert "secret-1" not in told["errorMsg"]


@pytest.mark.parametrize("kind", ["X509_CERTIFICATE", "LWM2M_CREDENTIALS", "", "access_token", "other"])
def test_other_credentials_are_refused(kind: str) -> None:
    """An empty text is no kind of its own."""
    if not kind:
        assert command(credentialsType=kind).wish.secret.kind is SecretKind.ACCESS_TOKEN
        return
    refused = refusal(body(credentialsType=kind, hash="testHash"))
    assert refused.reason is Reason.UNSUPPORTED_CREDENTIALS
    assert "ACCESS_TOKEN or MQTT_BASIC" in json.loads(said(refused))["errorMsg"]


@pytest.mark.parametrize("fields", [{"clientId": "c"}, {"password": "p"}], ids=["a client id", "a password"])
def test_a_login_needs_a_username(fields: dict[str, str]) -> None:
    """The broker knows nobody by a client id."""
    refused = refusal(body(credentialsType="MQTT_BASIC", **fields))
    assert (refused.reason, "username" in refused.message) == (Reason.UNSUPPORTED_CREDENTIALS, True)


def test_a_large_request_is_not_read() -> None:
    """It is answered like any other."""
    assert refusal(body(more="x" * 70_000)).reason is Reason.TOO_LARGE


def basic(login: str = "u") -> Credential:
    """Return a stored login."""
    return credential(login)


@pytest.mark.parametrize(
    ("outcome", "fields", "answer"),
    [
        pytest.param(
            Provisioned(meter(), TOKEN, token("T")),
            {},
            '{"credentialsValue":"T","credentialsType":"ACCESS_TOKEN","status":"SUCCESS"}',
            id="a token",
        ),
        pytest.param(
            Provisioned(meter(), basic(), password("p")),
            {"credentialsType": "MQTT_BASIC", "username": "u", "clientId": "c"},
            '{"credentialsValue":{"clientId":"c","userName":"u","password":"p"},'
            '"credentialsType":"MQTT_BASIC","status":"SUCCESS"}',
            id="a login",
        ),
        pytest.param(
            Provisioned(meter(), basic(), password("p")),
            {},
            '{"credentialsValue":{"clientId":null,"userName":"u","password":"p"},'
            '"credentialsType":"MQTT_BASIC","status":"SUCCESS"}',
            id="a login that was there",
        ),
        pytest.param(
            Provisioned(meter("code-1"), TOKEN, token("T"), is_name_made_up=True),
            {},
            '{"credentialsValue":"T","credentialsType":"ACCESS_TOKEN","status":"SUCCESS","deviceName":"code-1"}',
            id="a name that was made up",
        ),
        pytest.param(
            Refused(Reason.UNKNOWN_KEY),
            {},
            '{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}',
            id="an unknown key",
        ),
        pytest.param(
            Refused(Reason.ALREADY_PROVISIONED),
            {},
            '{"errorMsg":"The device has been provisioned already","status":"FAILURE"}',
            id="a device that has its login",
        ),
        pytest.param(
            Refused(Reason.RATE_LIMITED, retry_after_ms=1_001),
            {},
            '{"errorMsg":"Too many requests. Try again in 2 seconds","status":"FAILURE"}',
            id="too many requests",
        ),
    ],
)
def test_answers_are_written_as_thingsboard_writes_them(outcome: Outcome, fields: Any, answer: str) -> None:
    """The members have ThingsBoard's order."""
    assert said(outcome, **fields) == answer


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_has_a_text(reason: Reason) -> None:
    """ThingsBoard's client breaks on a failure without one."""
    told = json.loads(said(Refused(reason)))
    assert told["errorMsg"]
    assert told["status"] == ("NOT_FOUND" if reason is Reason.UNKNOWN_KEY else "FAILURE")
