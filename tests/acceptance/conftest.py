"""A broker and a service for registrations: stock, and with the plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Commands
from tests.support.newcomers import Newcomer, Operator
from tests.support.processes import World

Arrive = Callable[..., Newcomer]
As = Callable[..., Commands]


@pytest.fixture(scope="session", params=["stock", "plugin"])
def gate(request: pytest.FixtureRequest, plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world where devices arrive; each test makes devices of its own."""
    world = World(tmp_path_factory.mktemp("gate"), plugin if request.param == "plugin" else None).start()
    yield world
    world.stop()


@pytest.fixture
def operator(gate: World) -> Iterator[Operator]:
    """The gate's admin."""
    with Operator(gate.port, gate.accounts["admin"]) as client:
        yield client


@pytest.fixture
def arrive(gate: World) -> Iterator[Arrive]:
    """Connect a device without a login: `arrive("1234")`."""
    with ExitStack() as stack:

        def arrive(device_id: str, **options: Any) -> Newcomer:
            return stack.enter_context(Newcomer(gate, device_id, **options))

        yield arrive


@pytest.fixture
def as_(shared_world: World, tmp_path: Path) -> As:
    """Run commands as one of the demo's accounts: `as_("admin").run("device", "list")`."""

    def commands(name: str, *options: str) -> Commands:
        return Commands(shared_world.port, shared_world.accounts[name], tmp_path, *options)

    return commands


@pytest.fixture
def root(as_: As) -> Commands:
    """Commands as the demo's admin."""
    return as_("admin")
