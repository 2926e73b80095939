"""Batches through the whole service but the broker: bytes in, bytes out, one real SQLite file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claimsvc.core.decision import Refused
from claimsvc.dialects.message import Inbound
from claimsvc.store.contract import StoreError
from tests.integration.bench import (
    CLAIM,
    KEY,
    STATE,
    Bench,
    answer,
    call,
    claim,
    lines,
    message,
    release,
    statuses,
    topics,
)


async def test_later_messages_of_a_batch_see_earlier_ones(bench: Bench) -> None:
    """Window, claims, release and a new window in one batch come out as one after the other."""
    replies = await bench.handle(
        message(CLAIM, KEY),
        claim("1"),
        claim("1", who="bob"),
        message(CLAIM, KEY),
        release("2", who="bob"),
        release("2"),
        claim("3", who="bob"),
        message(CLAIM, KEY),
        claim("4", who="bob"),
    )
    expected = ["SUCCESS", 200, 400, "FAILURE", 403, 200, 400, "SUCCESS", 200]
    assert statuses(replies) == expected
    assert answer(replies[2])["body"] == "CLAIMED"
    assert bench.rows("SELECT event FROM event WHERE event LIKE 'device_c%' OR event LIKE '%released'") == [
        ("device_created",),
        ("device_claimed",),
        ("device_released",),
        ("device_claimed",),
    ]
    assert bench.rows("SELECT title FROM device JOIN customer ON owner = customer.id") == [("bob",)]


async def test_a_repeat_is_answered_with_the_same_bytes(bench: Bench) -> None:
    """In the same batch and in a later one; nothing is done twice, not even a notice."""
    await bench.handle(message(CLAIM, KEY))
    first, second = await bench.handle(claim("1"), claim("1"))
    (third,) = await bench.handle(claim("1"))
    assert topics(first)[0] == STATE
    sent = next(each for each in first.outbounds if each.topic.endswith("response/1"))
    assert second.outbounds == third.outbounds == (sent,)
    assert bench.rows("SELECT count(*) FROM event WHERE event = 'device_claimed'") == [(1,)]
    await bench.handle(release("2"))
    assert (await bench.handle(claim("1")))[0].outbounds == (sent,)
    assert bench.rows("SELECT owner FROM device") == [(None,)]


async def test_a_redelivered_repeat_tells_the_device_again(bench: Bench) -> None:
    """Its first handling may have died between commit and notice."""
    first = (await bench.handle(message(CLAIM, KEY), claim("1")))[1]
    (again,) = await bench.handle(claim("1", redelivered=True))
    assert topics(again) == [STATE, "claimsvc/u/alice/response/1"]
    assert again.outbounds[0].payload == first.outbounds[0].payload


OTHER_CONTENT = {
    "another body": claim("1", b'{"secretKey":"other"}'),
    "another method": release("1"),
    "another path": call("alice", "1", "POST", "api/customer/device/other/claim", KEY),
    "another query": call("alice", "1", "POST", "api/customer/device/device/claim?a=1", KEY),
}


@pytest.mark.parametrize("other", OTHER_CONTENT.values(), ids=OTHER_CONTENT.keys())
@pytest.mark.parametrize("when", ["same batch", "later batch"])
async def test_a_request_id_with_other_content_is_refused(other: Inbound, when: str, bench: Bench) -> None:
    """409 `request_id_reused`, and nothing happens."""
    await bench.handle(message(CLAIM, KEY))
    if when == "same batch":
        _, reply = await bench.handle(claim("1"), other)
    else:
        await bench.handle(claim("1"))
        (reply,) = await bench.handle(other)
    assert (answer(reply)["status"], answer(reply)["body"]["error"]) == (409, "request_id_reused")
    assert bench.rows("SELECT count(*) FROM device WHERE owner IS NOT NULL") == [(1,)]


async def test_the_same_request_id_in_another_lane_is_another(bench: Bench) -> None:
    """Ids belong to a lane."""
    replies = await bench.handle(message(CLAIM, KEY), claim("1"), claim("1", who="bob"))
    assert statuses(replies)[1:] == [200, 400]


async def test_a_refusal_that_changed_nothing_is_not_remembered(bench: Bench) -> None:
    """The same id is answered anew: first there is no such device, then it is claimed."""
    assert statuses(await bench.handle(claim("1"))) == [404]
    assert bench.rows("SELECT count(*) FROM answered") == [(0,)]
    assert statuses(await bench.handle(message(CLAIM, KEY), claim("1"))) == ["SUCCESS", 200]


async def test_a_counted_failure_is_remembered(bench: Bench) -> None:
    """A repeat of a wrong guess counts once, also when the key would be right by then."""
    await bench.handle(message(CLAIM, b"{}"))
    for _ in range(7):
        (reply,) = await bench.handle(claim("1"))
        assert answer(reply)["body"] == "FAILURE"
    assert bench.rows("SELECT count FROM claim_attempt") == [(1,)]
    await bench.handle(message(CLAIM, KEY))
    assert answer((await bench.handle(claim("1")))[0])["body"] == "FAILURE"
    assert statuses(await bench.handle(claim("2"))) == [200]


async def test_attempts_are_counted_within_a_batch(bench: Bench) -> None:
    """The sixth guess of one batch is locked out, and the device's window is open for bob."""
    wrong = [claim(f"w{n}", b'{"secretKey":"%d"}' % n) for n in range(5)]
    replies = await bench.handle(message(CLAIM, KEY), *wrong, claim("6"), claim("7", who="bob"))
    assert statuses(replies) == ["SUCCESS", 400, 400, 400, 400, 400, 429, 200]


async def test_a_message_that_breaks_us_costs_the_others_nothing(bench: Bench) -> None:
    """It is answered `internal`; everything before and behind it in the batch is done once."""
    await bench.handle(message(CLAIM, KEY), claim("1"), release("2"))
    bench.write("UPDATE answered SET sealed = 'AAAA' WHERE request_id = '1'")
    replies = await bench.handle(
        message(CLAIM, KEY), claim("a", who="bob"), claim("1"), release("b", who="bob"), message(CLAIM, KEY)
    )
    assert statuses(replies) == ["SUCCESS", 200, 500, 200, "SUCCESS"]
    body = answer(replies[2])["body"]
    assert body["error"] == "internal"
    assert "InvalidTag" not in json.dumps(body)
    assert bench.rows("SELECT count(*) FROM event WHERE event = 'device_claimed'") == [(2,)]
    (logged,) = [line for line in lines(bench) if line["event"] == "internal_error"]
    assert "Traceback" in logged["exception"]


@pytest.mark.parametrize("locked", ["SQLite is full", "a table is read-only"])
async def test_a_store_that_fails_is_tried_again(locked: str, bench: Bench) -> None:
    """Nothing is answered and nothing written; when the store is well, the same batch works."""
    batch = (message(CLAIM, KEY), claim("1"))
    before = bench.rows("SELECT count(*) FROM device")
    if locked == "SQLite is full":
        store: Any = bench.service.store
        writer = store._writer  # noqa: SLF001
        ((pages,),) = writer.execute("PRAGMA page_count").fetchall()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        many = [message(f"claimsvc/u/d{n}/v2/c", KEY) for n in range(2_000)]
        with pytest.raises(StoreError, match="full"):
            await bench.tried([*batch, *many])
        writer.execute("PRAGMA max_page_count = 1000000")
    else:
        bench.write("CREATE TRIGGER no BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'no'); END")
        replies = await bench.tried(list(batch))
        assert {type(reply.decision and reply.decision.outcome) for reply in replies} == {Refused}
        bench.write("DROP TRIGGER no")
    assert bench.rows("SELECT count(*) FROM device") == before
    assert statuses(await bench.handle(*batch)) == ["SUCCESS", 200]
