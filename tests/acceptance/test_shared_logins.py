"""Attacks of one login on what belongs to another shared login: all are tried, none works."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from claimsvc.founding import Account
from tests.support.clients import Admin, LoginRefusedError, fresh
from tests.support.newcomers import CREDENTIALS, TOLD, Newcomer, Operator
from tests.support.peers import Peer
from tests.support.processes import World
from tests.support.provisioning import CREATE, make_profile

ODD = ("bootstrap/x", "bootstrap%2Fx", "Bootstrap", "c", "$SYS")
"""Logins of the operator's own whose names a careless grant or comparison takes for another."""
WAITING, PENDING = "WAITING_FOR_CONNECTION", "PENDING_ACCEPTANCE"
POLL = f"POST{CREDENTIALS}"


@pytest.fixture(scope="module", params=["stock", "plugin"])
def town(request: pytest.FixtureRequest, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with logins of all sorts, on a stock broker and on one with the plugin."""
    world = World(tmp_path_factory.mktemp("town"), plugin if request.param == "plugin" else None)
    for name in ODD:
        world.add_login(name, "password")
    world.start()
    yield world
    world.stop()


@pytest.fixture
def operator(town: World) -> Iterator[Operator]:
    """The town's admin."""
    with Operator(town.port, town.accounts["admin"]) as client:
        yield client


Enter = Callable[[str, str], Peer]


@pytest.fixture
def enter(town: World) -> Iterator[Enter]:
    """Connect as a login, under a client id."""
    with ExitStack() as stack:

        def enter(login: str, client_id: str) -> Peer:
            account = town.accounts.get(login, Account(login, "password"))
            if login == "provision" and town.has_plugin:
                account = Account(login, None)  # which the plugin opens to everybody
            peer = Peer(town.port, account.username, account.password, client_id=client_id)
            return stack.enter_context(peer)

        yield enter


STRANGERS = ["provision", "customer", "device", "gateway", *ODD]


def polls(login: str, id_: str) -> list[tuple[str, str]]:
    """Return client ids and topics by which a login might poll for a device."""
    ids = [id_, f"{id_}/s", f"bootstrap/{id_}", "s"]
    levels = [f"bootstrap/{id_}", f"{login}/{id_}", id_, f"{login}/bootstrap/{id_}"]
    tails = ["s/ucr", f"request/1/{POLL}"]
    topics = ["s/ucr", f"request/1/{POLL}", *(f"claimsvc/c/{level}/{tail}" for level in levels for tail in tails)]
    topics.append(f"claimsvc/u/{login}/s/ucr")
    return [(client_id, topic) for client_id in ids for topic in topics]


def attack(enter: Enter, login: str, sayings: list[tuple[str, str]], payload: bytes) -> None:
    """Publish all of it and return when the broker has handled it."""
    peers: dict[str, Peer] = {}
    for client_id, topic in sayings:
        if client_id not in peers:
            peers[client_id] = enter(login, client_id)
        peers[client_id].publish(topic, payload)
    for peer in peers.values():
        peer.trip()
        peer.close()


@pytest.mark.parametrize("login", STRANGERS)
def test_a1_only_bootstrap_polls(login: str, town: World, operator: Operator, enter: Enter) -> None:
    """A poll by any other login changes nothing; the device is not contested and is let in by acceptAll."""
    name = fresh("prey")
    operator.announce(name)
    attack(enter, login, polls(login, name), json.dumps({"id": name}).encode())
    assert operator.status(name) == WAITING
    with Newcomer(town, name) as device:
        device.listen()
        device.ask()
        assert operator.status(name) == PENDING
        attack(enter, login, [each for each in polls(login, name) if each[0] != name], b"{}")
        assert "contested" not in operator.look(name).body
        results = operator.call("POST", "/devicecontrol/newDeviceRequests/acceptAll").body
        assert {"id": name, "successful": True} in results
        assert device.credentials()[2] == f"device_{name}"


@pytest.mark.parametrize("login", ["provision", "customer", "device"])
def test_a1_a_stranger_cannot_block_an_enrolment(login: str, town: World, operator: Operator, enter: Enter) -> None:
    """Wrong one-time passwords count only where the login bootstrap shows them."""
    name = fresh("prey")
    operator.announce(name, enrollmentToken="right")
    topics = [(f"x{number}", topic) for number in range(6) for _, topic in polls(login, name)[:10]]
    attack(enter, login, topics, json.dumps({"id": name, "securityToken": "wrong"}).encode())
    assert operator.status(name) == "ACCEPTED"
    with Newcomer(town, name) as device:
        assert device.poll(name, securityToken="right").status == 201


@pytest.mark.parametrize("login", ["bootstrap", "customer", "device", "bootstrap/x"])
def test_a1_only_provision_is_provisioned(login: str, town: World, operator: Operator, enter: Enter) -> None:
    """With the right key and secret, too."""
    profile = make_profile(operator, CREATE)
    name = fresh("meter")
    shown = {"provisionDeviceKey": profile.key, "provisionDeviceSecret": profile.secret, "deviceName": name}
    shown |= {"credentialsType": "MQTT_BASIC", "username": name}
    id_ = fresh("id")
    levels = [f"provision/{id_}", f"{login}/{id_}", id_]
    topics = ["/provision/request", *(f"claimsvc/c/{level}//provision/request" for level in levels)]
    sayings = [(client_id, topic) for client_id in (id_, f"provision/{id_}") for topic in topics]
    attack(enter, login, sayings, json.dumps(shown).encode())
    assert operator.call("GET", f"/api/tenant/devices?deviceName={name}").status == 404


@pytest.mark.parametrize("login", STRANGERS)
def test_a1_nobody_hears_the_answers_of_a_shared_login(
    login: str, town: World, operator: Operator, enter: Enter
) -> None:
    """Neither by a filter, nor by a client id like the device's."""
    name = fresh("prey")
    operator.announce(name)
    with Newcomer(town, name) as device:
        device.listen()
        device.ask()
        spies = [enter(login, id_) for id_ in (f"bootstrap/{name}", f"{name}/s", fresh("id"))]
        lanes = [f"bootstrap/{name}", "bootstrap/+", "+/+", f"{login}/{name}", name, "+"]
        for spy in spies:
            for topic in (TOLD, "#", "claimsvc/#", "claimsvc/c/#", "$share/g/claimsvc/c/+/+/s/dcr"):
                spy.subscribe(topic)
            for lane in lanes:
                spy.subscribe(f"claimsvc/c/{lane}/s/dcr")
                spy.subscribe(f"claimsvc/c/{lane}/response/+")
        assert operator.accept(name).status == 200
        assert device.credentials()[2] == f"device_{name}"
        device.poll(name)
        for spy in spies:
            assert [topic for topic in spy.hears() if topic.startswith(("claimsvc/c/", "s/"))] == []


@pytest.mark.parametrize("login", ["bootstrap", "provision"])
def test_a1_a_shared_login_has_its_own_topics_and_nothing_else(login: str, town: World, enter: Enter) -> None:
    """No lane of a principal, no other topic; with the plugin not even to subscribe to."""
    peer = enter(login, fresh("id"))
    for topic in (f"claimsvc/u/{login}/v1/devices/me/claim", "v1/devices/me/claim", "telemetry", "claimsvc/status"):
        assert peer.says(topic) == 0x87
    assert peer.asks_for("claimsvc/status")
    if town.has_plugin:
        foreign = "/provision/response" if login == "bootstrap" else "s/dcr"
        for topic in ("#", "claimsvc/#", "$share/g/claimsvc/status", "v1/devices/me/claim/response", foreign):
            assert not peer.asks_for(topic)


def test_a1_a_refused_poll_is_seen(town: World, enter: Enter) -> None:
    """The plugin writes once per connection which login asked; a stock broker has nobody to tell it to."""
    if not town.has_plugin:
        pytest.skip("a stock broker writes nothing of a topic that nobody listens on")
    stranger = enter("customer", name := fresh("id"))
    for _ in range(3):
        assert stranger.says("s/ucr") == 0x87
    lines = [line for line in town.broker.log.splitlines() if f"client id {name} refused" in line]
    assert len(lines) == 1
    assert "request of customer" in lines[0]
    assert "only the login bootstrap may request credentials" in lines[0]


def test_a1_a_poll_in_the_own_lane_is_refused_and_logged(town: World, operator: Operator) -> None:
    """A wrong poll that reaches the service gets 403, and the log has the principal."""
    operator.announce(name := fresh("prey"))
    with Admin(town.port, town.accounts["customer"]) as customer:
        assert customer.call("POST", CREDENTIALS, {"id": name}).status == 403
    line = town.service.wait_for("handled", command="PollCredentials", device=name)
    assert (line["principal"], line["outcome"], line["reason"]) == ("customer", "refused", "not_permitted")
    assert operator.status(name) == WAITING


def test_a1_an_old_lane_is_nobodys(town: World, operator: Operator) -> None:
    """The lane without a login, as it was before: nothing is granted there."""
    operator.announce(name := fresh("prey"))
    account = town.accounts["bootstrap"]
    with Peer(town.port, account.username, account.password, client_id=name) as device:
        assert device.says(f"claimsvc/c/{name}/s/ucr") == 0x87
    assert operator.status(name) == WAITING


def test_a1_one_client_id_at_two_logins_is_two_lanes(town: World, operator: Operator, enter: Enter) -> None:
    """A client of another login that takes over the client id gets no credentials."""
    name = fresh("prey")
    operator.announce(name)
    with Newcomer(town, name) as device:
        device.listen()
        device.ask()
        try:
            taker = enter("provision", name)
        except LoginRefusedError:
            return
        for topic in (TOLD, "/provision/response", f"claimsvc/c/bootstrap/{name}/s/dcr"):
            taker.subscribe(topic)
        taker.publish("/provision/request", b"{}")
        operator.accept(name)
        assert [topic for topic in taker.hears() if topic.endswith("dcr")] == []
