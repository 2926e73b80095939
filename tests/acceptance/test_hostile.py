"""Messages that once cut the service off, stopped it or let somebody in. Each must cost nobody else anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from claimsvc.founding import Account
from claimsvc.sealing import password_hash
from tests.conftest import Connect
from tests.support.clients import CLAIM, Client, LoginRefusedError, correlation_of
from tests.support.processes import World

LONGEST = 65_535


def _still_answers(connect: Connect) -> bool:
    """Whether another client of the same service is answered."""
    return connect("customer").claim("no such device").status == 404


@pytest.mark.parametrize("name", ["a\ufeffb", "\ufeff"])
def test_property_the_library_cannot_read_costs_the_property_only(connect: Connect, name: str) -> None:
    """A user property with U+FEFF is passed over: the message is answered, and the service stays connected."""
    device = connect("device")
    device.subscribe(device.lane(f"{CLAIM}/response"))
    device.publish(device.lane(CLAIM), b"{}", UserProperty=[("a", name)], CorrelationData=b"mine")
    answer = device.receive()
    assert json.loads(answer.payload)["status"] in {"SUCCESS", "FAILURE"}
    assert correlation_of(answer) == b"mine"
    assert _still_answers(connect)


def test_topic_whose_answer_would_be_too_long_is_dropped(connect: Connect) -> None:
    """`response` is a byte longer than `request`: a topic of the greatest length can have no answer."""
    device = connect("device")
    head = device.lane("v1/devices/me/rpc/request/")
    device.publish(head + "a" * (LONGEST - len(head)), b'{"method":"getSessionLimits"}')
    assert _still_answers(connect)


def test_deep_response_topic_is_ignored(connect: Connect) -> None:
    """Mosquitto cuts off whoever publishes on 200 levels, so such a response topic is not used."""
    device = connect("device")
    device.subscribe(device.lane(f"{CLAIM}/response"))
    device.publish(device.lane(CLAIM), b"{}", ResponseTopic=device.lane("response/x" + "/" * 210))
    assert json.loads(device.receive().payload)["status"] in {"SUCCESS", "FAILURE"}
    assert _still_answers(connect)


def test_thousands_of_number_keys_are_read_once(connect: Connect) -> None:
    """Numbers as keys do not make reading quadratic; the others are answered meanwhile."""
    entries = {f"d{n}": {"secretKey": 1} for n in range(3_000)}
    message = json.dumps({**entries, "big": {"x": [1] * 300_000}}).encode()
    device = connect("device")
    # Read anew for each of them, this took more than a minute; a client here waits for 20 seconds.
    assert device.open_windows(message)["error"] == "not_a_gateway"
    assert _still_answers(connect)


def test_user_of_another_tenant_cannot_be_reached_by_an_encoded_name(connect: Connect) -> None:
    """`management/manager` of the default tenant is not `manager` of the management tenant."""
    admin = connect("admin")
    path = "/claimsvc/users/management%2Fmanager"
    for method, body in (("GET", None), ("PUT", {"password": "hacked-by-admin"}), ("DELETE", None)):
        assert admin.call(method, path, body).status == 404
    answer = admin.call("POST", "/claimsvc/users", {"username": "management/manager"})
    assert (answer.status, answer.body["error"]) == (409, "name_taken")
    assert connect("manager").call("GET", "/claimsvc/tenants").status == 200


@pytest.mark.parametrize(
    "username", ["a\u200bb", "a\u00a0b", " a", "a ", "a:b", "claimsvc", "bootstrap", "provision"]
)
def test_login_that_cannot_exist_is_not_promised(connect: Connect, username: str) -> None:
    """What the password file cannot hold, or what is reserved, is refused before anything is made."""
    answer = connect("admin").call("POST", "/claimsvc/users", {"username": username})
    assert (answer.status, answer.body["error"]) == (400, "invalid_name")


def test_somebody_elses_login_is_never_taken(tmp_path: Path) -> None:
    """A login the operator made stays the operator's: an admin cannot make a user of that name."""
    world = World(tmp_path)
    file = tmp_path / "mosquitto.passwd"
    line = f"bridge:{password_hash('bridge-password', 2)}"
    file.write_text(f"{line}\n{file.read_text()}")
    world.start()
    try:
        with Client(world.port, world.accounts["admin"]) as admin:
            answer = admin.call("POST", "/claimsvc/users", {"username": "bridge"})
            assert (answer.status, answer.body["error"]) == (409, "name_taken")
            assert admin.call("POST", "/claimsvc/users", {"username": "other"}).status == 201
        assert line in file.read_text().splitlines()
        with Client(world.port, Account("bridge", "bridge-password")):
            pass
        with pytest.raises(LoginRefusedError):
            Client(world.port, Account("bridge", "something else"))
    finally:
        world.stop()


def test_answer_that_promises_a_login_waits_for_it(tmp_path: Path) -> None:
    """While the password file cannot be written, only answers that promise a login wait; then they go out."""
    world = World(tmp_path).start()
    file = tmp_path / "mosquitto.passwd"
    try:
        with (
            Client(world.port, world.accounts["admin"]) as admin,
            Client(world.port, world.accounts["device"]) as device,
        ):
            draft = file.with_name(f"{file.name}.{world.service.pid}.new")
            draft.mkdir()
            admin.subscribe(admin.lane("response/wait"))
            admin.publish(admin.lane("request/wait/POST/claimsvc/users"), b'{"username":"late"}')
            world.service.wait_for("logins_behind")
            assert device.open_window({})["status"] == "SUCCESS"
            assert admin.inbox.empty()
            draft.rmdir()
            answer = json.loads(admin.receive().payload)
            assert answer["status"] == 201
            with Client(world.port, Account("late", answer["body"]["password"])):
                pass
    finally:
        world.stop()


def test_reload_that_fails_holds_up_only_answers_that_promise_a_login(tmp_path: Path) -> None:
    """The service starts and answers everybody else, repeats too; when the reload works, what waited goes out."""
    script, works = tmp_path / "reload", tmp_path / "works"
    script.write_text(f"#!/bin/sh\n[ -e {works} ] && kill -HUP $(cat {tmp_path}/mosquitto.pid)\n")
    script.chmod(0o755)
    world = World(tmp_path, CLAIMSVC_CREDENTIALS__RELOAD_COMMAND=json.dumps([str(script)])).start()
    try:
        with (
            Client(world.port, world.accounts["admin"]) as admin,
            Client(world.port, world.accounts["customer"]) as customer,
        ):
            admin.subscribe(admin.lane("response/wait"))
            admin.publish(admin.lane("request/wait/POST/claimsvc/users"), b'{"username":"late"}')
            world.service.wait_for("logins_behind")
            for _ in range(3):
                assert customer.claim("device", "wrong", request_id="same").body == "FAILURE"
            assert admin.inbox.empty()
            works.touch()
            answer = json.loads(admin.receive().payload)
            with Client(world.port, Account("late", answer["body"]["password"])):
                pass
    finally:
        world.stop()


def test_a_store_keeps_its_default_tenant(tmp_path: Path) -> None:
    """Logins are named by it, so another one is refused at the start."""
    world = World(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "claimsvc", "serve", "-c", str(tmp_path / "claimsvc.toml")],
        env={**os.environ, "CLAIMSVC_TENANTS__DEFAULT": "acme"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert world.database.exists()
    assert done.returncode == 2
    assert "tenants.default" in done.stderr
