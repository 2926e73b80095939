"""ThingsBoard's provisioning by key, on a stock broker and with the plugin: its own tests, and what it gets wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimsvc.founding import Account
from tests.acceptance.test_plugin import Plain, vendor
from tests.support.clients import V5, V311, Admin, Client, LoginRefusedError, fresh
from tests.support.processes import PATIENCE_S, World
from tests.support.provisioning import ASK, CHECK, CREATE, DISABLED, NOT_FOUND, Applicant, Profile, make_profile

Apply = Callable[..., Applicant]


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
def stock_admin(shared_world: World) -> Iterator[Admin]:
    """The stock broker's admin."""
    with Admin(shared_world.port, shared_world.accounts["admin"]) as client:
        yield client


@pytest.fixture
def apply() -> Iterator[Apply]:
    """Connect a device to be provisioned: `apply(port)`."""
    with ExitStack() as stack:
        yield lambda world, **options: stack.enter_context(Applicant(world, **options))


def assert_gets_in(world: World, answer: dict[str, Any]) -> None:
    """The login works when the answer is out."""
    assert answer["status"] == "SUCCESS", answer
    value = answer["credentialsValue"]
    if answer["credentialsType"] == "ACCESS_TOKEN":
        with Plain(world.port, Account(value, None)) as device:
            assert device.open_window({})["status"] == "SUCCESS"
    else:
        with Client(world.port, Account(value["userName"], value["password"])) as device:
            device.subscribe("claimsvc/status")


def device(admin: Admin, name: str) -> dict[str, Any]:
    """Return a device as its admin sees it."""
    answer = admin.call("GET", f"/api/tenant/devices?deviceName={name}")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.body
    return found


def provision_state(admin: Admin, name: str) -> list[Any]:
    """Return the values of a device's mark."""
    path = f"/api/plugins/telemetry/DEVICE/{admin.device_id(name)}/values/attributes/SERVER_SCOPE?keys=provisionState"
    return [each["value"] for each in admin.call("GET", path).body]


def pre_provision(admin: Admin, profile: Profile, *, token: str | None = None) -> str:
    """Make a device of a profile's type beforehand, and return its name."""
    name = fresh("Meter")
    query = f"?accessToken={token}" if token else ""
    assert admin.call("POST", f"/api/device{query}", {"name": name, "type": profile.name}).status == 200
    return name


# --- ThingsBoard's own provisioning tests, by their names, on MQTT 3.1.1 and 5, and by its client


class ByTopic:
    """A device that publishes by itself."""

    def __init__(self, world: World, version: Any) -> None:
        self._world, self._version = world, version

    def __call__(self, profile: Profile, **fields: Any) -> Any:
        with Applicant(self._world, version=self._version) as applicant:
            return applicant.ask(profile, **fields)


class ByVendor:
    """ThingsBoard's own client, unmodified. What it got wrong it only logs."""

    OPTIONS = {"deviceName": "device_name", "token": "access_token", "clientId": "client_id"}  # noqa: RUF012 - a table

    def __init__(self, world: World, version: Any) -> None:
        self._port = world.port

    def __call__(self, profile: Profile, **fields: Any) -> Any:
        options = {self.OPTIONS.get(name, name): value for name, value in fields.items() if name != "credentialsType"}
        printed, logged = vendor("provision.py", self._port, profile.key, profile.secret, json.dumps(options))
        (answer,) = json.loads(printed)
        if answer is not None:
            return answer
        told = logged.rpartition("with status ")[2].strip()
        return dict(zip(("status", "errorMsg"), told.split(" and message: "), strict=True))


Ask = Callable[..., Any]


@pytest.fixture(
    params=[(ByTopic, V311), (ByTopic, V5), (ByVendor, None)], ids=["3.1.1", "MqttV5ProvisionDeviceTest", "vendor"]
)
def ask(request: pytest.FixtureRequest, port: World) -> Ask:
    """Ask to be provisioned, in each way there is."""
    way, version = request.param
    asking: Ask = way(port, version)
    return asking


def test_provisioning_disabled_device(ask: Ask, admin: Admin) -> None:
    """testProvisioningDisabledDevice: NOT_FOUND, and no device."""
    name = fresh("Meter")
    assert ask(make_profile(admin, DISABLED), deviceName=name) == NOT_FOUND
    assert admin.call("GET", f"/api/tenant/devices?deviceName={name}").status == 404


def test_provisioning_check_pre_provisioned_device(ask: Ask, port: World, admin: Admin) -> None:
    """testProvisioningCheckPreProvisionedDevice: the login it was made with, and the mark."""
    profile, token = make_profile(admin, CHECK), fresh("token")
    name = pre_provision(admin, profile, token=token)
    answer = ask(profile, deviceName=name)
    assert answer == {"credentialsValue": token, "credentialsType": "ACCESS_TOKEN", "status": "SUCCESS"}
    assert_gets_in(port, answer)
    assert provision_state(admin, name) == ["provisioned"]


def test_provisioning_create_new_device_without_credentials(ask: Ask, port: World, admin: Admin) -> None:
    """testProvisioningCreateNewDeviceWithoutCredentials: a device of the profile's type with a token of its own."""
    profile, name = make_profile(admin, CREATE), fresh("Meter")
    answer = ask(profile, deviceName=name)
    assert list(answer) == ["credentialsValue", "credentialsType", "status"]
    assert (len(answer["credentialsValue"]), answer["credentialsType"]) == (20, "ACCESS_TOKEN")
    assert_gets_in(port, answer)
    assert device(admin, name)["type"] == profile.name
    assert provision_state(admin, name) == ["provisioned"]
    assert set(admin.events(name)) >= {"device_created", "device_provisioned"}


def test_provisioning_create_new_gateway_device(ask: Ask, port: World, admin: Admin) -> None:
    """testProvisioningCreateNewGatewayDevice: it may open windows for others."""
    profile, name = make_profile(admin, CREATE), fresh("Gateway")
    answer = ask(profile, deviceName=name, gateway=True)
    assert device(admin, name)["additionalInfo"] == {"gateway": True}
    child = fresh("Child")
    with Plain(port.port, Account(answer["credentialsValue"], None)) as gateway:
        assert gateway.open_windows({child: {}})[child]["status"] == "SUCCESS"


def test_provisioning_create_new_device_with_access_token(ask: Ask, port: World, admin: Admin) -> None:
    """testProvisioningCreateNewDeviceWithAccessToken: the token it wishes for."""
    profile, token = make_profile(admin, CREATE), fresh("test_token")
    answer = ask(profile, deviceName=fresh("Meter"), token=token, credentialsType="ACCESS_TOKEN")
    assert answer == {"credentialsValue": token, "credentialsType": "ACCESS_TOKEN", "status": "SUCCESS"}
    assert_gets_in(port, answer)


def test_provisioning_create_new_device_with_mqtt_basic(ask: Ask, port: World, admin: Admin) -> None:
    """testProvisioningCreateNewDeviceWithMqttBasic: username and password, and the client id told back."""
    profile, username = make_profile(admin, CREATE), fresh("test_username")
    wish = {"clientId": "test_clientId", "username": username, "password": "test_password"}
    answer = ask(profile, deviceName=fresh("Meter"), credentialsType="MQTT_BASIC", **wish)
    value = {"clientId": "test_clientId", "userName": username, "password": "test_password"}
    assert answer == {"credentialsValue": value, "credentialsType": "MQTT_BASIC", "status": "SUCCESS"}
    assert_gets_in(port, answer | {"credentialsValue": value})


def test_provisioning_with_bad_key_device(ask: Ask, admin: Admin) -> None:
    """testProvisioningWithBadKeyDevice: NOT_FOUND, whether the key is unknown or the secret wrong."""
    profile = make_profile(admin, CREATE)
    assert ask(replace(profile, key="testBadKey"), deviceName=fresh("Meter")) == NOT_FOUND
    assert ask(replace(profile, secret="testBadSecret"), deviceName=fresh("Meter")) == NOT_FOUND


# --- ThingsBoard's client: what goes wrong easily (docs/original-systems.md#provisioning-client)


def test_three_at_once_get_their_own_token(port: World, admin: Admin) -> None:
    """All three are `provision` and listen on the same topic; nobody gets another's answer."""
    profile, names = make_profile(admin, CREATE), [fresh("Meter") for _ in range(3)]
    tokens = [fresh("token") for _ in names]
    options = [
        json.dumps({"device_name": name, "access_token": token}) for name, token in zip(names, tokens, strict=True)
    ]
    printed, _ = vendor("provision.py", port.port, profile.key, profile.secret, *options)
    assert [answer["credentialsValue"] for answer in json.loads(printed)] == tokens
    unnamed = [json.dumps({"device_name": f"{name} too"}) for name in names]
    printed, _ = vendor("provision.py", port.port, profile.key, profile.secret, *unnamed)
    opened = "SELECT count(*) FROM claim_window JOIN device ON device_id = id WHERE name = ?"
    for name, answer in zip(names, json.loads(printed), strict=True):
        assert port.rows(opened, f"{name} too") == [(0,)]
        with Plain(port.port, Account(answer["credentialsValue"], None)) as client:
            client.open_window({})
        assert port.rows(opened, f"{name} too") == [(1,)]


def test_a_lost_answer_is_given_again_to_the_vendors_client(port: World, admin: Admin) -> None:
    """ThingsBoard would say FAILURE for ever; the same name with another key is NOT_FOUND as before."""
    profile, name = make_profile(admin, CREATE), fresh("Meter")
    by_vendor = ByVendor(port, None)
    first = by_vendor(profile, deviceName=name)
    assert (first["status"], by_vendor(profile, deviceName=name)) == ("SUCCESS", first)
    assert by_vendor(replace(profile, key="another"), deviceName=name) == NOT_FOUND


# --- the same on a stock broker, where a login is a line of the password file


def test_stock_a_device_gets_a_username_and_password(shared_world: World, stock_admin: Admin, apply: Apply) -> None:
    """In the lane of its client id; the login works when the answer is out, and a repeat gives it again."""
    profile, name = make_profile(stock_admin, CREATE), fresh("Meter")
    wish = {"deviceName": name, "credentialsType": "MQTT_BASIC", "username": name}
    answer = apply(shared_world).ask(profile, **wish)
    assert_gets_in(shared_world, answer)
    assert apply(shared_world, version=V311).ask(profile, **wish) == answer


def test_stock_what_the_password_file_cannot_hold_is_refused(
    shared_world: World, stock_admin: Admin, apply: Apply
) -> None:
    """An access token, and a username that is not the device's own name: with a text that says what to ask for."""
    profile, name = make_profile(stock_admin, CREATE), fresh("Meter")
    applicant = apply(shared_world)
    token = applicant.ask(profile, deviceName=name)
    other = applicant.ask(profile, deviceName=name, credentialsType="MQTT_BASIC", username="other")
    assert [token["status"], other["status"]] == ["FAILURE", "FAILURE"]
    assert "does not support access tokens; request a username and password" in token["errorMsg"]
    assert f"request the username {name}" in other["errorMsg"]
    assert stock_admin.call("GET", f"/api/tenant/devices?deviceName={name}").status == 404


def test_stock_the_shared_login_needs_its_password(shared_world: World) -> None:
    """A stock broker admits nobody without one."""
    with pytest.raises(LoginRefusedError):
        Client(shared_world.port, Account("provision", None))
    with Applicant(shared_world) as applicant:
        assert applicant.send(b"{}")["status"] == "FAILURE"


# --- who hears what, and who may ask


def test_nobody_hears_anothers_answer(port: World, admin: Admin, apply: Apply) -> None:
    """Not on the plain topic, and not in the lane: neither may be read by any other."""
    profile, listener, asker = make_profile(admin, CREATE), apply(port), apply(port)
    listener.subscribe(f"claimsvc/c/provision/{asker.level}//provision/response")
    assert asker.ask(profile, deviceName=fresh("Meter"))["status"] == "SUCCESS"
    assert listener.hears_nothing()


def test_stock_nobody_asks_in_anothers_lane(shared_world: World, stock_admin: Admin, apply: Apply) -> None:
    """The answer would go to the other: the request goes nowhere."""
    victim, sender = apply(shared_world), apply(shared_world)
    sender.attempts(f"claimsvc/c/{victim.level}/{ASK}", b"{}")
    sender.attempts(f"claimsvc/u/provision/{ASK}", b"{}")
    assert victim.hears_nothing()


def test_the_shared_login_may_ask_for_nothing_else(port: World, apply: Apply) -> None:
    """It has no lane of a principal, with a password or without."""
    applicant = apply(port)
    applicant.subscribe("v1/devices/me/claim/response")
    applicant.attempts("v1/devices/me/claim", b"{}")
    assert applicant.send(b"[]") == {
        "errorMsg": "The request could not be understood: a JSON object is expected",
        "status": "FAILURE",
    }
    assert {message.topic for message in applicant.drain()} == set()


def test_a_replaced_login_ends_its_sessions(port: World, admin: Admin, apply: Apply) -> None:
    """A device that was made beforehand and wishes for another login: who came by the old one has to go."""
    profile, token = make_profile(admin, CHECK), fresh("token")
    name = pre_provision(admin, profile, token=token)
    with Plain(port.port, Account(token, None)) as old:
        answer = apply(port).ask(profile, deviceName=name, token=fresh("new"))
        assert_gets_in(port, answer)
        assert old.disconnected.get(timeout=PATIENCE_S) is not None
    with pytest.raises(LoginRefusedError):
        Plain(port.port, Account(token, None))


def test_killed_between_commit_and_answer_a_device_asks_again(plugin: Path, tmp_path: Path) -> None:
    """The service dies whenever it likes: the repeat gives the login that was committed, if one was."""
    world = World(tmp_path, plugin).start()
    try:
        with Admin(world.port, world.accounts["admin"]) as client:
            profile = make_profile(client, CREATE)
        with Applicant(world) as applicant:
            for round_number in range(3):
                name = f"Meter {round_number}"
                shown = {"provisionDeviceKey": profile.key, "provisionDeviceSecret": profile.secret}
                applicant.publish(applicant.lane(ASK), json.dumps(shown | {"deviceName": name}), qos=0)
                world.service.kill()
                world.service.start()
                applicant.drain()
                assert_gets_in(world, applicant.ask(profile, deviceName=name))
    finally:
        world.stop()
