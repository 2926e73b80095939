"""Wills: one does nothing once its login has ended, however late the broker publishes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from claimsvc.founding import Account
from tests.support.clients import CLAIM, Admin, Client, fresh
from tests.support.peers import Peer, Will
from tests.support.processes import PATIENCE_S, World

KEY = {"secretKey": "thief"}
DELAY_S, LATER_S = 2, 4
"""The will of the login that ends, and the will of a living login: once that has come, so has the first."""


@pytest.fixture(
    scope="module", params=["stock", "stock, whose broker has not read the new logins", "plugin"], ids=str.strip
)
def town(request: pytest.FixtureRequest, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world, and one where SIGHUP comes when a test says so: there a will comes after its login has ended."""
    environment = {"CLAIMSVC_CREDENTIALS__RELOAD_COMMAND": '["true"]'} if "," in request.param else {}
    has_plugin = request.param == "plugin"
    world = World(tmp_path_factory.mktemp("town"), plugin if has_plugin else None, **environment)
    world.add_login("witness", "password", "topic readwrite witness/#")
    world.start()
    yield world
    world.stop()


@pytest.fixture
def admin(town: World) -> Iterator[Admin]:
    """The town's admin."""
    with Admin(town.port, town.accounts["admin"]) as client:
        yield client


class Estate:
    """Leaves wills behind, and tells when they have been published."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        self.world = world
        self._stack = stack

    def reload(self) -> None:
        """Have a broker read the logins that are new to it."""
        if not self.world.has_plugin:
            self.world.broker.reload()

    def leave(self, account: Account, topic: str, payload: Any, **more: Any) -> Peer:
        """Connect with a delayed will, and vanish."""
        will = Will(topic, json.dumps(payload).encode(), delay_s=more.pop("delay_s", DELAY_S))
        options: dict[str, Any] = {"expiry_s": 600, "client_id": fresh("will")} | more
        peer = self._stack.enter_context(
            Peer(self.world.port, account.username, account.password, will=will, **options)
        )
        peer.trip()
        return peer

    def wait(self) -> None:
        """Return when every will that is due has been published, and what came of it is decided."""
        listener = self._stack.enter_context(Peer(self.world.port, "witness", "password"))
        listener.subscribe(topic := f"witness/{fresh('x')}")
        witness = Account("witness", "password")
        self.leave(witness, topic, {}, delay_s=LATER_S).vanish()
        assert listener.receive().topic == topic
        with Admin(self.world.port, self.world.accounts["admin"]) as admin:
            admin.call("GET", "/claimsvc/events?limit=1")


@pytest.fixture
def estate(town: World) -> Iterator[Estate]:
    """Leave wills at the town's broker."""
    with ExitStack() as stack:
        yield Estate(town, stack)


def plain(town: World) -> list[str]:
    """Return the topics of a device's claim message: in its lane, and plain where the plugin moves that."""
    return ["claimsvc/u/{name}/" + CLAIM, *([CLAIM] if town.has_plugin else [])]


def has_window(town: World, name: str) -> bool:
    """Return whether anybody may claim the device with the thief's key."""
    with Client(town.port, town.accounts["customer"]) as customer:
        return bool(customer.claim(name, KEY["secretKey"]).status == 200)


def revoke(admin: Admin, name: str) -> None:
    """End a device's logins."""
    assert admin.call("DELETE", f"/claimsvc/devices/{admin.device_id(name)}/credentials").status == 200


def delete(admin: Admin, name: str) -> None:
    """Remove a device."""
    assert admin.call("DELETE", f"/api/device/{admin.device_id(name)}").status == 200


@pytest.mark.parametrize("expiry_s", [600, DELAY_S - 1], ids=["with its delay", "with its session"])
def test_a2_a_revoked_devices_will_opens_no_window(expiry_s: int, town: World, admin: Admin, estate: Estate) -> None:
    """It comes when the delay or the session ends, and its key claims nothing."""
    names = [fresh("prey") for _ in plain(town)]
    accounts = [admin.make_device(name) for name in names]
    estate.reload()
    for name, account, topic in zip(names, accounts, plain(town), strict=True):
        estate.leave(account, topic.format(name=name), KEY, expiry_s=expiry_s).vanish()
        revoke(admin, name)
    estate.wait()
    assert [name for name in names if has_window(town, name)] == []


def test_a2_a_will_that_the_revocation_sets_off_does_nothing(town: World, admin: Admin, estate: Estate) -> None:
    """The broker ends the connection, and publishes what it left."""
    account = admin.make_device(name := fresh("prey"))
    estate.reload()
    peer = estate.leave(account, f"claimsvc/u/{name}/{CLAIM}", KEY, delay_s=0)
    revoke(admin, name)
    estate.reload()
    peer.disconnected.get(timeout=PATIENCE_S)
    estate.wait()
    assert not has_window(town, name)


def test_a2_a_deleted_device_does_not_come_back(town: World, admin: Admin, estate: Estate) -> None:
    """Nothing that comes in its name makes it a device again: neither its will, nor what it still says."""
    accounts = {name: admin.make_device(name) for name in (fresh("prey"), fresh("prey"))}
    estate.reload()
    dead, speaking = accounts
    estate.leave(accounts[dead], f"claimsvc/u/{dead}/{CLAIM}", KEY).vanish()
    with Client(town.port, accounts[speaking]) as client:
        for name in accounts:
            delete(admin, name)
        client.publish(client.lane(CLAIM), json.dumps(KEY), wait=False)
        estate.wait()
    for name in accounts:
        assert admin.call("GET", f"/api/tenant/devices?deviceName={name}").status == 404
        assert admin.events(name)[0] == "device_deleted"


def test_a2_a_deleted_admins_will_is_no_call(town: World, admin: Admin, estate: Estate) -> None:
    """Nor is the admin a device from then on."""
    account = admin.make_user(boss := fresh("boss"), roles=["admin"])
    estate.reload()
    estate.leave(
        account, f"claimsvc/u/{boss}/request/1/POST/claimsvc/users", {"username": (mole := fresh("mole"))}
    ).vanish()
    estate.leave(account, f"claimsvc/u/{boss}/{CLAIM}", KEY).vanish()
    assert admin.call("DELETE", f"/claimsvc/users/{boss}").status == 200
    estate.wait()
    assert admin.call("GET", f"/claimsvc/users/{mole}").status == 404
    assert admin.call("GET", f"/api/tenant/devices?deviceName={boss}").status == 404


def test_a2_a_will_is_not_the_next_holders_word(town: World, admin: Admin, estate: Estate) -> None:
    """A login of the same name is made before the will comes: another admin, who did not say that."""
    if "CLAIMSVC_CREDENTIALS__RELOAD_COMMAND" in town.service.environment:
        pytest.skip(
            "without SIGHUP between the two a stock broker publishes it: docs/how-to/security.md says what to do"
        )
    account = admin.make_user(boss := fresh("boss"), roles=["admin"])
    estate.leave(
        account, f"claimsvc/u/{boss}/request/1/POST/claimsvc/users", {"username": (mole := fresh("mole"))}
    ).vanish()
    assert admin.call("DELETE", f"/claimsvc/users/{boss}").status == 200
    again = admin.make_user(boss, roles=["admin"])
    with Admin(town.port, again) as successor:
        estate.wait()
        assert admin.call("GET", f"/claimsvc/users/{mole}").status == 404
        assert successor.call("GET", "/claimsvc/users").status == 200


def test_a2_a_new_login_makes_the_name_valid_again(town: World, admin: Admin, estate: Estate) -> None:
    """Every way of issuing one: a user made again, a device made again, new credentials after a revocation."""
    account = admin.make_device(name := fresh("device"))
    device_id = admin.device_id(name)
    revoke(admin, name)
    answer = admin.call("POST", f"/claimsvc/devices/{device_id}/credentials")
    assert answer.status == 201, answer
    estate.reload()
    with Client(town.port, Account(account.username, answer.body["password"])) as client:
        assert client.open_window(KEY)["status"] == "SUCCESS"
    delete(admin, name)
    account = admin.make_device(name)
    estate.reload()
    with Client(town.port, account) as client:
        assert client.open_window(KEY)["status"] == "SUCCESS"
    admin.make_user(boss := fresh("boss"), roles=["admin"])
    admin.call("DELETE", f"/claimsvc/users/{quote(boss)}")
    account = admin.make_user(boss, roles=["admin"])
    estate.reload()
    with Admin(town.port, account) as client:
        assert client.call("GET", "/claimsvc/users").status == 200


def test_a2_a_stopped_broker_sends_wills_that_do_nothing(plugin: Path, tmp_path: Path) -> None:
    """It publishes all delayed wills then; the service reads them later, and refuses those of ended logins."""
    for number, built in enumerate((None, plugin)):
        environment = {} if built else {"CLAIMSVC_CREDENTIALS__RELOAD_COMMAND": '["true"]'}
        (directory := tmp_path / str(number)).mkdir()
        world = World(directory, built, **environment).start()
        try:
            with ExitStack() as stack, Admin(world.port, world.accounts["admin"]) as admin:
                estate = Estate(world, stack)
                account = admin.make_user(boss := fresh("boss"), roles=["admin"])
                estate.reload()
                call = f"claimsvc/u/{boss}/request/1/POST/claimsvc/users"
                estate.leave(account, call, {"username": "mole"}, delay_s=600).vanish()
                assert admin.call("DELETE", f"/claimsvc/users/{boss}").status == 200
            world.broker.stop()
            world.broker.start()
            world.service.wait_for("broker_connected")
            with Admin(world.port, world.accounts["admin"]) as admin:
                assert admin.call("GET", "/claimsvc/users/mole").status == 404
        finally:
            world.stop()
