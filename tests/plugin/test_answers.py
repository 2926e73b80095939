"""Answers on plain topics: to the client that came by them, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plugin.conftest import Join
from tests.plugin.test_lanes import both_versions, every_qos
from tests.support.clients import CLAIM, V5, V311, correlation_of, fresh
from tests.support.peers import Play
from tests.support.plugin import Site

USER_ANSWERS = [f"{CLAIM}/response", f"{CLAIM}/state", "v1/gateway/claim/response", "v1/devices/me/rpc/response/7"]
CLIENT_ANSWERS = {"s/dcr": ("bootstrap", "s/ucr"), "/provision/response": ("provision", "/provision/request")}


@both_versions
@every_qos
@pytest.mark.parametrize("answer", USER_ANSWERS)
def test_a_users_answer_comes_on_the_plain_topic(
    answer: str, qos: int, version: Any, join: Join, service: Play
) -> None:
    """To each of its connections that came by a plain topic, to no other client; the lane's own message goes on."""
    asker, other, bystander = join("device", version=version), join("device"), join("device")
    for peer in (asker, other):
        peer.publish(CLAIM)
        service.receive()
    for peer in (asker, other, bystander):
        peer.subscribe(*USER_ANSWERS, qos=2)
    service.publish(asker.lane(answer), b"yours", qos=qos)
    message = asker.receive()
    assert (message.topic, message.payload, message.qos, message.retain) == (answer, b"yours", qos, False)
    assert asker.hears() == other.hears() == bystander.hears() == []


@both_versions
@every_qos
@pytest.mark.parametrize("answer", CLIENT_ANSWERS)
@pytest.mark.parametrize("client_id", ["{}", "{}/s", "/+#%{}"])
def test_a_client_ids_answer_comes_on_the_plain_topic(
    client_id: str, answer: str, qos: int, version: Any, join: Join, service: Play
) -> None:
    """Whatever the id looks like, and although all share one login."""
    login, request = CLIENT_ANSWERS[answer]
    askers = [join(login, known=True, version=version, client_id=client_id.format(fresh("id"))) for _ in range(3)]
    lanes = []
    for asker in askers:
        asker.subscribe(answer)
        asker.publish(request)
        lanes.append(service.receive().topic.removesuffix(request))
    for number, lane in enumerate(lanes):
        service.publish(lane + answer, f"for {number}".encode(), qos=qos)
    for number, asker in enumerate(askers):
        message = asker.receive()
        assert (message.topic, message.payload) == (answer, f"for {number}".encode())
        assert asker.hears() == []


def test_properties_come_along(join: Join, service: Play) -> None:
    """Correlation data above all."""
    device = join("device")
    device.publish(CLAIM, CorrelationData=b"\x00x")
    asked = service.receive()
    service.publish(
        device.lane(f"{CLAIM}/response"),
        b"{}",
        CorrelationData=correlation_of(asked),
        ContentType="application/json",
        UserProperty=[("a", "1")],
    )
    properties: Any = device.receive().properties
    assert properties.CorrelationData == b"\x00x"
    assert properties.ContentType == "application/json"
    assert properties.UserProperty == [("a", "1")]


@pytest.mark.parametrize("version", [V311, V5], ids=["MQTT 3.1.1", "MQTT 5"])
def test_an_empty_and_a_large_answer_arrive(version: Any, join: Join, service: Play) -> None:
    """Byte for byte."""
    device = join("device", version=version)
    device.publish(CLAIM)
    for payload in (b"", b"\x00", bytes(range(256)) * 4096):
        service.publish(device.lane(f"{CLAIM}/response"), payload)
        assert device.receive().payload == payload


def test_every_connection_of_a_user_gets_it(site: Site, join: Join, service: Play) -> None:
    """A lane belongs to the user, however many connections there are; those without plain topics hear nothing new."""
    first = join("device")
    with (
        site.peer(first.username, "password") as second,
        site.peer(first.username, "password") as silent,
    ):
        for peer in (first, second):
            peer.publish(CLAIM)
            service.receive()
        service.publish(first.lane(f"{CLAIM}/state"), b"claimed")
        assert first.receive().topic == second.receive().topic == f"{CLAIM}/state"
        assert silent.hears() == []


def test_only_this_connection_counts(site: Site, join: Join, service: Play) -> None:
    """After a reconnect the client has to come by a plain topic again."""
    device = join("device", client_id=fresh("id"))
    device.publish(CLAIM)
    service.receive()
    device.close()
    with site.peer(device.username, "password", client_id=device.client_id) as again:
        service.publish(device.lane(f"{CLAIM}/state"), b"1")
        assert again.hears() == []
        again.publish(CLAIM)
        service.publish(device.lane(f"{CLAIM}/state"), b"2")
        assert again.receive().payload == b"2"


def test_the_lane_has_to_be_the_one_it_came_by(join: Join, service: Play) -> None:
    """A client that asked in one lane hears nothing of another of the same client id."""
    device = join("device", client_id=fresh("id"))
    device.publish(CLAIM)
    service.publish(f"claimsvc/c/bootstrap/{device.client_id}/s/dcr", b"70,secret")
    assert device.hears() == []
    newcomer = join("bootstrap", known=True, client_id=fresh("id"))
    newcomer.publish("s/ucr")
    service.publish(f"claimsvc/c/provision/{newcomer.client_id}/s/dcr", b"70,secret")
    service.publish(f"claimsvc/c/bootstrap/{newcomer.client_id}/s/dcr", b"70,mine")
    assert newcomer.receive().payload == b"70,mine"


def test_who_subscribed_in_the_lane_gets_it_there(join: Join, service: Play) -> None:
    """Once, when it came by the lane."""
    device = join("device")
    device.subscribe(device.lane(f"{CLAIM}/response"))
    device.publish(device.lane(CLAIM))
    service.receive()
    service.publish(device.lane(f"{CLAIM}/response"), b"{}")
    assert device.receive().topic == device.lane(f"{CLAIM}/response")
    assert device.hears() == []


@pytest.mark.parametrize(
    "topic",
    ["{lane}v1/devices/me/claim", "{lane}response/1", "{lane}s/dcr", "{lane}", "{lane}telemetry", "claimsvc/status"],
)
def test_what_is_no_answer_stays_in_the_lane(topic: str, join: Join, service: Play) -> None:
    """Only the answers of this lane come on plain topics."""
    device = join("device")
    device.publish(CLAIM)
    device.publish("s/ucr")
    service.publish(topic.format(lane=device.lane("")), b"x")
    assert device.hears() == []


@pytest.mark.parametrize("answer", USER_ANSWERS)
def test_nobody_but_the_service_answers(answer: str, site: Site, join: Join) -> None:
    """Not the device itself, not a client that the ACL file lets write everywhere."""
    device = join("device")
    device.publish(CLAIM)
    for attacker in (device, join("device")):
        attacker.publish(device.lane(answer), b"forged")
        attacker.trip()
    assert device.hears() == []


def test_a_login_of_the_password_file_is_served_as_well(join: Join, service: Play) -> None:
    """The plugin learns of it by what it does."""
    foreign = join("foreign", known=True)
    foreign.publish(CLAIM)
    assert service.receive().topic == f"claimsvc/u/foreign/{CLAIM}"
    service.publish(f"claimsvc/u/foreign/{CLAIM}/response", b"{}")
    assert foreign.receive().payload == b"{}"
