"""Fixtures shared by all rooms of tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from claimsvc.founding import Account
from tests.support.clients import Admin, Client
from tests.support.plugin import build_plugin
from tests.support.processes import World

for variable in ("COLUMNS", "LINES"):
    os.environ.pop(variable, None)  # how wide somebody's terminal is, or a test runner's, decides about no output

Connect = Callable[..., Client]
Visit = Callable[..., Client]


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One broker and service for tests that only talk to them; each test makes devices of its own."""
    world = World(tmp_path_factory.mktemp("world"), CLAIMSVC_CLAIM__MAX_FAILURES_PER_HOUR="1000000").start()
    yield world
    world.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A broker and a service of a test's own, running."""
    world = World(tmp_path).start()
    yield world
    world.stop()


@pytest.fixture(scope="session")
def plugin() -> Path:
    """The broker's plugin, built."""
    return build_plugin()


@pytest.fixture
def connect(shared_world: World) -> Iterator[Connect]:
    """Connect as one of the demo's accounts to the shared world: `connect("admin")`."""
    with ExitStack() as stack:

        def connect(name: str, **options: Any) -> Client:
            account = shared_world.accounts[name]
            return stack.enter_context(Client(shared_world.port, account, **options))

        yield connect


@pytest.fixture
def visit(shared_world: World) -> Iterator[Visit]:
    """Connect to the shared world with a login that was just made."""
    with ExitStack() as stack:

        def visit(account: Account, **options: Any) -> Client:
            return stack.enter_context(Client(shared_world.port, account, **options))

        yield visit


@pytest.fixture
def admin(shared_world: World) -> Iterator[Admin]:
    """The demo's admin, connected to the shared world."""
    with Admin(shared_world.port, shared_world.accounts["admin"]) as client:
        yield client
