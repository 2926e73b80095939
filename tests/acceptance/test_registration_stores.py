"""Where issued logins go: the password file and kills around it, nowhere, and what limits registration."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import Client, LoginRefusedError, fresh
from tests.support.newcomers import REQUESTS, Newcomer, Operator, Registered
from tests.support.processes import PATIENCE_S, World

Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make and start a stock world of a test's own, with settings of its service."""
    made: list[World] = []

    def make(**environment: str) -> World:
        made.append(World(tmp_path, None, **environment).start())
        return made[0]

    yield make
    for world in made:
        world.stop()


LIMITS = {
    "CLAIMSVC_REGISTRATION__DEVICE_LIMIT": "4",  # the demo has three
    "CLAIMSVC_REGISTRATION__SECURITY_TOKEN_POLICY": "REQUIRED",
    "CLAIMSVC_REGISTRATION__MAX_TOKEN_FAILURES": "2",
    "CLAIMSVC_CREDENTIALS__REISSUE_WINDOW_MS": "1",
}


def enter_operator(world: World) -> Operator:
    """Connect as the world's admin."""
    return Operator(world.port, world.accounts["admin"])


def test_the_file_cannot_be_written_when_the_service_is_killed(make: Make) -> None:
    """Committed, but no login yet: nobody is told. After the restart the next poll gives one that works."""
    world, name = make(), fresh("device")
    with enter_operator(world) as operator, Newcomer(world, name) as device:
        operator.announce(name)
        device.listen()
        device.ask()
        # The draft of the new file cannot be made where a directory stands; the old one can be read.
        draft = world.directory / f"mosquitto.passwd.{world.service.pid}.new"
        draft.mkdir()
        operator.publish(operator.lane(f"request/1/PUT{REQUESTS}/{name}"), b'{"status":"ACCEPTED"}')
        world.service.wait_for("logins_behind")
        assert world.rows("SELECT status FROM device_request WHERE id = ?", name) == [("ACCEPTED",)]
        assert f"device_{name}" not in (world.directory / "mosquitto.passwd").read_text()
        assert device.topics_heard() == set()
        world.service.kill()
        world.service.start()
        _is_let_in(world, device)


def test_the_broker_does_not_know_yet_when_the_service_is_killed(make: Make, tmp_path: Path) -> None:
    """Committed and in the file, but the broker was not told to read it: that comes with the restart."""
    script, hang, hung = (tmp_path / each for each in ("reload", "hang", "hung"))
    script.write_text(
        f"#!/bin/sh\n[ -e {hang} ] && echo $$ > {hung} && exec sleep 30\nkill -HUP $(cat {tmp_path}/mosquitto.pid)\n"
    )
    script.chmod(0o700)
    world, name = make(CLAIMSVC_CREDENTIALS__RELOAD_COMMAND=json.dumps([str(script)])), fresh("device")
    with enter_operator(world) as operator, Newcomer(world, name) as device:
        operator.announce(name)
        device.listen()
        device.ask()
        hang.touch()
        operator.publish(operator.lane(f"request/1/PUT{REQUESTS}/{name}"), b'{"status":"ACCEPTED"}')
        world.service.wait_for("logins_written")
        assert f"device_{name}" in (world.directory / "mosquitto.passwd").read_text()
        assert device.topics_heard() == set()
        world.service.kill()
        hang.unlink()
        if hung.exists():
            os.kill(int(hung.read_text()), signal.SIGKILL)
        world.service.start()
        _is_let_in(world, device)


def _is_let_in(world: World, device: Newcomer) -> None:
    device.ask()
    cells = device.credentials()
    device.close()
    with Registered(world, cells) as registered:
        assert registered.open_window({})["status"] == "SUCCESS"


def test_nobody_is_told_before_the_login_works(make: Make) -> None:
    """While the file cannot be written, the answer to acceptAll and what devices are told wait together."""
    world, names = make(), [fresh("device") for _ in range(2)]
    with enter_operator(world) as operator, Newcomer(world, names[0]) as one, Newcomer(world, names[1]) as other:
        for name, device in zip(names, (one, other), strict=True):
            operator.announce(name)
            device.listen()
            device.ask()
        draft = world.directory / f"mosquitto.passwd.{world.service.pid}.new"
        draft.mkdir()
        operator.subscribe(operator.lane("response/1"))
        operator.publish(operator.lane(f"request/1/POST{REQUESTS}/acceptAll"))
        world.service.wait_for("logins_behind")
        one.ask()
        world.service.wait_for("logins_behind")
        assert (one.topics_heard(), other.topics_heard(), operator.drain()) == (set(), set(), [])
        draft.rmdir()
        assert [each["successful"] for each in json.loads(operator.receive().payload)["body"]] == [True, True]
        _is_let_in(world, one)
        _is_let_in(world, other)


def test_the_password_file_from_registration_to_revocation(make: Make) -> None:
    """In its own lane it is registered, told what works, connected, revoked, cut off and kept out."""
    world, name = make(), fresh("device")
    with enter_operator(world) as operator, Newcomer(world, name) as newcomer:
        operator.announce(name)
        assert newcomer.poll(name).status == 404
        operator.accept(name)
        given = newcomer.poll(name).body
        cells = ["70", given["tenantId"], given["username"], given["password"]]
        with Registered(world, cells) as device:
            assert device.open_window({})["status"] == "SUCCESS"
            assert operator.call("DELETE", f"/api/device/{operator.device_id(name)}").status == 200
            assert device.disconnected.get(timeout=PATIENCE_S) is not None
        with pytest.raises(LoginRefusedError):
            Registered(world, cells)
        gone = newcomer.poll(name)
        assert (gone.status, gone.body["code"]) == (404, "credentials_given")


def test_logins_somebody_else_keeps(make: Make, tmp_path: Path) -> None:
    """The answer says that the login must exist, s/dcr says nothing; with the login made, the device is in."""
    password_path = str(tmp_path / "broker-password")
    world = make(CLAIMSVC_CREDENTIALS__STORE="none", CLAIMSVC_MQTT__PASSWORD_PATH=password_path)
    name = fresh("device")
    with enter_operator(world) as operator, Newcomer(world, name) as newcomer:
        operator.announce(name)
        newcomer.listen()
        newcomer.ask()
        assert operator.accept(name).status == 200
        newcomer.ask()
        given = newcomer.poll(name)
        assert (given.status, given.body["username"], "password" in given.body) == (201, f"device_{name}", False)
        assert given.body["login"] == "must exist on the broker: this service keeps no logins"
        assert newcomer.topics_heard() == set()
    account = world.add_login(f"device_{name}", "a password")
    world.broker.reload()
    with Client(world.port, account) as device:
        assert device.open_window({})["status"] == "SUCCESS"


def test_settings_of_registration(make: Make) -> None:
    """The limit, required tokens, their failures, and a window that is over at once."""
    world, name = make(**LIMITS), fresh("device")
    with enter_operator(world) as operator, Newcomer(world, fresh("address")) as newcomer:
        path = f"{REQUESTS}/limit"
        assert operator.call("GET", path).body == {"isReached": False, "limit": 4, "deviceCount": 3}
        for device_id in (name, "other", "enrolled"):
            token = {"enrollmentToken": "one-time"} if device_id == "enrolled" else {}
            assert operator.announce(device_id, **token).status == 201
            if device_id != "enrolled":
                newcomer.poll(device_id, securityToken="abc12345")
        assert operator.accept(name).body["code"] == "wrong_token"
        assert operator.accept(name, securityToken="abc12345").status == 200
        assert newcomer.poll(name, securityToken="abc12345").body["code"] == "credentials_given"
        full = "You have reached devices limit. No more devices can be registered."
        assert operator.accept("other", securityToken="abc12345").body["message"] == full
        assert operator.announce("late").body["message"] == full
        assert newcomer.poll("enrolled", securityToken="one-time").body["message"] == full
        assert operator.call("GET", path).body == {"isReached": True, "limit": 4, "deviceCount": 4}
        codes = [operator.accept("other", securityToken="wrong").body["code"] for _ in range(3)]
        assert codes == ["wrong_token", "blocked", "not_pending"]
