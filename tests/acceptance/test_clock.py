"""The machine's clock is set, for good or for a second: nobody is kept out, nobody gets in, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claimsvc.clock import BELIEF_MS, PROOF_MS
from claimsvc.founding import Account
from tests.support.clients import Admin, Client, LoginRefusedError, fresh
from tests.support.machine_clock import MachineClock
from tests.support.processes import World
from tests.support.provisioning import CREATE, Applicant, make_profile

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
A_LITTLE_MS = 10_000
"""The most time that a test itself takes."""
STEPS = [
    pytest.param(sign * size_ms, id=f"{name} {way}")
    for way, sign in (("back", -1), ("forward", 1))
    for name, size_ms in (("seconds", 5 * SECOND), ("an hour", HOUR), ("two days", 2 * DAY))
]


@dataclass(frozen=True)
class Scene:
    """A world, its clock, and who is connected to it."""

    world: World
    clock: MachineClock
    admin: Admin
    customer: Client

    def connect(self, account: Account) -> Client:
        return (Plain if self.world.has_plugin else Client)(self.world.port, account)

    def claimed(self, device: str) -> Any:
        return self.customer.claim(device).body.get("response")

    def round(self, device: Client) -> None:
        """Have a device open its window, and a customer claim and release it; a sweep that was due is done then."""
        opened = device.open_window({"secretKey": "value", "durationMs": MINUTE})
        assert opened["status"] == "SUCCESS", opened
        assert self.claimed(device.username) == "SUCCESS"
        assert self.customer.release(device.username).status == 200


class Plain(Client):
    """A device on plain topics, whose messages the plugin stamps with its clock."""

    def lane(self, tail: str) -> str:
        return tail


@pytest.fixture(scope="module", params=["stock", "plugin"])
def scene(request: pytest.FixtureRequest, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A world whose clock tests set; its service has run for long enough to delete what is over."""
    directory = tmp_path_factory.mktemp("clock")
    world = World(directory, plugin if request.param == "plugin" else None)
    clock = MachineClock(directory)
    clock.govern(world)
    world.start()
    with (
        Admin(world.port, world.accounts["admin"]) as admin,
        Client(world.port, world.accounts["customer"]) as customer,
    ):
        clock.pass_time(PROOF_MS)
        yield Scene(world, clock, admin, customer)
    world.stop()


@pytest.fixture
def device(scene: Scene) -> Iterator[Client]:
    """A device of the test's own."""
    with scene.connect(scene.admin.make_device(fresh("device"))) as device:
        yield device


def let_it_last(scene: Scene, device: Client) -> None:
    """Let a step that the service has seen last until it believes it."""
    scene.clock.pass_time(BELIEF_MS)
    scene.round(device)


@pytest.mark.parametrize("by_ms", STEPS)
def test_a5_a_clock_that_is_set_for_good_stops_nobody(by_ms: int, scene: Scene, device: Client) -> None:
    """Not those who asked a moment before; in the end the service goes by it."""
    scene.round(device)
    scene.clock.set(by_ms)
    for _ in range(3):
        scene.round(device)
    let_it_last(scene, device)
    opened = device.open_window({"durationMs": MINUTE})
    assert abs(opened["expirationTime"] - MINUTE - scene.clock.now_ms()) < A_LITTLE_MS


@pytest.mark.parametrize("by_ms", STEPS)
def test_a5_a_clock_that_is_wrong_for_a_second_stops_nobody(by_ms: int, scene: Scene, device: Client) -> None:
    """Neither during that second nor after it."""
    scene.round(device)
    for step_ms in (by_ms, -by_ms, by_ms, -by_ms):
        scene.clock.set(step_ms)
        scene.round(device)


@pytest.mark.parametrize("by_ms", [-HOUR, -2 * DAY], ids=["an hour", "two days"])
def test_a5_a_lockout_lasts_no_longer_when_the_clock_is_set_back(by_ms: int, scene: Scene, device: Client) -> None:
    """No shorter either."""
    user = scene.admin.make_claimer(fresh("user"))
    with Client(scene.world.port, user) as claimer:
        device.open_window({"secretKey": "value"})
        for _ in range(5):
            claimer.claim(device.username, "wrong")
        with scene.connect(scene.admin.make_device(fresh("other"))) as other:
            scene.clock.set(by_ms)
            scene.round(other)
            let_it_last(scene, other)
        device.open_window({"secretKey": "value"})
        answer = claimer.claim(device.username)
        assert answer.status == 429, answer
        assert answer.body["retryAfterMs"] <= 15 * MINUTE
        scene.clock.pass_time(15 * MINUTE)
        assert claimer.claim(device.username).body["response"] == "SUCCESS"


@pytest.mark.parametrize("by_ms", [-HOUR, -2 * DAY], ids=["an hour", "two days"])
def test_a5_a_revoked_login_stays_revoked_when_the_clock_is_set_back(by_ms: int, scene: Scene) -> None:
    """The broker compares times with its own clock."""
    name = fresh("revoked")
    account = scene.admin.make_device(name)
    scene.connect(account).close()
    device_id = scene.admin.device_id(name)
    assert scene.admin.call("DELETE", f"/claimsvc/devices/{device_id}/credentials").status == 200
    for step_ms in (by_ms, -by_ms):
        scene.clock.set(step_ms)
        with pytest.raises(LoginRefusedError):
            scene.connect(account)


@pytest.mark.parametrize("by_ms", [2 * DAY, -2 * DAY], ids=["forward", "back"])
def test_a13_one_wrong_reading_deletes_nothing(by_ms: int, scene: Scene, device: Client) -> None:
    """Two days off while a sweep is due: windows, first answers and logins that may be given again stay."""
    world, admin, name = scene.world, scene.admin, fresh("open")
    with scene.connect(admin.make_device(name)) as owner, Applicant(world) as applicant:
        owner.open_window({"secretKey": "value"})
        profile = make_profile(admin, CREATE)
        wanted = {"deviceName": fresh("new")}
        if not world.has_plugin:
            wanted["credentialsType"] = "MQTT_BASIC"
            wanted |= {"username": wanted["deviceName"], "password": "a-password"}
        login = applicant.ask(profile, **wanted)
        assert login["status"] == "SUCCESS", login
        first = admin.call("POST", "/claimsvc/customers", {"title": name}, request_id=f"first-{name}")
        assert first.status == 201
        shown = admin.call("GET", f"/api/device/{admin.device_id(name)}/credentials").body["credentialsValue"]

        scene.clock.pass_time(MINUTE)
        scene.clock.set(by_ms)
        scene.round(device)
        scene.clock.set(-by_ms)
        scene.clock.pass_time(MINUTE)
        scene.round(device)

        assert admin.call("POST", "/claimsvc/customers", {"title": name}, request_id=f"first-{name}") == first
        assert admin.call("GET", f"/api/device/{admin.device_id(name)}/credentials").body["credentialsValue"] == shown
        assert applicant.ask(profile, **wanted) == login
        assert scene.claimed(name) == "SUCCESS"


def test_a13_what_is_over_is_deleted_still(scene: Scene, device: Client) -> None:
    """Also after the machine was suspended: first answers after ten minutes, and the secrets of logins."""
    name = fresh("over")
    scene.admin.call("POST", "/claimsvc/customers", {"title": name}, request_id=name)
    scene.admin.make_device(name)
    kept = (
        "SELECT (SELECT count(*) FROM answered WHERE request_id = ?),"
        " (SELECT count(*) FROM credential WHERE login = ? AND sealed IS NOT NULL)"
    )
    assert scene.world.rows(kept, name, name) == [(1, 1)]
    scene.clock.pass_time(11 * MINUTE)
    scene.round(device)
    assert scene.world.rows(kept, name, name) == [(0, 0)]
