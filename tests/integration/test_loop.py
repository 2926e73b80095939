"""The loop between a link and the store: what happens when a batch cannot be committed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from claimsvc.store.database import StoreError
from claimsvc.wire import Inbound
from tests.integration.bench import CLAIM, KEY, Bench, call, claim, message
from tests.integration.link import Broker, until_answered


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
    store = bench.pipeline._tools.store  # noqa: SLF001 - a disk that is full once
    apply, tries = store.apply, 0

    async def once_full(changes: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            link.deliver(allow("2", b"false"))  # it arrives while the first is being committed
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise StoreError("database or disk is full")
        await apply(changes)

    monkeypatch.setattr(store, "apply", once_full)
    link.deliver(allow("1", b"true"))
    await until_answered(bench, link)
    assert [each["status"] for each in link.answers] == [200, 200]
    assert bench.rows("SELECT value FROM attribute WHERE name = 'claimingAllowed'") == [("false",)]


async def test_what_comes_again_is_not_counted_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was full for a moment must not make anybody ask too often."""
    link = Broker()
    store = bench.pipeline._tools.store  # noqa: SLF001 - a disk that fails once
    load, tries = store.load, 0

    async def once_broken(*arguments: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StoreError("disk I/O error")
        return await load(*arguments)

    monkeypatch.setattr(store, "load", once_broken)
    link.deliver(*(claim(str(number)) for number in range(600)))
    await until_answered(bench, link)
    assert Counter(each["status"] for each in link.answers) == {404: 600}
