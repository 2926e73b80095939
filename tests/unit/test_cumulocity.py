from __future__ import annotations

import pytest

from claimsvc.app import lanes_of
from claimsvc.core.decision import Outcome, Refused
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import CredentialsGiven, CredentialsNotice, PollCredentials, RequestRefused
from claimsvc.core.secrets import Secret
from claimsvc.dialects.cumulocity import encode_notice
from claimsvc.dialects.message import Inbound, Request
from claimsvc.settings import Settings
from tests.support.factories import LANE, NOW, password, request

DIALECTS = lanes_of(Settings())


def ask(client_id: str, payload: bytes = b"") -> Request | None:
    """Return what a device's s/ucr comes to; the client id as it stands in the topic."""
    return DIALECTS.read(Inbound(f"claimsvc/c/bootstrap/{client_id}/s/ucr", payload, 1, 1, 1, 0.0))


def asked(client_id: str, payload: bytes = b"") -> Request:
    """Return the same where it must be a request."""
    found = ask(client_id, payload)
    assert found is not None
    return found


CLIENT_IDS = {
    # the client id as a level: the device it is
    "1234": "1234",
    "d:1234": "1234",
    "d:1234:template": "1234",
    "d:1234:template:more": "1234",
    "with%23hash": "with#hash",
    "d:with%23hash:t": "with#hash",
    "with%2Fslash": "with/slash",
    "with%25": "with%",
    "Ger%C3%A4t": "Gerät",
    "Gerät": "Gerät",
    "D:1234": "D:1234",
    "d": "d",
    "d:": "",
    "d::t": "",
}


@pytest.mark.parametrize(("client_id", "device_id"), CLIENT_IDS.items(), ids=CLIENT_IDS.keys())
def test_the_device_is_its_client_id(client_id: str, device_id: str) -> None:
    """The client id, or the part after d:, percent-encoded as it stands in a topic. The lane stays as it came."""
    found = asked(client_id)
    assert isinstance(found.command, PollCredentials)
    assert (found.command.caller, found.command.device_id, found.command.token) == ("", device_id, None)
    assert found.command.lane == f"c/bootstrap/{client_id}/"
    assert found.answer_topic == f"claimsvc/c/bootstrap/{client_id}/s/dcr"


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"\xff\x00", b"x" * 100_000], ids=["empty", "null", "bytes", "long"]
)
def test_the_payload_means_nothing(payload: bytes) -> None:
    """Agents send payloads of all kinds."""
    assert isinstance(asked("1234", payload).command, PollCredentials)


@pytest.mark.parametrize(
    "topic", ["claimsvc/u/1234/s/ucr", "claimsvc/c/bootstrap//s/ucr", "claimsvc/c/bootstrap/1234/s/us", "s/ucr"]
)
def test_other_topics_are_nobodys(topic: str) -> None:
    """Only a client id's lane has it."""
    assert not DIALECTS.read(Inbound(topic, b"", 1, 1, 1, 0.0)).lane


SILENCE: list[Outcome] = [
    *(RequestRefused(reason, device_id="1234") for reason in Reason),
    Refused(Reason.INTERNAL),
    CredentialsGiven(request(), "device_1234", None, None),
]


@pytest.mark.parametrize("outcome", SILENCE, ids=lambda each: getattr(each, "reason", "no login of ours"))
def test_everything_but_a_login_is_silence(outcome: Outcome) -> None:
    """Agents take any other message for a fatal error."""
    assert asked("1234").answer(outcome, NOW) == ()


LINES = {
    ("default", "device_1234"): b"70,default,device_1234,secret",
    ("acme", "device_with#hash"): b"70,acme,device_with#hash,secret",
    ("default", "device_Ger\u00e4t"): "70,default,device_Ger\u00e4t,secret".encode(),
    ("default", "device_a,b"): b'70,default,"device_a,b",secret',
    ("default", 'device_a"b'): b'70,default,"device_a\\"b",secret',
}


def secret() -> Secret:
    """Return a password that can be read off."""
    return password("secret")


@pytest.mark.parametrize(("tenant", "username"), LINES)
def test_the_login_is_one_line(tenant: str, username: str) -> None:
    """Four cells in the answer and in the notice alike; only a username with a comma or quote is quoted."""
    row = request(tenant=tenant)
    (answer,) = asked("1234").answer(CredentialsGiven(row, username, None, secret()), NOW)
    notice = encode_notice(CredentialsNotice(LANE, tenant, username, secret()))
    assert answer.payload == LINES[tenant, username]
    assert notice == (f"{LANE}s/dcr", LINES[tenant, username])
    assert (answer.qos, answer.retain) == (1, False)


@pytest.mark.parametrize(
    "notice",
    [
        pytest.param(CredentialsNotice("u/root/", "default", "device_1234", secret()), id="in a user's lane"),
        pytest.param(CredentialsNotice("", "default", "device_1234", secret()), id="where nobody asked"),
        pytest.param(CredentialsNotice(LANE, "default", "device_1234", None), id="without a login of ours"),
    ],
)
def test_no_notice(notice: CredentialsNotice) -> None:
    """A login is told in the lane it was asked for in, or not at all."""
    assert encode_notice(notice) is None
