"""The loop between a link and the store: what happens when a batch cannot be committed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from claimsvc.dialects.message import Inbound
from claimsvc.store.contract import StoreError
from claimsvc.store.sqlite.sqlite_store import SqliteTransaction
from tests.integration.bench import CLAIM, KEY, Bench, call, claim, message
from tests.integration.link import Broker, until_answered
from tests.support.stores import failing_once


async def test_what_was_read_ahead_stays_behind_a_batch_that_comes_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last word counts: were the second request done first, its repeat would only be remembered."""
    await bench.handle(message(CLAIM, KEY))
    ((device_id,),) = bench.rows("SELECT id FROM device")

    def allow(number: str, value: bytes) -> Inbound:
        path = f"api/plugins/telemetry/DEVICE/{device_id}/attributes/SERVER_SCOPE"
        return call("root", number, "POST", path, b'{"claimingAllowed":%s}' % value)

    link = Broker()
    # The second arrives while the first is being committed.
    once_full = failing_once(1, lambda: link.deliver(allow("2", b"false")))
    monkeypatch.setattr(SqliteTransaction, "commit", once_full)
    link.deliver(allow("1", b"true"))
    await until_answered(bench, link)
    assert [each["status"] for each in link.answers] == [200, 200]
    assert bench.rows("SELECT value FROM attribute WHERE name = 'claimingAllowed'") == [("false",)]


async def test_what_comes_again_is_not_counted_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was full for a moment must not make anybody ask too often."""
    link = Broker()
    store: Any = bench.service.store
    begin, tries = store._begin, 0  # noqa: SLF001

    async def once_broken() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StoreError("disk I/O error")
        await begin()

    monkeypatch.setattr(store, "_begin", once_broken)
    link.deliver(*(claim(str(number)) for number in range(600)))
    await until_answered(bench, link)
    assert Counter(each["status"] for each in link.answers) == {404: 600}
