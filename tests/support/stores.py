"""What tests do with any store: write rows, and let a transaction fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from claimsvc.core.decision import Change, Query
from claimsvc.store.contract import Store, StoreError
from claimsvc.store.sqlite.sqlite_store import SqliteTransaction
from tests.support.factories import given

POLICY = given().policy


async def apply(store: Store, changes: Sequence[Change]) -> None:
    """Write changes in a transaction of their own."""
    async with store.begin((), POLICY) as transaction:
        await transaction.commit(changes)


async def query(store: Store, question: Query) -> Any:
    """Return the filled listing or state, of whatever type."""
    return await store.query(question)


def failing_once(at: int, meanwhile: Callable[[], None] = lambda: None) -> Callable[..., object]:
    """Return a `commit` whose call number `at` finds the disk full, after `meanwhile`; for `SqliteTransaction`."""
    commit, tries = SqliteTransaction.commit, 0

    async def commit_or_fail(self: SqliteTransaction, changes: Sequence[Change]) -> None:
        nonlocal tries
        tries += 1
        if tries == at:
            meanwhile()
            raise StoreError("database or disk is full")
        await commit(self, changes)

    return commit_or_fail
