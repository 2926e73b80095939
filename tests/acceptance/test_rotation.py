"""Credentials that change while devices are connected, on a stock broker with a password file and with the plugin."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claimsvc.founding import Account
from tests.acceptance.conftest import Arrive
from tests.support.clients import Client, LoginRefusedError, fresh
from tests.support.newcomers import Operator, login_of
from tests.support.processes import PATIENCE_S, World

OVERLAP_MS = 4_000


def admits(world: World, account: Account) -> bool:
    """Return whether the broker lets this login in now."""
    try:
        Client(world.port, account).close()
    except LoginRefusedError:
        return False
    return True


def path_of(operator: Operator, name: str) -> str:
    """Return the path of a device's credentials."""
    return f"/claimsvc/devices/{operator.device_id(name)}/credentials"


def rotate(operator: Operator, name: str, **body: Any) -> dict[str, Any]:
    """Have an admin rotate, and return the new credentials."""
    answer = operator.call("POST", path_of(operator, name), body)
    assert answer.status == 201, answer
    return dict(answer.body)


def account_of(body: dict[str, Any]) -> Account:
    """Return what an answer lets log in with."""
    return Account(body["username"], body["password"])


def is_cut_off(device: Client) -> bool:
    """Return whether the broker ends the connection before our patience does."""
    return device.disconnected.get(timeout=PATIENCE_S) is not None


# --- on both brokers


def test_a_device_is_never_without_a_login_that_works(gate: World, operator: Operator) -> None:
    """From the rotation until the old password is over one of the two lets in, and afterwards the new one alone."""
    name = fresh("device")
    old = operator.make_device(name)
    with Client(gate.port, old) as connected:
        new = rotate(operator, name, overlapMs=OVERLAP_MS)
        assert admits(gate, account_of(new)) == gate.has_plugin
        while admits(gate, old):
            assert time.time_ns() // 1_000_000 < new["oldValidUntil"] + PATIENCE_S * 1_000
        assert time.time_ns() // 1_000_000 >= new["oldValidUntil"]
        assert admits(gate, account_of(new))
        if not gate.has_plugin:  # which has no way to tell who came with which password
            assert is_cut_off(connected)
    assert not admits(gate, old)


def test_without_an_overlap_the_old_password_is_over_at_once(gate: World, operator: Operator) -> None:
    """Who came with it is cut off; the new one works when the answer is out."""
    name = fresh("device")
    old = operator.make_device(name)
    with Client(gate.port, old) as connected:
        new = rotate(operator, name, overlapMs=0)
        assert admits(gate, account_of(new))
        assert not admits(gate, old)
        assert is_cut_off(connected)


def test_a_revoked_device_is_out(gate: World, operator: Operator) -> None:
    """Cut off, refused at its next connect with every password it had, and let in when it is given another."""
    name = fresh("device")
    old = operator.make_device(name)
    with Client(gate.port, old) as connected:
        new = account_of(rotate(operator, name))
        assert operator.call("DELETE", path_of(operator, name)).body == {}
        assert is_cut_off(connected)
    assert (admits(gate, old), admits(gate, new)) == (False, False)
    assert operator.call("DELETE", path_of(operator, name)).status == 200
    anew = rotate(operator, name)
    assert (anew["oldValidUntil"], anew["username"]) == (None, new.username)
    assert admits(gate, account_of(anew))
    assert (admits(gate, old), admits(gate, new)) == (False, False)
    happened = ["credentials_made", "credentials_revoked", "credentials_rotated", "device_created"]
    assert operator.events(name) == happened


def test_a_device_rotates_its_own(gate: World, operator: Operator) -> None:
    """In its own lane; with a password file it keeps its connection for long enough to read the answer."""
    name = fresh("device")
    old = operator.make_device(name)
    with Client(gate.port, old) as device:
        first = device.call("POST", "/claimsvc/credentials", {"overlapMs": 0}, request_id="mine")
        assert first.status == 201
        new = account_of(first.body)
        if gate.has_plugin:
            assert is_cut_off(device)
            assert (admits(gate, new), admits(gate, old)) == (True, False)
        else:
            assert first.body["validFrom"] >= time.time_ns() // 1_000_000 + 5_000
            assert device.call("POST", "/claimsvc/credentials", {"overlapMs": 0}, request_id="mine") == first
            assert (admits(gate, new), admits(gate, old)) == (False, True)


def test_the_same_request_has_the_same_answer(gate: World, operator: Operator) -> None:
    """Whoever lost it asks again with its id, and nothing is rotated twice."""
    name = fresh("device")
    operator.make_device(name)
    path, request_id = path_of(operator, name), fresh("r")
    answers = [operator.call("POST", path, {"overlapMs": 0}, request_id=request_id) for _ in range(2)]
    assert answers[0] == answers[1]
    assert admits(gate, account_of(answers[0].body))
    assert operator.events(name).count("credentials_rotated") == 1


def test_every_name_of_a_registered_device_gets_the_new_password(
    gate: World, operator: Operator, arrive: Arrive
) -> None:
    """A Cumulocity device goes on logging in the way it does."""
    name = fresh("device")
    operator.announce(name)
    newcomer = arrive(name)
    newcomer.poll(name)
    operator.accept(name)
    given = newcomer.poll(name).body
    old = login_of(gate, given["tenantId"], given["username"], given["password"])
    assert admits(gate, old)
    new = rotate(operator, name, overlapMs=0)
    assert admits(gate, account_of(new))
    assert admits(gate, Account(old.username, new["password"]))
    assert not admits(gate, old)


def test_an_access_token_is_rotated_beside_the_old_one(gate: World, operator: Operator) -> None:
    """With the plugin both let in; a password file has no place for a token."""
    name, old = fresh("device"), fresh("token")
    assert operator.call("POST", f"/api/device?accessToken={old}", {"name": name}).status == 200
    new = rotate(operator, name)["accessToken"]
    tokens = [Account(each, "") for each in (old, new)]
    assert [admits(gate, each) for each in tokens] == [gate.has_plugin] * 2
    newest = Account(rotate(operator, name, overlapMs=0)["accessToken"], "")
    assert [admits(gate, each) for each in (*tokens, newest)] == [False, False, gate.has_plugin]


# --- worlds of a test's own

Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make and start a world of a test's own, with settings of its service."""
    made: list[World] = []

    def make(plugin: Path | None = None, **environment: str) -> World:
        made.append(World(tmp_path, plugin, **environment).start())
        return made[0]

    yield make
    for world in made:
        world.stop()


def stored_in_file(world: World, name: str) -> str:
    """Return a login's hash in the password file."""
    lines = (world.directory / "mosquitto.passwd").read_text().splitlines()
    (stored,) = (line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))
    return stored


def test_killed_between_the_commit_and_the_password_file(make: Make) -> None:
    """The old password lets in until the restart, the new one after it, and the same request has its answer."""
    world, name = make(), fresh("device")
    with Operator(world.port, world.accounts["admin"]) as operator:
        old = operator.make_device(name)
        path = path_of(operator, name)
        # The draft of the new file cannot be made where a directory stands; the old one can be read.
        draft = world.directory / f"mosquitto.passwd.{world.service.pid}.new"
        draft.mkdir()
        operator.subscribe(operator.lane("response/1"))
        operator.publish(operator.lane(f"request/1/POST{path}"), b'{"overlapMs":0}')
        world.service.wait_for("logins_behind")
        happened = "SELECT count(*) FROM event WHERE event = 'credentials_rotated'"
        assert world.rows(happened) == [(1,)]
        assert operator.drain() == []
        world.service.kill()
        assert admits(world, old)
        world.service.start()
        first = json.loads(operator.receive().payload)
        assert first["status"] == 201
        assert admits(world, account_of(first["body"]))
        assert not admits(world, old)
        again = operator.call("POST", path, b'{"overlapMs":0}', request_id="1")
        assert (again.status, again.body) == (201, first["body"])
        assert world.rows(happened) == [(1,)]


@pytest.mark.parametrize("end", ["stop", "kill"], ids=["SIGTERM", "kill -9"])
def test_the_new_password_comes_into_effect_after_a_restart(end: str, make: Make) -> None:
    """Whether its time comes while the service is away or after it is back."""
    world, name = make(), fresh("device")
    with Operator(world.port, world.accounts["admin"]) as operator:
        old = operator.make_device(name)
        before = stored_in_file(world, name)
        new = rotate(operator, name, overlapMs=OVERLAP_MS)
    getattr(world.service, end)()
    assert stored_in_file(world, name) == before
    assert admits(world, old)
    world.service.start()
    while stored_in_file(world, name) == before:
        assert time.time_ns() // 1_000_000 < new["validFrom"] + PATIENCE_S * 1_000
    assert time.time_ns() // 1_000_000 >= new["validFrom"]
    while not admits(world, account_of(new)):  # the broker is told after the file is written
        assert time.time_ns() // 1_000_000 < new["validFrom"] + PATIENCE_S * 1_000
    assert not admits(world, old)


@pytest.mark.parametrize("has_plugin", [False, True], ids=["stock", "plugin"])
def test_a_release_shuts_the_former_owner_out(has_plugin: bool, make: Make, plugin: Path) -> None:  # noqa: FBT001 - a parameter
    """Who knows its password is out and told nothing; an admin reads the new one; it can be provisioned again."""
    world = make(plugin if has_plugin else None, CLAIMSVC_CLAIM__ROTATE_ON_RELEASE="true")
    name = fresh("device")
    with (
        Operator(world.port, world.accounts["admin"]) as operator,
        Client(world.port, world.accounts["customer"]) as customer,
    ):
        old = operator.make_device(name)
        operator.set_attributes(name, {"provisionState": "provisioned", "floor": 3})
        with Client(world.port, old) as device:
            device.open_window({"secretKey": "value"})
            assert customer.claim(name).body["response"] == "SUCCESS"
            released = customer.release(name)
            assert (released.status, released.body) == (200, {"result": {}, "setOrExpired": True})
            assert is_cut_off(device)
            told = b" ".join(message.payload for message in device.drain())
        assert not admits(world, old)
        shown = operator.call("GET", f"/api/device/{operator.device_id(name)}/credentials").body
        new = json.loads(shown["credentialsValue"])
        assert admits(world, Account(new["userName"], new["password"]))
        assert new["password"].encode() not in told
        assert world.rows("SELECT name FROM attribute") == [("floor",)]
        assert operator.events(name)[:2] == ["credentials_rotated", "device_released"]


def test_logins_somebody_else_keeps_are_not_rotated(make: Make, tmp_path: Path) -> None:
    """The refusal says who does."""
    password_path = str(tmp_path / "broker-password")
    world = make(CLAIMSVC_CREDENTIALS__STORE="none", CLAIMSVC_MQTT__PASSWORD_PATH=password_path)
    with Operator(world.port, world.accounts["admin"]) as operator:
        answer = operator.call("POST", path_of(operator, "device"))
        assert (answer.status, answer.body["error"]) == (409, "no_login")
        assert "credentials.store is none" in answer.body["message"]
