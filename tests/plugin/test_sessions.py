"""What outlives a connection: stored sessions, reloads, disconnections by the service, and races for a client id."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.plugin.conftest import Join, MakeSite
from tests.plugin.test_lanes import both_versions
from tests.support.clients import CLAIM, PATIENCE_S, V5, V311, LoginRefusedError, fresh
from tests.support.peers import SERVICE_ID, Play
from tests.support.plugin import Site

KEPT: dict[str, Any] = {"clean": False, "expiry_s": 600}


def leave_unread(site: Site, service: Play, username: str, client_id: str, version: Any = V5, **more: Any) -> None:
    """Let a client get an answer, and go without having acknowledged it: the broker keeps it for the session."""
    with site.peer(username, "password", version=version, client_id=client_id, manual_ack=True, **KEPT) as device:
        for topic, answer in (more.get("asked") or {CLAIM: f"claimsvc/u/{username}/{CLAIM}/response"}).items():
            device.publish(topic)
            service.receive()
            service.publish(answer, b"secret")
            device.receive()
        device.vanish()
    service.trip()


@both_versions
def test_an_unread_answer_waits_for_its_owner(version: Any, site: Site, join: Join, service: Play) -> None:
    """At least once is at least once, plain topics or not."""
    name, client_id = join("device").username, fresh("id")
    leave_unread(site, service, name, client_id, version)
    for _ in range(2):  # also after it came and went without reading
        with site.peer(name, "password", version=version, client_id=client_id, manual_ack=True, **KEPT) as again:
            assert again.session_present
            message = again.receive()
            assert (message.topic, message.payload) == (f"{CLAIM}/response", b"secret")
            again.vanish()
        service.trip()


@both_versions
@pytest.mark.parametrize("other", ["device", "foreign", "bootstrap", "provision"])
def test_an_unread_answer_is_nobody_elses(other: str, version: Any, site: Site, join: Join, service: Play) -> None:
    """Whoever takes the client id up gets the session, but not what was said in it."""
    owner, client_id = join("device").username, fresh("id")
    intruder = join("device").username if other == "device" else other
    leave_unread(site, service, owner, client_id, version)
    with site.peer(intruder, "password", version=version, client_id=client_id, **KEPT) as taker:
        assert taker.session_present
        assert taker.hears() == []


def test_credentials_for_bootstrap_are_not_for_the_next_user_of_its_id(site: Site, join: Join, service: Play) -> None:
    """Nor the reverse."""
    client_id, device = fresh("id"), join("device").username
    polled = {"s/ucr": f"claimsvc/c/bootstrap/{client_id}/s/dcr"}
    leave_unread(site, service, "bootstrap", client_id, asked=polled)
    with site.peer(device, "password", client_id=client_id, **KEPT) as taker:
        assert taker.session_present
        assert taker.hears() == []
    leave_unread(site, service, device, client_id)
    with site.peer("bootstrap", "password", client_id=client_id, **KEPT) as taker:
        assert taker.session_present
        assert taker.hears() == []


def test_a_login_of_the_password_file_keeps_its_answers(site: Site, join: Join, service: Play) -> None:
    """And loses nothing by being admitted by somebody else."""
    client_id = fresh("id")
    leave_unread(site, service, "foreign", client_id)
    with site.peer("foreign", "password", client_id=client_id, **KEPT) as again:
        assert again.receive().payload == b"secret"


def test_answers_to_who_is_away_are_not_kept(site: Site, join: Join, service: Play) -> None:
    """They go to connected clients; a device asks again."""
    name, client_id = join("device").username, fresh("id")
    with site.peer(name, "password", client_id=client_id, **KEPT) as device:
        device.publish(CLAIM)
        service.receive()
    service.publish(f"claimsvc/u/{name}/{CLAIM}/response", b"late")
    with site.peer(name, "password", client_id=client_id, **KEPT) as again:
        assert again.session_present
        assert again.hears() == []


# --- a race: the broker hands an answer over by client id, once its loop has turned


def _text(value: str) -> bytes:
    return len(value).to_bytes(2) + value.encode()


def _packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([kind, len(body)]) + body


def connect_packet(username: str, password: str, client_id: str) -> bytes:
    """Return CONNECT of MQTT 3.1.1."""
    return _packet(0x10, _text("MQTT") + b"\x04\xc2\x00\x3c" + _text(client_id) + _text(username) + _text(password))


def publish_packet(topic: str, payload: bytes) -> bytes:
    """Return PUBLISH of QoS 0."""
    return _packet(0x30, _text(topic) + payload)


ACCEPTED, NOT_AUTHORISED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"


@contextmanager
def frozen(site: Site) -> Iterator[None]:
    """Stop the broker; what comes meanwhile is handled in one turn of its loop, in order."""
    assert site.broker.process
    site.broker.process.send_signal(signal.SIGSTOP)
    os.waitpid(site.broker.process.pid, os.WUNTRACED)
    try:
        yield
    finally:
        site.broker.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("holder", ["device", "bootstrap"])
def test_an_answer_on_its_way_does_not_reach_who_comes_next(holder: str, site: Site, join: Join) -> None:
    """Publish, disconnect and connect in one turn: the next user of the id is refused, and may try again."""
    device = join(holder, known=holder == "bootstrap", client_id=(client_id := fresh("id")))
    other = join("device").username
    topic = "s/ucr" if holder == "bootstrap" else CLAIM
    answer = f"claimsvc/c/bootstrap/{client_id}/s/dcr" if holder == "bootstrap" else device.lane(f"{CLAIM}/response")
    device.publish(topic)
    with (
        socket.create_connection(("127.0.0.1", site.port), PATIENCE_S) as service,
        socket.create_connection(("127.0.0.1", site.port), PATIENCE_S) as next_one,
    ):
        service.sendall(connect_packet("claimsvc", "service-password", SERVICE_ID))
        assert service.recv(100) == ACCEPTED
        join("device")  # by now the broker has accepted both
        with frozen(site):
            service.sendall(publish_packet(answer, b"70,secret"))
            device.close()
            next_one.sendall(connect_packet(other, "password", client_id))
        assert next_one.recv(100) == NOT_AUTHORISED
    assert site.frees(other, "password", client_id)


# --- SIGHUP


def test_a_reload_keeps_everybody_who_still_has_a_login(make_site: MakeSite) -> None:
    """Mosquitto asks about all clients again, with the users we gave them; revoked ones go."""
    site = make_site().start()
    site.add_token("token", "Device A")
    site.add_token("revoked", "Device B")
    site.add_password("default/device", "password", "device")
    with (
        site.service() as service,
        site.peer("token") as by_token,
        site.peer("revoked") as revoked,
        site.peer("default/device", "password", client_id="id") as by_alias,
        site.peer("foreign", "password") as foreign,
        site.peer("provision") as open_login,
    ):
        by_token.publish(CLAIM)
        assert service.receive().topic == f"claimsvc/u/Device A/{CLAIM}"
        site.revoke("Device B")
        site.broker.reload()
        revoked.disconnected.get(timeout=PATIENCE_S)
        for peer in (service, by_token, by_alias, foreign, open_login):
            peer.trip()
            assert peer.disconnected.empty()
        service.publish(f"claimsvc/u/Device A/{CLAIM}/response", b"after")
        assert by_token.receive().payload == b"after"
        assert not site.admits("foreign", "password", client_id="id")
        (site.directory / "passwords").write_text("")
        site.broker.reload()
        foreign.disconnected.get(timeout=PATIENCE_S)
        by_token.trip()


@both_versions
def test_a_reload_leaves_stored_sessions_alone(version: Any, make_site: MakeSite) -> None:
    """Their clients are away, and come back to what they have left; others get the id only when it is free."""
    site = make_site().start()
    site.add_token("token", "Device A")
    site.add_password("other", "password")
    with site.peer("token", version=version, client_id="id", **KEPT) as device:
        device.subscribe("claimsvc/u/Device A/#")
    for _ in range(3):
        site.broker.reload()
        with site.service() as service:
            service.publish("claimsvc/u/Device A/response/1", b"kept")
    with site.peer("token", version=version, client_id="id", **KEPT) as again:
        assert again.session_present
        assert [again.receive().payload for _ in range(3)] == [b"kept"] * 3
    assert site.frees("other", "password", "id")


def test_a_reload_lets_nobody_in(make_site: MakeSite) -> None:
    """That everybody is asked about is no way in for somebody without a password."""
    site = make_site().start()
    site.add_password("device", "password")
    site.broker.reload()
    assert not site.admits("device", "wrong")
    assert not site.admits("device")
    assert site.admits("device", "password")


# --- $CONTROL/claimsvc/v1


@both_versions
def test_the_service_disconnects_a_principal(version: Any, make_site: MakeSite) -> None:
    """All of its connections, by whichever login, and nobody else's; their ids are free then."""
    site = make_site().start()
    site.add_token("token", "Device A")
    site.add_password("login", "password", "Device A")
    site.add_password("other", "password")
    site.add_password("third", "password")
    with (
        site.service() as service,
        site.peer("token", version=version, client_id="one") as one,
        site.peer("login", "password", version=version, client_id="two") as two,
        site.peer("third", "password", version=version) as third,
        site.peer("other", "password", version=version) as other,
    ):
        for peer in (one, two):
            peer.publish(CLAIM)
            service.receive()
        service.disconnect_principal("nobody", "Device A", "", "third")
        for peer in (one, two, third):
            peer.disconnected.get(timeout=PATIENCE_S)
        other.trip()
        service.trip()
        assert site.frees("other", "password", "one")
        assert site.frees("login", "password", "two")
        service.publish(f"claimsvc/u/Device A/{CLAIM}/response", b"for nobody")
        service.trip()


def test_a_persistent_client_is_disconnected_as_well(make_site: MakeSite) -> None:
    """And may come again, if it has a login, with its subscriptions."""
    site = make_site().start()
    site.add_password("device", "password")
    with site.service() as service:
        with site.peer("device", "password", client_id="id", **KEPT) as device:
            device.subscribe(f"{CLAIM}/response", "claimsvc/u/device/response/+")
            service.disconnect_principal("device")
            device.disconnected.get(timeout=PATIENCE_S)
        with site.peer("device", "password", client_id="id", **KEPT) as again:
            service.publish("claimsvc/u/device/response/1", b"x")
            assert again.receive().payload == b"x"
        site.revoke("device")
        assert not site.admits("device", "password", client_id="id")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\n\n",
        b"disconnect",
        b"disconnect ",
        b"disconnect claimsvc\n",
        b"connect device\n",
        b"\x00",
        b"x" * 100_000,
    ],
)
def test_a_wish_that_makes_no_sense_harms_nobody(payload: bytes, site: Site, join: Join, service: Play) -> None:
    """Not the service itself, either."""
    device = join("device")
    service.publish("$CONTROL/claimsvc/v1", payload)
    service.trip()
    device.trip()
    assert device.disconnected.empty()


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", [V311, V5], ids=["MQTT 3.1.1", "MQTT 5"])
def test_nobody_else_disconnects_anybody(qos: int, version: Any, site: Site, join: Join) -> None:
    """The topic is refused to all others."""
    victim, attacker = join("device"), join("device", version=version)
    attacker.publish("$CONTROL/claimsvc/v1", f"disconnect {victim.username}\n", qos=qos, wait=False)
    attacker.trip()
    victim.trip()
    assert victim.disconnected.empty()


def test_a_persisted_session_is_nobodys_after_a_restart(make_site: MakeSite) -> None:
    """The plugin does not remember whose answers it holds: they are dropped, and the device asks again."""
    site = make_site()
    site.persistence = True
    site.write_conf()
    site.start()
    site.add_password("device", "password")
    site.add_password("other", "password")
    with site.service() as service:
        for client_id in ("one", "two"):
            leave_unread(site, service, "device", client_id)
    site.broker.stop()
    site.broker.start()
    with site.peer("other", "password", client_id="one", **KEPT) as taker:
        assert taker.session_present
        assert taker.hears() == []
    with site.peer("device", "password", client_id="two", **KEPT) as owner:
        assert owner.session_present
        assert owner.hears() == []


def test_a_refused_takeover_leaves_the_session_alone(site: Site, join: Join) -> None:
    """An intruder ends nothing by trying."""
    device = join("device", client_id=(client_id := fresh("id")), **KEPT)
    other = join("device")
    with pytest.raises(LoginRefusedError):
        site.peer(other.username, "password", client_id=client_id)
    device.trip()
    assert device.disconnected.empty()
