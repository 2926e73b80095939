"""`claimsvc tail` as people use it: files, pipes, a log that goes on, the events of a live broker."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Client
from tests.support.processes import PATIENCE_S, World

TAIL = [sys.executable, "-m", "claimsvc", "tail"]
ENTRY = {
    "event": "handled",
    "level": "info",
    "time": "2026-11-26T15:53:41Z",
    "command": "OpenWindow",
    "outcome": "done",
}


def line(**fields: Any) -> str:
    """Return a line of the log."""
    return json.dumps({**ENTRY, **fields}) + "\n"


def tail(*arguments: str, log: str | bytes = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command on what comes by standard input."""
    given = log.encode() if isinstance(log, str) else log
    env = {**os.environ, **environment}
    return subprocess.run(
        [*TAIL, *arguments], input=given, capture_output=True, timeout=PATIENCE_S, check=False, env=env
    )


def test_a_piped_log_is_shown_and_filtered() -> None:
    """What is no JSON passes; what does not match does not. No colours in a pipe."""
    log = line(device="a", principal="p") + "Traceback (most recent call last):\n" + line(device="b", principal="p")
    done = tail("--device", "b", log=log)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        "Traceback (most recent call last):",
        "2026-11-26 UTC",
        "15:53:41.000 OpenWindow        done               p > b",
    ]


def test_json_is_passed_on_as_it_came() -> None:
    """For programs; other lines go to standard error, where they are not in the way."""
    wanted = line(device="b", odd="  spaces\tand ünicode")
    done = tail("--json", "--device", "b", log=line(device="a") + "no JSON\n" + wanted)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, wanted, b"no JSON\n")


def test_the_last_lines_that_match() -> None:
    """Not the matching ones of the last lines."""
    log = "".join(line(device=name) for name in "abababa")
    done = tail("-n", "2", "--device", "b", "--json", log=log)
    assert done.stdout.decode() == line(device="b") * 2


def test_bytes_that_are_no_text_are_shown_somehow() -> None:
    """A damaged line stops nothing."""
    done = tail(log=b"\xff\xfe\x00garbage\n{\xff\n" + line(device="after").encode())
    assert done.returncode == 0
    assert b"after" in done.stdout


def test_who_reads_it_may_stop_reading(tmp_path: Path) -> None:
    """As with `| head`: no traceback, exit code 0."""
    log = tmp_path / "log"
    log.write_text(line(device="x") * 20_000)
    with subprocess.Popen([*TAIL, str(log)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait(PATIENCE_S)) == (b"", 0)


UNUSABLE: dict[str, tuple[list[str], str]] = {
    "no such file": (["/nowhere/service.log"], "/nowhere/service.log"),
    "a directory": (["/"], "directory"),
    "no such file to follow": (["-f", "/nowhere/service.log"], "/nowhere/service.log"),
    "nothing to follow": (["-f"], "--follow needs a file"),
    "a file and a URL": (["/dev/null", "--url", "mqtt://a@b"], "cannot be combined"),
    "a URL of another kind": (["--url", "http://a@b"], "mqtt"),
}


@pytest.mark.parametrize(("arguments", "word"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_cannot_be_used_is_one_clear_line(arguments: list[str], word: str) -> None:
    """Exit code 2."""
    done = tail(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert re.fullmatch(rf"claimsvc: .*{re.escape(word)}.*\n", done.stderr.decode())


# --- what goes on

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start the command; it ends with the test."""
    with ExitStack() as stack:

        def run(*arguments: str, **environment: str) -> subprocess.Popen[str]:
            pipe = subprocess.PIPE
            env = {**os.environ, **environment}
            process = subprocess.Popen([*TAIL, *arguments], stdout=pipe, stderr=pipe, stdin=pipe, text=True, env=env)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield run


def next_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the next line of JSON."""
    assert process.stdout
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def test_a_log_is_followed_through_its_rotation(tmp_path: Path, run: Run) -> None:
    """Beginning with its last line; Ctrl-C ends it with 130 and no word."""
    log = tmp_path / "log"
    log.write_text(line(device="old") + line(device="last"))
    process = run("-f", "-n", "1", "--json", str(log))
    assert next_line(process)["device"] == "last"
    with log.open("a") as file:
        file.write(line(device="next"))
    assert next_line(process)["device"] == "next"
    log.rename(tmp_path / "log.1")
    log.write_text(line(device="rotated"))
    assert next_line(process)["device"] == "rotated"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert process.stderr
    assert process.stderr.read() == ""


def url(world: World, name: str) -> tuple[list[str], dict[str, str]]:
    """Return the options and the environment with which an account connects."""
    account = world.accounts[name]
    return (
        ["--url", f"mqtt://{account.username}@127.0.0.1:{world.port}"],
        {"CLAIMSVC_OPERATOR_PASSWORD": account.password or ""},
    )


def test_events_are_shown_as_they_happen(world: World, run: Run) -> None:
    """Filtered like a log; a broker that goes away ends it with exit code 3 and one line."""
    options, environment = url(world, "operator")
    process = run(*options, "--json", "--event", "device_cl*", **environment)
    with (
        Client(world.port, world.accounts["device"]) as device,
        Client(world.port, world.accounts["customer"]) as customer,
    ):
        found = ""
        while not found:  # until it listens
            device.open_window({"secretKey": "value"})
            customer.claim("device")
            customer.release("device")
            found = readable(process)
    event = json.loads(found)
    assert (event["event"], event["device"], event["principal"]) == ("device_claimed", "device", "customer")
    world.broker.stop()
    assert process.wait(PATIENCE_S) == 3
    assert process.stderr
    assert re.fullmatch(r"claimsvc: .*broker.*\n", process.stderr.read())


def readable(process: subprocess.Popen[str]) -> str:
    """Return the next line, or "" where none came in a moment."""
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], 0.2)
    return process.stdout.readline() if ready else ""


def test_a_refused_login_is_one_clear_line(world: World) -> None:
    """Exit code 4; the password is not in it."""
    options, _ = url(world, "operator")
    done = tail(*options, CLAIMSVC_OPERATOR_PASSWORD="planted-secret")
    assert (done.returncode, done.stdout) == (4, b"")
    assert re.fullmatch(r"claimsvc: .*refuses the login 'operator'.*\n", done.stderr.decode())
    assert b"planted-secret" not in done.stderr
