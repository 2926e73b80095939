"""Kill, stop, starve and restart: no request is lost, and none has two effects."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import CLAIM, Client
from tests.support.processes import World

WINDOW = b'{"secretKey":"value"}'
PASSWORD = "password"


class Load:
    """One client that may speak in every lane and hears every answer; it stands for all devices at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: dict[str, list[bytes | bytearray]] = {}
        self.client = self._connect()

    def _connect(self) -> Client:
        client = Client(self.world.port, self.world.accounts["loadtest"])
        client.subscribe(f"claimsvc/u/+/{CLAIM}/response", "claimsvc/u/+/response/+")
        return client

    def reconnect(self) -> None:
        """Come back after the broker went away."""
        self.client.close()
        self.collect_arrived()
        self.client = self._connect()

    def close(self) -> None:
        self.client.close()

    def open(self, devices: list[str]) -> list[str]:
        """Publish a claim message of each device; return the topics their answers come on."""
        for name in devices:
            self.client.publish(f"claimsvc/u/{name}/{CLAIM}", WINDOW, wait=False)
        return [f"claimsvc/u/{name}/{CLAIM}/response" for name in devices]

    def claim(self, devices: list[str], user: str = "customer") -> list[str]:
        """Publish a customer's claim of each device; the request id is the device's name."""
        own = f"claimsvc/u/{user}"
        for name in devices:
            path = f"api/customer/device/{name}/claim"
            self.client.publish(f"{own}/request/{name}/POST/{path}", WINDOW, wait=False)
        return [f"{own}/response/{name}" for name in devices]

    def flush(self) -> None:
        """Wait until the broker has acknowledged everything published: it has read it, and holds it."""
        self.client.publish("claimsvc/u/flush/nothing", qos=1)

    def collect(self, count: int) -> None:
        """Take answers until `count` different ones have come."""
        while len(self.answers) < count:
            message = self.client.receive()
            self.answers.setdefault(message.topic, []).append(message.payload)

    def collect_arrived(self) -> None:
        """Take what is there now."""
        for message in self.client.drain():
            self.answers.setdefault(message.topic, []).append(message.payload)

    def unanswered(self, topics: list[str]) -> list[str]:
        return [topic for topic in topics if topic not in self.answers]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """A world of its own under load."""
    world = World(tmp_path, CLAIMSVC_LOG__LEVEL="info")
    world.accounts["loadtest"] = world.add_login("loadtest", PASSWORD, "topic readwrite claimsvc/u/#")
    world.start()
    load = Load(world)
    yield load
    load.close()
    world.stop()


def names(stem: str, count: int) -> list[str]:
    """Return the names of so many devices."""
    return [f"{stem}-{number}" for number in range(count)]


def assert_each_has_one_effect(world: World, devices: list[str], claimed: list[str]) -> None:
    """Every device was made once; the claimed ones were claimed once and have one owner."""
    events = Counter(world.rows("SELECT event, device FROM event WHERE device LIKE 'load-%'"))
    expected = Counter(
        [("device_created", name) for name in devices] + [("device_claimed", name) for name in claimed]
    )
    assert events == expected
    owned = {name for (name,) in world.rows("SELECT name FROM device WHERE owner IS NOT NULL")}
    assert owned == set(claimed)
    windows = "SELECT count(*), count(DISTINCT device_id) FROM claim_window"
    open_windows = len(devices) - len(claimed)
    assert world.rows(windows) == [(open_windows, open_windows)]


def test_kill_loses_and_repeats_nothing(load: Load) -> None:
    """5 000 device claims and 500 customer claims, the service killed six times in the middle of them."""
    chance, world = random.Random(20_240_501), load.world
    devices = names("load", 5_000)
    claimed = devices[::10]
    topics: list[str] = []
    for start in range(0, len(devices), 10):  # each claim stands among the devices' messages
        topics += [*load.open(devices[start : start + 10]), *load.claim(devices[start : start + 1])]
    interrupted = 0
    for threshold in sorted(chance.sample(range(100, 4_000), 6)):
        load.collect(threshold)
        world.service.kill()
        load.collect_arrived()
        interrupted += bool(load.unanswered(topics))
        world.service.start()
    assert interrupted >= 5
    load.collect(len(topics))
    assert load.unanswered(topics) == []
    load.client.publish("claimsvc/u/customer/request/end/GET/nothing")
    load.collect(len(topics) + 1)
    world.service.stop()

    assert_each_has_one_effect(world, devices, claimed)
    for name in claimed:
        first, *repeats = load.answers[f"claimsvc/u/customer/response/{name}"]
        assert json.loads(first)["body"]["response"] == "SUCCESS"
        assert set(repeats) <= {first}


def test_two_customers_never_own_one_device(load: Load) -> None:
    """Both claim the same devices at once while the service is killed: each has one owner, one loser."""
    world = load.world
    devices = names("load", 200)
    with Client(world.port, world.accounts["admin"]) as admin:
        customer = admin.call("POST", "/claimsvc/customers", {"title": "Second"}).body["id"]
        body = {"username": "second", "customerId": customer, "roles": ["customer"]}
        assert admin.call("POST", "/claimsvc/users", body).status == 201
    topics = load.open(devices)
    for name in devices:
        topics += [*load.claim([name]), *load.claim([name], "second")]
    for threshold in (250, 450):
        load.collect(threshold)
        world.service.kill()
        world.service.start()
    load.collect(len(topics) + 2)  # the admin's two answers came too
    world.service.stop()
    assert_each_has_one_effect(world, devices, devices)
    for name in devices:
        answers = (load.answers[f"claimsvc/u/{user}/response/{name}"][0] for user in ("customer", "second"))
        assert sorted(json.loads(answer)["status"] for answer in answers) == [200, 400]


@pytest.mark.parametrize("end", ["stop", "kill"], ids=["SIGTERM", "kill -9"])
def test_a_broker_that_goes_away_under_load(end: str, load: Load) -> None:
    """The service comes back by itself, and everything that is sent again is answered."""
    world, devices = load.world, names("load", 3_000)
    topics = load.open(devices)
    load.collect(500)
    getattr(world.broker, end)()
    world.broker.start()
    world.service.wait_for("broker_connected")
    load.reconnect()
    missing = set(load.unanswered(topics))
    load.open([name for name, topic in zip(devices, topics, strict=True) if topic in missing])
    load.collect(len(topics))
    world.service.stop()
    assert_each_has_one_effect(world, devices, [])


def test_claims_that_came_while_the_service_was_down_are_answered(load: Load) -> None:
    """20 000 wait in the broker's queue: far beyond what a stock broker keeps."""
    world, devices = load.world, names("load", 20_000)
    world.service.stop()
    topics = load.open(devices)
    load.flush()
    assert load.client.inbox.empty()
    world.service.start()
    load.collect(len(topics))
    assert {len(answers) for answers in load.answers.values()} == {1}
    world.service.stop()
    assert_each_has_one_effect(world, devices, [])


def test_a_clean_stop_under_load_loses_and_repeats_nothing(load: Load) -> None:
    """SIGTERM finishes the batch: exit code 0, and every request is answered exactly once in the end."""
    world, devices = load.world, names("load", 6_000)
    topics = load.open(devices)
    for threshold in (800, 2_500, 4_000):
        load.collect(threshold)
        assert world.service.stop() == 0
        world.service.start()
    load.collect(len(topics))
    assert world.service.stop() == 0
    load.client.subscribe("claimsvc/status")
    load.collect_arrived()
    repeated = {topic: len(answers) for topic, answers in load.answers.items() if len(answers) > 1}
    assert repeated == {}
    assert_each_has_one_effect(world, devices, [])
    assert "Traceback" not in world.service.stderr


def test_a_full_disk_loses_nothing(load: Load) -> None:
    """While nothing can be written nothing is acknowledged; once there is room, all of it is answered."""
    world, devices = load.world, names("load", 300)
    world.service.limit_files(4_096)
    topics = load.open(devices)
    load.flush()
    world.service.wait_for("batch_failed")
    world.service.wait_for("batch_failed")
    assert load.client.inbox.empty()
    world.service.limit_files(None)
    load.collect(len(topics))
    assert {json.loads(answers[0])["status"] for answers in load.answers.values()} == {"SUCCESS"}
    world.service.stop()
    assert_each_has_one_effect(world, devices, [])
