"""New devices on s/ucr and s/dcr, as real agents poll, and clients that want another device's login."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.conftest import Arrive
from tests.support.clients import Client, LoginRefusedError, fresh
from tests.support.newcomers import REQUESTS, TOLD, Operator, Registered
from tests.support.processes import PATIENCE_S, World

PENDING = "PENDING_ACCEPTANCE"
STORY = ["request_accepted", "device_created", "request_pending", "request_created"]


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent on the wire: docs/original-systems.md#agents. Its polls follow at once; real ones wait for seconds."""

    client_id: str = "{id}"
    listens: tuple[str, ...] = (TOLD,)
    listens_qos: int = 0
    payload: bytes | None = b""
    qos: int = 0
    retain: bool = False
    polls: int = 3
    will: str | None = None
    asks_once_more: bool = False
    """After it has its credentials, and no longer listens."""
    is_taken_over: bool = False
    """It never disconnects: the login with the same client id ends the session."""


AGENTS = {
    "Cumulocity's device management agent": Agent(asks_once_more=True),
    "c8yMQTT": Agent(listens=("s/e", TOLD), qos=2),
    "ubirch": Agent(listens=(TOLD, "s/e")),
    "Onboard.py": Agent(qos=2, polls=10),
    "node TS agent": Agent(listens_qos=1),
    "Java Paho agent": Agent(qos=1, retain=True, polls=5),
    "esp-c8y": Agent(polls=1, will="s/us"),
    "Zephyr spike": Agent(qos=1, listens_qos=1),
    "hello-mqtt": Agent(payload=None, is_taken_over=True),
    "a template in the client id": Agent(client_id="d:{id}:template"),
    "only d: in front": Agent(client_id="d:{id}"),
}


@pytest.mark.parametrize("agent", AGENTS.values(), ids=AGENTS.keys())
def test_an_agent_gets_in(agent: Agent, gate: World, operator: Operator, arrive: Arrive) -> None:
    """Silence while it waits, then exactly four cells, once each time; the first password is the one that works."""
    name = fresh("agent")
    client_id = agent.client_id.format(id=name)
    operator.announce(name)
    newcomer = arrive(client_id, will=(agent.will, b"400,gone") if agent.will else None)
    newcomer.listen(*agent.listens, qos=agent.listens_qos)
    for _ in range(agent.polls):
        newcomer.ask(agent.payload, qos=agent.qos, retain=agent.retain)
        assert operator.status(name) == PENDING
        assert newcomer.topics_heard() == set()
    assert operator.accept(name).status == 200
    cells = newcomer.credentials()
    assert (len(cells), cells[:3]) == (4, ["70", "default", f"device_{name}"])
    assert cells[3].isalnum()
    if agent.asks_once_more:
        newcomer.stop_listening()
        newcomer.ask(agent.payload, qos=agent.qos)
    if not agent.is_taken_over:
        newcomer.close()
    with Registered(gate, cells, client_id=client_id) as device:
        assert device.open_window({})["status"] == "SUCCESS"
        if agent.is_taken_over:
            assert newcomer.disconnected.get(timeout=PATIENCE_S) is not None
    # Whoever asks once more may still hear the same again: the plugin answers a client, subscribed or not.
    heard = [each.payload.decode().split(",") for each in newcomer.drain() if each.topic != "claimsvc/status"]
    assert heard in ([], [cells][: agent.asks_once_more])
    assert [event for event in operator.events(name) if event != "window_opened"] == STORY


def test_the_same_answer_again(operator: Operator, arrive: Arrive) -> None:
    """Whoever missed the push gets the same login on its next poll."""
    name = fresh("device")
    operator.announce(name)
    newcomer = arrive(name)
    newcomer.ask()
    operator.accept(name)
    newcomer.listen()
    newcomer.ask()
    first = newcomer.credentials()
    newcomer.ask()
    assert newcomer.credentials() == first


def test_accepted_while_it_was_away(operator: Operator, arrive: Arrive) -> None:
    """The push is lost, the next poll is not."""
    name = fresh("device")
    operator.announce(name)
    with arrive(name) as gone:
        gone.ask()
    operator.accept(name)
    back = arrive(name)
    back.listen()
    back.ask()
    assert back.credentials()[2] == f"device_{name}"


def test_polling_for_long_is_one_transition(gate: World, operator: Operator, arrive: Arrive) -> None:
    """A minute at 1 Hz, some of it retained: nothing is written but the first, nothing is answered."""
    name = fresh("device")
    operator.announce(name)
    newcomer = arrive(name)
    newcomer.listen("s/e", TOLD)
    newcomer.ask()
    before = operator.look(name), gate.rows("SELECT max(number) FROM event")
    for number in range(60):
        newcomer.ask(qos=number % 3, retain=number % 5 == 0)
    assert (operator.look(name), gate.rows("SELECT max(number) FROM event")) == before
    assert newcomer.topics_heard() == set()


def test_a_retained_poll_asks_once(gate: World, operator: Operator, arrive: Arrive) -> None:
    """A restart of the service does not bring it back."""
    name = fresh("device")
    with arrive(name) as newcomer:
        newcomer.ask(retain=True)
    gate.service.stop()
    gate.service.start()
    operator.announce(name)
    assert operator.status(name) == "WAITING_FOR_CONNECTION"


def test_an_unregistered_device_hears_nothing(operator: Operator, arrive: Arrive) -> None:
    """And leaves nothing behind."""
    name = fresh("stranger")
    newcomer = arrive(name)
    newcomer.listen("s/e", TOLD)
    newcomer.ask()
    assert operator.look(name).status == 404
    assert newcomer.topics_heard() == set()


def test_no_device_listens_to_polls_or_answers_them(operator: Operator, arrive: Arrive) -> None:
    """A subscription to s/ucr hears no poll; a publish to s/dcr reaches no device."""
    name = fresh("device")
    operator.announce(name)
    device, other = arrive(name), arrive(fresh("other"))
    device.listen()
    other.listen("s/ucr")
    other.subscribe(device.lane("s/ucr"), "s/ucr")
    for topic in (device.lane(TOLD), other.lane(TOLD), TOLD):
        other.attempts(topic, b"70,evil,evil,evil")
    device.ask()
    other.ask()
    assert operator.status(name) == PENDING
    assert (device.topics_heard(), other.topics_heard()) == (set(), set())


def test_the_bootstrap_login_may_not_speak_as_a_device(gate: World, operator: Operator, arrive: Arrive) -> None:
    """Neither s/us nor a claim, with the client id of a registered device."""
    name = fresh("device")
    cells = registered(name, operator, arrive)
    newcomer = arrive(name)
    for topic in ("s/us", "v1/devices/me/claim", f"claimsvc/u/device_{name}/v1/devices/me/claim"):
        newcomer.attempts(topic, b"{}")
    assert "window_opened" not in operator.events(name)
    newcomer.close()
    with Registered(gate, cells, client_id=name) as device:
        assert device.open_window({})["status"] == "SUCCESS"


def registered(name: str, operator: Operator, arrive: Arrive) -> list[str]:
    """Register a device over s/ucr; returns what it is told."""
    operator.announce(name)
    with arrive(name) as newcomer:
        newcomer.listen()
        newcomer.ask()
        assert operator.accept(name).status == 200
        return newcomer.credentials()


def test_a_device_is_revoked_and_registered_again(gate: World, operator: Operator, arrive: Arrive) -> None:
    """Its login ends with it; registered again it has a new password, and the old one stays useless."""
    name = fresh("device")
    first = registered(name, operator, arrive)
    with Registered(gate, first) as device:
        assert operator.call("DELETE", f"/api/device/{operator.device_id(name)}").status == 200
        assert device.disconnected.get(timeout=PATIENCE_S) is not None
    with pytest.raises(LoginRefusedError):
        Registered(gate, first)
    assert operator.announce(name).status == 422
    operator.forget(name)
    second = registered(name, operator, arrive)
    assert (second[:3], second[3] == first[3]) == (first[:3], False)
    with pytest.raises(LoginRefusedError):
        Registered(gate, first)
    with Registered(gate, second) as device:
        assert device.open_window({})["status"] == "SUCCESS"


def test_a_device_registered_again_keeps_its_owner(gate: World, operator: Operator, arrive: Arrive) -> None:
    """A factory reset: the device is the same, its old sessions end, the old password is no good."""
    name = fresh("device")
    first = registered(name, operator, arrive)
    with Registered(gate, first) as device, Client(gate.port, gate.accounts["customer"]) as customer:
        device.open_window({"secretKey": "value"})
        assert customer.claim(name).status == 200
        operator.forget(name)
        second = registered(name, operator, arrive)
        assert device.disconnected.get(timeout=PATIENCE_S) is not None
        assert customer.claim(name).body == "CLAIMED"
    with pytest.raises(LoginRefusedError):
        Registered(gate, first)
    with Registered(gate, second) as device:
        assert device.open_window({})["error"] == "already_claimed"


# --- what is another's

EVERYTHING = (
    "#",
    "+",
    "+/#",
    "claimsvc/#",
    "claimsvc/c/bootstrap/+/s/dcr",
    "claimsvc/c/bootstrap/+/response/+",
    "$share/g/#",
    "$share/g/s/dcr",
    "$share/g/claimsvc/c/bootstrap/+/s/dcr",
    TOLD,
    "+/dcr",
)


def test_of_two_only_the_accepted_one_hears(gate: World, operator: Operator, arrive: Arrive) -> None:
    """The other waits, too, and has subscribed to all there is: not a byte, though it knows name and lane."""
    one, other = fresh("one"), fresh("other")
    operator.announce(one)
    operator.announce(other)
    device, by_rest, spy = arrive(one), arrive(fresh("address")), arrive(other)
    victim = device.lane("")
    spy.subscribe(*EVERYTHING, f"{victim}#", f"{victim}s/dcr", f"$share/g/{victim}s/dcr", by_rest.lane("response/+"))
    spy.listen()
    device.listen()
    for client in (device, spy):
        client.ask()
        client.ask()
    operator.accept(one)
    cells = device.credentials()
    device.ask()
    assert device.credentials() == cells
    # What a careful device asks by REST is as private.
    third = fresh("third")
    operator.announce(third)
    by_rest.poll(third)
    operator.accept(third)
    assert by_rest.poll(third).status == 201
    assert operator.status(other) == PENDING
    assert spy.topics_heard() <= {"claimsvc/status"}
    operator.accept(other)
    own = spy.told()
    assert own.topic in {TOLD, spy.lane(TOLD)}
    assert own.payload.decode().split(",")[2] == f"device_{other}"


THEFTS = {
    "by REST": lambda thief, name: thief.poll(name).body["message"],
    "by REST with a guessed token": lambda thief, name: thief.poll(name, securityToken="guess").body["message"],
}


@pytest.mark.parametrize("token", [None, "abc12345"], ids=["a device without a token", "a device with one"])
@pytest.mark.parametrize("steal", THEFTS.values(), ids=THEFTS.keys())
def test_a_thief_gets_nothing_and_is_seen(steal: Any, token: str | None, operator: Operator, arrive: Arrive) -> None:
    """It hears what a pending device hears, before acceptance and after; the operator sees that somebody tried."""
    name, body = fresh("prey"), {"securityToken": token} if token else {}
    operator.announce(name)
    device, thief = arrive(fresh("address")), arrive(fresh("thief"))
    thief.subscribe(*EVERYTHING)
    device.poll(name, **body)
    told = [steal(thief, name)]
    shown = operator.look(name).body
    assert (shown["status"], shown["contested"]) == (PENDING, True)
    assert operator.events(name)[0] == "request_contested"
    refused = operator.accept(name)
    assert (refused.status, refused.body["code"]) == (422, "contested")
    everybody = operator.call("POST", f"{REQUESTS}/acceptAll").body
    assert [each["successful"] for each in everybody if each["id"] == name] == [False]
    if token:
        assert operator.accept(name, securityToken=token).status == 200
        told.append(steal(thief, name))
        assert device.poll(name, **body).status == 201
    told.append(steal(thief, name))
    waits = f"Credentials for device id {name} are not available. Device is in state {PENDING}, (not ACCEPTED))."
    assert set(told) == {waits}
    assert thief.topics_heard() == set()
    assert operator.events(name).count("request_contested") == 1
    operator.forget(name)


def test_a_thief_with_a_client_id_that_means_the_same(operator: Operator, arrive: Arrive) -> None:
    """`d:<id>:x` is the device, and another address: silence for ever, and the request is contested."""
    name = fresh("prey")
    operator.announce(name)
    device, thief = arrive(name), arrive(f"d:{name}:x")
    for client in (device, thief):
        client.listen()
        client.ask()
    assert operator.look(name).body["contested"] is True
    thief.ask()
    assert operator.accept(name).body["code"] == "contested"
    assert (device.topics_heard(), thief.topics_heard()) == (set(), set())
    operator.forget(name)


def test_a_thief_after_acceptance(operator: Operator, arrive: Arrive) -> None:
    """Within the window in which the device may ask again, nobody else may."""
    name = fresh("prey")
    registered(name, operator, arrive)
    thief = arrive(f"d:{name}:x")
    thief.listen()
    thief.ask()
    assert thief.poll(name).status == 404
    assert operator.look(name).body["contested"] is True
    assert thief.topics_heard() == set()
    with arrive(name) as device:
        device.listen()
        device.ask()
        assert device.credentials()[2] == f"device_{name}"


def test_a_device_pushed_to_another_way_than_it_asked(gate: World, operator: Operator, arrive: Arrive) -> None:
    """Who asked by REST and listens on s/dcr of its lane besides is told at once."""
    name = fresh("device")
    operator.announce(name)
    device = arrive(fresh("address"))
    device.subscribe(device.lane(TOLD))
    device.poll(name)
    operator.accept(name)
    message = device.receive()
    cells = message.payload.decode().split(",")
    assert (message.topic, cells[2]) == (device.lane(TOLD), f"device_{name}")
    assert device.poll(name).body["password"] == cells[3]
