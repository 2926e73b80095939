"""Files in a service that dies, is stopped, breaks or has no room: every row once, and one whole answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimsvc.settings import Settings
from claimsvc.store.sqlite.sqlite_store import SqliteTransaction
from tests.integration.bench import Bench, call, lines, opened
from tests.integration.files import (
    COUNTS,
    ROWS,
    SLICES,
    Desk,
    assert_done_once,
    at,
    boxes,
    counted,
    counts,
    devices,
    reopened,
    send,
    send_keys,
    snapshot,
    work,
)
from tests.integration.link import PATIENCE_S
from tests.support.stores import failing_once


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings under which a password is hashed in no time."""
    credentials = settings.credentials.model_copy(update={"pbkdf2_iterations": 1})
    return settings.model_copy(update={"credentials": credentials})


@pytest.fixture
def desk() -> Desk:
    """A link to the bench."""
    return Desk()


@pytest.mark.parametrize("done", [200, 400, 600, 800, 1_000])
async def test_a_service_that_is_killed_goes_on_behind_the_last_slice(
    done: int, settings: Settings, tmp_path: Path
) -> None:
    """The file as it lay on the disk then, and the message again: every row once, and the whole answer."""
    desk, later = Desk(), Desk()
    async with opened(settings) as bench:
        desk.at(done, lambda: snapshot(settings, tmp_path / "killed"))
        await work(bench, desk, send(devices()))
    async with reopened(at(settings, tmp_path / "killed")) as bench:
        await work(bench, later, send(devices(), redelivered=True))
        assert later.heard("response/1") == desk.heard("response/1")
        assert [each["numberOfProcessed"] for each in later.heard("/progress")] == list(
            range(done + 200, ROWS + 1, 200)
        )
        assert_done_once(bench)
        assert bench.path.with_name("passwd").read_text().count("\ndevice_id") == ROWS - 1


async def test_a_service_that_is_killed_before_its_answer_is_out_gives_it_later(
    settings: Settings, tmp_path: Path
) -> None:
    """It was committed with the file's end; no row is done again, and no progress told."""
    desk, later = Desk(), Desk()
    async with opened(settings) as bench:
        desk.on_answer = lambda: snapshot(settings, tmp_path / "killed")
        await work(bench, desk, send(devices()))
    async with reopened(at(settings, tmp_path / "killed")) as bench:
        await work(bench, later, send(devices(), redelivered=True))
        assert [word.body for word in later.out] == desk.heard("response/1")
        assert_done_once(bench)


async def test_keys_that_were_made_before_a_death_are_in_the_answer(settings: Settings, tmp_path: Path) -> None:
    """They were committed, so nobody makes others; each key of the answer opens its device."""
    desk, later = Desk(), Desk()
    async with opened(settings) as bench:
        desk.at(400, lambda: snapshot(settings, tmp_path / "killed"))
        await work(bench, desk, send_keys(boxes(ROWS)))
    async with reopened(at(settings, tmp_path / "killed")) as bench:
        await work(bench, later, send_keys(boxes(ROWS), redelivered=True))
        (first,), (second,) = desk.heard("response/1"), later.heard("response/1")
        given, again = (body["body"]["csv"].splitlines() for body in (first, second))
        assert [line.split(";")[0] for line in again[1:]] == [f"box {number}" for number in range(ROWS)]
        assert given[:401] == again[:401]
        key_of = dict(line.split(";")[:2] for line in again[1:])
        for number in (0, 399, 400, ROWS - 1):
            name = f"box {number}"
            body = json.dumps({"secretKey": key_of[name]}).encode()
            path = f"api/customer/device/box%20{number}/claim"
            (reply,) = await bench.handle(call("alice", f"c{number}", "POST", path, body))
            assert b'"SUCCESS"' in b"".join(each.payload for each in reply.outbounds)


async def test_a_service_that_is_stopped_finishes_the_slice_in_hand(settings: Settings, desk: Desk) -> None:
    """The rest is for the next start, to which the broker delivers the message again."""
    async with opened(settings) as bench:

        def stop() -> None:
            bench.door.stop()
            desk.deliver()  # wakes it

        desk.at(400, stop)
        desk.deliver(send(devices()))
        async with asyncio.timeout(PATIENCE_S):
            await bench.door.run(desk)
        assert desk.heard("response/1") == []
        assert len(desk.unacknowledged) == 1
    later = Desk()
    async with reopened(settings) as bench:
        await work(bench, later, send(devices(), redelivered=True))
        (answer,) = later.heard("response/1")
        assert counts(answer) == COUNTS
        assert_done_once(bench)


def fail_once(bench: Bench, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """Let the disk be full at one transaction, counted from now."""
    monkeypatch.setattr(SqliteTransaction, "commit", failing_once(failing))


@pytest.mark.parametrize("failing", range(1, SLICES + 2))
async def test_a_disk_that_fails_once_costs_no_row(
    failing: int, bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever slice, or at the end: the message comes again, and goes on where the store stands."""
    fail_once(bench, monkeypatch, failing)
    await work(bench, desk, send(devices()))
    (answer,) = desk.heard("response/1")
    assert counts(answer) == COUNTS
    assert desk.abandoned == 1
    assert_done_once(bench)
    assert bench.path.with_name("passwd").read_text().count("\ndevice_id") == ROWS - 1


async def test_a_sender_at_qos_0_has_to_ask_again(bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk failed in between it hears nothing, and loses nothing: its repeat goes on behind the slices."""
    once = replace(send(devices()), qos=0, packet_id=0)
    fail_once(bench, monkeypatch, 3)
    await work(bench, desk, once)
    assert desk.heard("response/1") == []
    await work(bench, desk, once)
    assert counts(desk.heard("response/1")[0]) == COUNTS
    assert [each["numberOfProcessed"] for each in desk.heard("/progress")] == [200, 400, 600, 800, 1_000]
    assert_done_once(bench)


async def test_a_row_that_breaks_us_is_answered(bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`internal`, and nobody else notices; what is mended goes on behind the slices before."""
    service = bench.service
    work_slice, tries = service.execute_slice, 0

    async def broken(*arguments: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 3:
            raise ZeroDivisionError
        return await work_slice(*arguments, **more)

    monkeypatch.setattr(service, "execute_slice", broken)
    before = counted("claimsvc_internal_errors_total")
    await work(bench, desk, send(devices()))
    assert counted("claimsvc_internal_errors_total") == before + 1
    (answer,) = desk.heard("response/1")
    assert (answer["status"], answer["body"]["code"]) == (500, "internal")
    assert "ZeroDivision" not in json.dumps(answer)
    assert any(line["event"] == "internal_error" for line in lines(bench))
    await work(bench, desk, send(devices()))
    assert counts(desk.heard("response/1")[-1]) == COUNTS
    assert_done_once(bench)
