"""Passwords a login had before: good beside its own until their time, and no help to who guesses."""

from __future__ import annotations

import time
from typing import Any

import pytest

from claimsvc.sealing import password_hash
from tests.support.clients import CLAIM, fresh
from tests.support.peers import Play
from tests.support.plugin import Site

MINUTE_MS = 60_000


def add_former(site: Site, login: str, password: str, lasts_ms: int, iterations: int = 2) -> None:
    """Let a login have had another password, good for so long."""
    until_ms = time.time_ns() // 1_000_000 + lasts_ms
    row = (login, password_hash(password, iterations), until_ms)
    site.writer.execute("INSERT INTO former_credential VALUES (?, ?, ?)", row)


def test_former_passwords_admit_beside_the_own_one(site: Site, service: Play) -> None:
    """As the same principal; three at most, each until its time."""
    principal, login = fresh("device"), fresh("login")
    site.add_password(login, "newest", principal)
    for number in range(3):
        add_former(site, login, f"former-{number}", MINUTE_MS)
    add_former(site, login, "over", -1)
    for password in ("newest", "former-0", "former-1", "former-2"):
        with site.peer(login, password) as device:
            device.publish(CLAIM)
            assert service.receive().topic == f"claimsvc/u/{principal}/{CLAIM}"
    assert not site.admits(login, "over")
    assert not site.admits(login, "former-3")
    assert not site.admits(principal, "former-0")


def test_a_former_password_is_over_when_its_time_comes(site: Site) -> None:
    """Nobody has to write or say anything."""
    name = fresh("device")
    site.add_password(name, "password")
    add_former(site, name, "former", 500)
    deadline = time.monotonic() + 20
    assert site.admits(name, "former")
    while site.admits(name, "former"):
        assert time.monotonic() < deadline
    assert site.admits(name, "password")


def test_a_revoked_login_has_no_former_password(site: Site) -> None:
    """Whatever the table says."""
    name = fresh("device")
    site.add_password(name, "password")
    add_former(site, name, "former", MINUTE_MS)
    site.revoke(name)
    assert not site.admits(name, "former")


def test_a_right_former_password_begins_the_count_of_failures_anew(make_site: Any) -> None:
    """And a wrong one counts once, however many it was compared with. Generated ones are never locked."""
    site = make_site(max_failures=3).start()
    site.add_password("device", "password", iterations=4000)
    for number in range(3):
        add_former(site, "device", f"former-{number}", MINUTE_MS)
    for _ in range(2):
        for _ in range(2):
            assert not site.admits("device", "wrong")
        assert site.admits("device", "former-2")
    for _ in range(3):
        assert not site.admits("device", "wrong")
    assert not site.admits("device", "password")
    assert site.admits("device", "former-2")
    assert any("login device" in line and "too many failures" in line for line in site.log)


@pytest.mark.parametrize("has_met", [False, True], ids=["nobody logged in before", "somebody did"])
def test_a_database_of_an_earlier_service_is_served(has_met: bool, make_site: Any) -> None:  # noqa: FBT001 - a parameter
    """And its upgrade, which happens under the running broker."""
    site = make_site()
    site.writer.execute("ALTER TABLE former_credential RENAME TO of_later")
    site.start()
    site.add_password("device", "password")
    if has_met:
        assert not site.admits("device", "former")
        assert site.admits("device", "password")
    site.writer.execute("ALTER TABLE of_later RENAME TO former_credential")
    add_former(site, "device", "former", MINUTE_MS)
    assert site.admits("device", "former")
    assert site.admits("device", "password")
    assert [line for line in site.log if "cannot read the store" in line] == []
