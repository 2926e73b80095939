"""`claimsvc health`, as a container's health check runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimsvc.founding import Account
from tests.support.clients import Client
from tests.support.processes import PATIENCE_S, World


def health(config: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "claimsvc", "health", "-c", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd="/",
        env={**os.environ, **environment},
    )


def assert_unhealthy(done: subprocess.CompletedProcess[str], word: str) -> None:
    """Exit code 1 and one line that says why."""
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"claimsvc: .*{word}.*\n", done.stderr), done.stderr


@pytest.fixture(params=["stock", "plugin"])
def patient(request: pytest.FixtureRequest, plugin: Path, tmp_path: Path) -> Iterator[World]:
    """A world to be looked at, stock and with the plugin, which guards the service's own client id."""
    world = World(tmp_path, plugin if request.param == "plugin" else None).start()
    yield world
    world.stop()


def test_a_service_that_answers_is_healthy(patient: World) -> None:
    """And is not disturbed: its own session stands all the while."""
    done = health(patient.service.config)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"claimsvc: answered in \d+ ms\n", done.stdout)
    with Client(patient.port, patient.accounts["device"]) as device:
        assert device.open_window({})["status"] == "SUCCESS"
    assert not [line for line in patient.service.lines if line["event"] in {"broker_lost", "session_taken_over"}]


def test_whoever_is_down_is_told(patient: World) -> None:
    """A service that stopped, one that hangs, and a broker that is away; questions do not wait at the broker."""
    config = patient.service.config
    patient.service.stop()
    assert_unhealthy(health(config), "offline")
    patient.service.start()
    with Client(patient.port, patient.accounts["device"]) as device:
        device.open_window({})  # whatever waited came before this
    assert not [line for line in patient.service.lines if line.get("command") == "ListItems"]
    os.kill(patient.service.pid, signal.SIGSTOP)
    assert_unhealthy(health(config, "--timeout", "1"), "no answer within 1 s")
    os.kill(patient.service.pid, signal.SIGCONT)
    patient.broker.stop()
    assert_unhealthy(health(config), f"cannot connect to 127.0.0.1:{patient.port}")


def test_no_question_waits_for_a_service_that_is_down(world: World) -> None:
    """Also where nothing tells that it is: else a day's looks would be its first work."""
    world.service.kill()
    password = (world.directory / "broker-password").read_text().strip()
    with Client(world.port, Account("claimsvc", password)) as service:
        service.publish("claimsvc/status", b"", retain=True)
    assert_unhealthy(health(world.service.config, "--timeout", "3"), "no answer within 3 s")
    world.service.start()
    with Client(world.port, world.accounts["device"]) as device:
        device.open_window({})  # whatever waited came before this
    assert not [line for line in world.service.lines if line.get("command") == "ListItems"]


def test_what_cannot_be_used_is_told(world: World, tmp_path: Path) -> None:
    """Wrong password, no such file, no password yet: exit code 1 like any other trouble, and one line."""
    config = world.service.config
    assert_unhealthy(health(config, CLAIMSVC_MQTT__PASSWORD="planted-secret"), "refuses the login 'claimsvc'")
    assert "planted-secret" not in health(config, CLAIMSVC_MQTT__PASSWORD="planted-secret").stderr
    assert_unhealthy(health(tmp_path / "none.toml"), "none.toml")
    fresh = tmp_path / "fresh.toml"
    fresh.write_text(f'[store]\npath = "{tmp_path}/fresh/db"\n')
    assert_unhealthy(health(fresh), "broker-password")
    assert not (tmp_path / "fresh").exists()
