"""Wrong passwords, on both kinds of broker: they keep nobody out who has the right one, but for a person's login."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claimsvc.founding import Account
from claimsvc.sealing import password_hash
from tests.support.clients import Admin, Client, LoginRefusedError, fresh
from tests.support.processes import World

MANY = 50
"""More than the plugin's `max_failures`."""
ELSEWHERE = "127.0.0.2"


@pytest.fixture(params=["stock", "plugin"])
def town(request: pytest.FixtureRequest, plugin: Path, tmp_path: Path) -> Iterator[World]:
    """A world of a test's own: stock, and with the plugin."""
    world = World(tmp_path, plugin if request.param == "plugin" else None).start()
    yield world
    world.stop()


def guess(world: World, login: str) -> None:
    """Try many wrong passwords from this machine's first address."""
    for _ in range(MANY):
        with pytest.raises(LoginRefusedError):
            Client(world.port, Account(login, "wrong"))


def assert_served(world: World) -> None:
    """The service is connected, and answers."""
    with Client(world.port, world.accounts["device"]) as device:
        assert device.open_window({})["status"] == "SUCCESS"


def test_a9_wrong_passwords_do_not_keep_the_service_out(town: World) -> None:
    """Its own login, from its own address: it restarts, connects and answers."""
    guess(town, "claimsvc")
    town.service.stop()
    town.service.start()
    assert_served(town)


def test_a9_nor_where_the_operator_chose_the_services_password(plugin: Path, tmp_path: Path) -> None:
    """Such a one is no costlier to the broker than a generated one: it is compared at every try."""
    world = World(tmp_path, plugin, CLAIMSVC_MQTT__PASSWORD="chosen by a person").start()
    try:
        ((stored,),) = world.rows("SELECT secret_hash FROM credential WHERE login = 'claimsvc'")
        assert stored.startswith("$7$2$")
        guess(world, "claimsvc")
        world.service.stop()
        world.service.start()
        assert_served(world)
    finally:
        world.stop()


def test_a9_a_broken_line_in_the_password_file_does_not_keep_the_service_out(world: World) -> None:
    """Stock: the broker has read another hash for it from there; its start puts that right."""
    path = world.directory / "mosquitto.passwd"
    world.service.stop()
    lines = path.read_text().splitlines()
    broken = f"claimsvc:{password_hash('another', 2)}"
    path.write_text("".join(f"{broken if line.startswith('claimsvc:') else line}\n" for line in lines))
    world.broker.reload()
    guess(world, "claimsvc")
    world.service.start()
    assert_served(world)


def test_a9_wrong_passwords_lock_no_generated_password_out(town: World) -> None:
    """A device's, an admin's, and the one that new devices share: right ones get in at once."""
    with Admin(town.port, town.accounts["admin"]) as admin:
        made = admin.make_device(fresh("device"))
    for login in (made, town.accounts["device"], town.accounts["admin"], town.accounts["bootstrap"]):
        guess(town, login.username)
        Client(town.port, login).close()
    assert_served(town)


def test_a9_a_persons_login_is_locked_at_one_address(town: World) -> None:
    """With the plugin; another address still gets in. Mosquitto alone counts nothing and locks nobody."""
    with Admin(town.port, town.accounts["admin"]) as admin:
        person = admin.make_user(fresh("person"), roles=["admin"], password="chosen by a person")
    guess(town, person.username)
    if town.has_plugin:
        with pytest.raises(LoginRefusedError):
            Client(town.port, person)
    else:
        Client(town.port, person).close()
    with Admin(town.port, person, address=ELSEWHERE) as elsewhere:
        assert elsewhere.call("GET", "/claimsvc/customers").status == 200
