"""Registration through the whole service but the broker: what a batch must load, keep and say once."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from claimsvc.core.accounts import CreateTenant, CreateUser
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.dialects.message import Inbound, Request
from claimsvc.settings import CredentialStore, Settings
from tests.integration.bench import Bench, answer, call, changes, lines, message, opened, statuses

REQUESTS = "devicecontrol/newDeviceRequests"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with room for two devices, that ask nobody for their login."""
    registration = settings.registration.model_copy(update={"device_limit": 2})
    return settings.model_copy(update={"registration": registration})


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Bench]:
    """A bench with a second tenant, `acme`, whose admin logs in as `acme%2Froot`, and the management tenant's."""
    async with opened(settings) as bench:
        for tenant in ("acme", "management"):
            secret = Secret(SecretKind.PASSWORD, None)
            await bench.service.execute_own(
                [
                    *([CreateTenant("claimsvc", tenant, tenant)] if tenant != "management" else []),
                    CreateUser("claimsvc", "root", None, (), ("admin",), secret, tenant),
                ]
            )
        yield bench


def ask(method: str, path: str = "", body: object = None, who: str = "root") -> Inbound:
    """Return an operator's call."""
    return call(who, uuid.uuid4().hex, method, REQUESTS + path, b"" if body is None else json.dumps(body).encode())


def create(device_id: str, who: str = "root", **fields: object) -> Inbound:
    """Return the call that announces a device."""
    return ask("POST", "", {"id": device_id, **fields}, who)


def accept(device_id: str, who: str = "root") -> Inbound:
    """Return the call that lets a device in."""
    return ask("PUT", f"/{quote(device_id)}", {"status": "ACCEPTED"}, who)


def poll(device_id: str, *, number: str = "p", lane: str = "x", **fields: Any) -> Inbound:
    """Return a device's poll by REST, from its client id's lane."""
    body = json.dumps({"id": device_id, **fields}).encode()
    return message(f"claimsvc/c/bootstrap/{lane}/request/{number}/POST/devicecontrol/deviceCredentials", body)


def body(reply: Request) -> Any:
    """Return the body of the answer."""
    return answer(reply)["body"]


async def test_a_device_is_registered_within_one_batch(office: Bench) -> None:
    """Everything that its acceptance must see is there, though the store had no request to begin with."""
    replies = await office.handle(create("1"), poll("1"), accept("1"), poll("1"))
    assert [body(reply)["id"] for reply in (replies[0], replies[-1])] == ["1", "1"]
    assert office.rows("SELECT name, principal FROM device") == [("1", "device_1")]


async def test_within_one_batch_no_login_is_taken_over_either(settings: Settings) -> None:
    """The percent of one id can look like the encoding of another: the second is refused, the first stays."""
    credentials = settings.credentials.model_copy(update={"store": CredentialStore.PLUGIN})
    async with opened(settings.model_copy(update={"credentials": credentials})) as office:
        await office.handle(create("x#y"), poll("x#y"), accept("x#y"))
        before = office.rows("SELECT login, principal, secret_hash FROM credential ORDER BY login")
        assert ("device_x%23y", "device_x%23y") in [row[:2] for row in before]
        replies = await office.handle(create("x%23y"), poll("x%23y"), accept("x%23y"))
        assert statuses(replies) == [201, 404, 422]
        assert office.rows("SELECT login, principal, secret_hash FROM credential ORDER BY login") == before


async def test_a_request_made_again_in_the_batch_that_deletes_it_is_the_makers(office: Bench) -> None:
    """Nothing of the old one is left, not even its tenant."""
    await office.handle(create("1", type="old", groupId="5", customProperties={"a": 1}))
    await office.handle(ask("DELETE", "/1"), create("1", who="acme%2Froot"))
    assert office.rows("SELECT tenant_id, owner, type, group_id, properties FROM device_request") == [
        ("acme", "acme%2Froot", None, None, None)
    ]


async def test_the_limit_is_the_tenants_of_the_request(office: Bench) -> None:
    """Also where the management tenant accepts, and where a one-time password does."""
    manager = "management%2Froot"
    for device_id in ("1", "2", "3"):
        await office.handle(create(device_id), poll(device_id))
    await office.handle(create("4", enrollmentToken="one-time"))
    accepted = [(await office.handle(accept(device_id, manager)))[0] for device_id in ("1", "2", "3")]
    assert statuses(accepted) == [200, 200, 422]
    (enrolled,) = await office.handle(poll("4", securityToken="one-time"))
    assert (answer(enrolled)["status"], body(enrolled)["code"]) == (422, "device_limit")
    (all_others,) = await office.handle(ask("POST", "/acceptAll"))
    assert [each["successful"] for each in body(all_others)] == [False]


async def test_a_poll_is_answered_anew_whatever_its_request_id(office: Bench) -> None:
    """A device may use one id for ever, also when it thinks of a token later: only a redelivery is a repeat."""
    await office.handle(create("1"))
    asked = [(await office.handle(poll("1")))[0], (await office.handle(poll("1", securityToken="a")))[0]]
    await office.handle(accept("1"))
    asked.append((await office.handle(poll("1")))[0])
    assert statuses(asked) == [404, 404, 201]


async def test_a_redelivered_one_time_password_is_counted_once(office: Bench) -> None:
    """The broker delivers again what was not acknowledged; the device has guessed once."""
    await office.handle(create("1", enrollmentToken="one-time"))
    wrong = poll("1", securityToken="guess")
    again = replace(wrong, redelivered=True)
    await office.handle(wrong)
    await office.handle(again)
    assert office.rows("SELECT token_failures FROM device_request") == [(1,)]


async def test_repeated_polls_write_nothing(office: Bench) -> None:
    """Neither to the database nor, but for debugging, to the log."""
    await office.handle(create("1"), poll("1"))

    def seen() -> tuple[list[Any], list[str]]:
        return office.rows("SELECT * FROM device_request"), [
            line["reason"]
            for line in lines(office)
            if line.get("command") == "PollCredentials" and line["level"] == "info"
        ]

    before = seen()
    for _ in range(3):
        known, unknown = await office.handle(poll("1"), poll("2"))
        assert (changes(known), changes(unknown)) == ((), ())
    assert seen() == before
    assert before[1] == ["not_accepted"]


async def test_the_password_file_is_not_read_for_polls(office: Bench, settings: Settings) -> None:
    """Only a one-time password may make a login; tokens come with every poll."""
    await office.handle(create("1"), create("2", enrollmentToken="one-time"))
    settings.credentials.password_file.write_bytes(b"\xff")
    (pending,) = await office.handle(poll("1", securityToken="a"))
    assert answer(pending)["status"] == 404
    (enrolling,) = await office.handle(poll("2", securityToken="one-time"))
    assert body(enrolling)["code"] == "internal"
