"""Every store that the contract suite holds to its promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from claimsvc.core.decision import Put
from claimsvc.store.contract import Store
from claimsvc.store.sqlite.sqlite_database import open_store
from tests.support.example import EVERYTHING
from tests.support.stores import apply

STORES: dict[str, Callable[[Path], AbstractAsyncContextManager[Store]]] = {
    # name: opens a store of the test's own; a folder opened again holds the same rows
    "sqlite": lambda folder: open_store(folder / "claimsvc.db"),
}

Opening = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(params=STORES.values(), ids=list(STORES))
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Open a store that is empty the first time."""
    return lambda: request.param(tmp_path)


@pytest.fixture
async def store(opening: Opening) -> AsyncIterator[Store]:
    """A store with one row of each kind."""
    async with opening() as store:
        await apply(store, [Put(row) for row in EVERYTHING])
        yield store
