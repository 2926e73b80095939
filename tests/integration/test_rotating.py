"""Rotation and revocation on a real store: what is kept, what the password file says when, and repeats."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from claimsvc.app import open_service
from claimsvc.log import open_log
from claimsvc.sealing import password_matches
from claimsvc.settings import Settings
from tests.integration.bench import Bench, answer, call, opened, topics
from tests.support.factories import NOW

HOUR = 3_600_000


# --- the pipeline


async def make_device(bench: Bench) -> tuple[str, str]:
    """Make a device; return its id and its password."""
    (made,) = await bench.handle(call("root", "made", "POST", "api/device", b'{"name":"Sensor"}'))
    device_id = answer(made)["body"]["id"]["id"]
    (shown,) = await bench.handle(call("root", "shown", "GET", f"api/device/{device_id}/credentials"))
    value = answer(shown)["body"]["credentialsValue"]
    return device_id, str(value).rpartition('"password":"')[2].rstrip('"}')


def rotate(device_id: str, number: str, body: bytes = b"", **fields: Any) -> Any:
    """Return an admin's call."""
    return call("root", number, "POST", f"claimsvc/devices/{device_id}/credentials", body, **fields)


async def test_the_answer_comes_again_and_nothing_twice(bench: Bench) -> None:
    """A repeat of the request id, and what the broker delivers again."""
    device_id, _ = await make_device(bench)
    request = rotate(device_id, "1")
    first, second, third = await bench.handle(request, request, replace(request, redelivered=True))
    assert answer(first)["status"] == 201
    assert answer(first) == answer(second) == answer(third)
    assert bench.rows("SELECT count(*) FROM former_credential") == [(1,)]
    assert bench.rows("SELECT event FROM event WHERE device = 'Sensor' ORDER BY number") == [
        ("device_created",),
        ("credentials_rotated",),
    ]


async def test_a_device_rotates_its_own_and_an_admin_reads_the_newest(bench: Bench) -> None:
    """The admin never sees the former one; no log line holds any."""
    device_id, old = await make_device(bench)
    (own,) = await bench.handle(call("Sensor", "1", "POST", "claimsvc/credentials"))
    new = answer(own)["body"]
    assert (answer(own)["status"], new["deviceId"], new["username"]) == (201, device_id, "Sensor")
    assert new["validFrom"] == new["oldValidUntil"]
    (shown,) = await bench.handle(call("root", "later", "GET", f"api/device/{device_id}/credentials"))
    value = str(answer(shown)["body"])
    assert (new["password"] in value, old in value) == (True, False)
    assert new["password"] not in bench.out.getvalue()
    stored = " ".join(
        map(str, bench.rows("SELECT * FROM credential UNION ALL SELECT *, 0, 0, 0, 0, 0 FROM former_credential"))
    )
    assert new["password"] not in stored
    assert old not in stored


async def test_what_is_revoked_is_out_of_the_file_and_can_be_given_again(bench: Bench, settings: Settings) -> None:
    """By the same name, with another password."""
    device_id, old = await make_device(bench)
    await bench.service.logins.catch_up()
    assert "\nSensor:" in settings.credentials.password_file.read_text()
    (revoked,) = await bench.handle(call("root", "1", "DELETE", f"claimsvc/devices/{device_id}/credentials"))
    await bench.service.logins.catch_up()
    assert answer(revoked) == {"status": 200, "body": {}}
    assert "\nSensor:" not in settings.credentials.password_file.read_text()
    (again,) = await bench.handle(rotate(device_id, "2"))
    await bench.service.logins.catch_up()
    body = answer(again)["body"]
    assert (body["oldValidUntil"], body["password"] == old) == (None, False)
    assert file_admits(settings, body["password"])


def file_admits(settings: Settings, password: str) -> bool:
    """Return whether the password file admits the device with this password."""
    lines = settings.credentials.password_file.read_text().splitlines()
    (stored,) = (line.removeprefix("Sensor:") for line in lines if line.startswith("Sensor:"))
    return password_matches(password, stored)


@pytest.mark.parametrize("restarted", [False, True], ids=["in one run", "after a restart"])
async def test_the_file_follows_the_clock(
    restarted: bool,  # noqa: FBT001 - a parameter
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The old password until its time, the new one from then on, whenever the service was started."""
    clock = NOW
    for name in ("wall_ms", "steady_ms"):
        monkeypatch.setattr(f"claimsvc.clock.{name}", lambda: clock)
    async with opened(settings) as bench:
        device_id, old = await make_device(bench)
        (reply,) = await bench.handle(rotate(device_id, "1", b'{"overlapMs":60000}'))
        new = answer(reply)["body"]["password"]
        await bench.service.logins.catch_up()
        assert file_admits(settings, old)
        clock += 59_999
        await bench.service.logins.catch_up()
        assert file_admits(settings, old)
        clock += 1
        if not restarted:
            await bench.service.logins.catch_up()
    if restarted:
        assert file_admits(settings, old)
        async with open_service(settings, open_log("debug", "json", StringIO())):
            pass
    assert file_admits(settings, new)


async def test_a_name_that_is_somebody_elses_login_is_not_taken_over(bench: Bench) -> None:
    """By whatever way it became that."""
    device_id, _ = await make_device(bench)
    bench.write("UPDATE credential SET principal = 'bob' WHERE login = 'Sensor'")
    (reply,) = await bench.handle(rotate(device_id, "1"))
    assert (answer(reply)["status"], answer(reply)["body"]["error"]) == (409, "name_taken")


async def test_sessions_end_behind_the_answer_where_the_plugin_keeps_logins(settings: Settings) -> None:
    """Without an overlap, and at a revocation; also when the broker delivers the request again."""
    with_plugin = Settings.model_validate(
        {"store": {"path": settings.store.path}, "credentials": {"store": "plugin"}}
    )
    async with opened(with_plugin) as bench:
        device_id, _ = await make_device(bench)
        (overlapping,) = await bench.handle(rotate(device_id, "1"))
        assert "$CONTROL/claimsvc/v1" not in topics(overlapping)
        at_once = rotate(device_id, "2", b'{"overlapMs":0}')
        revocation = call("root", "3", "DELETE", f"claimsvc/devices/{device_id}/credentials")
        for request in (at_once, revocation):
            for each in (request, replace(request, redelivered=True)):
                (reply,) = await bench.handle(each)
                assert topics(reply)[-1] == "$CONTROL/claimsvc/v1"
                assert topics(reply)[0].startswith("claimsvc/u/root/response/")
