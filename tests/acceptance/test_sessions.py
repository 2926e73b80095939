"""The service's session with the broker: taken over, refused, not there; and messages made to break it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimsvc.founding import Account
from tests.support.clients import CLAIM, Client
from tests.support.processes import PATIENCE_S, Service, World


@pytest.fixture
def idle_world(tmp_path: Path) -> Iterator[World]:
    """A world in which nothing runs yet."""
    world = World(tmp_path)
    yield world
    world.stop()


@pytest.fixture
def impatient_world(tmp_path: Path) -> Iterator[World]:
    """A world whose service never waits long before it connects again."""
    world = World(tmp_path, CLAIMSVC_MQTT__RECONNECT_MAX_S="0.5").start()
    yield world
    world.stop()


def works(world: World) -> bool:
    """Return whether requests are answered."""
    with Client(world.port, world.accounts["operator"]) as client:
        return client.call("GET", "/nothing").status == 404


def test_a_session_taken_over_comes_back(impatient_world: World) -> None:
    """Whoever connects with the service's client id puts it out for a moment; it says so as an error and returns."""
    world = impatient_world
    password = (world.directory / "broker-password").read_text().strip()
    client_id = (world.directory / "client-id").read_text().strip()
    for _ in range(3):
        thief = Client(world.port, Account("claimsvc", password), client_id=client_id)
        thief.close()
        world.service.wait_for("session_taken_over", level="error")
        assert works(world)


def test_nobody_without_the_services_login_takes_its_session(world: World) -> None:
    """Only its login may speak with its client id: a device that knows the id gains nothing for good."""
    client_id = (world.directory / "client-id").read_text().strip()
    with Client(world.port, world.accounts["device"], client_id=client_id) as thief:
        thief.subscribe("#")
    world.service.wait_for("broker_connected")
    assert works(world)


def test_a_second_service_on_the_same_store_is_kept_out(world: World) -> None:
    """One clear line and exit code 2; the first one goes on."""
    done = subprocess.run(
        [sys.executable, "-m", "claimsvc", "serve", "--config", str(world.service.config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("claimsvc: another claimsvc has ")
    assert works(world)


def test_a_service_without_a_broker_keeps_trying(idle_world: World) -> None:
    """It says so at every try, and connects as soon as there is a broker."""
    idle_world.service.start(connected=False)
    for _ in range(3):
        assert idle_world.service.wait_for("broker_lost")["retry_in_s"] > 0
    idle_world.broker.start()
    idle_world.service.wait_for("broker_connected")
    assert works(idle_world)


def test_a_service_with_the_wrong_password_keeps_trying(idle_world: World) -> None:
    """The log names the refusal; once the broker knows the password, it is connected."""
    idle_world.broker.start()
    wrong = {"CLAIMSVC_CREDENTIALS__STORE": "none", "CLAIMSVC_MQTT__PASSWORD": "to be known"}
    service = Service(idle_world.service.config, **wrong)
    try:
        service.start(connected=False)
        for _ in range(2):
            assert "not authori" in service.wait_for("broker_lost")["error"].lower()
        passwords = idle_world.directory / "mosquitto.passwd"
        lines = [line for line in passwords.read_text().splitlines() if not line.startswith("claimsvc:")]
        passwords.write_text("\n".join(lines) + "\n")
        idle_world.add_login("claimsvc", "to be known")
        idle_world.broker.reload()
        service.wait_for("broker_connected")
        assert works(idle_world)
        assert "to be known" not in json.dumps(service.lines) + service.stderr
    finally:
        service.stop()


def test_the_status_tells_of_start_stop_and_death(world: World) -> None:
    """Retained `claimsvc/status`: online, offline after a stop, offline by the will after a kill."""
    with Client(world.port, world.accounts["device"]) as watcher:
        watcher.subscribe("claimsvc/status")

        def state() -> str:
            return str(json.loads(watcher.receive().payload)["state"])

        assert state() == "online"
        for end in (world.service.stop, world.service.kill):
            end()
            assert state() == "offline"
            world.service.start()
            assert state() == "online"
        world.service.stop()
        with Client(world.port, world.accounts["device"]) as late:
            late.subscribe("claimsvc/status")
            message = late.receive()
            assert message.retain
            assert json.loads(message.payload)["state"] == "offline"


# --- messages made to break the service

LONGEST_TOPIC = 65_535
RPC = "claimsvc/u/device/v1/devices/me/rpc/request/"
NUMBERS = {f"d{n}": {"secretKey": n} for n in range(10_000)}

POISON = {
    "a topic so long that its answer's is too long": (RPC + "9" * (LONGEST_TOPIC - len(RPC)), b"{}"),
    "a response topic as long as can be": (f"claimsvc/u/device/{CLAIM}", b"{}"),
    "ten thousand keys that are numbers": (
        "claimsvc/u/device/v1/gateway/claim",
        json.dumps(NUMBERS).encode(),
    ),
    "a deep JSON text": (f"claimsvc/u/device/{CLAIM}", b'{"secretKey":' + b"[" * 60_000),
    "a deep gateway message": ("claimsvc/u/device/v1/gateway/claim", b'{"a":' * 200_000),
    "a deep attribute": ("claimsvc/u/device/v1/devices/me/rpc/request/1", b"[" * 60_000),
    "no UTF-8": (f"claimsvc/u/device/{CLAIM}", b'{"secretKey":"\xff\xfe"}'),
    "half a surrogate pair": (f"claimsvc/u/device/{CLAIM}", b'{"secretKey":"\\ud800"}'),
    "a number of 60 000 digits": (f"claimsvc/u/device/{CLAIM}", b'{"secretKey":' + b"9" * 60_000 + b"}"),
    "a path of half a character": ("claimsvc/u/device/request/1/GET/api/device/%C3", b""),
    "a path with NUL": ("claimsvc/u/device/request/1/POST/api/customer/device/%00/claim", b""),
    "a request id of 60 000": (f"claimsvc/u/device/request/{'9' * 60_000}/GET/api/device/1", b""),
    "an empty path": ("claimsvc/u/device/request/1/GET/", b""),
}


@pytest.mark.parametrize(("topic", "payload"), POISON.values(), ids=POISON.keys())
def test_poison_costs_nobody_else_anything(topic: str, payload: bytes, world: World) -> None:
    """The service survives it at once, does not get it again, and the next request is served in time."""
    process = world.service.process
    with Client(world.port, world.accounts["device"]) as attacker:
        attacker.publish(topic, payload, ResponseTopic=attacker.lane("response/" + "x" * 65_500))
    assert works(world)
    assert process
    assert process.poll() is None
    events = [line["event"] for line in world.service.lines]
    assert events.count("broker_connected") == 1
