"""Server-side claim keys through the whole service but the broker: none is replaced unseen, no repeat fails."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimsvc.dialects.message import Inbound
from claimsvc.settings import Settings
from tests.integration.bench import Bench, answer, call, claim, opened
from tests.integration.files import ROWS, Desk, at, boxes, reopened, send_keys, snapshot, work

DAY_MS = 86_400_000
LATER_MS = int(time.time() * 1000) + 30 * DAY_MS
PATHS = (
    "api/plugins/telemetry/DEVICE/{}/attributes/SERVER_SCOPE",
    "api/plugins/telemetry/DEVICE/{}/SERVER_SCOPE",
    "api/plugins/telemetry/{}/SERVER_SCOPE",
)


@pytest.fixture
def desk() -> Desk:
    """A link to the bench."""
    return Desk()


async def make_device(bench: Bench, name: str = "device") -> str:
    """Make a device and return its id."""
    (reply,) = await bench.handle(
        call("root", f"make-{name}", "POST", "api/device", json.dumps({"name": name}).encode())
    )
    return str(answer(reply)["body"]["id"]["id"])


def set_key(device_id: str, number: str, key: str, path: str = PATHS[0], query: str = "", **fields: Any) -> Inbound:
    """Return an admin's `claimingData`."""
    body = {"claimingData": {"secretKey": key, "expirationTime": LATER_MS}}
    return call("root", number, "POST", path.format(device_id) + query, json.dumps(body).encode(), **fields)


async def told(bench: Bench, message: Inbound) -> tuple[int, Any]:
    """Handle a message and return status and body of its answer."""
    (reply,) = await bench.handle(message)
    given = answer(reply)
    return given["status"], given["body"]


async def claims(bench: Bench, name: str, key: str, number: str) -> bool:
    """Return whether a key claims a device."""
    body = json.dumps({"secretKey": key}).encode()
    status, _ = await told(bench, call("alice", number, "POST", f"api/customer/device/{name}/claim", body))
    return status == 200


@pytest.mark.parametrize("path", PATHS, ids=["today's path", "an older one", "the oldest"])
async def test_u17_claiming_data_keeps_an_open_key(bench: Bench, path: str) -> None:
    """409 in ThingsBoard's shape; with `replace=true` it is replaced; a slip in that word is refused."""
    device_id = await make_device(bench)
    assert await told(bench, set_key(device_id, "1", "printed", path)) == (200, {})
    status, body = await told(bench, set_key(device_id, "2", "other", path))
    assert (status, body["status"], body["errorCode"], body["error"]) == (409, 409, 35, "key_exists")
    assert "replace=true" in body["message"]
    status, body = await told(bench, set_key(device_id, "3", "other", path, "?replace=yes"))
    assert (status, body["error"]) == (400, "malformed")
    assert bench.rows("SELECT count(*) FROM event WHERE event = 'claim_key_replaced'") == [(0,)]
    assert await told(bench, set_key(device_id, "4", "other", path, "?replace=true")) == (200, {})
    assert bench.rows("SELECT principal, device FROM event WHERE event = 'claim_key_replaced'") == [
        ("root", "device")
    ]
    assert not await claims(bench, "device", "printed", "5")
    assert await claims(bench, "device", "other", "6")


async def test_u17_a_repeat_is_no_second_key(bench: Bench) -> None:
    """The same request id gets the first answer; another one with the same key and end is fine, too."""
    device_id = await make_device(bench)
    first = set_key(device_id, "1", "printed")
    for message in (first, first, replace(first, redelivered=True), set_key(device_id, "2", "printed")):
        assert await told(bench, message) == (200, {})
    bench.write("UPDATE answered SET expires_at = 1")
    assert await told(bench, first) == (200, {})
    assert bench.rows("SELECT count(*) FROM event WHERE event LIKE 'claim%_set'") == [(1,)]
    assert await claims(bench, "device", "printed", "3")


async def test_u17_messages_of_one_batch_see_each_other(bench: Bench) -> None:
    """The second of two keys in one batch is refused; a file's row after them as well."""
    device_id = await make_device(bench)
    replies = await bench.handle(set_key(device_id, "1", "first"), set_key(device_id, "2", "second"))
    assert [answer(reply)["status"] for reply in replies] == [200, 409]


async def test_u17_a_file_sent_again_kills_no_label(bench: Bench, desk: Desk) -> None:
    """Fifty labels are printed, five rows are added: the fifty keep their keys, the five get one."""
    await work(bench, desk, send_keys(boxes(50)))
    (first,) = desk.heard("response/1")
    await work(bench, desk, send_keys(boxes(55), "2"))
    (second,) = desk.heard("response/2")
    body = second["body"]
    assert (body["numberOfAll"], body["numberOfSuccessful"], body["numberOfReplaced"]) == (55, 5, 0)
    assert {(row["code"], row["column"]) for row in body["failedList"]} == {("key_exists", "name")}
    assert all("open claim key" in row["failureReason"] for row in body["failedList"])
    printed = dict(line.split(";")[:2] for line in first["body"]["csv"].splitlines()[1:])
    assert await claims(bench, "box%2049", printed["box 49"], "c")


async def test_u17_a_file_replaces_when_told_and_counts(bench: Bench, desk: Desk) -> None:
    """The rehearsal says how many before, and changes nothing."""
    given = boxes(3, "mine;own-key")
    await work(bench, desk, send_keys(given))
    before = bench.rows("SELECT * FROM claim_window ORDER BY device_id")
    await work(bench, desk, send_keys(given, "2", "?dryRun=true"), send_keys(given, "3", "?dryRun=true&replace=true"))
    (kept,), (would,) = desk.heard("response/2"), desk.heard("response/3")
    # The row that names its own key sets the same one again, which replaces nothing.
    assert (kept["body"]["numberOfFailed"], kept["body"]["numberOfReplaced"]) == (3, 0)
    assert (would["body"]["numberOfFailed"], would["body"]["numberOfReplaced"]) == (0, 3)
    assert bench.rows("SELECT * FROM claim_window ORDER BY device_id") == before
    await work(bench, desk, send_keys(given, "4", "?replace=true"))
    (done,) = desk.heard("response/4")
    assert (done["status"], done["body"]["numberOfReplaced"], done["body"]["numberOfSuccessful"]) == (201, 3, 4)
    assert bench.rows("SELECT count(*) FROM event WHERE event = 'claim_key_replaced'") == [(3,)]
    await work(bench, desk, send_keys(given, "5", "?replace=1"))
    assert desk.heard("response/5")[0]["status"] == 400


@pytest.mark.parametrize("query", ["", "?replace=true"], ids=["kept", "replaced"])
@pytest.mark.parametrize("done", [200, 600, 1_000])
async def test_u17_a_file_that_was_killed_fails_no_row_of_its_own(
    done: int, query: str, settings: Settings, tmp_path: Path
) -> None:
    """Rows that it set before are done: each device has one key, that of the answer, and none was replaced."""
    settings = settings.model_copy(
        update={"credentials": settings.credentials.model_copy(update={"pbkdf2_iterations": 1})}
    )
    desk, later = Desk(), Desk()
    async with opened(settings) as bench:
        desk.at(done, lambda: snapshot(settings, tmp_path / "killed"))
        await work(bench, desk, send_keys(boxes(ROWS), query=query))
    async with reopened(at(settings, tmp_path / "killed")) as bench:
        await work(bench, later, send_keys(boxes(ROWS), query=query, redelivered=True))
        (body,) = (each["body"] for each in later.heard("response/1"))
        assert (body["numberOfFailed"], body["numberOfReplaced"], body["numberOfCreated"]) == (0, 0, ROWS)
        assert bench.rows("SELECT count(*) FROM event WHERE event = 'claim_key_replaced'") == [(0,)]
        keys = dict(line.split(";")[:2] for line in body["csv"].splitlines()[1:])
        for number in (0, ROWS - 1):
            assert await claims(bench, f"box%20{number}", keys[f"box {number}"], f"c{number}")


@pytest.mark.parametrize("done", [400, 1_000])
async def test_u17_a_killed_file_counts_the_keys_it_replaced_before(
    done: int, settings: Settings, tmp_path: Path
) -> None:
    """The number is of the whole file."""
    desk, later = Desk(), Desk()
    async with opened(settings) as bench:
        await work(bench, desk, send_keys(boxes(ROWS), "0"))
        desk.at(done, lambda: snapshot(settings, tmp_path / "killed"))
        await work(bench, desk, send_keys(boxes(ROWS), query="?replace=true"))
    async with reopened(at(settings, tmp_path / "killed")) as bench:
        await work(bench, later, send_keys(boxes(ROWS), query="?replace=true", redelivered=True))
        (body,) = (each["body"] for each in later.heard("response/1"))
        assert (body["numberOfFailed"], body["numberOfReplaced"]) == (0, ROWS)
        assert bench.rows("SELECT count(*) FROM event WHERE event = 'claim_key_replaced'") == [(ROWS,)]


async def test_u17_the_state_of_claiming_tells_of_a_replaced_key(bench: Bench) -> None:
    """However many wrong keys came after it."""
    device_id = await make_device(bench)
    path = f"claimsvc/devices/{device_id}/claiming"
    assert (await told(bench, call("root", "0", "GET", path)))[1]["keyReplaced"] is None
    await bench.handle(set_key(device_id, "1", "printed"), set_key(device_id, "2", "other", query="?replace=true"))
    bench.write(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) "
        "INSERT INTO event (tenant_id, at, event, principal, device_id, device, detail) "
        f"SELECT 'default', 1, 'claim_refused', 'alice', '{device_id}', 'device', 'wrong_key' FROM n"
    )
    state = (await told(bench, call("root", "3", "GET", path)))[1]
    assert {event["event"] for event in state["events"]} == {"claim_refused"}
    assert (state["keyReplaced"]["event"], state["keyReplaced"]["principal"]) == ("claim_key_replaced", "root")


# --- who may not claim


async def make_user(bench: Bench, name: str, **fields: Any) -> Any:
    """Make a user of alice's customer by the API."""
    ((customer,),) = bench.rows("SELECT id FROM customer WHERE title = 'alice'")
    body = json.dumps({"username": name, "customerId": customer, **fields}).encode()
    status, made = await told(bench, call("root", f"user-{name}", "POST", "claimsvc/users", body))
    assert status == 201, made
    return made


async def test_u8_a_customers_user_can_claim_at_once(bench: Bench) -> None:
    """Nobody need know the name of a role."""
    assert (await make_user(bench, "ann"))["roles"] == ["customer"]
    device_id = await make_device(bench)
    await bench.handle(set_key(device_id, "1", "PLANTED-KEY"))
    assert (await told(bench, claim("1", who="ann")))[0] == 200


async def test_u8_a_refusal_is_in_log_trail_and_answer(bench: Bench) -> None:
    """With the permission; it is not remembered, so the same request succeeds once the role is given."""
    assert (await make_user(bench, "ann", roles=[]))["roles"] == []
    device_id = await make_device(bench)
    await bench.handle(set_key(device_id, "1", "PLANTED-KEY"))
    status, body = await told(bench, claim("1", who="ann"))
    assert (status, body["message"]) == (403, "You don't have permission to perform this operation!")
    assert "DEVICE:CLAIM_DEVICES" in body["detail"]
    assert "DEVICE:CLAIM_DEVICES" in bench.out.getvalue()
    assert bench.rows("SELECT principal, device, detail FROM event WHERE event = 'claim_refused'") == [
        ("ann", "device", "not_permitted: DEVICE:CLAIM_DEVICES")
    ]
    body = (await told(bench, call("root", "w", "GET", f"claimsvc/devices/{device_id}/claiming")))[1]
    assert body["events"][0]["detail"] == "not_permitted: DEVICE:CLAIM_DEVICES"
    await bench.handle(call("root", "give", "PUT", "claimsvc/users/ann", b'{"roles":["customer"]}'))
    assert (await told(bench, claim("1", who="ann")))[0] == 200


async def test_u8_refusals_do_not_fill_the_store(bench: Bench) -> None:
    """At most twenty an hour of one user, over all devices; another user has twenty of its own."""
    for name in ("ann", "ben"):
        await make_user(bench, name, roles=[])
    await make_device(bench)
    await make_device(bench, "second")
    answered = "SELECT count(*) FROM answered"
    before = bench.rows(answered)
    for name in ("ann", "ben"):
        for device in ("device", "second"):
            path = f"api/customer/device/{device}/claim"
            replies = await bench.handle(*(call(name, f"{device}{n}", "POST", path) for n in range(50)))
            assert {answer(reply)["status"] for reply in replies} == {403}
    assert bench.rows(
        "SELECT principal, count(*) FROM event WHERE event = 'claim_refused' GROUP BY 1 ORDER BY 1"
    ) == [
        ("ann", 20),
        ("ben", 20),
    ]
    assert bench.rows(answered) == before
    assert bench.rows("SELECT count(*) FROM claim_attempt") == [(0,)]
