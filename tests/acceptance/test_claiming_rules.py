"""What claiming adds to ThingsBoard's: permission, release, lockouts, limits, and where answers go."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Connect, Visit
from tests.support.clients import CLAIM, V5, V311, Admin, Client, correlation_of, fresh
from tests.support.processes import World


@pytest.fixture(scope="module")
def strict_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world where a device may be claimed only when its `claimingAllowed` attribute is true."""
    world = World(tmp_path_factory.mktemp("strict"), CLAIMSVC_CLAIM__ALLOW_BY_DEFAULT="false").start()
    yield world
    world.stop()


# --- claimingAllowed

NOT_TRUE = {"missing": None, "false": False, "the text true": "true", "one": 1}


@pytest.mark.parametrize("value", NOT_TRUE.values(), ids=NOT_TRUE.keys())
def test_a_window_needs_claiming_allowed(value: Any, strict_world: World) -> None:
    """Where claiming is not allowed by default, nothing but JSON true allows it."""
    accounts, port, name = strict_world.accounts, strict_world.port, fresh("strict")
    with Admin(port, accounts["admin"]) as admin, Client(port, admin.make_device(name)) as device:
        if value is not None:
            assert admin.set_attributes(name, {"claimingAllowed": value}).status == 200
        assert device.open_window({})["error"] == "claiming_not_allowed"
        admin.set_attributes(name, {"claimingAllowed": True})
        assert device.open_window({})["status"] == "SUCCESS"


def test_a_claim_spends_claiming_allowed_and_a_release_gives_it_back(strict_world: World) -> None:
    """After a release the device may be claimed again without the admin."""
    accounts, port, name = strict_world.accounts, strict_world.port, fresh("strict")
    with (
        Admin(port, accounts["admin"]) as admin,
        Client(port, accounts["customer"]) as customer,
        Client(port, admin.make_device(name)) as device,
    ):
        admin.set_attributes(name, {"claimingAllowed": True})
        path = f"/api/plugins/telemetry/DEVICE/{admin.device_id(name)}/values/attributes/SERVER_SCOPE"
        device.open_window({})
        assert customer.claim(name, "").body["response"] == "SUCCESS"
        assert admin.call("GET", path).body == []
        assert customer.release(name).status == 200
        (given_back,) = admin.call("GET", path).body
        assert (given_back["key"], given_back["value"]) == ("claimingAllowed", True)
        assert device.open_window({})["status"] == "SUCCESS"


# --- release


def test_release_is_for_owner_and_admin(admin: Admin, connect: Connect, visit: Visit) -> None:
    """Another customer is refused and changes nothing; owner and admin succeed; a repeat does no harm."""
    name = fresh("held")
    device, owner = visit(admin.make_device(name)), connect("customer")
    stranger = visit(admin.make_claimer(fresh("stranger")))
    for releaser in (owner, admin):
        device.open_window({"secretKey": "value"})
        assert owner.claim(name).status == 200
        refused = stranger.release(name)
        assert (refused.status, refused.body["error"]) == (403, "not_the_owner")
        assert owner.claim(name).body == "CLAIMED"
        for _ in range(2):
            released = releaser.release(name)
            assert (released.status, released.body) == (200, {"result": {}, "setOrExpired": True})
    assert admin.events(name).count("device_released") == 2
    assert stranger.release(fresh("nothing")).status == 404


def test_a_released_device_needs_a_new_window(admin: Admin, connect: Connect, visit: Visit) -> None:
    """The old key does not claim again; the other customer can, after a new window."""
    name = fresh("passed on")
    device, first = visit(admin.make_device(name)), connect("customer")
    second = visit(admin.make_claimer(fresh("second")))
    path = name.replace(" ", "%20")
    device.open_window({"secretKey": "value"})
    first.claim(path)
    first.release(path)
    assert first.claim(path).body == "FAILURE"
    device.open_window({"secretKey": "other"})
    claimed = second.claim(path, "other").body
    assert claimed["device"]["customerId"]["id"] == admin.customer_of(second.username)


# --- lockouts


def test_a_guesser_is_locked_out_and_nobody_else(admin: Admin, connect: Connect, visit: Visit) -> None:
    """After five wrong keys even the right one is refused to that user; the window stays for the others."""
    name = fresh("guarded")
    device, owner = visit(admin.make_device(name)), connect("customer")
    guesser = visit(admin.make_claimer(fresh("guesser")))
    device.open_window({"secretKey": "value", "durationMs": 60000})
    for wrong in range(5):
        answer = guesser.claim(name, f"wrong{wrong}")
        assert (answer.status, answer.body) == (400, "FAILURE")
    locked = guesser.claim(name)
    assert (locked.status, locked.body["errorCode"], locked.body["error"]) == (429, 33, "locked_out")
    assert 0 < locked.body["retryAfterMs"] <= 900_000
    assert "seconds" in locked.body["message"]
    assert owner.claim(name).body["response"] == "SUCCESS"
    assert admin.events(name).count("claim_locked_out") == 1


def test_a_lockout_survives_a_restart(world: World) -> None:
    """Counters are in the store."""
    with Client(world.port, world.accounts["customer"]) as guesser:
        for _ in range(4):
            guesser.claim("device", "wrong")
        world.service.kill()
        world.service.start()
        assert guesser.claim("device", "wrong").body == "FAILURE"
        assert guesser.claim("device", "wrong").status == 429


def test_a_user_who_fails_everywhere_is_locked_out_everywhere(world: World) -> None:
    """Twenty failures within an hour over all devices lock the user out of each."""
    port, accounts = world.port, world.accounts
    with (
        Client(port, accounts["customer"]) as guesser,
        Client(port, accounts["gateway"]) as gateway,
        Client(port, accounts["device"]) as device,
    ):
        gateway.open_windows({f"d{n}": {"secretKey": "value"} for n in range(20)})
        device.open_window({"secretKey": "value"})
        assert {guesser.claim(f"d{n}", "wrong").body for n in range(20)} == {"FAILURE"}
        assert guesser.claim("device").status == 429


# --- who may claim

REFUSED = {
    "an operator": ("operator", 403, "not_permitted"),
    "a device": ("device", 403, "not_permitted"),
    "a gateway": ("gateway", 403, "not_permitted"),
    "an admin without a customer": ("admin", 403, "not_a_customer"),
}


@pytest.mark.parametrize(("who", "status", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_only_users_of_a_customer_claim(who: str, status: int, error: str, connect: Connect) -> None:
    """Everybody else is refused with 403, whatever the key."""
    answer = connect(who).claim("device")
    assert (answer.status, answer.body["error"]) == (status, error)


def test_a_device_nobody_knows_is_not_found(connect: Connect) -> None:
    """ThingsBoard's 404 and text."""
    answer = connect("customer").claim(fresh("nothing"))
    assert (answer.status, answer.body["errorCode"]) == (404, 32)
    assert answer.body["message"] == "Requested item wasn't found!"


# --- session limits


@pytest.mark.parametrize("version", [V311, V5], ids=["MQTT 3.1.1", "MQTT 5"])
@pytest.mark.parametrize("who", ["device", "gateway"])
def test_a_client_asks_what_it_may_send(who: str, version: Any, connect: Connect) -> None:
    """ThingsBoard's clients read this after they connect; a gateway also gets limits of its own."""
    client = connect(who, version=version)
    client.subscribe(client.lane("v1/devices/me/rpc/response/7"))
    ask = json.dumps({"method": "getSessionLimits", "params": {"timeout": 5000}})
    client.publish(client.lane("v1/devices/me/rpc/request/7"), ask)
    limits = json.loads(client.receive().payload)
    assert limits["maxPayloadSize"] == 65_536
    assert limits["rateLimits"].keys() == {"messages", "telemetryMessages", "telemetryDataPoints"}
    assert ("gatewayRateLimits" in limits) == (who == "gateway")


# --- where answers go


def test_correlation_data_comes_back(connect: Connect) -> None:
    """On the default answer topic of a device's claim, byte for byte."""
    device, correlation = connect("device"), bytes(range(256))
    device.subscribe(device.lane(f"{CLAIM}/response"))
    device.publish(device.lane(CLAIM), b"{}", CorrelationData=correlation)
    message = device.receive()
    assert correlation_of(message) == correlation
    assert (message.qos, message.retain) == (1, False)


@pytest.mark.parametrize("tail", ["response/mine", "response/a/b c/ü", "response/"])
def test_a_response_topic_in_the_own_lane_is_used(tail: str, connect: Connect) -> None:
    """It must be below `response/`; then the default topic stays silent."""
    device = connect("device")
    device.subscribe(device.lane("response/#"), device.lane(f"{CLAIM}/response"))
    correlation = uuid.uuid4().bytes
    device.publish(device.lane(CLAIM), b"{}", ResponseTopic=device.lane(tail), CorrelationData=correlation)
    message = device.receive()
    assert message.topic == device.lane(tail)
    assert correlation_of(message) == correlation
    assert device.hears_nothing()


# --- retained requests


def test_a_retained_request_is_not_replayed(tmp_path: Path) -> None:
    """It is handled when it comes, and not again when the service subscribes anew."""
    world = World(tmp_path).start()
    try:
        with Client(world.port, world.accounts["device"]) as device:
            device.subscribe(device.lane(f"{CLAIM}/response"))
            device.publish(device.lane(CLAIM), b'{"secretKey":"retained"}', retain=True)
            assert json.loads(device.receive().payload)["status"] == "SUCCESS"
            device.subscribe(device.lane("response/marker"))
            for end in (world.service.stop, world.service.kill):
                end()
                (world.directory / "client-id").unlink()  # a new session, as after a lost broker
                world.service.start()
                device.publish(device.lane("request/marker/GET/nothing"))
                assert device.receive().topic == device.lane("response/marker")
    finally:
        world.stop()
