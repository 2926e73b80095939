"""A service or a tool whose broker refuses it, dies or hangs up: it says so itself, and asyncio says nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimsvc.founding import Account
from tests.support.commands import Commands
from tests.support.processes import PATIENCE_S, Service, World
from tests.support.relay import Fault, Relay

COMPLAINTS = ("never retrieved", "never awaited", "was destroyed", "Traceback", "ResourceWarning", "unclosed")
DEBUG = {"PYTHONDEVMODE": "1"}
"""Python's development mode, in which asyncio complains of more."""
REFUSED = {"CLAIMSVC_CREDENTIALS__STORE": "none", "CLAIMSVC_MQTT__PASSWORD": "wrong", **DEBUG}
"""The service keeps no logins, so the broker goes on with the password it knew."""


@pytest.fixture(params=["stock", "plugin"])
def town(request: pytest.FixtureRequest, plugin: Path, tmp_path: Path) -> Iterator[World]:
    """A broker with the demo's logins, stock and with the plugin; no service yet."""
    world = World(tmp_path, plugin if request.param == "plugin" else None)
    world.broker.start()
    world.service.start()  # which writes its login
    world.service.stop()
    yield world
    world.stop()


def assert_quiet(text: str) -> None:
    """Nothing of asyncio's or Python's own."""
    assert [line for line in text.splitlines() if any(word in line for word in COMPLAINTS)] == [], text


def assert_stops_quietly(service: Service) -> None:
    """SIGTERM ends it as ever."""
    assert service.stop() == 0
    assert_quiet(service.stderr)


@pytest.mark.parametrize("environment", [{}, DEBUG], ids=["as users run it", "in debug mode"])
def test_u14_a_refused_login_leaves_no_complaint(environment: dict[str, str], town: World) -> None:
    """Three refusals, each told for what it is, then SIGTERM."""
    service = Service(town.service.config, **{**REFUSED, "PYTHONDEVMODE": ""} | environment)
    service.start(connected=False)
    for _ in range(3):
        assert "Not authorized" in service.wait_for("broker_lost")["error"]
    assert_stops_quietly(service)


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: str(fault.value))
def test_u14_a_connection_that_fails_before_it_stands_leaves_no_complaint(fault: Fault, town: World) -> None:
    """It is given up at once, not when a time is over; then SIGTERM."""
    with Relay(town.port, fault) as relay:
        service = Service(town.service.config, CLAIMSVC_MQTT__PORT=str(relay.port), **DEBUG)
        began = time.monotonic()
        service.start(connected=False)
        for _ in range(3):
            assert "timed out" not in service.wait_for("broker_lost")["error"]
        assert time.monotonic() - began < 9  # the library's own time is ten seconds
        assert_stops_quietly(service)


def test_u14_a_broker_that_dies_while_the_service_connects_leaves_no_complaint(town: World) -> None:
    """It hangs when the service comes, then it is killed; then SIGTERM."""
    assert town.broker.process
    town.broker.process.send_signal(signal.SIGSTOP)
    service = Service(town.service.config, **DEBUG)
    service.start(connected=False)
    wait_for_connection(town.port)
    town.broker.kill()
    for _ in range(3):
        service.wait_for("broker_lost")
    assert_stops_quietly(service)


def test_u14_sigterm_while_the_service_connects_leaves_no_complaint(town: World) -> None:
    """The broker hangs and never answers."""
    assert town.broker.process
    town.broker.process.send_signal(signal.SIGSTOP)
    service = Service(town.service.config, **DEBUG)
    service.start(connected=False)
    wait_for_connection(town.port)
    assert_stops_quietly(service)
    town.broker.process.send_signal(signal.SIGCONT)


def test_u14_a_broker_that_dies_under_the_service_leaves_no_complaint(town: World) -> None:
    """Killed while the session stands; SIGTERM while it tries to come back."""
    service = Service(town.service.config, **DEBUG)
    service.start()
    town.broker.kill()
    service.wait_for("broker_lost")
    assert_stops_quietly(service)


def wait_for_connection(port: int) -> None:
    """Return when a client has connected to this port, whether it is being answered or not."""
    deadline = time.monotonic() + PATIENCE_S
    connected = f"0100007F:{port:04X} 01"
    while not any(connected in line for line in Path("/proc/net/tcp").read_text().splitlines()):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)  # the kernel has no event for it


@pytest.mark.parametrize("fault", [None, Fault.CUT_AT_CONNECT, Fault.CUT_AT_SUBSCRIBE], ids=str)
@pytest.mark.parametrize("tool", ["health", "check", "device list"])
def test_u14_a_tool_leaves_no_complaint(tool: str, fault: Fault | None, town: World, tmp_path: Path) -> None:
    """`health`, `check`, an operator's command: with a wrong password, and with a connection that fails on them."""
    with Relay(town.port, fault or Fault.CUT_AT_CONNECT) as relay:
        port = town.port if fault is None else relay.port
        if tool == "device list":
            admin = town.accounts["admin"]
            login = admin if fault else Account(admin.username, "wrong")
            line = Commands(port, login, tmp_path).line("device", "list")
        else:
            line = [sys.executable, "-m", "claimsvc", tool, "-c", str(town.service.config)]
        environment = {
            **DEBUG,
            "CLAIMSVC_MQTT__PORT": str(port),
            **({} if fault else {"CLAIMSVC_MQTT__PASSWORD": "wrong"}),
        }
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
        )
    assert done.returncode != 0
    assert_quiet(done.stdout + done.stderr)
