"""Calls about a device's credentials, and what they are answered."""

from __future__ import annotations

from typing import Any

import pytest

from claimsvc.core.command import Command
from claimsvc.core.credentials import NewCredentials, RevokeCredentials, RotateCredentials, RotateOwnCredentials
from claimsvc.core.decision import Done, Outcome, Refused
from claimsvc.core.policy import DAY_MS
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import SecretKind
from tests.support.factories import NOW, device, password, token
from tests.unit.test_thingsboard_rest import answer_to, command_of, malformed_detail

CREDENTIALS, OWN = "claimsvc/devices/7/credentials", "claimsvc/credentials"
PASSWORD, TOKEN = SecretKind.PASSWORD, SecretKind.ACCESS_TOKEN


@pytest.mark.parametrize(
    ("call", "body", "expected"),
    [
        (f"POST/{CREDENTIALS}", "", RotateCredentials("alice", "7", None, None)),
        (f"POST/{CREDENTIALS}", "{}", RotateCredentials("alice", "7", None, None)),
        (f"POST/{CREDENTIALS}", '{"overlapMs":null}', RotateCredentials("alice", "7", None, None)),
        (f"POST/{CREDENTIALS}", '{"overlapMs":0}', RotateCredentials("alice", "7", 0, None)),
        (f"POST/{CREDENTIALS}", '{"overlapMs":2592000000}', RotateCredentials("alice", "7", 30 * DAY_MS, None)),
        (f"POST/{CREDENTIALS}", '{"credentialsType":"MQTT_BASIC"}', RotateCredentials("alice", "7", None, PASSWORD)),
        (f"POST/{CREDENTIALS}", '{"credentialsType":"ACCESS_TOKEN"}', RotateCredentials("alice", "7", None, TOKEN)),
        (f"DELETE/{CREDENTIALS}", "", RevokeCredentials("alice", "7")),
        (f"POST/{OWN}", "", RotateOwnCredentials("alice", None)),
        (f"POST/{OWN}", '{"overlapMs":60000}', RotateOwnCredentials("alice", 60_000)),
    ],
)
def test_calls(call: str, body: str, expected: Command) -> None:
    """Each call is the command it says; a missing body is an empty one."""
    assert command_of(call, body) == expected


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        (f"POST/{CREDENTIALS}", '{"overlapMs":-1}', "overlapMs"),
        (f"POST/{CREDENTIALS}", '{"overlapMs":2592000001}', "overlapMs"),
        (f"POST/{CREDENTIALS}", '{"overlapMs":"60000"}', "overlapMs"),
        (f"POST/{CREDENTIALS}", '{"overlapMs":1.5}', "overlapMs"),
        (f"POST/{CREDENTIALS}", '{"overlapMs":true}', "overlapMs"),
        (f"POST/{CREDENTIALS}", '{"overlap":1}', "overlap"),
        (f"POST/{CREDENTIALS}", '{"credentialsType":"X509_CERTIFICATE"}', "credentialsType"),
        (f"POST/{CREDENTIALS}", "[]", "body"),
        (f"POST/{CREDENTIALS}", "garbage", "body"),
        (f"POST/{OWN}", '{"credentialsType":"ACCESS_TOKEN"}', "credentialsType"),
        (f"POST/{OWN}", '{"password":"mine"}', "password"),
    ],
)
def test_bodies_that_are_not_understood(call: str, body: str, field: str) -> None:
    """The refusal names the field; a device can neither choose its kind nor its password."""
    assert malformed_detail(call, body).startswith(f"{field}: ")


ITEM = {"deviceId": "device-Thermostat", "name": "Thermostat", "principal": "Thermostat"}


@pytest.mark.parametrize("path", [CREDENTIALS, OWN], ids=["an admin", "the device itself"])
@pytest.mark.parametrize(
    ("outcome", "status", "body"),
    [
        pytest.param(
            NewCredentials(device(), "Thermostat", password("p"), NOW, NOW + 1),
            201,
            ITEM | {"username": "Thermostat", "password": "p", "validFrom": NOW, "oldValidUntil": NOW + 1},
            id="a password",
        ),
        pytest.param(
            NewCredentials(device(), None, token("t"), NOW, None),
            201,
            ITEM | {"accessToken": "t", "validFrom": NOW, "oldValidUntil": None},
            id="an access token where there was nothing before",
        ),
        pytest.param(
            Refused(Reason.RATE_LIMITED, retry_after_ms=5),
            429,
            {"error": "rate_limited", "message": "Too many requests", "retryAfterMs": 5},
            id="too many in a row",
        ),
        pytest.param(
            Refused(Reason.NO_LOGIN),
            409,
            {"error": "no_login", "message": "The service keeps no login for the device"},
            id="a login of somebody else's",
        ),
    ],
)
def test_answers_to_a_rotation(path: str, outcome: Outcome, status: int, body: dict[str, Any]) -> None:
    """Everybody who may ask is told the same."""
    assert answer_to(f"POST/{path}", outcome) == (status, body)


def test_answer_to_a_revocation() -> None:
    """There is nothing to show."""
    assert answer_to(f"DELETE/{CREDENTIALS}", Done()) == (200, {})
