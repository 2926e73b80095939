"""A file that gives devices other passwords ends the connections of the old ones, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from claimsvc.credentials.plugin import CONTROL_TOPIC
from claimsvc.settings import CredentialStore, Settings
from tests.integration.bench import Bench, opened
from tests.integration.files import ROWS, Desk, Word, at, devices, reopened, send, snapshot, work

EVERYBODY = {f"device_id{number}" for number in range(ROWS - 1)}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings as with the plugin, under which a password is hashed in no time."""
    plugin = {"store": CredentialStore.PLUGIN, "pbkdf2_iterations": 1}
    return settings.model_copy(update={"credentials": settings.credentials.model_copy(update=plugin)})


@pytest.fixture
def desk() -> Desk:
    """A link to the bench."""
    return Desk()


def ended(words: Iterable[Word]) -> list[str]:
    """Return whose connections the broker was told to end."""
    told = b"".join(word.body for word in words if word.topic == CONTROL_TOPIC).decode()
    return [line.removeprefix("disconnect ") for line in told.splitlines()]


async def test_the_connections_of_replaced_passwords_end(bench: Bench, desk: Desk) -> None:
    """Once each; devices that are new have none."""
    await work(bench, desk, send(devices()))
    assert ended(desk.out) == []
    await work(bench, desk, send(devices(), "2"))
    assert sorted(ended(desk.out)) == sorted(EVERYBODY)


@pytest.mark.parametrize("done", [400, ROWS])
async def test_a_service_that_was_killed_ends_those_of_the_slices_before(
    done: int, settings: Settings, tmp_path: Path
) -> None:
    """What it had told the broker of them may not have got there."""
    desk, later = Desk(), Desk()
    async with opened(settings) as bench:
        await work(bench, desk, send(devices()))
        desk.at(done, lambda: snapshot(settings, tmp_path / "killed"))
        await work(bench, desk, send(devices(), "2"))
    async with reopened(at(settings, tmp_path / "killed")) as bench:
        await work(bench, later, send(devices(), "2", redelivered=True))
    assert set(ended(later.out)) == EVERYBODY


@pytest.mark.parametrize("done", [400, ROWS])
async def test_a_lost_connection_loses_none(done: int, bench: Bench, desk: Desk) -> None:
    """The message comes again by the next one, which is told of all before."""
    await work(bench, desk, send(devices()))
    before: list[int] = []

    def lose() -> None:
        before.append(len(desk.out))
        desk.abandon("the broker is gone")

    desk.at(done, lose)
    await work(bench, desk, send(devices(), "2"))
    assert set(ended(desk.out[before[0] :])) == EVERYBODY
    assert len(desk.heard("response/2")) == 1
