# ruff: noqa: SLF001 - the connection calls these methods of the session
"""A session takes no requests while the broker has too many answers to read: the requests wait in their lanes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from claimsvc.app import _session_options
from claimsvc.dialects.message import Inbound
from claimsvc.mqtt.session import MOST_UNACKNOWLEDGED, PAUSE_MESSAGES, SILENCE_S, Session
from claimsvc.settings import Settings
from tests.support.factories import inbound


class Connection:
    """What the session asks of its client here: how far the broker is behind."""

    def __init__(self, unacknowledged: int, silent_s: float = 0.0) -> None:
        self.unacknowledged = unacknowledged
        self.silent_since = time.monotonic() - silent_s
        self.refused_answers = 0
        self.lost: list[str] = []
        self.is_paused = False

    def pause(self) -> None:
        """Read nothing more."""
        self.is_paused = True

    def resume(self) -> None:
        """Read on."""
        self.is_paused = False

    def lose(self, why: str) -> None:
        """Give the connection up."""
        self.lost.append(why)


def opened(connection: Connection, messages: int = 10) -> Any:
    """Return a session with so many waiting requests."""
    settings = Settings.model_validate({"mqtt": {"password": "secret"}})
    session: Any = Session(_session_options(settings), lambda level, event, **fields: None)
    session._client = connection
    for number in range(messages):
        session._take(inbound(f"request/{number}/GET/x"))
    return session


@pytest.mark.parametrize(
    ("unacknowledged", "taken"),
    [
        pytest.param(0, 10, id="none"),
        pytest.param(MOST_UNACKNOWLEDGED - 3, 3, id="nearly too many"),
        pytest.param(MOST_UNACKNOWLEDGED, 0, id="too many"),
        pytest.param(MOST_UNACKNOWLEDGED + 200, 0, id="a batch more than too many"),
    ],
)
def test_as_many_are_taken_as_there_is_room_for(unacknowledged: int, taken: int) -> None:
    """Each request is an answer more; what is not taken waits."""
    session = opened(Connection(unacknowledged))
    assert session.waiting is (taken > 0)
    assert len(session.take(100)) == taken
    assert session.backlog[0] == 10 - taken


def test_a_full_inbox_is_emptied_all_the_same() -> None:
    """While it is full nothing is read, so no acknowledgement could ever make room."""
    connection = Connection(MOST_UNACKNOWLEDGED + 200)
    session = opened(connection, PAUSE_MESSAGES)
    assert connection.is_paused
    assert session.waiting
    assert len(session.take(50)) == 50
    assert not connection.is_paused
    assert not session.waiting


async def test_acknowledgements_wake_the_reader() -> None:
    """It waits for room, not for its patience to end."""
    connection = Connection(MOST_UNACKNOWLEDGED)
    session = opened(connection)
    reading: asyncio.Task[list[Inbound]] = asyncio.create_task(session.receive(100, 60.0))
    await asyncio.sleep(0)
    session._acknowledged()  # one that leaves no room
    await asyncio.sleep(0)
    assert not reading.done()
    connection.unacknowledged = 0
    session._acknowledged()
    assert len(await asyncio.wait_for(reading, 5)) == 10


@pytest.mark.parametrize(("silent_s", "is_lost"), [(SILENCE_S - 5, False), (SILENCE_S + 1, True)])
def test_a_broker_that_acknowledges_nothing_is_given_up(silent_s: float, *, is_lost: bool) -> None:
    """Otherwise the service would wait for ever."""
    connection = Connection(MOST_UNACKNOWLEDGED, silent_s)
    opened(connection).take(100)
    assert bool(connection.lost) is is_lost
