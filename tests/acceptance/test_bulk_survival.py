"""A service that is killed in the middle of a file: no row is missing, none is done twice, nobody else loses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import CLAIM, Client
from tests.support.importers import BULK, PASSWORD, enters
from tests.support.newcomers import Operator
from tests.support.processes import World

ROWS = 4_000
FILE = "\n".join(
    ["ID;CREDENTIALS;TYPE;NAME;PATH", *(f"id{number};{PASSWORD};t;n;g/{number % 7}" for number in range(ROWS)), ""]
).encode()
KEYS = "\n".join(["name", *(f"Box {number}" for number in range(ROWS)), ""]).encode()


@pytest.fixture(params=["stock", "plugin"])
def fragile(request: pytest.FixtureRequest, plugin: Path, tmp_path: Path) -> Iterator[World]:
    """A world of a test's own in which passwords are hashed in no time."""
    options = {"CLAIMSVC_CREDENTIALS__PBKDF2_ITERATIONS": "3", "CLAIMSVC_LOG__LEVEL": "info"}
    world = World(tmp_path, plugin if request.param == "plugin" else None, **options).start()
    yield world
    world.stop()


class Sender(Operator):
    """Whoever sends one large file, and hears how far it is."""

    def begin(self, path: str, body: bytes) -> None:
        self.subscribe(self.lane("response/1"), self.lane("response/1/progress"))
        self.publish(self.lane(f"request/1/POST{path}"), body)

    def progress(self) -> int:
        """Return how many rows are done at the next word of it."""
        message = self.receive()
        assert message.topic.endswith("/progress"), message.payload
        done: int = json.loads(message.payload)["numberOfProcessed"]
        return done

    def answer(self) -> Any:
        """Return the answer, behind whatever progress there is."""
        while True:
            message = self.receive()
            if message.topic.endswith("response/1"):
                return json.loads(message.payload)


def kill_in_the_middle(world: World, sender: Sender) -> int:
    """Kill the service when some slices are done; returns how many rows are durable."""
    while sender.progress() < ROWS // 8:
        pass
    world.service.kill()
    ((done,),) = world.rows("SELECT done FROM import")
    assert 0 < done < ROWS
    return int(done)


@pytest.mark.parametrize("sent", ["once", "again"])
def test_a_file_survives_kills(sent: str, fragile: World) -> None:
    """Killed twice; the broker delivers it again, and a sender that lost its patience changes nothing."""
    world = fragile
    with Sender(world.port, world.accounts["admin"]) as sender:
        sender.begin(BULK, FILE)
        first = kill_in_the_middle(world, sender)
        with Client(world.port, world.accounts["device"]) as device:
            device.subscribe(device.lane(f"{CLAIM}/response"))
            device.publish(device.lane(CLAIM), b"{}")  # waits in the broker's queue beside the file
            world.service.start()
            assert json.loads(device.receive().payload)["status"] == "SUCCESS"
        if sent == "again":
            sender.publish(sender.lane(f"request/1/POST{BULK}"), FILE)
        sender.drain()
        while sender.progress() < first + 400:
            pass
        world.service.kill()
        ((second,),) = world.rows("SELECT done FROM import")
        assert first < second < ROWS
        world.service.start()
        answer = sender.answer()
        names = ("numberOfAll", "numberOfCreated", "numberOfFailed", "numberOfSuccessful")
        assert [answer["body"][name] for name in names] == [ROWS, ROWS, 0, ROWS]
        if sent == "again":
            assert sender.answer() == answer
    assert world.rows("SELECT count(*) FROM device WHERE name LIKE 'id%'") == [(ROWS,)]
    created = (
        "SELECT count(*), count(DISTINCT device) FROM event WHERE event = 'device_created' AND device LIKE 'id%'"
    )
    assert world.rows(created) == [(ROWS, ROWS)]
    assert world.rows("SELECT count(*) FROM event WHERE event = 'file_imported'") == [(1,)]
    assert world.rows("SELECT count(*) FROM device_group") == [(8,)]
    assert world.rows("SELECT count(*) FROM device_group_member") == [(ROWS,)]
    assert world.rows("SELECT (SELECT count(*) FROM import), (SELECT count(*) FROM import_part)") == [(0, 0)]
    assert [number for number in (0, first - 1, first, second, ROWS - 1) if not enters(world, f"id{number}")] == []


def test_keys_survive_a_kill(fragile: World) -> None:
    """The answer holds the keys of before and behind it, and each opens its box."""
    world = fragile
    with Sender(world.port, world.accounts["admin"]) as sender:
        sender.begin("/claimsvc/claimKeys", KEYS)
        done = kill_in_the_middle(world, sender)
        world.service.start()
        lines = [line.split(";") for line in sender.answer()["body"]["csv"].splitlines()[1:]]
    assert [name for name, _, _ in lines] == [f"Box {number}" for number in range(ROWS)]
    with Client(world.port, world.accounts["customer"]) as customer:
        for number in (0, done - 1, done, ROWS - 1):
            name, key, _ = lines[number]
            assert customer.claim(name.replace(" ", "%20"), key).status == 200


def test_a_disk_that_is_full_in_the_middle_stops_nobody_for_good(fragile: World) -> None:
    """Nothing is answered while it is, nothing is lost, and it goes on when there is room."""
    world = fragile
    with Sender(world.port, world.accounts["admin"]) as sender:
        sender.begin(BULK, FILE)
        while sender.progress() < ROWS // 8:
            pass
        world.service.limit_files(1)
        world.service.wait_for("import_failed")
        world.service.limit_files(None)
        answer = sender.answer()
    assert answer["body"]["numberOfCreated"] == ROWS
    assert world.rows("SELECT count(*) FROM device WHERE name LIKE 'id%'") == [(ROWS,)]


def test_a_service_that_is_stopped_goes_on_at_its_next_start(fragile: World) -> None:
    """SIGTERM does not wait for the file's end."""
    world = fragile
    with Sender(world.port, world.accounts["admin"]) as sender:
        sender.begin(BULK, FILE)
        while sender.progress() < ROWS // 8:
            pass
        assert world.service.stop() == 0
        ((done,),) = world.rows("SELECT done FROM import")
        assert 0 < done < ROWS
        world.service.start()
        assert sender.answer()["body"]["numberOfCreated"] == ROWS
