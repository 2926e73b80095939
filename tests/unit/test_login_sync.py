"""When the broker's logins are brought up: after a change, and when time itself makes one."""

from __future__ import annotations

import math
from io import StringIO

import pytest

from claimsvc.clock import Clock
from claimsvc.core.decision import Change, Put
from claimsvc.log import open_log
from claimsvc.service.login_sync import LoginSync
from claimsvc.store.contract import StoreError
from tests.support.factories import NOW, credential, device

HOUR = 3_600_000
CHANGE = [Put(credential("Thermostat"))]


class Logins:
    """Logins that are written, or fail, as a test says; `due_ms` is what the next write finds."""

    def __init__(self) -> None:
        self.due_ms: int | None = None
        self.next_due_ms: int | None = None
        self.error: str | StoreError | None = None
        self.syncs = 0

    async def sync(self) -> str | None:
        self.syncs += 1
        if isinstance(self.error, StoreError):
            raise self.error
        if self.error is None:
            self.due_ms = self.next_due_ms
        return self.error

    async def foreign(self) -> frozenset[str]:
        return frozenset()


class Stand:
    """A sync with its logins and a clock that a test sets."""

    def __init__(self) -> None:
        self.now_ms = NOW
        self.set_by_ms = 0
        self.logins = Logins()
        self.sync = LoginSync(
            self.logins,
            open_log("debug", "json", StringIO()),
            Clock(lambda: self.now_ms + self.set_by_ms, lambda: self.now_ms),
        )


@pytest.fixture
async def stand() -> Stand:
    """A stand that has caught up with its start."""
    stand = Stand()
    await stand.sync.catch_up()
    assert (stand.logins.syncs, stand.sync.behind, stand.sync.due_in_s) == (1, False, math.inf)
    return stand


@pytest.mark.parametrize(
    ("changes", "syncs"),
    [([], 1), ([Put(device())], 1), (CHANGE, 2)],
    ids=["nothing", "a device", "a login"],
)
async def test_only_a_change_of_logins_is_brought_to_the_broker(
    changes: list[Change], syncs: int, stand: Stand
) -> None:
    """And once."""
    stand.sync.note(changes)
    await stand.sync.catch_up()
    await stand.sync.catch_up()
    assert stand.logins.syncs == syncs


async def test_a_time_at_which_a_password_changes_is_kept(stand: Stand) -> None:
    """Without any change of a row; not a millisecond early, once, and the next such time after it."""
    stand.logins.next_due_ms = NOW + HOUR
    stand.sync.note(CHANGE)
    await stand.sync.catch_up()
    stand.now_ms += HOUR - 1
    await stand.sync.catch_up()
    assert (stand.logins.syncs, stand.sync.due_in_s) == (2, 0.001)
    stand.now_ms += 1
    stand.logins.next_due_ms = NOW + 2 * HOUR
    await stand.sync.catch_up()
    await stand.sync.catch_up()
    assert (stand.logins.syncs, stand.sync.behind, stand.sync.due_in_s) == (3, False, 3_600.0)


@pytest.mark.parametrize("error", ["disk full", StoreError("locked")], ids=["the file", "the store"])
async def test_a_time_at_which_it_fails_is_tried_again(error: str | StoreError, stand: Stand) -> None:
    """It is behind until it has worked, with pauses between the tries."""
    stand.logins.next_due_ms = NOW + HOUR
    stand.sync.note(CHANGE)
    await stand.sync.catch_up()
    stand.now_ms += HOUR
    stand.logins.error = error
    await stand.sync.catch_up()
    await stand.sync.catch_up()
    assert (stand.logins.syncs, stand.sync.behind) == (3, True)
    stand.now_ms += HOUR
    stand.logins.error = stand.logins.next_due_ms = None
    await stand.sync.catch_up()
    assert (stand.logins.syncs, stand.sync.behind, stand.sync.due_in_s) == (4, False, math.inf)


@pytest.mark.parametrize("by_ms", [-48 * HOUR, -HOUR, 48 * HOUR])
async def test_a5_a_failure_is_tried_again_as_soon_whatever_the_clock_shows(by_ms: int, stand: Stand) -> None:
    """A clock that is set back after it does not put the next try off, nor does one set forward hasten it."""
    stand.logins.error = "disk full"
    stand.sync.note(CHANGE)
    await stand.sync.catch_up()
    stand.set_by_ms, stand.logins.error = by_ms, None
    await stand.sync.catch_up()
    assert stand.sync.behind
    stand.now_ms += 1_000
    await stand.sync.catch_up()
    assert not stand.sync.behind


async def test_where_nobody_has_to_be_told_nothing_is_ever_due() -> None:
    """The plugin looks logins up itself."""
    sync = LoginSync(None, open_log("debug", "json", StringIO()), Clock(lambda: NOW, lambda: NOW))
    sync.note(CHANGE)
    await sync.catch_up()
    assert (sync.behind, sync.due_in_s) == (False, math.inf)
