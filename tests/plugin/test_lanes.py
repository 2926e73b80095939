"""Requests on plain topics: into the sender's lane, with the time, and for nobody else to see."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.plugin.conftest import Join
from tests.support.clients import CLAIM, PATIENCE_S, V5, V311, fresh
from tests.support.peers import STAMP, Play, Will, stamps
from tests.support.plugin import Site

DENIED = 0x87
NO_SUBSCRIBERS = 0x10

USER_TOPICS = [CLAIM, "v1/gateway/claim", "v2/c", "v2/c/j", "v1/devices/me/rpc/request/1"]
LOGINS = {"s/ucr": "bootstrap", "/provision/request": "provision"}
"""Which shared login has which request."""
CLIENT_TOPICS = list(LOGINS)
ANSWERS = [
    f"{CLAIM}/response",
    f"{CLAIM}/state",
    "v1/gateway/claim/response",
    "v1/devices/me/rpc/response/1",
    "s/dcr",
    "/provision/response",
]
both_versions = pytest.mark.parametrize("version", [V311, V5], ids=["MQTT 3.1.1", "MQTT 5"])
every_qos = pytest.mark.parametrize("qos", [0, 1, 2])


@both_versions
@every_qos
@pytest.mark.parametrize("topic", USER_TOPICS)
def test_a_user_topic_goes_to_the_users_lane(topic: str, qos: int, version: Any, join: Join, service: Play) -> None:
    """Payload and QoS are as they were, retain is gone, and the time is on it."""
    device = join("device", version=version)
    before_ms = time.time_ns() // 1_000_000
    device.publish(topic, b'{"a":1}', qos=qos, retain=True)
    message = service.receive()
    assert (message.topic, message.payload) == (device.lane(topic), b'{"a":1}')
    assert (message.qos, message.retain) == (qos, False)
    (stamp,) = stamps(message)
    assert before_ms <= int(stamp) <= time.time_ns() // 1_000_000


@both_versions
@every_qos
@pytest.mark.parametrize("topic", CLIENT_TOPICS)
@pytest.mark.parametrize(
    ("client_id", "level"),
    {
        "plain": "plain",
        "victim/s": "victim%2Fs",
        "50%": "50%25",
        "a%2Fb": "a%252Fb",
        "/+#": "%2F%2B%23",
        "ünï cödé": "ünï cödé",
    }.items(),
)
def test_a_client_topic_goes_to_the_client_ids_lane(  # noqa: PLR0913, PLR0917 - a table has columns
    client_id: str, level: str, topic: str, qos: int, version: Any, join: Join, service: Play
) -> None:
    """The id is percent-encoded, so it is always one level, and any id of the right login may ask."""
    login = LOGINS[topic]
    peer = join(login, known=True, version=version, client_id=client_id)
    peer.publish(topic, b"", qos=qos, retain=True)
    message = service.receive()
    assert message.topic == f"claimsvc/c/{login}/{level}/{topic}"
    assert not message.retain
    assert len(stamps(message)) == 1


def test_a_generated_id_has_a_lane(join: Join, service: Play) -> None:
    """An empty client id is replaced by the broker before the login."""
    peer = join("bootstrap", known=True)
    assert peer.client_id
    peer.publish("s/ucr")
    assert service.receive().topic == f"claimsvc/c/bootstrap/{peer.client_id}/s/ucr"


def test_nothing_stays_retained(join: Join, service: Play) -> None:
    """Neither on the plain topic nor in the lane."""
    device = join("device", client_id=fresh("id"))
    newcomer = join("bootstrap", known=True, client_id=fresh("id"))
    said = {CLAIM: device, device.lane(CLAIM): device}
    said |= {"s/ucr": newcomer, f"claimsvc/c/bootstrap/{newcomer.client_id}/s/ucr": newcomer}
    for topic, peer in said.items():
        assert peer.says(topic, retain=True) == 0
        service.receive()
    service.subscribe("claimsvc/u/#", "claimsvc/c/#", CLAIM, "s/ucr")
    assert service.hears() == []


# --- the time


FORGED: dict[str, Any] = {
    "one": {"UserProperty": [(STAMP, "1")]},
    "several": {"UserProperty": [(STAMP, "1"), (STAMP, "2"), (STAMP, "")]},
    "among others": {"UserProperty": [("a", "1"), (STAMP, "1"), ("b", "2"), (STAMP, "x"), ("a", "3")]},
    "with everything else": {
        "UserProperty": [(STAMP, "1"), ("a", "")],
        "CorrelationData": b"\x00\x01",
        "ResponseTopic": "claimsvc/u/x/response/1",
        "ContentType": "application/json",
        "PayloadFormatIndicator": 1,
    },
}


@every_qos
@pytest.mark.parametrize("where", ["plain", "direct"])
@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_a_forged_time_is_removed(forged: dict[str, Any], where: str, qos: int, join: Join, service: Play) -> None:
    """The plugin's is the only one; all other properties arrive, in order."""
    device = join("device")
    topic = CLAIM if where == "plain" else device.lane(CLAIM)
    device.publish(topic, b"{}", qos=qos, **forged)
    message = service.receive()
    (stamp,) = stamps(message)
    assert int(stamp) > 1_600_000_000_000
    properties: Any = message.properties
    others = [pair for pair in properties.UserProperty if pair[0] != STAMP]
    assert others == [pair for pair in forged["UserProperty"] if pair[0] != STAMP]
    for name in forged.keys() - {"UserProperty"}:
        assert getattr(properties, name) == forged[name]


def test_only_the_service_writes_without_a_time(site: Site, service: Play, join: Join) -> None:
    """Its answers are its own."""
    device = join("device")
    device.subscribe(device.lane(f"{CLAIM}/response"))
    service.publish(device.lane(f"{CLAIM}/response"), b"{}", UserProperty=[(STAMP, "7")])
    assert stamps(device.receive()) == ["7"]


def test_other_topics_are_left_alone(join: Join) -> None:
    """Telemetry is neither moved nor stamped, and stays retained."""
    device = join("device")
    topic = f"telemetry/{device.username}"
    assert device.says(topic, retain=True, UserProperty=[(STAMP, "7")]) in {0, NO_SUBSCRIBERS}
    device.subscribe(topic)
    message = device.receive()
    assert message.retain
    assert stamps(message) == ["7"]


def test_topic_aliases_work(join: Join, service: Play) -> None:
    """An alias stands for the topic as the client knows it, not for its lane."""
    device, newcomer = join("device"), join("bootstrap", known=True)
    device.publish(CLAIM, b"1", TopicAlias=1)
    newcomer.publish("s/ucr", b"2", TopicAlias=2)
    device.publish("", b"3", TopicAlias=1)
    newcomer.publish("", b"4", TopicAlias=2)
    lanes = [device.lane(CLAIM), f"claimsvc/c/bootstrap/{newcomer.client_id}/s/ucr"]
    assert [service.receive().topic for _ in range(4)] == lanes * 2


# --- who may do what


@pytest.mark.parametrize("username", ["bootstrap", "a/b", "a+b"])
@pytest.mark.parametrize("topic", USER_TOPICS)
def test_there_is_no_users_lane_for(username: str, topic: str, join: Join, service: Play) -> None:
    """A login that many use, or that would not be one level, is refused."""
    assert join(username, known=True).says(topic) == DENIED
    assert service.hears() == []


def test_there_is_no_users_lane_for_the_service_and_open_logins(site: Site, service: Play) -> None:
    """Their names are in no user's lane."""
    with site.peer("provision") as open_login:
        for topic in USER_TOPICS:
            assert open_login.says(topic) == DENIED
            assert service.says(topic) == DENIED
    assert service.hears() == []


def test_without_a_name_there_is_no_lane(make_site: Any) -> None:
    """Where the operator allows anonymous clients."""
    site = make_site()
    site.anonymous = True
    site.write_conf()
    site.start()
    with site.service() as service, site.peer(None, client_id="nameless") as nameless:
        assert nameless.says(CLAIM) == DENIED
        assert nameless.says("s/ucr") == DENIED
        assert service.hears() == []


@both_versions
def test_requests_are_for_nobody_to_hear(version: Any, join: Join) -> None:
    """Subscriptions to plain request topics are refused."""
    device = join("device", version=version)
    for topic in [*USER_TOPICS, *CLIENT_TOPICS, "v1/devices/me/rpc/request/+"]:
        assert not device.asks_for(topic)


@both_versions
def test_answers_are_for_everybody_to_subscribe(version: Any, join: Join) -> None:
    """Whoever may subscribe gets nothing by it but its own."""
    device = join("device", version=version, client_id=f"a/+#%{fresh('x')}")
    for topic in [*ANSWERS, "v1/devices/me/rpc/response/+"]:
        assert device.asks_for(topic)


@pytest.mark.parametrize("topic", [*ANSWERS, "$CONTROL/claimsvc/v1"])
def test_nobody_publishes_on(topic: str, join: Join, service: Play) -> None:
    """An injected answer would be believed; the service itself answers in lanes."""
    listener = join("device")
    listener.subscribe(topic)
    assert join("device").says(topic) == DENIED
    assert join("device").says(topic, retain=True) == DENIED
    if not topic.startswith("$"):
        assert service.says(topic) == DENIED
    assert listener.hears() == []


def test_unsubscribing_is_never_hindered(join: Join) -> None:
    """Not even from what could not be subscribed, nor with an odd client id."""
    device = join("device", client_id=f"+/#{fresh('x')}")
    device.subscribe(f"{CLAIM}/response", "s/dcr")
    assert device.unsubscribe(f"{CLAIM}/response") == [0]
    assert device.unsubscribe("s/dcr") == [0]
    assert device.unsubscribe(CLAIM) == [0x11]  # there was no such subscription
    assert device.unsubscribe("$share/g/claimsvc/#") == [0x11]


def test_an_odd_client_id_has_no_direct_lane(join: Join, service: Play) -> None:
    """The id `a%2Fb` would enter the lane of the client `a/b`."""
    name = fresh("id")
    victim = join("bootstrap", known=True, client_id=f"{name}/b")
    victim.publish("s/ucr")
    assert service.receive().topic == f"claimsvc/c/bootstrap/{name}%2Fb/s/ucr"
    attacker = join("bootstrap", known=True, client_id=f"{name}%2Fb")
    assert attacker.says(f"claimsvc/c/bootstrap/{name}%2Fb/s/ucr") == DENIED
    assert not attacker.asks_for(f"claimsvc/c/bootstrap/{name}%2Fb/s/dcr")
    attacker.subscribe("#")
    service.publish(f"claimsvc/c/bootstrap/{name}%2Fb/s/dcr", b"70,secret")
    assert attacker.hears() == []
    assert service.hears() == []
    assert victim.receive().payload == b"70,secret"


def test_a_topic_that_would_be_too_long_is_refused(site: Site, join: Join, service: Play) -> None:
    """A topic has 65 535 bytes at most; the connection stays, and nobody is harmed."""
    room = 65_535 - len("claimsvc/c/bootstrap//s/ucr")
    fits = join("bootstrap", known=True, client_id="x" * room)
    assert fits.says("s/ucr") == 0
    assert len(service.receive().topic) == 65_535
    for client_id in ("x" * (room + 1), "x" * 65_535, "/" * 30_000, "+" * 65_535):
        long = join("bootstrap", known=True, client_id=client_id)
        assert long.says("s/ucr") == DENIED
        long.trip()
        long.close()
    device = join("device")
    number = "9" * (65_535 - len("v1/devices/me/rpc/request/"))
    assert device.says(f"v1/devices/me/rpc/request/{number}") == DENIED
    assert service.hears() == []


# --- wills are not shown to the plugin, so they can neither be moved nor stamped


@both_versions
@pytest.mark.parametrize("kind", ["plain", "retained"])
@pytest.mark.parametrize(
    "topic", [*USER_TOPICS, *CLIENT_TOPICS, *ANSWERS, "lane", "client lane", "answer in the lane"]
)
def test_no_will_gets_to(topic: str, kind: str, version: Any, site: Site, join: Join, service: Play) -> None:
    """Nobody hears it, now or later."""
    device = join("device", version=version, client_id=fresh("id"))
    lanes = {
        "lane": device.lane(CLAIM),
        "client lane": f"claimsvc/c/bootstrap/{device.client_id}/s/ucr",
        "answer in the lane": device.lane(f"{CLAIM}/response"),
    }
    will = Will(lanes.get(topic, topic), retain=kind == "retained", stamp="1")
    listener = join("device")
    listener.subscribe("#", *ANSWERS)
    with site.peer(device.username, "password", version=version, client_id=device.client_id, will=will) as dying:
        dying.vanish()
    listener.subscribe("#")
    with site.service() as later:
        assert later.hears() == []
    assert service.disconnected.get() is not None  # by the service that came later
    assert service.drain() == []
    assert listener.hears() == []


@both_versions
def test_a_will_elsewhere_is_published(version: Any, site: Site, join: Join) -> None:
    """Other topics are the ACL file's."""
    device = join("device", version=version)
    device.subscribe(topic := f"telemetry/{device.username}")
    with site.peer(device.username, "password", version=version, will=Will(topic)) as dying:
        dying.vanish()
    assert device.receive().topic == topic


def test_a_will_at_a_takeover_is_refused_too(site: Site, join: Join, service: Play) -> None:
    """Then the broker publishes it before it says that the older connection is gone."""
    device = join("device", client_id=fresh("id"))
    will = Will(device.lane(CLAIM))
    with (
        site.peer(device.username, "password", client_id=device.client_id, will=will) as older,
        site.peer(device.username, "password", client_id=device.client_id) as newer,
    ):
        older.disconnected.get(timeout=10)
        newer.publish(CLAIM, b"newer")
        assert service.receive().payload == b"newer"


DELAYED = {
    "a plain topic": CLAIM,
    "the own lane": f"claimsvc/u/{{name}}/{CLAIM}",
    "a call in the own lane": "claimsvc/u/{name}/request/1/POST/claimsvc/users",
}


def expect_will(site: Site, service: Play) -> None:
    """Return when every will that is due after a second has been published: one by a living login comes last."""
    site.add_password(name := fresh("witness"), "password")
    will = Will(f"telemetry/{name}", delay_s=3)
    with site.peer(name, "password") as listener:
        listener.subscribe(will.topic)
        with site.peer(name, "password", expiry_s=60, will=will, client_id=fresh("id")) as dying:
            dying.vanish()
        assert listener.receive().topic == will.topic
    service.trip()


@pytest.mark.parametrize("login", ["device", "foreign"])
@pytest.mark.parametrize("topic", DELAYED.values(), ids=DELAYED.keys())
def test_a2_a_delayed_will_is_no_request(topic: str, login: str, site: Site, join: Join, service: Play) -> None:
    """Of our logins and of the password file's: neither by its delay, nor by the end of its session."""
    listener = join("device")
    listener.subscribe("#")
    name = "foreign" if login == "foreign" else join("device").username
    for expiry_s in (60, 1):
        will = Will(topic.format(name=name), delay_s=2, stamp="1")
        with site.peer(name, "password", expiry_s=expiry_s, will=will, client_id=fresh("id")) as dying:
            dying.trip()
            dying.vanish()
    expect_will(site, service)
    assert listener.hears() == []
    assert service.hears() == []


@pytest.mark.parametrize("ending", ["kicked", "revoked", "the next holder"])
def test_a2_a_delayed_will_of_an_ended_login_is_no_request(
    ending: str, site: Site, join: Join, service: Play
) -> None:
    """Whoever has the name when it comes did not say that."""
    name = join("device").username
    will = Will(f"claimsvc/u/{name}/{CLAIM}", delay_s=2)
    with site.peer(name, "password", expiry_s=60, will=will, client_id=fresh("id")) as dying:
        if ending != "kicked":
            dying.vanish()
        site.revoke(name)
        service.disconnect_principal(name)
        if ending == "kicked":
            dying.disconnected.get(timeout=PATIENCE_S)
    if ending == "the next holder":
        site.add_password(f"{name}-again", "password", name)
        with site.peer(f"{name}-again", "password") as successor:
            expect_will(site, service)
            assert service.hears() == []
            assert successor.says(CLAIM) == 0
            assert service.receive().topic == f"claimsvc/u/{name}/{CLAIM}"
    expect_will(site, service)
    assert service.hears() == []


def test_a2_a_will_at_a_takeover_by_the_password_files_login_is_refused(site: Site, service: Play) -> None:
    """The newer connection is not admitted yet when the broker publishes the older one's will."""
    client_id = fresh("id")
    will = Will(f"claimsvc/u/foreign/{CLAIM}", b"older")
    with site.peer("foreign", "password", client_id=client_id, will=will) as older:
        older.trip()
        with site.peer("foreign", "password", client_id=client_id) as newer:
            older.disconnected.get(timeout=PATIENCE_S)
            newer.publish(CLAIM, b"newer")
            assert service.receive().payload == b"newer"


def test_a2_the_first_word_of_the_password_files_login_is_heard(site: Site, service: Play) -> None:
    """It publishes before it has subscribed to anything: no will, although nothing but its login is known."""
    for topic in (CLAIM, f"claimsvc/u/foreign/{CLAIM}"):
        with site.peer("foreign", "password") as foreign:
            assert foreign.says(topic) == 0
            assert service.receive().topic == f"claimsvc/u/foreign/{CLAIM}"


def test_a2_a_refused_takeover_takes_no_voice_away(site: Site, service: Play) -> None:
    """A wrong password under the client id of a connected client, which the file is to decide about."""
    with site.peer("foreign", "password", client_id=(client_id := fresh("id"))) as foreign:
        assert foreign.says(CLAIM) == 0
        service.receive()
        for _ in range(3):
            assert not site.admits("foreign", "wrong", client_id=client_id)
            assert foreign.says(CLAIM) == 0
            service.receive()


def test_a_delayed_will_on_a_plain_topic_is_heard_by_nobody(site: Site, join: Join, service: Play) -> None:
    """It cannot be told from a publish when it comes, so it goes where nobody may listen."""
    device = join("device")
    listener = join("device")
    listener.subscribe("#")
    will = Will(CLAIM, delay_s=1)
    with site.peer(device.username, "password", expiry_s=60, will=will, client_id=fresh("id")) as dying:
        dying.vanish()
    assert listener.hears_nothing()
    assert service.hears() == []
