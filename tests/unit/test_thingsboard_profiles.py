from __future__ import annotations

import json
from typing import Any

import pytest

from claimsvc.app import lanes_of
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found, Outcome, Refused
from claimsvc.core.model import Strategy
from claimsvc.core.provisioning import (
    DeleteProfile,
    ListProfiles,
    ProfileListing,
    ProfilePage,
    ReadProfile,
    SaveProfile,
)
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import SecretKind
from claimsvc.settings import Settings
from tests.support.factories import NOW, inbound
from tests.support.profiles import profile, provision_secret

DIALECTS = lanes_of(Settings())
SAVE = "POST/api/deviceProfile"
SHAPE = {
    "id": {"entityType": "DEVICE_PROFILE", "id": "profile-1"},
    "createdTime": NOW,
    "tenantId": {"entityType": "TENANT", "id": "default"},
    "name": "meter",
    "type": "DEFAULT",
    "transportType": "DEFAULT",
    "provisionType": "ALLOW_CREATE_NEW_DEVICES",
    "provisionDeviceKey": "key-1",
    "profileData": {"provisionConfiguration": {"type": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceSecret": None}},
}


def read(call: str, body: object = None) -> Command | Refused:
    """Return what a call comes to."""
    request = DIALECTS.read(inbound(f"request/1/{call}", json.dumps(body) if body is not None else b""))
    assert request is not None
    return request.asked


def saved(body: object) -> SaveProfile:
    """Return the order a body makes."""
    command = read(SAVE, body)
    assert isinstance(command, SaveProfile), command
    return command


def answer_to(call: str, outcome: Outcome) -> tuple[int, Any]:
    """Return status and body of an answer."""
    request = DIALECTS.read(inbound(f"request/1/{call}"))
    assert request is not None
    answer = json.loads(request.answer(outcome, NOW)[0].payload)
    return answer["status"], answer["body"]


def configured(**configuration: Any) -> dict[str, Any]:
    """Return a profile's data with this configuration."""
    return {"profileData": {"provisionConfiguration": configuration, "configuration": {"type": "DEFAULT"}}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({}, (None, None, (None,)), id="the name alone: key and secret are made up"),
        pytest.param(
            {"provisionType": "CHECK_PRE_PROVISIONED_DEVICES", "provisionDeviceKey": "k"}
            | configured(type="CHECK_PRE_PROVISIONED_DEVICES", provisionDeviceSecret="s"),
            (Strategy.CHECK, "k", ("s",)),
            id="as ThingsBoard's user interface sends it",
        ),
        pytest.param(configured(type="DISABLED"), (Strategy.DISABLED, None, (None,)), id="the strategy inside only"),
        pytest.param(
            {"provisionType": "ALLOW_CREATE_NEW_DEVICES", "default": False, "image": None, "profileData": None},
            (Strategy.CREATE, None, (None,)),
            id="members that mean nothing here",
        ),
        pytest.param(
            {"id": {"id": "7", "entityType": "DEVICE_PROFILE"}}, (None, None, None), id="a change of nothing"
        ),
        pytest.param(
            {"id": {"id": "7"}} | configured(provisionDeviceSecret="s"), (None, None, ("s",)), id="a secret"
        ),
        pytest.param(
            {"id": {"id": "7"}} | configured(provisionDeviceSecret=None), (None, None, None), id="null stays"
        ),
    ],
)
def test_bodies(body: dict[str, Any], expected: tuple[Any, Any, tuple[Any] | None]) -> None:
    """A change leaves what it does not name; a new profile gets a secret in any case."""
    command = saved({"name": "meter"} | body)
    secret = (command.secret.text,) if command.secret else None
    assert (command.strategy, command.provision_key, secret) == expected
    assert command.profile_id == (body["id"]["id"] if "id" in body else None)
    assert all(each.kind is SecretKind.PROVISION_SECRET for each in command.secrets)


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        ({}, Reason.MALFORMED, "name"),
        ({"name": 5}, Reason.MALFORMED, "name"),
        ({"name": "m", "provisionDeviceKey": ""}, Reason.MALFORMED, "provisionDeviceKey"),
        ({"name": "m", "provisionDeviceKey": "a b"}, Reason.MALFORMED, "provisionDeviceKey"),
        ({"name": "m"} | configured(provisionDeviceSecret="s" * 256), Reason.MALFORMED, "provisionDeviceSecret"),
        ({"name": "m", "provisionType": "DISABLED"} | configured(type="x"), Reason.MALFORMED, "provisionType"),
        ({"name": "m", "provisionType": "X509_CERTIFICATE_CHAIN"}, Reason.INVALID_VALUE, "provisionType"),
    ],
    ids=["no name", "a number", "an empty key", "a blank", "an endless secret", "two strategies", "certificates"],
)
def test_what_cannot_be_saved_is_named(body: dict[str, Any], reason: Reason, field: str) -> None:
    """And the strategies there are."""
    refused = read(SAVE, body)
    assert isinstance(refused, Refused)
    assert (refused.reason, field in refused.detail) == (reason, True)


def test_calls_by_id_and_listings() -> None:
    """Pages count from 0; a page is as large as it may be."""
    assert read("GET/api/deviceProfile/7") == ReadProfile("alice", "7")
    assert read("DELETE/api/deviceProfile/7") == DeleteProfile("alice", "7")
    assert read("GET/api/deviceProfiles?pageSize=5&page=2&sortProperty=name") == ListProfiles("alice", 2, 5)
    assert read("GET/api/deviceProfiles") == ListProfiles("alice", 0, 10)
    assert read("GET/api/deviceProfiles?pageSize=0") == ListProfiles("alice", 0, 1)
    assert read("GET/api/deviceProfiles?pageSize=99999") == ListProfiles("alice", 0, 1_000)
    assert answer_to("DELETE/api/deviceProfile/7", Done()) == (200, {})


def test_the_secret_is_in_the_answer_that_sets_it_only() -> None:
    """Who lost it has to set another."""
    configuration = {"type": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceSecret": "secret-1"}
    shown = SHAPE | {"profileData": {"provisionConfiguration": configuration}}
    assert answer_to(SAVE, Found(profile(), provision_secret())) == (200, shown)
    assert answer_to("GET/api/deviceProfile/profile-1", Found(profile())) == (200, SHAPE)


@pytest.mark.parametrize(
    ("page", "total", "pages", "more"),
    [(0, 0, 0, False), (0, 2, 1, False), (0, 3, 2, True), (1, 3, 2, False)],
    ids=["none", "one full page", "the first of two", "the last"],
)
def test_pages(page: int, total: int, pages: int, more: bool) -> None:  # noqa: FBT001 - the table's column
    """As ThingsBoard's PageData."""
    outcome = ProfilePage(ProfileListing("default", page, 2), (profile(),), total)
    body = {"data": [SHAPE], "totalPages": pages, "totalElements": total, "hasNext": more}
    assert answer_to("GET/api/deviceProfiles", outcome) == (200, body)


@pytest.mark.parametrize(
    ("reason", "status", "text"),
    [
        (Reason.ALREADY_EXISTS, 400, "Device profile with such name already exists!"),
        (Reason.NAME_TAKEN, 400, "Device profile with such provision device key already exists!"),
        (Reason.NOT_FOUND, 404, "Requested item wasn't found!"),
        (Reason.NOT_PERMITTED, 403, "You don't have permission to perform this operation!"),
    ],
)
def test_refusals_are_thingsboards(reason: Reason, status: int, text: str) -> None:
    """Its error object, in its sentences."""
    found, body = answer_to(SAVE, Refused(reason))
    assert (found, body["status"], body["message"], body["error"]) == (status, status, text, reason.value)
