"""What a store deletes when its time is over, and the logins that depend on the time."""

from __future__ import annotations

from dataclasses import replace

from claimsvc.core.credentials import RotateCredentials
from claimsvc.core.decision import Append, Listing, Put
from claimsvc.core.model import Answered, Credential, CredentialKind, Event, FormerCredential, WindowSource
from claimsvc.core.policy import DAY_MS
from claimsvc.store.contract import Store
from tests.support.example import CREDENTIAL, FORMER, THERMOSTAT, WANT, load
from tests.support.factories import NOW, given, window
from tests.support.stores import apply, query

HOUR = 3_600_000


async def test_only_what_has_expired_is_deleted(store: Store) -> None:
    """Answers, sealed secrets, windows and events past their time go; the rest stays."""
    late = Answered("claimsvc/u/alice/", "2", "d", "s", NOW + DAY_MS)
    events = [Event("default", NOW + n * DAY_MS, f"day {n}", "x") for n in range(3)]
    server = window(THERMOSTAT, "other", source=WindowSource.SERVER, expires_at_ms=NOW + 5 * DAY_MS)
    await apply(store, [Put(late), Put(server), *map(Append, events)])
    await store.delete_expired(NOW, NOW)
    assert None not in await load(store)
    later = NOW + 2 * DAY_MS
    await store.delete_expired(NOW + 601_000, NOW + DAY_MS)
    facts = await store.read([WANT], given().policy, [(late.lane, "1"), (late.lane, "2")])
    assert (facts.get(Answered, (late.lane, "1")), facts.get(Answered, (late.lane, "2"))) == (None, late)
    assert await load(store, [CREDENTIAL]) == [replace(CREDENTIAL, sealed=None)]
    assert (await query(store, Listing(Event, "default", 10, None))).items == (events[2], events[1])
    for _ in range(2):  # a round of the walk, and its end
        await store.delete_expired(later, 0)
    assert await load(store, [window(THERMOSTAT), server]) == [None, server]


async def test_the_file_gets_the_former_password_until_its_time(store: Store) -> None:
    """And is told when that is; afterwards nothing changes by itself."""
    before, due_ms = await store.password_logins(NOW)
    assert (before, due_ms) == ([("Thermostat", FORMER.secret_hash)], FORMER.until_ms)
    assert await store.password_logins(FORMER.until_ms - 1) == (before, due_ms)
    assert await store.password_logins(FORMER.until_ms) == ([("Thermostat", CREDENTIAL.secret_hash)], None)


async def test_the_file_gets_no_revoked_login(store: Store) -> None:
    """Whatever it had before."""
    await apply(store, [Put(replace(CREDENTIAL, revoked_at_ms=NOW))])
    assert (await store.password_logins(NOW))[0] == []


async def test_former_credentials_that_have_expired_are_deleted(store: Store) -> None:
    """Passwords and access tokens; a revoked password keeps its name."""
    token = Credential("hash", "Thermostat", CredentialKind.ACCESS_TOKEN, "hash", None, 0, NOW, NOW + HOUR)
    revoked = Credential("default/Thermostat", "Thermostat", CredentialKind.PASSWORD, "$7$h", None, 0, NOW, NOW)
    await apply(store, [Put(token), Put(revoked)])
    await store.delete_expired(NOW + HOUR - 1, 0)
    assert await load(store, [FORMER]) == [FORMER]
    known = await store.read([RotateCredentials("alice", THERMOSTAT.id, None, None)], given().policy)
    assert set(known.credentials("Thermostat")) == {replace(CREDENTIAL, sealed=None), token, revoked}
    await store.delete_expired(NOW + HOUR, 0)
    known = await store.read([RotateCredentials("alice", THERMOSTAT.id, None, None)], given().policy)
    assert known.get(FormerCredential, FORMER.key) is None
    assert set(known.credentials("Thermostat")) == {replace(CREDENTIAL, sealed=None), revoked}
