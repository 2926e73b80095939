"""Operators' commands against a service that answers late, twice, strangely, or not at all."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Commands, local, one_line
from tests.support.processes import World
from tests.support.scripted import Answers, Call, ScriptedService, Told, answer, progress

Play = Callable[[Answers], ScriptedService]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A broker, and no service."""
    world = World(tmp_path_factory.mktemp("stage"))
    world.broker.start()
    yield world
    world.broker.stop()


@pytest.fixture
def play(stage: World) -> Iterator[Play]:
    """Let a service answer as a function says."""
    with ExitStack() as stack:
        yield lambda answers: stack.enter_context(ScriptedService(stage, answers))


@pytest.fixture
def root(stage: World, tmp_path: Path) -> Commands:
    """Commands as the admin, who waits for half a second."""
    return Commands(stage.port, stage.accounts["admin"], tmp_path, "--timeout", "0.5")


DEVICE = {"id": {"entityType": "DEVICE", "id": "7"}, "name": "Lamp"}
NO_USERS = answer(200, {"users": [], "self": "/claimsvc/users"})


def found_then(*told: Told) -> Answers:
    """Return answers that know the device Lamp, and say this to whatever else is asked."""
    return lambda call: [answer(200, DEVICE)] if call.path.startswith("/api/tenant/devices") else told


# --- answers that do not come


def test_a_lost_answer_is_asked_for_under_the_same_id(root: Commands, play: Play) -> None:
    """So that the service does nothing twice: it remembers the id."""
    seen: list[str] = []

    def second_time(call: Call) -> Iterable[Told]:
        seen.append(call.request_id)
        return [answer(201, {"id": "c", "title": "ACME", "tenantId": "default"})] if len(seen) == 2 else []

    service = play(second_time)
    assert root.ask("customer", "add", "ACME")["id"] == "c"
    assert len(service.calls) == 2
    assert len({(call.request_id, call.method, call.path, call.body) for call in service.calls}) == 1


def test_a_service_that_is_silent(root: Commands, play: Play) -> None:
    """After three times it is given up, and said what that may mean."""
    service = play(lambda _: [])
    service.say("online")
    one_line(root.run("customer", "add", "ACME"), 6, "does not answer", "may have been executed")
    assert len(service.calls) == 3


def test_a_service_that_is_offline(root: Commands, play: Play) -> None:
    """It has said so: nobody waits three times, and is told that the broker keeps the request."""
    service = play(lambda _: [])
    service.say("offline")
    one_line(root.run("customer", "add", "ACME"), 6, "offline", "waits on the broker")
    assert len(service.calls) == 1


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(Told(b"\xff"), id="bytes"),
        pytest.param(Told([1]), id="a list"),
        pytest.param(Told({"status": "200", "body": {}}), id="a status that is a text"),
        pytest.param(Told({"status": 200}), id="no body"),
    ],
)
def test_an_answer_that_is_none(root: Commands, play: Play, told: Told) -> None:
    """Whatever answers there, it is not claimsvc."""
    play(lambda _: [told])
    one_line(root.quick("user", "list"), 3, "does not come from claimsvc")


def test_a_refusal_cannot_command_the_terminal(root: Commands, play: Play) -> None:
    """What others wrote is printed so that a terminal obeys none of it."""
    play(lambda _: [answer(409, {"error": "in_use", "message": "evil \x1b[2J"})])
    one_line(root.quick("user", "list"), 1, "evil \\x1b[2J (in_use)")


# --- many devices


ROWS = 'ID;CREDENTIALS;NAME\n1;secret-1;"Lamp\nin two lines"\n2;;Bulb\r\n3;secret-3;Tube'
FAILED = {
    "bulkNewDeviceStatus": "FAILED",
    "deviceId": "1",
    "failureReason": "The name belongs to another login",
    "code": "name_taken",
    "line": "1;secret-1;...",
    "lineNumber": 2,
    "column": "NAME",
}
IMPORTED = {
    "numberOfAll": 3,
    "numberOfCreated": 1,
    "numberOfFailed": 2,
    "numberOfSuccessful": 1,
    "credentialUpdatedList": [{"bulkNewDeviceStatus": "CREATED", "deviceId": "2"}],
    "failedCreationList": [{**FAILED, "deviceId": "3", "lineNumber": 5}, FAILED],
}


def test_a_file_is_imported(root: Commands, play: Play, tmp_path: Path) -> None:
    """It is sent as it is; the failed rows are a table, and a file of theirs to mend, which hides what they hold."""
    service = play(lambda _: [progress(numberOfAll=3, numberOfProcessed=1), answer(201, IMPORTED)])
    file = tmp_path / "devices.csv"
    file.write_bytes(ROWS.encode())
    done = root.run("import", str(file))
    assert (service.calls[0].path, service.calls[0].body) == ("/devicecontrol/bulkNewDeviceRequests", ROWS.encode())
    assert done.code == 1
    assert done.out.startswith("3 rows: 1 done (1 new), 2 failed.\n")
    assert [line.split()[:2] for line in done.out.splitlines()[-2:]] == [["2", "1"], ["5", "3"]]
    assert "secret" not in done.out + done.err
    to_mend = tmp_path / "devices.failed.csv"
    assert to_mend.read_bytes().decode() == 'ID;CREDENTIALS;NAME\n1;secret-1;"Lamp\nin two lines"\n3;secret-3;Tube\n'
    assert to_mend.stat().st_mode & 0o777 == 0o600
    assert done.err.splitlines()[-1] == "claimsvc: 2 of 3 rows failed"
    again = root.quick("import", str(file), "--json")
    assert (again.code, again.json["failedFile"]) == (1, str(tmp_path / "devices.failed-2.csv"))


def test_a_dry_run_leaves_nothing(root: Commands, play: Play, tmp_path: Path) -> None:
    """Neither at the service nor as a file."""
    service = play(lambda _: [answer(201, IMPORTED)])
    file = tmp_path / "devices.csv"
    file.write_text(ROWS)
    done = root.quick("import", str(file), "--dry-run")
    assert service.calls[0].path == "/devicecontrol/bulkNewDeviceRequests?dryRun=true"
    assert (done.code, done.out.startswith("3 rows: 1 would succeed, 2 would fail.")) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".csv") == ["devices.csv"]


def test_as_long_as_it_is_told_of_progress_a_command_waits(root: Commands, play: Play, tmp_path: Path) -> None:
    """A file of an hour takes an hour; the patience begins anew with each word."""
    pause = threading.Event()

    def slowly(_: Call) -> Iterator[Told]:
        for number in range(8):
            yield progress(numberOfAll=8, numberOfProcessed=number)
            pause.wait(0.2)  # the service's work
        yield answer(201, {**IMPORTED, "numberOfFailed": 0, "failedCreationList": []})

    service = play(slowly)
    file = tmp_path / "devices.csv"
    file.write_text(ROWS)
    assert root.quick("import", str(file)).code == 0
    assert len(service.calls) == 1


def test_rows_the_service_does_not_name(root: Commands, play: Play, tmp_path: Path) -> None:
    """An answer lists so many; that there are more is said, and the numbers are of all."""
    play(lambda _: [answer(201, {**IMPORTED, "numberOfFailed": 7, "numberOfAll": 9})])
    file = tmp_path / "devices.csv"
    file.write_text(ROWS)
    done = root.quick("import", str(file))
    assert "did not name 5 more failed rows" in done.err
    assert done.err.endswith("claimsvc: 7 of 9 rows failed\n")


KEYS = {
    "numberOfAll": 1,
    "numberOfCreated": 0,
    "numberOfFailed": 0,
    "numberOfSuccessful": 1,
    "csv": "name;secretKey;expirationTime\nLamp;PLANTED;1700000000000\n",
    "failedList": [],
}


def test_keys_go_to_a_file(root: Commands, play: Play, tmp_path: Path) -> None:
    """Which only its owner can read, and which is not written over; the screen shows no key."""
    service = play(lambda _: [answer(201, KEYS)])
    file, out = tmp_path / "names.csv", tmp_path / "keys.csv"
    file.write_text("name\nLamp\n")
    done = root.quick("device", "secrets", str(file), "--out", str(out))
    assert (done.code, service.calls[0].path) == (0, "/claimsvc/claimKeys")
    assert "PLANTED" not in done.out + done.err
    assert (out.read_text(), out.stat().st_mode & 0o777) == (KEYS["csv"], 0o600)
    one_line(root.quick("device", "secrets", str(file), "--out", str(out)), 2, "exists already")
    assert len(service.calls) == 1
    told = root.quick("device", "secrets", str(file), "--json")
    assert (told.json["file"], "csv" in told.json) == (str(tmp_path / "names.keys.csv"), False)
    sheet = tmp_path / "sheet.html"
    assert local("labels", str(out), str(sheet)).out.startswith("1 labels written to")
    assert sheet.stat().st_mode & 0o777 == 0o600


def test_keys_that_cannot_be_written_are_lost(root: Commands, play: Play, tmp_path: Path) -> None:
    """A full disk is told as what it means: they are told once."""
    play(lambda _: [answer(201, {**KEYS, "csv": "x" * 200_000})])
    file, out = tmp_path / "names.csv", tmp_path / "keys.csv"
    file.write_text("name\nLamp\n")
    full = ["prlimit", "--fsize=100000", *root.line("device", "secrets", str(file), "--out", str(out))]
    done = subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "the keys are lost; create new ones" in done.stderr) == (1, True), done
    assert "Traceback" not in done.stderr


def test_no_keys_no_file(root: Commands, play: Play, tmp_path: Path) -> None:
    """A refusal leaves no empty file behind; a dry run makes none."""
    play(lambda call: [answer(*((201, KEYS) if "dryRun" in call.path else (403, {"error": "not_permitted"})))])
    file = tmp_path / "names.csv"
    file.write_text("name\nLamp\n")
    one_line(root.quick("device", "secrets", str(file)), 5)
    assert root.quick("device", "secrets", str(file), "--dry-run").code == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".csv") == ["names.csv"]


def test_an_interrupted_import_may_be_done_all_the_same(root: Commands, play: Play, tmp_path: Path) -> None:
    """The service has the file: Ctrl-C ends the waiting, and the command says so."""
    asked = threading.Event()

    def silently(_: Call) -> Iterable[Told]:
        asked.set()
        return []

    play(silently)
    file = tmp_path / "devices.csv"
    file.write_text(ROWS)
    command = Commands(root.port, root.account, tmp_path, "--timeout", "60").start("import", str(file))
    assert asked.wait(20)
    code, err = command.interrupt()
    assert (code, err) == (130, "claimsvc: interrupted; the request may still be executed\n")


def test_an_empty_listing_says_so(root: Commands, play: Play) -> None:
    """To a person; a program sees an empty list."""
    play(lambda _: [NO_USERS])
    assert root.quick("user", "list").err == "None found.\n"
    done = root.quick("user", "list", "--json")
    assert (done.json, done.err) == ({"users": [], "more": False}, "")


def test_groups_of_devices_are_listed(root: Commands, play: Play) -> None:
    """Page by page, by their paths."""
    pages = [{"deviceGroups": [{"id": "1", "path": "Plant/Hall"}], "next": "/claimsvc/deviceGroups?after=1"}]
    pages.append({"deviceGroups": [{"id": "2", "path": "Plant/Roof"}]})
    service = play(lambda _: [answer(200, pages[len(service.calls) - 1])])
    out = root.quick("device", "groups").out
    assert [line.split() for line in out.splitlines()[2:]] == [["Plant/Hall", "1"], ["Plant/Roof", "2"]]
    assert service.calls[1].path == "/claimsvc/deviceGroups?after=1"


# --- credentials

ROTATED: dict[str, Any] = {
    "deviceId": "7",
    "name": "Lamp",
    "principal": "Lamp",
    "username": "Lamp",
    "password": "PLANTED",
    "validFrom": 1_700_000_000_000,
    "oldValidUntil": 1_700_003_600_000,
}


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ([], {}),
        (["--overlap", "1h"], {"overlapMs": 3_600_000}),
        (["--overlap", "0s"], {"overlapMs": 0}),
        (["--access-token"], {"credentialsType": "ACCESS_TOKEN"}),
    ],
)
def test_credentials_are_rotated(root: Commands, play: Play, options: list[str], body: object) -> None:
    """The new login is told once, with the times of both."""
    service = play(found_then(answer(201, ROTATED)))
    done = root.quick("credentials", "rotate", "Lamp", *options)
    assert done.code == 0
    call = service.calls[-1]
    assert (call.method, call.path, json.loads(call.body)) == ("POST", "/claimsvc/devices/7/credentials", body)
    assert done.out.count("PLANTED") == 1
    assert "Old valid until" in done.out


def test_credentials_are_revoked(root: Commands, play: Play) -> None:
    """At once, and only when that was confirmed."""
    service = play(found_then(answer(200, {})))
    one_line(root.quick("credentials", "revoke", "Lamp"), 2, "--yes")
    assert service.calls == []
    assert (
        root.quick("credentials", "revoke", "Lamp", "--yes").out
        == "Revoked the credentials of Lamp. It can no longer log in.\n"
    )
    assert (service.calls[-1].method, service.calls[-1].path) == ("DELETE", "/claimsvc/devices/7/credentials")


# --- what goes on until it is interrupted


def test_a_follower_outlives_a_silence(root: Commands, play: Play) -> None:
    """The service being away for a while is a note, and what happened meanwhile is told."""
    event = {"time": 1, "event": "one", "device": None, "principal": "a", "detail": None}
    silent = threading.Event()

    def answers(_: Call) -> Iterable[Told]:
        if len(service.calls) == 1:
            return [answer(200, {"events": [event]})]
        if len(service.calls) <= 4:
            silent.set()
            return []
        return [answer(200, {"events": [{**event, "event": "two"}, event]})]

    service = play(answers)
    service.say("online")
    follow = root.start("events", "--follow", "--json", "--every", "0.1")
    assert [json.loads(follow.wait_for(lambda _: True))["event"] for _ in range(2)] == ["one", "two"]
    assert silent.is_set()
    code, err = follow.interrupt()
    assert (code, "retrying" in err, err.splitlines()[-1]) == (130, True, "claimsvc: interrupted")


def test_a_broker_that_restarts_is_come_back_to(root: Commands, play: Play, stage: World) -> None:
    """The connection is made again, and the call repeated under its id."""
    asked = threading.Event()

    def silently(_: Call) -> Iterable[Told]:
        asked.set()
        return []

    first = play(silently)
    command = Commands(stage.port, root.account, root.directory, "--timeout", "20").start("user", "list", "--json")
    assert asked.wait(20)
    stage.broker.kill()
    stage.broker.start()
    second = play(lambda _: [NO_USERS])
    assert json.loads(command.wait_for(lambda _: True)) == {"users": [], "more": False}
    assert command.end() == (0, "")
    assert second.calls == first.calls
