"""Attacks on what is private: all are tried, none works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.plugin.conftest import Join
from tests.plugin.test_lanes import ANSWERS, CLIENT_TOPICS, DENIED, USER_TOPICS, both_versions
from tests.support.clients import CLAIM, LoginRefusedError, fresh
from tests.support.peers import SERVICE_ID, Peer, Play
from tests.support.plugin import Site

Attacker = Callable[[Join, str], Peer]

ATTACKERS: dict[str, Attacker] = {
    "another device": lambda join, name: join("device"),
    "a device by token": lambda join, name: join(token=fresh("token")),
    "bootstrap": lambda join, name: join("bootstrap", known=True, client_id=fresh("id")),
    "an open login": lambda join, name: join("provision", known=True),
    "a login of the password file": lambda join, name: join("foreign", known=True),
    "a login that is a path": lambda join, name: join("a/b", known=True),
    "a login that is a pattern": lambda join, name: join("a+b", known=True),
    "a client id behind the victim's": lambda join, name: join("device", client_id=f"{name}/s"),
    "a client id around the victim's": lambda join, name: join("device", client_id=f"x/../{name}"),
    "a client id that is a plus": lambda join, name: join("device", client_id=f"+/{fresh('x')}"),
    "a client id that is a hash": lambda join, name: join("device", client_id=f"#{fresh('x')}"),
    "a client id that is an encoding": lambda join, name: join("device", client_id=f"%2F{name}"),
}

FILTERS = {
    "everything": ["#"],
    "everything, by levels": ["+", "+/+", "+/+/+", "+/+/+/+", "+/+/+/+/+", "+/+/+/+/+/+/+/+", "+/#", "/#", "/+/+"],
    "the plain topics": [*USER_TOPICS, *CLIENT_TOPICS, *ANSWERS, "v1/devices/me/rpc/response/+"],
    "around the plain topics": ["v1/#", "v1/devices/me/#", "v1/+/me/claim/response", "s/#", "s/+", "/provision/+"],
    "all lanes": ["claimsvc/#", "claimsvc/u/#", "claimsvc/c/#", "claimsvc/+/+/#"],
    "the victim's lanes": [
        "claimsvc/u/{name}/#",
        f"claimsvc/u/{{name}}/{CLAIM}",
        f"claimsvc/u/{{name}}/{CLAIM}/response",
        "claimsvc/c/bootstrap/{name}-boot/#",
        "claimsvc/c/{name}/s/dcr",
        "claimsvc/c/bootstrap/{name}-boot/s/dcr",
        "claimsvc/c/bootstrap/{name}-boot/s/ucr",
    ],
    "shared": ["$share/g/#", "$share/g/s/dcr", f"$share/g/{CLAIM}/response", "$share/claimsvc/claimsvc/c/+/+/s/ucr"],
    "the broker's": ["$CONTROL/#", "$CONTROL/claimsvc/v1"],
}


@both_versions
@pytest.mark.parametrize("attacker", ATTACKERS.values(), ids=ATTACKERS.keys())
def test_nobody_listens_in(attacker: Attacker, version: Any, site: Site, join: Join, service: Play) -> None:
    """Whatever is subscribed to: neither a request, nor an answer, on plain topics or in lanes."""
    victim = join("victim", version=version, client_id=(name := fresh("prey")))
    site.add_password(name, "password")
    victim.close()
    newcomer = join("bootstrap", known=True, version=version, client_id=f"{name}-boot")
    with site.peer(name, "password", version=version, client_id=name) as victim:
        spy = attacker(join, name)
        for filters in FILTERS.values():
            for topic in filters:
                spy.asks_for(topic.format(name=name))
        for request, answer in ((CLAIM, f"{CLAIM}/response"), ("s/ucr", "s/dcr"), (CLAIM, f"{CLAIM}/state")):
            asker = newcomer if request == "s/ucr" else victim
            asker.publish(request, b"secret")
            lane = service.receive().topic.removesuffix(request)
            service.publish(lane + answer, b"secret")
            assert asker.receive().payload == b"secret"
        victim.publish(victim.lane(CLAIM), b"secret", retain=True)
        service.receive()
        assert spy.hears() == []


WRITES = {
    "the lane": f"claimsvc/u/{{name}}/{CLAIM}",
    "the lane of the client id": "claimsvc/c/bootstrap/{name}-boot/s/ucr",
    "provisioning of the client id": "claimsvc/c/provision/{name}-boot//provision/request",
    "an answer": f"claimsvc/u/{{name}}/{CLAIM}/response",
    "an answer of the client id": "claimsvc/c/bootstrap/{name}-boot/s/dcr",
    "a plain answer": f"{CLAIM}/response",
    "a plain answer of the client id": "s/dcr",
    "the lane behind an empty level": f"claimsvc/u//{{name}}/{CLAIM}",
    "the lane from the own one": f"claimsvc/u/{{own}}/../{{name}}/{CLAIM}",
    "the service's lane": f"claimsvc/u/claimsvc/{CLAIM}",
    "a lane without a name": f"claimsvc/u//{CLAIM}",
    "the broker's ear": "$CONTROL/claimsvc/v1",
    "the service's status": "claimsvc/status",
}


@both_versions
@pytest.mark.parametrize("attacker", ATTACKERS.values(), ids=ATTACKERS.keys())
def test_nobody_writes_in_anothers_name(
    attacker: Attacker, version: Any, site: Site, join: Join, service: Play
) -> None:
    """At no QoS, retained or not: the service and the victim hear nothing."""
    site.add_password(name := fresh("prey"), "password")
    newcomer = join("bootstrap", known=True, version=version, client_id=f"{name}-boot")
    with site.peer(name, "password", version=version, client_id=name) as victim:
        victim.publish(CLAIM)
        newcomer.publish("s/ucr")
        service.receive()
        service.receive()
        villain = attacker(join, name)
        for topic in WRITES.values():
            target = topic.format(name=name, own=villain.username.replace("+", ""))
            for qos, retain in ((0, True), (1, False), (2, True)):
                villain.publish(target, f"disconnect {name}\n", qos=qos, retain=retain)
        villain.trip()
        assert service.hears() == []
        assert victim.hears() == newcomer.hears() == []
        assert villain.disconnected.empty()
        assert victim.disconnected.empty()


@both_versions
@pytest.mark.parametrize(
    ("username", "password"),
    [("claimsvc", None), ("claimsvc", "wrong"), ("claimsvc ", "service-password"), (None, None)],
)
def test_nobody_is_the_service_by_saying_so(username: str, password: str, version: Any, site: Site) -> None:
    """Neither by name nor by client id."""
    assert not site.admits(username, password, version=version)
    assert not site.admits(username, password, version=version, client_id=SERVICE_ID)


def test_a_device_named_like_a_lane_is_a_device(join: Join, site: Site, service: Play) -> None:
    """Names with a meaning elsewhere have none here."""
    for principal in ("u", "c", "claimsvc-2", "status", "$SYS", "..", "%2F", "a%2Fb", " "):
        site.add_password(f"login-{principal}", "password", principal)
        with site.peer(f"login-{principal}", "password") as device:
            assert device.says(CLAIM) == 0
            assert service.receive().topic == f"claimsvc/u/{principal}/{CLAIM}"


@pytest.mark.parametrize("client_id", ["\x01", "a\x1fb", "\x7f", "\u0080", "a\u009f", "\ufffe", "\ufdd0", "a\x00b"])
def test_a_client_id_with_control_characters_harms_nobody(client_id: str, site: Site, join: Join) -> None:
    """Mosquitto refuses what a topic could not carry."""
    neighbour = join("device")
    try:
        with site.peer("provision", client_id=client_id) as odd:
            assert odd.says("/provision/request") in {0, DENIED}
    except LoginRefusedError:
        pass
    neighbour.trip()
    assert neighbour.disconnected.empty()
