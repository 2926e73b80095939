"""Principals whose logins the service ended, on a real store: refused until a new login is issued."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from claimsvc.core.accounts import DeleteUser
from claimsvc.core.claiming import ReadSessionLimits, SessionLimits
from claimsvc.core.decision import Change, Done, Put, Refused, Remove
from claimsvc.core.model import Credential, EndedPrincipal, Principal, PrincipalKind
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.store.sqlite.sqlite_database import load_migrations, open_store
from claimsvc.store.sqlite.sqlite_store import SqliteStore
from tests.support.example import CREDENTIAL
from tests.support.factories import NOW, admin, credential, facts, given, result, user
from tests.support.memory import decide
from tests.support.stores import apply

ENDED = EndedPrincipal("Thermostat", NOW)
ASKS = ReadSessionLimits("Thermostat")


def foreign(*names: str) -> Given:
    """Return what a batch knows where the broker admits these names by itself."""
    return replace(given(), foreign_logins=frozenset(names))


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        pytest.param(given(), Reason.NOT_PERMITTED, id="the service keeps the logins"),
        pytest.param(given(issue_logins=False), SessionLimits, id="the operator keeps them"),
        pytest.param(foreign("Thermostat"), SessionLimits, id="the operator made a login of this name"),
        pytest.param(foreign("other"), Reason.NOT_PERMITTED, id="the operator made another"),
    ],
)
def test_a2_what_comes_in_the_name_of_an_ended_principal(at: Given, expected: Any) -> None:
    """Even what needs no permission is refused where the service knows that nobody has the name."""
    assert result(decide(ASKS, facts(ENDED), at)) == expected


def test_a2_foreign_logins_are_looked_up_for_ended_principals_only() -> None:
    """The password file is not read for each request."""
    assert ASKS.needs_foreign_logins(facts(ENDED))
    assert not ASKS.needs_foreign_logins(facts())


@pytest.mark.parametrize("logins", [(), ("alice",)], ids=["kept by the operator", "kept by the service"])
def test_a2_only_a_principal_with_logins_of_ours_ends(logins: tuple[str, ...]) -> None:
    """A user without any is the operator's login, which goes on letting in."""
    rows = [credential(login, principal=login) for login in logins]
    decision = decide(DeleteUser("root", "alice"), facts(admin(), user(), *rows), given())
    assert isinstance(decision.outcome, Done)
    assert [change.row for change in decision.changes if isinstance(change, Put)] == [
        EndedPrincipal(login, NOW) for login in logins
    ]


def test_a2_within_a_batch_a_new_login_counts() -> None:
    """Deleted and made again: what follows is the new holder's."""
    known = facts(admin(), user(), credential("alice", principal="alice"))
    decide(DeleteUser("root", "alice"), known, given())
    asks = ReadSessionLimits("alice")
    assert isinstance(decide(asks, known, given()).outcome, Refused)
    known.apply(Put(Principal("alice", PrincipalKind.USER, "default")))
    known.apply(Put(credential("alice", principal="alice")))
    assert isinstance(decide(asks, known, given()).outcome, SessionLimits)


async def test_a2_a_login_that_stands_clears_it_in_the_store(store: SqliteStore) -> None:
    """A revoked one does not."""
    revoked = Put(replace(CREDENTIAL, revoked_at_ms=NOW))
    cases: list[tuple[list[Change], bool]] = [
        ([revoked, Put(ENDED)], True),
        ([revoked], True),
        ([Put(CREDENTIAL)], False),
        ([Put(ENDED), Put(CREDENTIAL)], False),
        ([Remove(Credential, CREDENTIAL.key), Put(ENDED)], True),
    ]
    for changes, is_ended in cases:
        await apply(store, changes)
        known = await store.read([ASKS], given().policy)
        assert (known.get(EndedPrincipal, "Thermostat") is not None) == is_ended


async def test_a2_an_older_database_knows_who_was_revoked(tmp_path: Any) -> None:
    """Devices all of whose logins were revoked before the upgrade; a device with one that stands is none of them."""
    path = tmp_path / "claimsvc.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "".join(load_migrations()[:5])
            + """
            INSERT INTO tenant VALUES ('default', 'Default', 1);
            INSERT INTO principal VALUES ('gone', 'device', 'default'), ('here', 'device', 'default');
            INSERT INTO credential VALUES ('gone', 'gone', 'password', 'h', NULL, 0, 1, 7),
              ('default/gone', 'gone', 'password', 'h', NULL, 0, 1, 7),
              ('here', 'here', 'password', 'h', NULL, 0, 1, NULL),
              ('hash', 'here', 'access_token', 'hash', NULL, 0, 1, 7);
            PRAGMA user_version = 5;
            """
        )
    async with open_store(path) as store:
        known = await store.read([ReadSessionLimits("gone"), ReadSessionLimits("here")], given().policy)
        assert known.get(EndedPrincipal, "gone") == EndedPrincipal("gone", 7)
        assert known.get(EndedPrincipal, "here") is None
