"""Files through the whole service but the broker: slices, repeats, permissions, everybody else, and secrets."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from claimsvc.mqtt import file_jobs
from claimsvc.settings import Settings
from tests.integration.bench import Bench, call, lines, message
from tests.integration.files import (
    COUNTS,
    ROWS,
    SLICES,
    WINDOW,
    Desk,
    Word,
    assert_done_once,
    boxes,
    counted,
    counts,
    devices,
    send,
    send_keys,
    work,
)
from tests.integration.link import PATIENCE_S


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings under which a password is hashed in no time."""
    credentials = settings.credentials.model_copy(update={"pbkdf2_iterations": 1})
    return settings.model_copy(update={"credentials": credentials})


@pytest.fixture
def desk() -> Desk:
    """A link to the bench."""
    return Desk()


async def test_what_a_file_does_is_counted_as_anybodys_doing(bench: Bench, desk: Desk) -> None:
    """Each device of each slice, and the file, in the metric of audit events."""
    names = ("device_created", "file_imported")
    before = [counted("claimsvc_audit_events_total", event=name) for name in names]
    await work(bench, desk, send(devices(450)))
    after = [counted("claimsvc_audit_events_total", event=name) for name in names]
    assert [now - then for now, then in zip(after, before, strict=True)] == [449, 1]


async def test_a_file_is_worked_through(bench: Bench, desk: Desk) -> None:
    """One answer with the counters, progress after each slice, and logins that work when the answer is sent."""
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
    """With another request id no device is created twice, and every password is new."""
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
    begin = file_jobs.FileJobs.begin

    def late(self: file_jobs.FileJobs, request: Any, allowed: Any) -> None:
        """Hold the repeats back until the file's answer is out."""
        if desk.heard("response/1") or not taken:
            taken.append(request)
            begin(self, request, allowed)
        else:
            asyncio.get_running_loop().call_soon(late, self, request, allowed)

    monkeypatch.setattr(file_jobs.FileJobs, "begin", late)
    desk.at(400, lambda: desk.deliver(send(devices()), send(devices())))
    await work(bench, desk, send(devices()))
    first, *again = desk.heard("response/1")
    assert again == [first] * 2
    assert_done_once(bench)


# --- permission, rehearsals, others


async def test_a_permission_that_is_taken_away_stops_the_file(bench: Bench, desk: Desk) -> None:
    """What was done stays, with logins that work; given back, the same message goes on there."""
    await work(bench, desk, call("root", "m", "POST", "claimsvc/users", _chief()))
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
        rehearsal = send_keys(body, query="?replace=true&dryRun=true")
        real = send_keys(body, query="?replace=true")
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


def _chief(name: str = "chief") -> bytes:
    """Return an order for another admin."""
    return json.dumps({"username": name, "roles": ["admin"]}).encode()


def _dump(bench: Bench) -> list[str]:
    with closing(sqlite3.connect(bench.path)) as connection:
        return list(connection.iterdump())


async def test_more_files_than_may_be_at_work_have_to_wait(bench: Bench, desk: Desk) -> None:
    """The one too many is told when to try again, and is taken then."""
    names = [f"chief{number}" for number in range(-(-(file_jobs.MOST + 1) // file_jobs.MOST_OF_ONE))]
    for name in names:
        await work(bench, desk, call("root", name, "POST", "claimsvc/users", _chief(name)))
    files = [
        send(devices(300, f"id{number}-"), str(number), who=names[number // file_jobs.MOST_OF_ONE])
        for number in range(file_jobs.MOST + 1)
    ]
    await work(bench, desk, *files)
    statuses = [desk.heard(f"response/{number}")[0]["status"] for number in range(file_jobs.MOST + 1)]
    assert statuses == [201] * file_jobs.MOST + [429]
    assert desk.heard(f"response/{file_jobs.MOST}")[0]["body"]["retryAfterMs"] == file_jobs.BUSY_MS
    await work(bench, desk, files[-1])
    assert desk.heard(f"response/{file_jobs.MOST}")[-1]["status"] == 201
    assert bench.rows("SELECT count(*) FROM device WHERE name LIKE 'id%'") == [((file_jobs.MOST + 1) * 299,)]


async def test_one_sender_leaves_room_for_others(bench: Bench, desk: Desk) -> None:
    """Who sends more files than its share is told to wait, while somebody else's is taken."""
    await work(bench, desk, call("root", "m", "POST", "claimsvc/users", _chief()))
    mine = [send(devices(300, f"id{number}-"), str(number)) for number in range(file_jobs.MOST)]
    await work(bench, desk, *mine, send(devices(300, "id-"), "c", who="chief"))
    statuses = [desk.heard(f"u/root/response/{number}")[0]["status"] for number in range(file_jobs.MOST)]
    assert statuses == [201] * file_jobs.MOST_OF_ONE + [429] * (file_jobs.MOST - file_jobs.MOST_OF_ONE)
    assert desk.heard("u/chief/response/c")[0]["status"] == 201


async def test_a_repeat_that_comes_behind_a_refusal_is_answered_too(
    bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the slice behind the refused one is still hashed: whoever may go on by then gets an answer."""
    await work(bench, desk, call("root", "m", "POST", "claimsvc/users", _chief()))
    desk.at(400, lambda: desk.deliver(call("chief", "p", "PUT", "claimsvc/users/root", b'{"roles":[]}')))
    finish = file_jobs.FileJobs._finish  # noqa: SLF001 - where the answer goes out

    async def slow(self: file_jobs.FileJobs, job: file_jobs.Job, outcome: Any) -> None:
        """Take as long as the next slice does: until the repeat was taken."""
        monkeypatch.setattr(file_jobs.FileJobs, "_finish", finish)
        await finish(self, job, outcome)
        while len(job.requests) == 1 and len(desk.heard("u/root/response/1")) == 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def repeat() -> None:
        desk.on_answer = lambda: None
        back = call("chief", "b", "PUT", "claimsvc/users/root", b'{"roles":["admin"]}')
        desk.deliver(back, send(devices()))

    desk.on_answer = repeat
    monkeypatch.setattr(file_jobs.FileJobs, "_finish", slow)
    await work(bench, desk, send(devices()))
    assert [each["status"] for each in desk.heard("u/root/response/1")] == [403, 201]
    assert_done_once(bench)


@pytest.mark.parametrize("files", [1, file_jobs.MOST_OF_ONE])
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
    with ThreadPoolExecutor(1, initializer=file_jobs._lower_priority) as hashers:  # noqa: SLF001 - the loop's own
        assert hashers.submit(niceness).result(PATIENCE_S) == min(before + 10, 19)
    assert niceness() == before


async def test_a_file_that_cannot_be_understood_stores_nothing(bench: Bench, desk: Desk) -> None:
    """The refusal has the status and words of the call's dialect, and leaves nothing but a line in the log."""
    before = _dump(bench)
    bodies = {
        "a header alone": b"ID;CREDENTIALS\n",
        "nothing": b"",
        "a picture": b"\x89PNG\r\n\x1a\n\0",
        "no CSV": b'ID;CREDENTIALS\n"a\n',
        "no column": b"ID;CREDENTIALS;PATH\na;abcd1234;g\n",
        "too many rows": b"ID;PATH\n" + b"".join(b"d%d;\n" % number for number in range(100_001)),
    }
    for number, body in enumerate(bodies.values()):
        await work(bench, desk, send(body, f"r{number}"))
    answers = [desk.heard(f"response/r{number}")[0] for number in range(len(bodies))]
    assert [each["status"] for each in answers] == [400] * 5 + [413]
    assert {each["body"]["error"] for each in answers} == {
        "devicecontrol/Bad Request",
        "devicecontrol/Payload Too Large",
    }
    assert _dump(bench) == before


async def test_keys_that_the_broker_would_not_carry_are_not_made(
    bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told once: a list that is too long for one answer is refused before any device has one."""
    monkeypatch.setattr(desk, "fits", lambda outbound: len(outbound.payload) < 20_000)
    before = _dump(bench)
    await work(bench, desk, send_keys(boxes(500)))
    (answer,) = desk.heard("response/1")
    assert (answer["status"], answer["body"]["error"]) == (413, "too_large")
    assert _dump(bench) == before
    await work(bench, desk, send_keys(boxes(300), "2"))
    (answer,) = desk.heard("response/2")
    assert len(answer["body"]["csv"].splitlines()) == 301


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
