"""The service behind a broker with the plugin: devices as they are, no lane in their topics, and logins that work."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from claimsvc.founding import SEED_DEVICE, SEED_TOKEN, Account
from tests.support.clients import CLAIM, V5, V311, Admin, Client, LoginRefusedError, fresh
from tests.support.processes import PATIENCE_S, World

VENDOR = Path(__file__).parents[1] / "vendor"
VENDOR_PYTHON = Path(__file__).parents[2] / ".venv" / "vendor" / "bin" / "python"
OPEN = b'{"secretKey":"value","durationMs":60000}'


@pytest.fixture(scope="module")
def port(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with the plugin that tests share."""
    world = World(tmp_path_factory.mktemp("port"), plugin).start()
    yield world
    world.stop()


@pytest.fixture
def admin(port: World) -> Iterator[Admin]:
    """The port's admin."""
    with Admin(port.port, port.accounts["admin"]) as client:
        yield client


@pytest.fixture
def customer(port: World) -> Iterator[Client]:
    """The port's customer."""
    with Client(port.port, port.accounts["customer"]) as client:
        yield client


class Plain(Client):
    """A device or gateway as ThingsBoard knows it: plain topics, a token and no more."""

    def lane(self, tail: str) -> str:
        """Return the topic as it is: this client has never heard of lanes."""
        return tail


def with_token(admin: Admin, name: str, *, gateway: bool = False) -> Account:
    """Make a device with an access token."""
    token = fresh("token")
    body = {"name": name, "additionalInfo": {"gateway": True}} if gateway else {"name": name}
    answer = admin.call("POST", f"/api/device?accessToken={token}", body)
    assert answer.status == 200, answer
    return Account(token, None)


def vendor(script: str, *arguments: object) -> tuple[str, str]:
    """Run a script of the vendor's client; returns what it printed and what it logged."""
    run = subprocess.run(
        [str(VENDOR_PYTHON), str(VENDOR / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=True,
    )
    return run.stdout, run.stderr


def claim(customer: Client, device: str, key: str | None = "value") -> tuple[int, Any]:
    """Return status and word of a claim."""
    answer = customer.call("POST", f"/api/customer/device/{quote(device, safe='')}/claim", {"secretKey": key})
    return answer.status, answer.body.get("response") if isinstance(answer.body, dict) else answer.body


def assert_configured(logged: str) -> None:
    """The client took the session limits for what they are, and nothing else for them before."""
    assert "Service configuration was successfully retrieved and applied." in logged
    assert "Cannot retrieve service configuration" not in logged
    assert "ERROR" not in logged


# --- the vendor's clients, unmodified


def test_the_documented_example_as_printed(port: World, customer: Client) -> None:
    """Token as username, claim, customer's claim: SUCCESS. The client gets its session limits."""
    printed, logged = vendor("device.py", port.port, SEED_TOKEN, "value", 60_000)
    assert printed.split() == ["claimed", "0", "limits", "True", "52428"]
    assert_configured(logged)
    assert claim(customer, SEED_DEVICE) == (200, "SUCCESS")


def test_the_vendors_gateway_claims_several_devices(port: World, admin: Admin, customer: Client) -> None:
    """Each with its own key; devices it names for the first time are made."""
    token = with_token(admin, fresh("gateway"), gateway=True).username
    first, second = fresh("Device A"), fresh("Device B")
    printed, logged = vendor("gateway.py", port.port, token, first, "one", 60_000, second, "two", 60_000)
    assert printed.split() == ["claimed", "0", "claimed", "0", "limits", "True"]
    assert_configured(logged)
    assert claim(customer, first, "two") == (400, "FAILURE")
    assert claim(customer, first, "one") == (200, "SUCCESS")
    assert claim(customer, second, "two") == (200, "SUCCESS")


# --- ThingsBoard's own claim test: docs/original-systems.md#claim-test-flow


@pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
@pytest.mark.parametrize("topic", ["v1/devices/me/claim", "v2/c", "v2/c/j"])
@pytest.mark.parametrize(
    ("short", "body", "key"),
    [
        ({"secretKey": "value", "durationMs": 1}, {"secretKey": "value", "durationMs": 60_000}, "value"),
        ({"durationMs": 1}, {}, None),
    ],
    ids=["with a key", "without"],
)
def test_a_device_is_claimed(  # noqa: PLR0913, PLR0917 - the table's columns
    version: Any, topic: str, short: Any, body: Any, key: Any, port: World, admin: Admin, customer: Client
) -> None:
    """A window that is over: FAILURE; an open one: SUCCESS, and the customer owns it; again: CLAIMED."""
    name = fresh("Thermostat")
    with Plain(port.port, with_token(admin, name), version=version) as device:
        # Over at once, or already when it is handled: the plugin's stamp tells how long the message waited.
        assert device.open_window(short, topic=topic).get("error", "window_expired") == "window_expired"
        device.subscribe(f"{CLAIM}/state")
        assert claim(customer, name, key) == (400, "FAILURE")
        assert device.open_window(body, topic=topic)["status"] == "SUCCESS"
        assert claim(customer, name, key) == (200, "SUCCESS")
        state = device.receive()
        assert (state.topic, json.loads(state.payload)["state"]) == (f"{CLAIM}/state", "claimed")
        assert claim(customer, name, key) == (400, "CLAIMED")
        assert customer.release(quote(name, safe="")).status == 200
        assert json.loads(device.receive().payload)["state"] == "released"


@pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
def test_a_gateways_device_is_claimed(version: Any, port: World, admin: Admin, customer: Client) -> None:
    """The same flow through a gateway, whose device is made on its first word."""
    gateway_login, name = with_token(admin, fresh("gateway"), gateway=True), fresh("Device A")
    with Plain(port.port, gateway_login, version=version) as gateway:
        short = {name: {"secretKey": "value", "durationMs": 1}}
        assert gateway.open_windows(short)[name].get("error", "window_expired") == "window_expired"
        assert claim(customer, name) == (400, "FAILURE")
        assert gateway.open_windows({name: {"secretKey": "value"}})[name]["status"] == "SUCCESS"
        assert claim(customer, name) == (200, "SUCCESS")


# --- credentials


def test_a_login_works_when_its_answer_is_out(port: World, admin: Admin) -> None:
    """Username and password, and an access token, with no reload in between."""
    for _ in range(20):
        with Client(port.port, admin.make_device(fresh("device"))) as device:
            assert device.open_window({})["status"] == "SUCCESS"
        with Plain(port.port, with_token(admin, fresh("device"))) as device:
            assert device.open_window({})["status"] == "SUCCESS"


def test_who_loses_the_login_is_disconnected_and_stays_out(port: World, admin: Admin) -> None:
    """A deleted device, with a token or a password: its connection ends, and it does not come in again."""
    names = fresh("device"), fresh("device")
    for login in (with_token(admin, names[0]), admin.make_device(names[1])):
        name = names[0] if login.password is None else names[1]
        with Plain(port.port, login) as device, Client(port.port, port.accounts["device"]) as bystander:
            assert admin.call("DELETE", f"/api/device/{admin.device_id(name)}").status == 200
            assert device.disconnected.get(timeout=PATIENCE_S) is not None
            assert bystander.open_window({})["status"] == "SUCCESS"
        with pytest.raises(LoginRefusedError):
            Plain(port.port, login)


def test_a_new_password_ends_the_sessions_of_the_old_one(port: World, admin: Admin) -> None:
    """Also one's own, after the answer that holds the new one."""
    name = fresh("colleague")
    old = admin.make_user(name, roles=["admin"])
    with Admin(port.port, old) as session:
        answer = session.call("PUT", f"/claimsvc/users/{name}", {"username": name, "password": "a new one"})
        assert answer.status == 200
        assert session.disconnected.get(timeout=PATIENCE_S) is not None
    with pytest.raises(LoginRefusedError):
        Client(port.port, old)
    with Client(port.port, Account(name, "a new one")) as client:
        assert client.call("GET", "/claimsvc/customers").status == 200


def test_nobody_but_the_service_ends_sessions(port: World, admin: Admin) -> None:
    """An admin's message to the plugin's topic goes nowhere."""
    with Client(port.port, port.accounts["device"]) as device:
        admin.attempts("$CONTROL/claimsvc/v1", b"disconnect device\n")
        assert device.open_window({})["status"] == "SUCCESS"


# --- survival


def test_killed_in_any_order_devices_get_in_again_and_claims_go_on(plugin: Path, tmp_path: Path) -> None:
    """Broker, service, both; each time a device with a token connects, opens a window, and is claimed."""
    world = World(tmp_path, plugin).start()
    try:
        for round_number, killed in enumerate(
            [("broker",), ("service",), ("broker", "service"), ("service", "broker")]
        ):
            for name in killed:
                getattr(world, name).kill()
            for name in reversed(killed):
                getattr(world, name).start(**({"connected": False} if name == "service" and len(killed) > 1 else {}))
            if killed != ("service",):
                world.service.wait_for("broker_connected")
            with (
                Plain(world.port, Account(SEED_TOKEN, None)) as device,
                Client(world.port, world.accounts["customer"]) as customer,
            ):
                key = f"key {round_number}"
                assert device.open_window({"secretKey": key})["status"] == "SUCCESS"
                assert claim(customer, SEED_DEVICE, key) == (200, "SUCCESS")
                assert customer.release(quote(SEED_DEVICE)).status == 200
    finally:
        world.stop()
