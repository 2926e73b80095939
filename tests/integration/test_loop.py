"""The loop between a link and the store: what happens when a batch cannot be committed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from claimsvc.store.database import StoreError
from claimsvc.wire import Inbound, Outbound
from tests.integration.bench import CLAIM, KEY, Bench, call, claim, message

PATIENCE_S = 20.0


class Broker:
    """The broker's side of a link: hands messages out, and again what was not acknowledged when it is abandoned."""

    connected = True

    def __init__(self) -> None:
        self.waiting_messages: list[Inbound] = []
        self.unacknowledged: list[Inbound] = []
        self.answers: list[Any] = []
        self.told: list[Outbound] = []
        self._arrived = asyncio.Event()
        self._changed = asyncio.Condition()

    def deliver(self, *messages: Inbound) -> None:
        self.waiting_messages += messages
        self.unacknowledged += messages
        self._arrived.set()

    @property
    def waiting(self) -> bool:
        return bool(self.waiting_messages)

    def fits(self, outbound: Outbound) -> bool:
        return True

    def take(self, limit: int) -> list[Inbound]:
        taken, self.waiting_messages = self.waiting_messages[:limit], self.waiting_messages[limit:]
        return taken

    async def receive(self, limit: int, patience_s: float) -> list[Inbound]:
        if not self.waiting:
            self._arrived.clear()
            async with asyncio.timeout(PATIENCE_S):
                await self._arrived.wait()
        return self.take(limit)

    def answer(self, inbound: Inbound, outbounds: Sequence[Outbound]) -> bool:
        if inbound not in self.unacknowledged:
            return False
        self.unacknowledged.remove(inbound)
        self.answers += [json.loads(each.payload) for each in outbounds if "/response" in each.topic]
        if not self.unacknowledged:
            asyncio.get_running_loop().call_soon(self.done.set)
        return True

    def tell(self, outbounds: Sequence[Outbound]) -> None:
        self.told += outbounds

    def abandon(self, why: str) -> None:
        again = [replace(each, redelivered=True) for each in self.unacknowledged]
        self.waiting_messages, self.unacknowledged = [], []
        asyncio.get_running_loop().call_soon(self.deliver, *again)

    @property
    def done(self) -> asyncio.Event:
        return self.__dict__.setdefault("_done", asyncio.Event())  # type: ignore[no-any-return]


async def until_answered(bench: Bench, link: Broker) -> None:
    """Run the loop until everything that was delivered is answered."""
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.pipeline.run(link))
        await link.done.wait()
        running.cancel()


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
