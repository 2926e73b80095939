"""What registrations and provisioning do to the logins a device has, on a real store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from claimsvc.settings import CredentialStore, Settings
from tests.integration.bench import Bench, answer, call, message, opened
from tests.integration.files import Desk, send, work

PROFILE = {
    "name": "meter",
    "provisionType": "CHECK_PRE_PROVISIONED_DEVICES",
    "provisionDeviceKey": "key",
    "profileData": {"provisionConfiguration": {"provisionDeviceSecret": "secret"}},
}


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Bench]:
    """A bench as with the plugin."""
    plugin = {"store": CredentialStore.PLUGIN, "pbkdf2_iterations": 1}
    async with opened(
        settings.model_copy(update={"credentials": settings.credentials.model_copy(update=plugin)})
    ) as it:
        yield it


async def ask(bench: Bench, number: str, method: str, path: str, body: object = None) -> Any:
    """Make an admin's call and return the answer's body."""
    payload = b"" if body is None else json.dumps(body).encode()
    (reply,) = await bench.handle(call("root", number, method, path, payload))
    told = answer(reply)
    assert told["status"] in {200, 201}, told
    return told["body"]


async def with_token(bench: Bench, name: str) -> str:
    """Have a device log in by an access token alone, and return its id."""
    device = await ask(bench, f"f{name}", "GET", f"api/tenant/devices?deviceName={name}")
    path = f"claimsvc/devices/{device['id']['id']}/credentials"
    await ask(bench, f"d{name}", "DELETE", path)
    assert (await ask(bench, f"t{name}", "POST", path, {"credentialsType": "ACCESS_TOKEN"}))["accessToken"]
    return str(device["id"]["id"])


def kinds(bench: Bench, principal: str) -> set[tuple[str, ...]]:
    """Return the kinds of logins that let a principal in."""
    found = bench.rows("SELECT principal, kind FROM credential WHERE revoked_at IS NULL")
    return {(kind,) for of, kind in found if of == principal}


async def test_a_file_ends_the_token_of_a_device_it_gives_a_password(office: Bench) -> None:
    """The token would let in whoever had it, for ever."""
    body = b"ID;CREDENTIALS\n77;abcd1234\n"
    await work(office, Desk(), send(body))
    await with_token(office, "77")
    assert kinds(office, "device_77") == {("access_token",)}
    await work(office, Desk(), send(body, "2"))
    assert kinds(office, "device_77") == {("password",)}


async def test_an_acceptance_ends_the_token_of_a_device_that_registers_again(office: Bench) -> None:
    """As a file does."""
    await work(office, Desk(), send(b"ID;CREDENTIALS\n78;abcd1234\n"))
    await with_token(office, "78")
    await ask(office, "r", "POST", "devicecontrol/newDeviceRequests", {"id": "78"})
    await office.handle(message("claimsvc/c/bootstrap/78/s/ucr"))
    await ask(office, "a", "PUT", "devicecontrol/newDeviceRequests/78", {"status": "ACCEPTED"})
    assert kinds(office, "device_78") == {("password",)}


async def test_a_revoked_device_is_not_provisioned(office: Bench) -> None:
    """Until an admin says so: the profile's key is in every device."""
    await ask(office, "p", "POST", "api/deviceProfile", PROFILE)
    device_id = (await ask(office, "m", "POST", "api/device", {"name": "Meter", "type": "meter"}))["id"]["id"]
    await ask(office, "d", "DELETE", f"claimsvc/devices/{device_id}/credentials")
    shown = {"provisionDeviceKey": "key", "provisionDeviceSecret": "secret", "deviceName": "Meter"}
    asks = message("claimsvc/c/provision/x//provision/request", json.dumps(shown).encode())
    (reply,) = await office.handle(asks)
    assert answer(reply)["status"] == "FAILURE"
    assert kinds(office, "Meter") == set()
    await ask(office, "o", "DELETE", f"api/plugins/telemetry/DEVICE/{device_id}/SERVER_SCOPE?keys=provisionState")
    (reply,) = await office.handle(asks)
    assert answer(reply)["status"] == "SUCCESS"
