"""Files through the whole service but the broker: slices, repeats, deaths in between, and everybody else."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from claimsvc.app import open_pipeline
from claimsvc.log import open_log
from claimsvc.pipeline import imports
from claimsvc.settings import Settings
from claimsvc.store.database import StoreError
from claimsvc.wire import Inbound, Outbound, Receipt
from tests.integration.bench import Bench, call, lines, message, opened
from tests.integration.link import PATIENCE_S, Broker

ROWS = 1_000
SLICES = 5
WINDOW = "v1/devices/me/claim"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Word:
    """What a link was asked to publish, whether somebody waits for it or not."""

    topic: str
    body: Any


class Desk(Broker):
    """A link that knows messages by their receipt, as a broker does, and keeps what went out in order."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = 1
        self.out: list[Word] = []
        self.on_progress: Callable[[int], None] = lambda _done: None
        self.on_answer: Callable[[], None] = lambda: None
        self.abandoned = 0

    def deliver(self, *messages: Inbound) -> None:
        numbered = [
            replace(each, receipt=Receipt(self.connection, next(_numbers), each.receipt.qos)) for each in messages
        ]
        self.waiting_messages += numbered
        self.unacknowledged += numbered
        self.done.clear()
        self._arrived.set()

    def answer(self, inbound: Inbound, outbounds: Sequence[Outbound]) -> bool:
        if inbound.receipt.connection != self.connection:
            return False
        self._publish(outbounds)
        self.unacknowledged = [each for each in self.unacknowledged if each.receipt != inbound.receipt]
        if not self.unacknowledged:
            self.done.set()
        return True

    def tell(self, outbounds: Sequence[Outbound]) -> None:
        self._publish(outbounds)

    def _publish(self, outbounds: Sequence[Outbound]) -> None:
        for each in outbounds:
            self.out.append(Word(each.topic, json.loads(each.payload) if each.payload[:1] in b"{[" else each.payload))
            if each.topic.endswith("/progress"):
                self.on_progress(self.out[-1].body["numberOfProcessed"])
            elif each.topic.endswith("/response/1"):
                self.on_answer()

    def abandon(self, why: str) -> None:
        self.connection += 1
        self.abandoned += 1
        again = [replace(each, redelivered=True) for each in self.unacknowledged if each.receipt.qos]
        self.waiting_messages, self.unacknowledged = [], []
        act = partial(self.deliver, *again) if again else self.done.set
        asyncio.get_running_loop().call_soon(act)

    def heard(self, tail: str) -> list[Any]:
        """Return what was published on topics that end so."""
        return [word.body for word in self.out if word.topic.endswith(tail)]

    def at(self, done: int, act: Callable[[], None]) -> None:
        """Act when so many rows of a file are done, once."""

        def on_progress(processed: int) -> None:
            if processed == done:
                self.on_progress = lambda _done: None
                act()

        self.on_progress = on_progress


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings under which a password is hashed in no time."""
    credentials = settings.credentials.model_copy(update={"pbkdf2_iterations": 1})
    return settings.model_copy(update={"credentials": credentials})


@pytest.fixture
def desk() -> Desk:
    """A link to the bench."""
    return Desk()


def devices(count: int = ROWS, stem: str = "id", secret: str = "abcd1234") -> bytes:
    """Return a file of so many devices, each third in a group, the last row of which is bad."""
    rows = [
        f"{stem}{number};{secret};t;Device {number};{'g/h' if number % 3 == 0 else ''}" for number in range(count - 1)
    ]
    return "\n".join(["ID;CREDENTIALS;TYPE;NAME;PATH", *rows, f"{stem}bad;short;t;n;", ""]).encode()


def boxes(count: int, *rows: str) -> bytes:
    """Return a list of so many devices that want a key, and these rows."""
    return "\n".join(["name;secretKey", *(f"box {number};" for number in range(count)), *rows, ""]).encode()


def send(body: bytes, number: str = "1", who: str = "root", query: str = "", **fields: Any) -> Inbound:
    """Return the message that brings a file of devices."""
    return call(who, number, "POST", f"devicecontrol/bulkNewDeviceRequests{query}", body, **fields)


def send_keys(body: bytes, number: str = "1", query: str = "", **fields: Any) -> Inbound:
    """Return the message that brings a list of claim keys."""
    return call("root", number, "POST", f"claimsvc/claimKeys{query}", body, **fields)


async def work(bench: Bench, link: Desk, *messages: Inbound) -> None:
    """Deliver messages and run the loop until everything is answered, then stop as a service does."""
    link.deliver(*messages)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.pipeline.run(link))
        await link.done.wait()
        running.cancel()


@asynccontextmanager
async def reopened(settings: Settings) -> AsyncIterator[Bench]:
    """Open a bench on a store that is there."""
    out = StringIO()
    async with open_pipeline(settings, open_log("debug", "json", out)) as pipeline:
        yield Bench(pipeline, settings, out)


def at(settings: Settings, directory: Path) -> Settings:
    """Return these settings with a store in another directory."""
    store = settings.store.model_copy(update={"path": directory / "claimsvc.db"})
    credentials = settings.credentials.model_copy(update={"password_file": directory / "passwd"})
    return settings.model_copy(update={"store": store, "credentials": credentials})


def snapshot(settings: Settings, directory: Path) -> None:
    """Copy what is durable now, as a process that is killed leaves it."""
    directory.mkdir()
    for path in settings.store.path.parent.iterdir():
        if path.is_file() and not path.name.startswith("claimsvc.db"):
            shutil.copy(path, directory)
    with (
        closing(sqlite3.connect(settings.store.path)) as here,
        closing(sqlite3.connect(directory / "claimsvc.db")) as there,
    ):
        here.backup(there)


COUNTS = {"numberOfAll": ROWS, "numberOfCreated": ROWS - 1, "numberOfFailed": 1, "numberOfSuccessful": ROWS - 1}


def counts(answer: Any) -> dict[str, int]:
    """Return an answer's counters."""
    return {name: value for name, value in answer["body"].items() if name.startswith("number")}


def assert_done_once(bench: Bench, rows: int = ROWS - 1) -> None:
    """Every device is there with its login and its audit event, and nothing is left of the file at work."""
    made = bench.rows("SELECT count(*), count(DISTINCT name) FROM device WHERE name LIKE 'id%'")
    assert made == [(rows, rows)]
    assert bench.rows("SELECT count(*) FROM credential WHERE login LIKE 'device\\_id%' ESCAPE '\\'") == [(rows,)]
    assert bench.rows("SELECT count(*) FROM event WHERE event = 'device_created' AND device LIKE 'id%'") == [(rows,)]
    assert bench.rows("SELECT count(*) FROM event WHERE event = 'file_imported'") == [(1,)]
    assert bench.rows("SELECT path FROM device_group ORDER BY path") == [("g",), ("g/h",)]
    assert bench.rows("SELECT count(*) FROM device_group_member") == [(len(range(0, rows, 3)),)]
    assert bench.rows("SELECT (SELECT count(*) FROM import), (SELECT count(*) FROM import_part)") == [(0, 0)]


async def test_a_file_is_worked_through(bench: Bench, desk: Desk) -> None:
    """One answer with the seed's counters, word of each slice, and logins that work when the answer is out."""
    await work(bench, desk, send(devices()))
    (answer,) = desk.heard("response/1")
    assert (answer["status"], counts(answer)) == (201, COUNTS)
    (failed,) = answer["body"]["failedCreationList"]
    assert (failed["deviceId"], failed["lineNumber"], failed["column"]) == ("idbad", ROWS + 1, "CREDENTIALS")
    progress = [each["numberOfProcessed"] for each in desk.heard("response/1/progress")]
    assert progress == [200, 400, 600, 800, 1_000]
    assert_done_once(bench)
    passwords = bench.path.with_name("passwd").read_text()
    assert passwords.count("\ndevice_id") == ROWS - 1
    (handled,) = [line for line in lines(bench) if line["event"] == "handled"]
    assert (handled["command"], handled["entries"], handled["created"], handled["refused"]) == (
        "ImportDevices",
        ROWS,
        ROWS - 1,
        1,
    )
    assert [event["event"] for event in desk.heard("events/default/file_imported")] == ["file_imported"]


async def test_a_file_that_is_sent_again_updates(bench: Bench, desk: Desk) -> None:
    """B2, with another request id: nobody is made twice, every password is new."""
    await work(bench, desk, send(devices()))
    await work(bench, desk, send(devices(secret="other-password"), "2"))
    (answer,) = desk.heard("response/2")
    assert counts(answer) == COUNTS | {"numberOfCreated": 0}
    updated = answer["body"]["credentialUpdatedList"]
    assert [each["deviceId"] for each in updated] == [f"id{number}" for number in range(ROWS - 1)]
    assert bench.rows("SELECT count(*) FROM device WHERE name LIKE 'id%'") == [(ROWS - 1,)]


# --- the same request again


async def test_a_repeat_while_at_work_gets_the_same_answer(bench: Bench, desk: Desk) -> None:
    """Both are answered when it is done, which is once."""
    desk.at(400, lambda: desk.deliver(send(devices())))
    await work(bench, desk, send(devices()))
    first, second = desk.heard("response/1")
    assert first == second
    assert counts(first) == COUNTS
    assert_done_once(bench)


async def test_other_content_while_at_work_is_refused(bench: Bench, desk: Desk) -> None:
    """409 at once; the first goes on. Another body, another query and another call all are other content."""
    others = [
        send(devices(5)),
        send(devices(), query="?dryRun=true"),
        send_keys(boxes(1)),
        send(devices(5), who="alice"),
    ]
    desk.at(400, lambda: desk.deliver(*others))
    await work(bench, desk, send(devices()))
    statuses = [each["status"] for each in desk.heard("u/root/response/1")]
    assert statuses == [409, 409, 409, 201]
    assert [each["status"] for each in desk.heard("u/alice/response/1")] == [403]
    assert_done_once(bench)


async def test_a_repeat_after_the_end_gets_the_first_answer(bench: Bench, desk: Desk) -> None:
    """Also where two come at once, and where the broker delivers it again; other content is refused."""
    await work(bench, desk, send(devices()))
    await work(bench, desk, send(devices()), send(devices()), send(devices(), redelivered=True))
    first, *again = desk.heard("response/1")
    assert again == [first] * 3
    await work(bench, desk, send(devices(5)))
    assert desk.heard("response/1")[-1]["status"] == 409
    assert_done_once(bench)


async def test_repeats_that_were_read_before_the_end_are_all_answered(
    bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were let in while the file was at work, and come to their turn when it is finished."""
    taken: list[Any] = []
    begin = imports.Imports.begin

    def late(self: imports.Imports, reply: Any) -> None:
        """Hold the repeats back until the file's answer is out."""
        if desk.heard("response/1") or not taken:
            taken.append(reply)
            begin(self, reply)
        else:
            asyncio.get_running_loop().call_soon(late, self, reply)

    monkeypatch.setattr(imports.Imports, "begin", late)
    desk.at(400, lambda: desk.deliver(send(devices()), send(devices())))
    await work(bench, desk, send(devices()))
    first, *again = desk.heard("response/1")
    assert again == [first] * 2
    assert_done_once(bench)


# --- deaths


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
            bench.pipeline.stop()
            desk.deliver()  # wakes it

        desk.at(400, stop)
        desk.deliver(send(devices()))
        async with asyncio.timeout(PATIENCE_S):
            await bench.pipeline.run(desk)
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
    store = bench.pipeline._tools.store  # noqa: SLF001 - a disk that is full once
    apply, tries = store.apply, 0

    async def once_full(changes: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == failing:
            raise StoreError("database or disk is full")
        await apply(changes)

    monkeypatch.setattr(store, "apply", once_full)


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
    once = replace(send(devices()), receipt=Receipt(1, 0, 0))
    fail_once(bench, monkeypatch, 3)
    await work(bench, desk, once)
    assert desk.heard("response/1") == []
    await work(bench, desk, once)
    assert counts(desk.heard("response/1")[0]) == COUNTS
    assert [each["numberOfProcessed"] for each in desk.heard("/progress")] == [200, 400, 600, 800, 1_000]
    assert_done_once(bench)


async def test_a_row_that_breaks_us_is_answered(bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`internal`, and nobody else notices; what is mended goes on behind the slices before."""
    batches = bench.pipeline._batches  # noqa: SLF001 - a mistake of ours
    work_slice, tries = batches.work, 0

    async def broken(*arguments: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 3:
            raise ZeroDivisionError
        return await work_slice(*arguments, **more)

    monkeypatch.setattr(batches, "work", broken)
    await work(bench, desk, send(devices()))
    (answer,) = desk.heard("response/1")
    assert (answer["status"], answer["body"]["code"]) == (500, "internal")
    assert "ZeroDivision" not in json.dumps(answer)
    assert any(line["event"] == "internal_error" for line in lines(bench))
    await work(bench, desk, send(devices()))
    assert counts(desk.heard("response/1")[-1]) == COUNTS
    assert_done_once(bench)


# --- permission, rehearsals, others


async def test_a_permission_that_is_taken_away_stops_the_file(bench: Bench, desk: Desk) -> None:
    """What was done stays, with logins that work; given back, the same message goes on there."""
    chief = b'{"username":"chief","roles":["admin"]}'
    await work(bench, desk, call("root", "m", "POST", "claimsvc/users", chief))
    taken = call("chief", "p", "PUT", "claimsvc/users/root", b'{"roles":[]}')
    desk.at(400, lambda: desk.deliver(taken))
    await work(bench, desk, send(devices()))
    (answer,) = desk.heard("response/1")
    assert (answer["status"], answer["body"]["message"]) == (403, "Access is denied")
    ((done,),) = bench.rows("SELECT count(*) FROM device WHERE name LIKE 'id%'")
    assert done in {400, 600}  # the change waits for its turn, behind one slice at most
    assert bench.path.with_name("passwd").read_text().count("\ndevice_id") == done
    back = call("chief", "b", "PUT", "claimsvc/users/root", b'{"roles":["admin"]}')
    await work(bench, desk, back)
    await work(bench, desk, send(devices()))
    assert counts(desk.heard("response/1")[-1]) == COUNTS
    assert_done_once(bench)


@pytest.mark.parametrize("kind", ["devices", "claim keys"])
async def test_a_rehearsal_changes_nothing(kind: str, bench: Bench, desk: Desk) -> None:
    """And tells what would become of each row; the same request id can do it afterwards."""
    await work(bench, desk, send(devices(5, "known"), "0"), send_keys(boxes(2), "00"))
    before = _dump(bench)
    if kind == "devices":
        body = devices(3, "known") + devices(500).partition(b"\n")[2]
        rehearsal, real = send(body, query="?dryRun=true"), send(body)
    else:
        body = boxes(500, "box 1;")
        rehearsal, real = send_keys(body, query="?dryRun=true"), send_keys(body)
    await work(bench, desk, rehearsal)
    assert _dump(bench) == before
    await work(bench, desk, real)
    rehearsed, done = desk.heard("response/1")
    assert (rehearsed["status"], done["status"]) == (200, 201)
    assert counts(rehearsed) == counts(done)
    assert {name: rehearsed["body"][name] for name in rehearsed["body"]} == {
        name: value for name, value in done["body"].items() if name != "csv"
    }
    assert counts(done)["numberOfFailed"] == (2 if kind == "devices" else 1)
    assert counts(done)["numberOfSuccessful"] - counts(done)["numberOfCreated"] == 2


def _dump(bench: Bench) -> list[str]:
    with closing(sqlite3.connect(bench.path)) as connection:
        return list(connection.iterdump())


async def test_more_files_than_may_be_at_work_have_to_wait(bench: Bench, desk: Desk) -> None:
    """The one too many is told when to try again, and is taken then."""
    files = [send(devices(300, f"id{number}-"), str(number)) for number in range(imports.MOST + 1)]
    await work(bench, desk, *files)
    statuses = [desk.heard(f"response/{number}")[0]["status"] for number in range(imports.MOST + 1)]
    assert statuses == [201] * imports.MOST + [429]
    assert desk.heard(f"response/{imports.MOST}")[0]["body"]["retryAfterMs"] == imports.BUSY_MS
    await work(bench, desk, files[-1])
    assert desk.heard(f"response/{imports.MOST}")[-1]["status"] == 201
    assert bench.rows("SELECT count(*) FROM device WHERE name LIKE 'id%'") == [((imports.MOST + 1) * 299,)]


@pytest.mark.parametrize("files", [1, 3])
async def test_others_are_answered_between_slices(files: int, bench: Bench, desk: Desk) -> None:
    """However many files there are: whoever comes during a slice is answered when two more are done at the latest."""
    asked = 0

    def ask(_done: int) -> None:
        nonlocal asked
        asked += 1
        desk.deliver(message(f"claimsvc/u/other{asked}/{WINDOW}"))
        desk.out.append(Word(f"asked/{asked}", None))

    desk.on_progress = ask
    await work(bench, desk, *(send(devices(ROWS, f"id{number}-"), f"f{number}") for number in range(files)))
    assert asked == files * SLICES
    topics = [word.topic for word in desk.out]
    for number in range(1, asked - 1):
        begin, end = topics.index(f"asked/{number}"), topics.index(f"claimsvc/u/other{number}/{WINDOW}/response")
        slices = [topic for topic in topics[begin:end] if topic.endswith("/progress")]
        assert len(slices) <= 2, f"{number} waited for {len(slices)} slices"


def test_hashing_leaves_the_processor_to_whoever_answers() -> None:
    """Its threads are nicer than the others, whose priority stays."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    with ThreadPoolExecutor(1, initializer=imports._stand_back) as hashers:  # noqa: SLF001 - the loop's own
        assert hashers.submit(niceness).result(PATIENCE_S) == min(before + 10, 19)
    assert niceness() == before


async def test_a_file_that_cannot_be_understood_stores_nothing(bench: Bench, desk: Desk) -> None:
    """B13: with its status in the words of whose call it is, and no trace but the log's line."""
    before = _dump(bench)
    bodies = {
        "a header alone": b"ID;CREDENTIALS\n",
        "nothing": b"",
        "a picture": b"\x89PNG\r\n\x1a\n\0",
        "no CSV": b'ID;CREDENTIALS\n"a\n',
        "no column": b"ID;CREDENTIALS;PATH\na;abcd1234;g\n",
        "too many rows": b"ID;PATH\n" + b"".join(b"d%d;\n" % number for number in range(100_001)),
    }
    await work(bench, desk, *(send(body, f"r{number}") for number, body in enumerate(bodies.values())))
    answers = [desk.heard(f"response/r{number}")[0] for number in range(len(bodies))]
    assert [each["status"] for each in answers] == [400] * 5 + [413]
    assert {each["body"]["error"] for each in answers} == {
        "devicecontrol/Bad Request",
        "devicecontrol/Payload Too Large",
    }
    assert _dump(bench) == before


# --- secrets


async def test_no_secret_of_a_file_is_seen_again(bench: Bench, desk: Desk) -> None:
    """Passwords, one-time passwords and keys: in no answer about devices, no log line, no event, no file."""
    header = "ID;CREDENTIALS;AUTH_TYPE;ENROLLMENT_OTP;TYPE;NAME;PATH;own"
    rows = [
        "a;PLANTED-fine;BASIC;;t;n;g;",
        "a;PLANTED-again;BASIC;;t;n;g;",
        "b;PLANTED-kind;OTHER;PLANTED-otp;t;n;g;",
        "c;PLANTED-both;CERTIFICATES;;t;n;g;",
        "d;PLANTED-otp;BASIC;PLANTED-otp;t;n;g;",
        "e;;CERTIFICATES;PLANTED-one-time;t;n;g;",
        "f;;CERTIFICATES;PLANTED-one-time-that-is-too-long-by-far;t;n;g;",
        "g;PLANTED-password-that-is-too-long-by-far;;;t;n;g;",
        "h;PLANTED-path;;;t;n;//;",
        "i/i;PLANTED-id;;;t;n;g;",
        "j;PLANTED-few",
        "PLANTED-alone",
        "k;PLANTED-many;BASIC;;t;n;g;;PLANTED-more",
        "l;PLANTED-column;OTHER;;t;n;g;PLANTED-own",
    ]
    await work(bench, desk, send("\n".join([header, *rows, ""]).encode()))
    await work(bench, desk, send("\n".join([header, *rows, ""]).encode(), "2"))
    keys = boxes(3, "box 0;PLANTED-key", "x;PLANTED-given", "y;PLANTED-" + "x" * 300, "z;PLANTED;more")
    await work(bench, desk, send_keys(keys, "3"))
    await work(bench, desk, send(b"PLANTED-header;PLANTED-header\na;b\n", "4"), send_keys(b"PLANTED;x\na;b\n", "5"))
    assert [desk.heard(f"response/{number}")[0]["status"] for number in (1, 2, 3, 4, 5)] == [201, 201, 201, 400, 400]
    (given,) = desk.heard("response/3")
    made = [line.split(";")[1] for line in given["body"].pop("csv").splitlines()[1:]]
    assert (len(made), made[3]) == (4, "PLANTED-given")
    out = json.dumps([[word.topic, word.body] for word in desk.out if word.topic != "claimsvc/u/root/response/3"])
    said = out + json.dumps(given) + bench.out.getvalue()
    assert [secret for secret in ("PLANTED", *made) if secret in said] == []
    files = [path for path in bench.path.parent.iterdir() if path.is_file()]
    assert bench.path.with_name("claimsvc.db-wal") in files
    secrets = [b"PLANTED", *(key.encode() for key in made)]
    kept = {secret: [path.name for path in files if secret in path.read_bytes()] for secret in secrets}
    assert kept == {secret: [] for secret in secrets}
    assert counts(desk.heard("response/1")[0]) == {
        "numberOfAll": 14,
        "numberOfCreated": 2,
        "numberOfFailed": 12,
        "numberOfSuccessful": 2,
    }
