from __future__ import annotations

import json

import pytest

from claimsvc.core.credentials import FoundCredential
from claimsvc.core.devices import DeleteAttributes, FoundAttributes, ReadAttributes, SetAttributes
from claimsvc.core.model import Attribute, CredentialKind
from tests.support.factories import MINUTE, NOW, credential, device, password, server_window, token
from tests.unit.test_thingsboard_rest import TELEMETRY, answer_to, command_of, malformed_detail

WRITE = f"POST/{TELEMETRY}/DEVICE/7/attributes/SERVER_SCOPE"
READ = f"GET/{TELEMETRY}/DEVICE/7/values/attributes/SERVER_SCOPE"


@pytest.mark.parametrize(
    "path",
    [
        f"{TELEMETRY}/DEVICE/7/attributes/SERVER_SCOPE",
        f"{TELEMETRY}/DEVICE/7/SERVER_SCOPE",
        f"{TELEMETRY}/7/SERVER_SCOPE",
    ],
)
@pytest.mark.parametrize("as_text", [False, True], ids=["as an object", "as the text of one"])
def test_claiming_data(path: str, *, as_text: bool) -> None:
    """ThingsBoard's paths, old and new, take claimingData as an object or as a text that holds one."""
    data = {"secretKey": "value", "expirationTime": NOW}
    body = {"claimingData": json.dumps(data) if as_text else data, "claimingAllowed": True, "note": "true"}
    command = command_of(f"POST/{path}", json.dumps(body))
    assert isinstance(command, SetAttributes)
    assert command.device_id == "7"
    assert command.attributes == (("claimingAllowed", "true"), ("note", '"true"'))
    assert command.server_window is not None
    assert (command.server_window.key.text, command.server_window.expires_at_ms) == ("value", NOW)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("", "the body"),
        ("[]", "an object"),
        ('{"a":null}', "a"),
        ('{"":1}', "an attribute"),
        ('{"a\\n":1}', "an attribute"),
        ('{"claimingData":5}', "body"),
        ('{"claimingData":{}}', "expirationTime"),
        ('{"claimingData":"{"}', "body"),
        ('{"claimingData":{"expirationTime":"5"}}', "expirationTime"),
        ('{"claimingData":{"expirationTime":0}}', "expirationTime"),
        ('{"claimingData":{"expirationTime":9007199254740993}}', "expirationTime"),
        ('{"claimingData":{"secretKey":[],"expirationTime":5}}', "secretKey"),
        ('{"claimingData":null}', "body"),
    ],
)
def test_unusable_attributes_name_the_field(body: str, word: str) -> None:
    """The answer says which field is wrong."""
    assert malformed_detail(WRITE, body).startswith(word)


@pytest.mark.parametrize("body", ['{"a":NaN}', '{"a":[-Infinity]}'])
def test_attributes_are_strict_json(body: str) -> None:
    """What is no JSON is not kept: it would make every later answer no JSON."""
    assert malformed_detail(WRITE, body)


@pytest.mark.parametrize(
    ("query", "names"), [("", ()), ("?keys=", ()), ("?keys=a", ("a",)), ("?keys=a%2Cb,c,", ("a", "b", "c"))]
)
def test_attributes_to_read(query: str, names: tuple[str, ...]) -> None:
    """Without names all attributes are meant."""
    assert command_of(READ + query) == ReadAttributes("alice", "7", names)


@pytest.mark.parametrize("path", [f"{TELEMETRY}/DEVICE/7/SERVER_SCOPE", f"{TELEMETRY}/7/SERVER_SCOPE"])
def test_attributes_to_remove(path: str) -> None:
    """To remove, names must be given."""
    assert command_of(f"DELETE/{path}?keys=a,b") == DeleteAttributes("alice", "7", ("a", "b"))
    assert malformed_detail(f"DELETE/{path}").startswith("keys")


def test_secret_key_is_never_given_back() -> None:
    """ClaimingData shows its end only."""
    window = server_window(device(), "hunter2")
    found = FoundAttributes((Attribute("7", "note", '["x"]', NOW),), window)
    status, body = answer_to(READ, found)
    assert status == 200
    assert body == [
        {"lastUpdateTs": NOW, "key": "note", "value": ["x"]},
        {"lastUpdateTs": NOW, "key": "claimingData", "value": {"expirationTime": NOW + MINUTE}},
    ]
    assert "hunter2" not in str(body)


# --- credentials

CREDENTIALS = "GET/api/device/7/credentials"
DEVICE_ID = {"entityType": "DEVICE", "id": "device-Thermostat"}


def test_password_login() -> None:
    """A password login is MQTT_BASIC, its value a text that holds JSON, as in ThingsBoard."""
    found = FoundCredential(device(), credential("Thermostat"), password("p"))
    status, body = answer_to(CREDENTIALS, found)
    value = {"clientId": None, "userName": "Thermostat", "password": "p"}
    assert json.loads(body.pop("credentialsValue")) == value
    basic = {"credentialsType": "MQTT_BASIC", "credentialsId": "Thermostat", "createdTime": NOW}
    assert (status, body) == (200, {"deviceId": DEVICE_ID, **basic})


@pytest.mark.parametrize("text", ["T0", None], ids=["while it may be given", "later"])
def test_token_login(text: str | None) -> None:
    """A token is the id; later it is null, and its hash is never shown."""
    login = credential("hash(T0)", kind=CredentialKind.ACCESS_TOKEN)
    status, body = answer_to(CREDENTIALS, FoundCredential(device(), login, token(text) if text else None))
    shape = {"credentialsType": "ACCESS_TOKEN", "credentialsId": text, "credentialsValue": None}
    assert (status, body) == (200, {"deviceId": DEVICE_ID, **shape, "createdTime": NOW})


def test_later_the_password_is_null() -> None:
    """Once the reissue window is over the username stays, the password does not."""
    _, body = answer_to(CREDENTIALS, FoundCredential(device(), credential("Thermostat")))
    assert json.loads(body["credentialsValue"])["password"] is None


def test_device_without_login() -> None:
    """A device this service keeps no login for has none to show."""
    shape = dict.fromkeys(("credentialsType", "credentialsId", "credentialsValue"))
    assert answer_to(CREDENTIALS, FoundCredential(device(), None)) == (200, {"deviceId": DEVICE_ID, **shape})
