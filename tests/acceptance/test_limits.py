"""How often a principal may ask, and what happens to whoever asks more often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import CLAIM, Client
from tests.support.processes import World


@pytest.fixture
def strict_world(tmp_path: Path) -> Iterator[World]:
    """A world in which everybody may ask sixty times a minute, ten of them at once."""
    world = World(tmp_path, CLAIMSVC_LIMITS__REQUESTS_PER_MINUTE="60").start()
    yield world
    world.stop()


@pytest.fixture
def idle_world(tmp_path: Path) -> Iterator[World]:
    """A world in which nothing runs yet."""
    world = World(tmp_path)
    yield world
    world.stop()


def flood(client: Client, messages: int) -> list[dict[str, object]]:
    """Send many claim messages at once; return what each is answered."""
    client.subscribe(client.lane(f"{CLAIM}/response"))
    for _ in range(messages):
        client.publish(client.lane(CLAIM), b"{}", wait=False)
    return [json.loads(client.receive().payload) for _ in range(messages)]


def test_who_asks_too_often_is_told_so_and_how_long_to_wait(strict_world: World) -> None:
    """Each message gets its answer, the log one line for many, and nobody else notices."""
    world = strict_world
    with Client(world.port, world.accounts["device"]) as device:
        answers = flood(device, 200)
        refused = [answer for answer in answers if answer["status"] == "FAILURE"]
        assert {answer["error"] for answer in refused} == {"rate_limited"}
        assert 180 <= len(refused) <= 190  # a flood that takes a few seconds has a few more taken
        assert all(0 < int(str(answer["retryAfterMs"])) <= 1_100 for answer in refused)
        told = 0
        while told < len(refused):
            line = world.service.wait_for("rate_limited", principal="device", command="OpenWindow", level="warning")
            told += line["messages"]
        assert told == len(refused)
    with Client(world.port, world.accounts["gateway"]) as gateway:
        assert gateway.open_windows({"Other": {}})["Other"]["status"] == "SUCCESS"


def test_the_limit_over_rest(strict_world: World) -> None:
    """429 in the words of the dialect that was spoken, and no call that has no route escapes it."""
    with Client(strict_world.port, strict_world.accounts["admin"]) as admin:
        for _ in range(10):
            admin.call("GET", "/nothing")
        for path in ("/api/tenant/devices?deviceName=device", "/claimsvc/customers", "/nothing"):
            answer = admin.call("GET", path)
            assert (answer.status, answer.body["error"]) == (429, "rate_limited")
            assert 0 < answer.body["retryAfterMs"] <= 1_100


def test_an_answer_the_broker_does_not_take_is_told(idle_world: World) -> None:
    """An operator whose ACL keeps the service from answering finds out from its log."""
    world = idle_world
    acl = world.directory / "acl"
    acl.write_text(
        acl.read_text().replace(
            "user claimsvc\n", f"user claimsvc\ntopic deny claimsvc/u/device/{CLAIM}/response\n", 1
        )
    )
    world.start()
    with Client(world.port, world.accounts["device"]) as device:
        device.publish(device.lane(CLAIM), b"{}")
        world.service.wait_for("handled", principal="device", outcome="done")
        device.publish(device.lane(CLAIM), b"{}")
        world.service.wait_for("answers_refused", messages=1, level="error")
