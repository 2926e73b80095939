"""A store, and a pipeline, on a file of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claimsvc.core.decision import Put
from claimsvc.settings import Settings
from claimsvc.store.sqlite.sqlite_database import open_store
from claimsvc.store.sqlite.sqlite_store import SqliteStore
from tests.integration.bench import Bench, opened
from tests.support.example import EVERYTHING
from tests.support.stores import apply


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store on a file of this test's own, with one row of each kind."""
    async with open_store(tmp_path / "claimsvc.db") as store:
        await apply(store, [Put(row) for row in EVERYTHING])
        yield store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a store of this test's own, with a password file no broker reads."""
    return Settings.model_validate(
        {
            "store": {"path": tmp_path / "claimsvc.db"},
            "credentials": {"store": "password_file", "password_file": tmp_path / "passwd"},
        }
    )


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    """A bench on a fresh store."""
    async with opened(settings) as bench:
        yield bench
