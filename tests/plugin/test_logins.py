"""Logins against the store: who gets in, as whom, and what guessing costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.plugin.conftest import Join
from tests.plugin.test_lanes import both_versions
from tests.support.clients import CLAIM, V5, fresh
from tests.support.peers import SERVICE_ID, Play
from tests.support.plugin import Site


@both_versions
def test_a_password_admits(version: Any, site: Site) -> None:
    """Its own, and no other."""
    name = fresh("device")
    site.add_password(name, "pässword")
    assert site.admits(name, "pässword", version=version)
    assert not site.admits(name, "password", version=version)
    assert not site.admits(name, "", version=version)
    assert not site.admits(name, None, version=version)
    assert not site.admits(name.upper(), "pässword", version=version)


@both_versions
@pytest.mark.parametrize("password", [None, ""], ids=["no password", "an empty password"])
def test_an_access_token_admits(password: str | None, version: Any, site: Site, service: Play) -> None:
    """As a username alone; the client is its principal from then on."""
    token, principal = fresh("token"), fresh("Test Device")
    site.add_token(token, principal)
    with site.peer(token, password, version=version) as device:
        device.publish(CLAIM)
        assert service.receive().topic == f"claimsvc/u/{principal}/{CLAIM}"
        device.publish(f"claimsvc/u/{principal}/{CLAIM}")
        assert service.receive().topic == f"claimsvc/u/{principal}/{CLAIM}"
    assert not site.admits(token, "x", version=version)
    assert not site.admits(token + "x", password, version=version)
    assert not site.admits(principal, password, version=version)


def test_several_logins_are_one_principal(site: Site, service: Play) -> None:
    """A Cumulocity device logs in with or without its tenant."""
    principal = fresh("device")
    for login in (principal, f"default/{principal}"):
        site.add_password(login, "password", principal)
        with site.peer(login, "password") as device:
            device.publish(CLAIM)
            assert service.receive().topic == f"claimsvc/u/{principal}/{CLAIM}"


def test_a_login_works_the_moment_it_is_committed_and_not_once_it_is_revoked(site: Site) -> None:
    """No restart, no signal. A revocation in the future leaves it valid until then."""
    name = fresh("device")
    assert not site.admits(name, "password")
    site.add_password(name, "password")
    assert site.admits(name, "password")
    site.revoke(name, at_ms=time.time_ns() // 1_000_000 + 60_000)
    assert site.admits(name, "password")
    site.revoke(name)
    assert not site.admits(name, "password")


def test_what_is_not_committed_does_not_count(site: Site) -> None:
    """And a transaction in progress keeps nobody waiting."""
    name = fresh("device")
    site.add_password(name, "password")
    site.writer.execute("BEGIN IMMEDIATE")
    site.writer.execute("UPDATE credential SET revoked_at = 1 WHERE login = ?", (name,))
    assert site.admits(name, "password")
    site.writer.execute("COMMIT")
    assert not site.admits(name, "password")


def test_unknown_logins_are_left_to_the_password_file(site: Site) -> None:
    """Which then decides."""
    assert site.admits("foreign", "password")
    assert not site.admits("foreign", "wrong")
    assert not site.admits("foreign", None)


def test_a_known_login_is_not(site: Site) -> None:
    """A login in the store is refused for a wrong password although the file would admit it."""
    site.add_password("a+b", "of the store")
    assert not site.admits("a+b", "password")
    site.writer.execute("DELETE FROM credential WHERE login = 'a+b'")
    assert site.admits("a+b", "password")


@pytest.mark.parametrize("password", [None, "", "anything"])
def test_an_open_login_needs_no_password(password: str | None, site: Site) -> None:
    """It has the client id's lane only (test_lanes)."""
    assert site.admits("provision", password)


@pytest.mark.parametrize("username", ["", "a" * 65_535, "' OR 1=1 --", "%", "dev\nice", "ü" * 1000])
def test_odd_names_are_unknown(username: str, site: Site) -> None:
    """And harm nobody."""
    assert not site.admits(username, "x")
    assert not site.admits(username, None)
    assert site.admits("foreign", "password")


@pytest.mark.parametrize(
    ("stored", "told"),
    {
        "$7$20001${salt}${hash}": "has too many iterations",
        "$7$99999999999999999999${salt}${hash}": "has too many iterations",
        "$7$2${salt}": "cannot be read",
        "$7$0${salt}${hash}": "cannot be read",
        "$6${salt}${hash}": "cannot be read",
        "password": "cannot be read",
        "": "cannot be read",
    }.items(),
)
def test_a_row_that_cannot_be_checked_admits_nobody(stored: str, told: str, site: Site) -> None:
    """And is told in the log; the broker goes on."""
    name = fresh("device")
    stored = stored.format(salt="MDEyMzQ1Njc4OWFi", hash="A" * 86 + "==")
    site.add_row(name, name, "password", stored)
    before = time.monotonic()
    assert not site.admits(name, "password")
    assert time.monotonic() - before < 1
    assert any(name in line and told in line for line in site.log)


def test_guessing_is_stopped(make_site: Any) -> None:
    """After so many failures a person's login is refused from there, the right password included; others are not."""
    site = make_site(max_failures=3, failure_window_s=60).start()
    site.add_password("guessed", "password", iterations=20_000)
    site.add_password("neighbour", "password")
    for _ in range(3):
        assert not site.admits("guessed", "wrong")
    assert not site.admits("guessed", "password")
    assert any("login guessed" in line and "too many failures" in line for line in site.log)
    assert site.admits("neighbour", "password")
    for _ in range(10):
        assert not site.admits("foreign", "wrong")
    assert site.admits("foreign", "password")  # whether the file admits it is not told, so it is never locked


def test_guessing_may_go_on_when_the_window_is_over(make_site: Any) -> None:
    """A window of three seconds; each try asks again."""
    site = make_site(max_failures=1, failure_window_s=3).start()
    site.add_password("person", "password", iterations=4000)
    assert not site.admits("person", "wrong")
    assert not site.admits("person", "password")
    deadline = time.monotonic() + 20
    while not site.admits("person", "password"):
        assert time.monotonic() < deadline


@both_versions
def test_a9_wrong_passwords_lock_no_generated_password_out(version: Any, make_site: Any) -> None:
    """Nor the service's own, whatever its hash costs: 50 wrong ones from the same address, then the right one."""
    site = make_site(max_failures=3).start()
    site.add_password("device", "password")
    site.add_password("costly", "password", principal="claimsvc", iterations=8000)
    for login, password in (("device", "password"), ("claimsvc", "service-password"), ("costly", "password")):
        for _ in range(50):
            assert not site.admits(login, "wrong", version=version)
        assert site.admits(login, password, version=version)
    assert [line for line in site.log if "too many failures" in line] == []


@both_versions
@pytest.mark.parametrize("iterations", [1, 4000], ids=["cheaper than a generated one", "as set"])
def test_a9_a_persons_login_is_locked_at_one_address(iterations: int, version: Any, make_site: Any) -> None:
    """From another address the right password admits, and does not unlock the first."""
    site = make_site(max_failures=3).start()
    site.add_password("person", "password", iterations=iterations)
    for _ in range(3):
        assert not site.admits("person", "wrong", version=version)
    assert not site.admits("person", "password", version=version)
    assert site.admits("person", "password", version=version, address="127.0.0.2")
    assert not site.admits("person", "password", version=version)
    assert any("login person from 127.0.0.1 refused: too many failures" in line for line in site.log)


def test_a9_a_flood_of_wrong_passwords_leaves_the_broker_its_thread(make_site: Any) -> None:
    """A locked person's login costs no hash: the processor time of 300 tries is less than 20 hashes would take."""
    site = make_site(max_failures=3).start()
    site.add_password("person", "password", iterations=20_000)
    for _ in range(3):
        assert not site.admits("person", "wrong")
    before_s = site.processor_s()
    for _ in range(300):
        assert not site.admits("person", "wrong")
    assert site.processor_s() - before_s < 0.2


def test_a12_unknown_logins_take_the_time_of_locked_ones(make_site: Any) -> None:
    """As slow as a person's until max_failures, then as fast as a locked one: a fast refusal does not say "known"."""
    site = make_site(max_failures=6, failure_window_s=600).start()
    site.add_password("person", "password", iterations=20_000)
    assert site.admits("person", "password")

    def costs(login: str) -> list[bool]:
        """Return which of eight tries cost the broker a person's hash, which takes 10 ms and more."""
        seen: list[bool] = []
        for _ in range(8):
            before_s = site.processor_s()
            assert not site.admits(login, "wrong")
            seen.append(site.processor_s() - before_s > 0.005)
        return seen

    known = costs("person")
    assert known == [True] * 6 + [False] * 2
    strangers = [costs(f"stranger-{number}") for number in range(12)]
    assert known in strangers
    assert all(each in (known, [False] * 8) for each in strangers)


def test_the_time_does_not_tell_who_is_known(make_site: Callable[..., Site]) -> None:
    """An unknown login takes a device's time or a person's, always the same one: neither says that it is unknown."""
    site = make_site(max_failures=1000).start()
    site.add_password("device", "password")
    site.add_password("person", "password", iterations=20_000)
    assert site.admits("person", "password")

    def time_of(login: str) -> float:
        def once() -> float:
            before_s = site.processor_s()  # the time a client waits, but for what else this machine does
            assert not site.admits(login, "wrong")
            return site.processor_s() - before_s

        return min(once() for _ in range(5))

    fast, slow = time_of("device"), time_of("person")
    middle = (fast + slow) / 2
    assert slow - fast > 0.005
    seen = [[time_of(f"stranger-{number}") > middle for number in range(20)] for _ in range(2)]
    assert seen[0] == seen[1]
    assert set(seen[0]) == {False, True}


# --- client ids


def test_an_id_in_use_is_refused_to_another_user(site: Site, join: Join) -> None:
    """Whoever has it notices nothing; when it has gone, the id is free."""
    holder, client_id = join("device", client_id=(name := fresh("id"))), name
    site.add_password(other := fresh("other"), "password")
    site.add_token(token := fresh("token"), fresh("Device"))
    for login, password in ((other, "password"), (token, None), ("foreign", "password"), ("bootstrap", "password")):
        assert not site.admits(login, password, client_id=client_id)
    assert not site.admits("provision", client_id=client_id)
    holder.trip()
    assert any(f"client id {client_id} refused to {other}" in line for line in site.log)
    holder.close()
    assert site.admits(other, "password", client_id=client_id)


def test_an_id_of_a_login_of_the_password_file_is_protected_once_it_does_something(site: Site, join: Join) -> None:
    """Mosquitto 2.0 does not tell a plugin that a client was admitted by the file."""
    foreign = join("foreign", known=True, client_id=(client_id := fresh("id")))
    foreign.trip()
    site.add_password(other := fresh("other"), "password")
    assert not site.admits(other, "password", client_id=client_id)


def test_a_refused_login_holds_no_id(site: Site, join: Join) -> None:
    """Else anybody could keep anybody out."""
    client_id = fresh("id")
    assert not site.admits("nobody", "wrong", client_id=client_id)
    assert not site.admits("foreign", "wrong", client_id=client_id)
    join("device", client_id=client_id).trip()


@both_versions
def test_the_same_user_takes_its_id_over(version: Any, site: Site, join: Join, service: Play) -> None:
    """As MQTT has it: the older connection ends, the newer is the one that counts from then on."""
    older = join("device", version=version, client_id=(client_id := fresh("id")))
    older.publish(CLAIM)
    service.receive()
    with site.peer(older.username, "password", version=version, client_id=client_id) as newer:
        older.disconnected.get(timeout=10)
        site.add_password(other := fresh("other"), "password")
        assert not site.admits(other, "password", client_id=client_id)
        newer.publish(CLAIM)
        service.publish(older.lane(f"{CLAIM}/response"), b"{}")
        assert newer.receive().payload == b"{}"


@pytest.mark.parametrize("holder", ["bootstrap", "provision"])
def test_a_device_comes_again_with_its_own_credentials(holder: str, site: Site, service: Play) -> None:
    """The id that a shared login holds is the device's to take; what was answered before is not lost on the way."""
    client_id = fresh("id")
    site.add_password(name := fresh("device"), "password")
    answer = {"bootstrap": "s/dcr", "provision": "/provision/response"}[holder]
    with site.peer(holder, "password", client_id=client_id) as first:
        first.publish({"bootstrap": "s/ucr", "provision": "/provision/request"}[holder])
        service.receive()
        service.publish(f"claimsvc/c/{holder}/{client_id}/{answer}", b"70")
        first.receive()
        first.trip()
        with site.peer(name, "password", client_id=client_id) as second:
            first.disconnected.get(timeout=10)
            service.publish(f"claimsvc/c/{holder}/{client_id}/{answer}", b"70, late")
            assert second.hears() == []
            assert not site.admits(holder, "password", client_id=client_id)


@pytest.mark.parametrize("where", ["away", "there"])
def test_the_services_id_is_nobody_elses(where: str, site: Site) -> None:
    """Whatever its digits are."""
    site.add_password(name := fresh("device"), "password")
    service = site.service() if where == "there" else None
    for client_id in (SERVICE_ID, "claimsvc-" + "f" * 32, "claimsvc-" + "A" * 32):
        assert not site.admits(name, "password", client_id=client_id)
        assert not site.admits("foreign", "password", client_id=client_id)
        assert not site.admits("provision", client_id=client_id)
    assert site.admits(name, "password", client_id="claimsvc-x")
    if service:
        service.trip()
        service.close()


def test_ids_made_of_usernames_work(make_site: Any) -> None:
    """With use_username_as_clientid the id is the login."""
    site = make_site(more="use_username_as_clientid true").start()
    site.add_password("default/device", "password", "device")
    site.add_password("other", "password")
    with site.service(version=V5) as service, site.peer("default/device", "password") as device:
        device.publish(CLAIM)
        assert service.receive().topic == f"claimsvc/u/device/{CLAIM}"
        assert site.admits("other", "password")
