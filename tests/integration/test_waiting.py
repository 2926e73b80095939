"""New devices that wait for their acceptance: what their polls write, and what is there when it comes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from claimsvc.dialects.message import Inbound
from tests.integration.bench import Bench, answer, call, message, topics

REQUESTS = "devicecontrol/newDeviceRequests"
LANE = "claimsvc/c/bootstrap/sn-1"
ID = b'{"id":"sn-1"}'


def _topic_poll() -> Inbound:
    return message(f"{LANE}/s/ucr")


def _rest_poll() -> Inbound:
    return message(f"{LANE}/request/1/POST/devicecontrol/deviceCredentials", ID)


def _create(number: str = "create") -> Inbound:
    return call("root", number, "POST", REQUESTS, ID)


def _accept(number: str) -> Inbound:
    return call("root", number, "PUT", f"{REQUESTS}/sn-1", b'{"status":"ACCEPTED"}')


def _accept_all(number: str) -> Inbound:
    return call("root", number, "POST", f"{REQUESTS}/acceptAll")


@pytest.mark.parametrize("poll", [_topic_poll, _rest_poll])
async def test_only_the_first_poll_writes(bench: Bench, poll: Callable[[], Inbound]) -> None:
    """Whatever follows leaves the database as another connection sees it."""
    await bench.handle(_create())
    with closing(sqlite3.connect(bench.path)) as outside:

        def version() -> int:
            ((number,),) = outside.execute("PRAGMA data_version")
            return int(number)

        announced = version()
        await bench.handle(poll())
        first = version()
        assert first != announced
        for _ in range(3):
            await bench.handle(poll())
            assert version() == first


@pytest.mark.parametrize("accept", [_accept, _accept_all])
@pytest.mark.parametrize("before", [0, 1], ids=["new", "registered before"])
async def test_first_poll_and_acceptance_in_one_batch(
    bench: Bench, accept: Callable[[str], Inbound], before: int
) -> None:
    """An acceptance finds what it reads also where the request begins to wait in its own batch."""
    for time in range(before + 1):
        await bench.handle(_create(f"create{time}"))
        polled, accepted, again = await bench.handle(_topic_poll(), accept(f"accept{time}"), _topic_poll())
        assert topics(polled) == ["claimsvc/events/default/request_pending"]
        assert topics(accepted)[:2] == [f"{LANE}/s/dcr", f"claimsvc/u/root/response/accept{time}"]
        assert topics(again) == [f"{LANE}/s/dcr"]
        (removed,) = await bench.handle(call("root", f"remove{time}", "DELETE", f"{REQUESTS}/sn-1"))
        assert answer(removed)["status"] == 200
    assert bench.rows("SELECT count(*) FROM device WHERE name = 'sn-1'") == [(1,)]
