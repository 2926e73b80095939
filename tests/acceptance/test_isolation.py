"""Attacks on the one rule of identity, the lane in the topic: all are tried, none works."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from claimsvc.founding import Account
from tests.support.clients import CLAIM, V5, V311, Admin, Client, fresh
from tests.support.processes import World

OPEN = b'{"secretKey":"value","durationMs":60000}'
FOREIGN = ("+", "customer/request", "service", "$SYS")
"""Logins that are not ours: the operator wrote them into the password file."""


@pytest.fixture(scope="module", params=["stock", "plugin"])
def town(request: pytest.FixtureRequest, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with logins of all sorts, on a stock broker and on one with the plugin."""
    environment = {"CLAIMSVC_CLAIM__MAX_FAILURES_PER_HOUR": "1000000"}
    world = World(tmp_path_factory.mktemp("town"), plugin if request.param == "plugin" else None, **environment)
    for name in FOREIGN:
        world.add_login(name, "password")
    world.start()
    yield world
    world.stop()


Enter = Callable[..., Client]


@pytest.fixture
def enter(town: World) -> Iterator[Enter]:
    """Connect to the town as one of its accounts, a foreign login, or a login that was just made."""
    with ExitStack() as stack:

        def enter(who: str | Account, **options: Any) -> Client:
            account = who if isinstance(who, Account) else town.accounts.get(who, Account(who, "password"))
            return stack.enter_context(Client(town.port, account, **options))

        yield enter


@pytest.fixture
def admin(town: World) -> Iterator[Admin]:
    """The town's admin."""
    with Admin(town.port, town.accounts["admin"]) as client:
        yield client


def heard(client: Client) -> set[str]:
    """Return the topics a client has received once everything before is handled: order is kept throughout."""
    trip, topics = client.lane("response/trip"), set()
    client.subscribe(trip)
    client.publish(client.lane("request/trip/GET/trip"))
    while (topic := client.receive().topic) != trip:
        topics.add(topic)
    return topics | {message.topic for message in client.drain()} - {trip}


# --- writing into another's lane

WRITES = {
    "its claim topic": f"u/{{victim}}/{CLAIM}",
    "its short claim topic": "u/{victim}/v2/c",
    "its lane with an empty level": f"u//{{victim}}/{CLAIM}",
    "its lane from the own lane": f"u/device/../{{victim}}/{CLAIM}",
    "its lane behind the own": f"u/device/u/{{victim}}/{CLAIM}",
    "a lane without a name": f"u//{CLAIM}",
    "a REST request of the customer": "u/customer/request/stolen/POST/api/customer/device/{victim}/claim",
    "a REST request of the admin": "u/admin/request/stolen/DELETE/claimsvc/users/customer",
    "the client id's lane": f"c/{{victim}}/{CLAIM}",
    "the victim's answers": f"u/{{victim}}/{CLAIM}/response",
    "the service's lane": f"u/claimsvc/{CLAIM}",
    "the service's status": "status",
    "the audit events": "events/default/device_claimed",
}


@pytest.mark.parametrize("version", [V311, V5], ids=["MQTT 3.1.1", "MQTT 5"])
@pytest.mark.parametrize("topic", WRITES.values(), ids=WRITES.keys())
def test_nobody_writes_into(topic: str, version: Any, admin: Admin, enter: Enter) -> None:
    """Neither plainly, nor retained, nor by a will, at no QoS: the victim hears and suffers nothing."""
    name = fresh("prey")
    victim = enter(admin.make_device(name))
    victim.subscribe(victim.lane("#"), f"claimsvc/c/{name}/#", "claimsvc/status", "claimsvc/events/#")
    watched = enter("admin")
    watched.subscribe("claimsvc/events/default/+")
    status = victim.receive()
    assert (status.topic, json.loads(status.payload)["state"]) == ("claimsvc/status", "online")
    target = "claimsvc/" + topic.format(victim=name)
    for retain in (False, True):
        for qos in (0, 1, 2):
            attacker = enter("device", version=version, will=(target, OPEN))
            attacker.attempts(target, OPEN, qos=qos, retain=retain)
            attacker.vanish()
    heard(enter("device"))
    assert heard(victim) == set()
    assert heard(watched) == set()
    assert enter("customer").claim(name).body == "FAILURE"  # there is no window


@pytest.mark.parametrize("version", [V311, V5], ids=["MQTT 3.1.1", "MQTT 5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_denied_publish_costs_the_message_and_not_the_connection(qos: int, version: Any, enter: Enter) -> None:
    """Firmware that also publishes what nobody here wants, such as telemetry, must stay connected."""
    device = enter("device", version=version)
    assert device.attempts("v1/devices/me/telemetry", b"{}", qos=qos)


# --- reading another's answers

READS = {
    "the exact topic": ["claimsvc/u/{victim}/v1/devices/me/claim/response"],
    "everything": ["#"],
    "everything below the root": ["claimsvc/#"],
    "plus for every level": ["+/+/+/+/+/+/+/+", "+/+/+/+/+", "+/+/+/+/+/+/+/+/+/+/+/+/+"],
    "plus for the name": ["claimsvc/u/+/#", "claimsvc/u/+/response/+"],
    "a shared subscription": ["$share/g/#", "$share/claimsvc/claimsvc/u/+/v1/devices/me/claim"],
    "a shared subscription to its lane": ["$share/g/claimsvc/u/{victim}/#"],
}
SPIES = ["device", "customer", "gateway", "+", "bootstrap", "provision", "service", "$SYS"]


@pytest.mark.parametrize("topics", READS.values(), ids=READS.keys())
def test_nobody_reads_another_lane_by(topics: list[str], admin: Admin, enter: Enter) -> None:
    """Not a byte of a request or an answer gets to anybody else, whatever they subscribe to."""
    name = fresh("prey")
    victim = enter(admin.make_device(name))
    spies = [enter(each) for each in SPIES]
    for spy in spies:
        for topic in topics:
            spy.subscribe(topic.format(victim=name))
        # A filter of its own that works, so that a round trip shows when everything has come.
        spy.subscribe("claimsvc/status")
    assert victim.open_window(json.loads(OPEN))["status"] == "SUCCESS"
    assert enter("customer").claim(name).body["response"] == "SUCCESS"
    for spy in spies:
        spy.subscribe("claimsvc/status")  # the SUBACK comes behind whatever was sent before
        own = ("claimsvc/status", spy.lane(""))
        leaked = [message.topic for message in spy.drain() if not message.topic.startswith(own)]
        assert leaked == [], spy.username


RESPONSE_TOPICS = {
    "another's lane": "claimsvc/u/{victim}/response/1",
    "the service's status": "claimsvc/status",
    "the audit events": "claimsvc/events/default/device_claimed",
    "a wildcard": "claimsvc/u/{own}/response/#",
    "a plus": "claimsvc/u/{own}/response/+",
    "the own lane, but no response": "claimsvc/u/{own}/request/1/GET/api/device",
    "the own claim topic": "claimsvc/u/{own}/v1/devices/me/claim",
    "any other topic": "elsewhere",
    "too long a topic": "claimsvc/u/{own}/response/" + "x" * 65_000,
}


@pytest.mark.parametrize("topic", RESPONSE_TOPICS.values(), ids=RESPONSE_TOPICS.keys())
def test_a_response_topic_cannot_be(topic: str, town: World, admin: Admin, enter: Enter) -> None:
    """The default answer topic is used and a warning logged; nobody else gets a message."""
    name = fresh("prey")
    victim, attacker = enter(admin.make_device(name)), enter("device")
    victim.subscribe(victim.lane("#"), "claimsvc/status", "elsewhere")
    victim.receive()
    attacker.subscribe(attacker.lane(f"{CLAIM}/response"))
    asked = topic.format(victim=name, own=attacker.username)
    attacker.publish(attacker.lane(CLAIM), OPEN, ResponseTopic=asked)
    assert json.loads(attacker.receive().payload)["status"] == "SUCCESS"
    town.service.wait_for("response_topic_ignored", principal="device")
    assert heard(victim) == set()


# --- names that are tricks


def test_a_username_with_a_slash_stays_one_level(admin: Admin, enter: Enter) -> None:
    """A user `prey/v1` made by an admin is percent-encoded and owns no part of the lane of `prey`."""
    name = fresh("prey")
    victim = enter(admin.make_device(name))
    for trick in (f"{name}/request", f"{name}/response", f"{name}/v1", f"{name}%2Fv1", f"../{name}"):
        account = admin.make_user(trick)
        assert "/" not in account.username
        for tail in (f"{name}/{CLAIM}", f"{trick}/{CLAIM}", f"{trick}/request/1/GET/api/x"):
            enter(account).attempts(f"claimsvc/u/{tail}", OPEN)
        attacker = enter(account)
        attacker.subscribe("#", f"claimsvc/u/{name}/#", f"claimsvc/u/{trick}/#")
        victim.open_window({"durationMs": 1})
        assert heard(attacker) <= {"claimsvc/status", attacker.lane("response/trip")}
    assert enter("customer").claim(name).body == "FAILURE"


def test_a_foreign_username_with_a_slash_reaches_into_nobody(admin: Admin, enter: Enter) -> None:
    """Not even the operator's own login `customer/request` can claim as `customer`."""
    name = fresh("prey")
    enter(admin.make_device(name)).open_window({"secretKey": "value"})
    call = f"POST/api/customer/device/{name}/claim"
    for tail in (call, f"request/{call}", f"1/{call}"):
        enter("customer/request").attempts(f"claimsvc/u/customer/request/request/{tail}", OPEN)
    assert enter("customer").claim(name).body["response"] == "SUCCESS"


TAKEN_NAMES = {
    "the service": ("claimsvc", 400),
    "bootstrap": ("bootstrap", 400),
    "provision": ("provision", 400),
    "a device": ("device", 409),
    "a gateway": ("gateway", 409),
    "another user": ("customer", 409),
}


@pytest.mark.parametrize(("name", "status"), TAKEN_NAMES.values(), ids=TAKEN_NAMES.keys())
def test_nobody_is_made_with_the_name_of(name: str, status: int, town: World, admin: Admin) -> None:
    """Names are unique over all kinds, and the service's and the bootstrap names are reserved."""
    assert admin.call("POST", "/claimsvc/users", {"username": name}).status == status
    if name not in {"gateway", "device"}:
        assert admin.call("POST", "/api/device", {"name": name}).status == 400
    with Client(town.port, town.accounts["customer"]) as customer:
        assert customer.claim("nothing").status == 404  # the login is what it was


@pytest.mark.parametrize("name", ["bootstrap", "provision"])
def test_a_login_without_a_lane_is_never_a_device(name: str, town: World, enter: Enter) -> None:
    """Bootstrap and provision have no lane: nothing comes in, nothing is made."""
    own = f"claimsvc/u/{name}"
    for topic in (f"{own}/{CLAIM}", f"claimsvc/u/claimsvc/{CLAIM}", f"{own}/request/1/GET/api/device"):
        client = enter(name, client_id="claimsvc")
        client.subscribe("#")
        client.attempts(topic, OPEN)
    heard(enter("device"))
    assert town.rows("SELECT count(*) FROM device WHERE name IN (?, 'claimsvc')", name) == [(0,)]
    assert {message.topic for message in client.drain()} <= {"claimsvc/status"}


NAMES = ["../device", "device/v1/devices/me/claim", "+", "#", "$share/g/x", "claimsvc/status", "%2e%2e", "/"]


def test_device_names_made_of_topic_characters_stay_names(enter: Enter) -> None:
    """A gateway may call its devices anything: no name becomes a topic."""
    gateway, bystander, customer = enter("gateway"), enter("device"), enter("customer")
    bystander.subscribe(bystander.lane("#"), "claimsvc/status", "claimsvc/#")
    answers = gateway.open_windows({name: {"secretKey": "value"} for name in NAMES})
    assert {answer["status"] for answer in answers.values()} == {"SUCCESS"}
    for name in NAMES:
        path = "".join(f"%{byte:02x}" for byte in name.encode())
        assert customer.claim(path).body["device"]["name"] == name
    assert heard(bystander) <= {"claimsvc/status"}


# --- MQTT properties change nothing

FORGED = [("user", "customer"), ("principal", "customer"), ("username", "admin"), ("received-at", "x")]
MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("shift_ms", "lasts_ms"),
    [(-30_000, 30_000), (10**9, MINUTE_MS), (10**14, MINUTE_MS), (-59_000, 1_000)],
    ids=["half a minute ago", "in the future", "in the far future", "almost too long ago"],
)
def test_a_forged_stamp_can_only_shorten(shift_ms: int, lasts_ms: int, enter: Enter, town: World) -> None:
    """The plugin removes a forged stamp; without it, who writes one only takes time from its own window."""
    if town.has_plugin:
        lasts_ms = MINUTE_MS
    device = enter("device")
    device.subscribe(device.lane(f"{CLAIM}/response"))
    before = int(time.time() * 1000)
    stamp = ("received-at", str(before + shift_ms))
    device.publish(device.lane(CLAIM), OPEN, UserProperty=[*FORGED, stamp])
    answer = json.loads(device.receive().payload)
    assert 0 <= answer["expirationTime"] - before - lasts_ms <= time.time() * 1000 - before


@pytest.mark.parametrize("stamp", ["-1", "", "1e3", "٣", "9" * 400, "0x10", "1 "])
def test_a_stamp_that_is_no_time_is_ignored(stamp: str, enter: Enter) -> None:
    """Only digits are read."""
    device = enter("device")
    device.subscribe(device.lane(f"{CLAIM}/response"))
    device.publish(device.lane(CLAIM), OPEN, UserProperty=[("received-at", stamp)])
    assert json.loads(device.receive().payload)["status"] == "SUCCESS"


def test_forged_properties_make_nobody_else(admin: Admin, enter: Enter) -> None:
    """A device that says it is the customer is refused as the device it is."""
    name = fresh("prey")
    enter(admin.make_device(name)).open_window({"secretKey": "value"})
    attacker = enter("device")
    attacker.subscribe(attacker.lane("response/forged"))
    for method, path in (("POST", f"api/customer/device/{name}/claim"), ("GET", "claimsvc/users")):
        topic = attacker.lane(f"request/forged/{method}/{path}")
        attacker.publish(topic, b'{"secretKey":"value","user":"customer"}', UserProperty=FORGED)
        assert json.loads(attacker.receive().payload)["status"] == 403
    assert enter("customer").claim(name).body["response"] == "SUCCESS"
