"""`claimsvc check` on brokers that are right, and on brokers that are wrong in one way each."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Admin, Client
from tests.support.processes import World

PATIENCE_S = 60.0
SKIPPED_FROM_OUTSIDE = {"queues survive a restart", "queues survive a crash (at most 5 min are lost)"}


@dataclass(frozen=True)
class Report:
    """What the command said, in JSON."""

    code: int
    findings: dict[str, dict[str, str]]
    whole: dict[str, Any]
    stderr: str

    def named(self, verdict: str) -> set[str]:
        """Return the names of the findings with this verdict."""
        return {name for name, finding in self.findings.items() if finding["verdict"] == verdict}


def start(world: World, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command."""
    config = str(world.service.config)
    return subprocess.Popen(
        [sys.executable, "-m", "claimsvc", "check", "-c", config, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**os.environ, **environment},
    )


def check(world: World, *arguments: str, **environment: str) -> Report:
    """Run the command to its end."""
    process = start(world, "--json", *arguments, **environment)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert out, err
    whole = json.loads(out)
    assert whole["exit"] == process.returncode
    findings = {each["name"]: each for each in whole["findings"]}
    assert len(findings) == len(whole["findings"])
    return Report(process.returncode, findings, whole, err)


def left_behind(world: World) -> list[str]:
    """Return the temporary accounts that are there."""
    with Admin(world.port, world.accounts["admin"]) as admin:
        return [user["username"] for user in admin.users() if user["username"].startswith("claimsvc-check-")]


Build = Callable[..., World]


@pytest.fixture
def build(tmp_path: Path, plugin: Path) -> Iterator[Build]:
    """Start a world whose broker's files were changed before: `build("stock", acl="...")`."""
    worlds: list[World] = []

    def build(kind: str = "stock", *, acl: str = "", conf: tuple[str, str] | None = None) -> World:
        world = World(tmp_path, plugin if kind == "plugin" else None)
        if acl:
            with (tmp_path / "acl").open("a") as file:
                file.write(f"\n{acl}\n")
        if conf is not None:
            change(tmp_path / "mosquitto.conf", *conf)
        worlds.append(world)
        return world.start()

    yield build
    for world in worlds:
        world.stop()


def change(path: Path, line: str, other: str) -> None:
    """Put another line in the place of the one that begins so."""
    changed, count = re.subn(rf"(?m)^{line}\b.*$", other, path.read_text())
    assert count == 1
    path.write_text(changed)


@pytest.mark.parametrize("kind", ["stock", "plugin"])
def test_the_shipped_configuration_passes(kind: str, build: Build) -> None:
    """Whole, with the configuration file read too; nothing is left behind, and the service is not disturbed."""
    world = build(kind)
    report = check(world, "--mosquitto-conf", str(world.directory / "mosquitto.conf"))
    assert (report.named("fail"), report.named("warn"), report.named("skipped")) == (set(), set(), set())
    assert (report.code, report.stderr) == (0, "")
    assert len(report.findings) > 30
    assert left_behind(world) == []
    loud = [line for line in world.service.lines if line["level"] in {"warning", "error"}]
    # The service says that it does not follow the Response Topics of the attack.
    assert {line["event"] for line in loud} == {"response_topic_ignored"}


EVERY_LANE = {
    "no client can publish into another lane",
    "no client can impersonate the service",
    "a lane accepts only the topics of config/acl",
    "client id lanes are closed to other clients",
    "no client can read another lane",
    "no client can read lanes by wildcard",
    "no client can read by shared subscription",
}
WRONG: dict[str, tuple[dict[str, Any], set[str]]] = {
    "everything is granted to everybody": ({"acl": "pattern readwrite #"}, EVERY_LANE),
    "everything of ours is": ({"acl": "pattern readwrite claimsvc/#"}, EVERY_LANE),
    "there is no ACL": ({"conf": ("acl_file", "")}, EVERY_LANE),
    "a lane is granted by #": (
        {"acl": "pattern readwrite claimsvc/u/%u/#"},
        {"a lane accepts only the topics of config/acl"},
    ),
    "all lanes may be written to": (
        {"acl": "pattern write claimsvc/u/+/v1/devices/me/claim"},
        {"no client can publish into another lane"},
    ),
    "all answers may be read": (
        {"acl": "pattern read claimsvc/u/+/response/#"},
        {
            "no client can read another lane",
            "no client can read lanes by wildcard",
            "no client can read by shared subscription",
        },
    ),
    "a client id's lane is granted by #": (
        {"acl": "pattern readwrite claimsvc/c/bootstrap/%c/#"},
        {"client id lanes are closed to other clients", "no client can read another lane"},
    ),
    "a shared login's lane is granted to every login": (
        {"acl": "pattern write claimsvc/c/bootstrap/%c/s/ucr\npattern read claimsvc/c/bootstrap/%c/s/dcr"},
        {"client id lanes are closed to other clients", "no client can read another lane"},
    ),
    "lanes are granted without a login, as they once were": (
        {"acl": "pattern write claimsvc/c/%c/s/ucr\npattern read claimsvc/c/%c/s/dcr"},
        {"client id lanes are closed to other clients", "no client can read another lane"},
    ),
    "audit events may be read": (
        {"acl": "pattern read claimsvc/events/#"},
        {"no client can read lanes by wildcard", "no client can read by shared subscription"},
    ),
    "the status may be written": (
        {"acl": "pattern write claimsvc/status"},
        {"no client can impersonate the service"},
    ),
    "anonymous clients are let in": (
        {"conf": ("allow_anonymous", "allow_anonymous true")},
        {"clients without a login are refused"},
    ),
    "the queue limit is the default": (
        {"conf": ("max_queued_messages", "max_queued_messages 1000")},
        {"queued messages are kept"},
    ),
    "there is no queue limit": (
        {"conf": ("max_queued_messages", "max_queued_messages 0")},
        {"a denied message does not disconnect"},
    ),
    "large messages are dropped": (
        {"conf": ("message_size_limit", "message_size_limit 100000")},
        {"the largest request gets through"},
    ),
    "few messages may be on their way": (
        {"conf": ("max_inflight_messages", "max_inflight_messages 20")},
        {"the broker allows enough messages in flight"},
    ),
}


@pytest.mark.parametrize(("how", "failing"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_broker_fails(how: dict[str, Any], failing: set[str], build: Build) -> None:
    """Each in what is wrong about it and in nothing else, with what to change; exit code 1."""
    world = build(**how)
    report = check(world, "--timeout", "3")
    assert report.named("fail") == failing, report.findings
    assert report.named("skipped") == SKIPPED_FROM_OUTSIDE
    assert report.code == 1
    assert all(report.findings[name]["seen"] and report.findings[name]["change"] for name in failing)
    assert left_behind(world) == []


@pytest.mark.parametrize(
    ("kind", "setting", "verdict"), [("stock", "plugin", "fail"), ("plugin", "password_file", "warn")]
)
def test_a_plugin_that_is_not_where_it_is_expected(kind: str, setting: str, verdict: str, build: Build) -> None:
    """Missing it is a failure; one that is not used is worth a warning."""
    world = build(kind)
    password = (world.directory / "broker-password").read_text().strip()
    report = check(world, CLAIMSVC_CREDENTIALS__STORE=setting, CLAIMSVC_MQTT__PASSWORD=password)
    assert report.findings["the plugin matches credentials.store"]["verdict"] == verdict
    assert report.code == (1 if verdict == "fail" else 0)


# --- what cannot be examined


def test_a_service_that_is_down_fails_and_the_rest_is_not_guessed(build: Build) -> None:
    """What needs it was not examined; nothing is asked of it that it would do later, alone."""
    world = build()
    world.service.stop()
    report = check(world)
    assert report.code == 1
    assert report.named("fail") == {"the service answers"}
    assert report.named("skipped") >= EVERY_LANE
    assert "clients without a login are refused" in report.named("pass")
    world.service.start()
    with Client(world.port, world.accounts["device"]) as device:
        device.open_window({})  # whatever waited came before this
    assert not [line for line in world.service.lines if line.get("principal") == "claimsvc"]


NO_BROKER: dict[str, tuple[dict[str, str], str]] = {
    "nobody listens": ({"CLAIMSVC_MQTT__PORT": "1"}, "cannot connect to 127.0.0.1:1"),
    "a wrong password": ({"CLAIMSVC_MQTT__PASSWORD": "planted-secret"}, "refuses the login 'claimsvc'"),
}


@pytest.mark.parametrize(("environment", "word"), NO_BROKER.values(), ids=NO_BROKER.keys())
def test_no_way_into_the_broker_is_one_clear_line(environment: dict[str, str], word: str, build: Build) -> None:
    """Exit code 2; files are examined all the same, and no secret is shown."""
    report = check(build(), **environment)
    assert report.code == 2
    assert re.fullmatch(rf"claimsvc: .*{word}.*\n", report.stderr)
    assert "the database is intact" in report.named("pass")
    assert "planted-secret" not in json.dumps(report.whole) + report.stderr


def test_a_file_that_is_not_there_is_one_clear_line(build: Build) -> None:
    """Exit code 2, before anything is examined."""
    process = start(build(), "--mosquitto-conf", "/nowhere/mosquitto.conf")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(r"claimsvc: .*/nowhere/mosquitto.conf.*\n", err)


def test_what_the_service_may_not_read_is_not_a_failure(build: Build) -> None:
    """Without the right to $SYS nobody can tell the version; it says what would help."""
    world = build()
    change(world.directory / "acl", r"topic read \$SYS", "")
    world.broker.reload()
    report = check(world)
    blind = {"the broker is Mosquitto 2.0 or newer", "no messages dropped since the broker's start"}
    assert (report.code, report.named("skipped")) == (0, SKIPPED_FROM_OUTSIDE | blind)
    assert all("topic read $SYS/#" in report.findings[name]["change"] for name in blind)


def test_losses_that_the_broker_no_longer_tells_of_are_not_a_matter_of_rights(build: Build) -> None:
    """Mosquitto's $SYS messages expire after a minute but for the version: here it alone may be read."""
    world = build()
    change(world.directory / "acl", r"topic read \$SYS.*", "topic read $SYS/broker/version")
    world.broker.reload()
    report = check(world)
    assert (report.code, report.named("skipped")) == (
        0,
        SKIPPED_FROM_OUTSIDE | {"no messages dropped since the broker's start"},
    )
    found = report.findings["no messages dropped since the broker's start"]
    assert "for a minute after each change" in found["seen"]
    assert "ACL" not in found["change"]


def test_logins_kept_elsewhere_cannot_be_attacked_with(build: Build) -> None:
    """The service makes no accounts then; what needs none is examined."""
    world = build()
    password = (world.directory / "broker-password").read_text().strip()
    none = {"CLAIMSVC_CREDENTIALS__STORE": "none", "CLAIMSVC_MQTT__PASSWORD": password}
    report = check(world, **none)
    assert report.code == 0
    assert report.named("skipped") >= EVERY_LANE
    assert password not in json.dumps(report.whole)


# --- accounts that come and go


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_examination_leaves_nothing(how: signal.Signals, build: Build) -> None:
    """Its accounts are deleted before it ends with 130 and one line."""
    world = build()
    process = start(world)
    world.service.wait_for("handled", principal="claimsvc", command="CreateUser", outcome="done")
    process.send_signal(how)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert err == "claimsvc: interrupted; the temporary accounts are deleted\n"
    assert left_behind(world) == []


def test_what_a_killed_examination_left_is_deleted_by_the_next(build: Build) -> None:
    """Once it is old: another examination may be at work beside this one. Nobody else's account is touched."""
    world = build()
    young, old = f"claimsvc-check-{int(time.time())}-a-attacker", "claimsvc-check-1700000000-a-attacker"
    with Admin(world.port, world.accounts["admin"]) as admin:
        for name in (young, old, "claimsvc-check-of-ours", "claimsvc-checker"):
            admin.make_user(name)
    assert check(world).code == 0
    assert set(left_behind(world)) == {young, "claimsvc-check-of-ours"}
    with Admin(world.port, world.accounts["admin"]) as admin:
        assert "claimsvc-checker" in {user["username"] for user in admin.users()}


def test_logins_that_are_no_lane_are_worth_a_warning(build: Build) -> None:
    """They are named; it is no failure, for they harm nobody."""
    world = build()
    world.add_login("works/line-1", "password")
    report = check(world)
    assert (report.code, report.named("warn")) == (0, {"every login can have a lane"})
    assert report.findings["every login can have a lane"]["seen"] == "'works/line-1'"


def test_people_get_lines(build: Build) -> None:
    """Settings that are not the defaults, a line for each finding, and the sum."""
    world = build()
    process = start(world, CLAIMSVC_MQTT__RECEIVE_MAXIMUM="777")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, "")
    assert "  mqtt.receive_maximum = 777\n" in out
    assert "  PASS    no client can publish into another lane\n" in out
    assert re.search(r"\n25 passed, 2 skipped\n$", out)
