from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from claimsvc.core.decision import Put
from claimsvc.core.model import ClaimWindow, DeviceRequest, RequestStatus, Row, UserFailures, WindowSource
from claimsvc.metrics import STORE_GAUGES
from claimsvc.store.contract import StoreError
from claimsvc.store.sqlite.sqlite_files import Census
from claimsvc.store.sqlite.sqlite_store import SqliteStore
from tests.support.example import THERMOSTAT
from tests.support.factories import NOW
from tests.support.stores import apply

AFTER = NOW + 10**9
"""When all windows and lockouts of the example are over."""


def window(expires_at_ms: int) -> ClaimWindow:
    """Return the example's window with another end."""
    return ClaimWindow(THERMOSTAT.id, WindowSource.DEVICE, "hash", NOW, expires_at_ms)


def request(status: RequestStatus) -> DeviceRequest:
    """Return a request in a state."""
    return DeviceRequest(f"id of {status}", "default", status, "root", NOW)


COUNTS: dict[str, tuple[Sequence[Row], str, int]] = {
    "a window that ends in this millisecond is open": ([window(AFTER)], "windows_open", 1),
    "a window that ended is not": ([window(AFTER - 1)], "windows_open", 0),
    "a lockout that holds counts": ([UserFailures("alice", (), 1, AFTER + 1)], "lockouts", 1),
    "a lockout that is over does not": ([UserFailures("alice", (), 1, AFTER)], "lockouts", 0),
    "each request that waits for acceptance counts": (
        [request(status) for status in RequestStatus],
        "requests_pending",
        2,  # with the example's
    ),
    "and each whose device is still to come": (
        [request(status) for status in RequestStatus],
        "requests_waiting",
        1,
    ),
}


@pytest.mark.parametrize(("rows", "name", "count"), COUNTS.values(), ids=COUNTS.keys())
async def test_what_counts(store: SqliteStore, tmp_path: Path, rows: Sequence[Row], name: str, count: int) -> None:
    """What is committed is counted, while the store is open, as it stands at that time."""
    await apply(store, [Put(row) for row in rows])
    assert Census(tmp_path / "claimsvc.db").take(AFTER)[name] == count


async def test_every_count_has_its_gauge(store: SqliteStore, tmp_path: Path) -> None:
    """And every gauge its count; the sizes are the files'."""
    counts = Census(tmp_path / "claimsvc.db").take(NOW)
    assert counts.keys() == STORE_GAUGES.keys()
    files = [tmp_path / "claimsvc.db", tmp_path / "claimsvc.db-wal"]
    assert counts["database_bytes"] == sum(path.stat().st_size for path in files)
    space = os.statvfs(tmp_path)
    assert counts["disk_free_bytes"] == pytest.approx(space.f_bavail * space.f_frsize, rel=0.2)


@pytest.mark.parametrize("content", [None, b"", b"no database" * 1000], ids=["missing", "empty", "damaged"])
def test_a_store_that_cannot_be_counted_says_so(tmp_path: Path, content: bytes | None) -> None:
    """And nothing is made where nothing was."""
    path = tmp_path / "claimsvc.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError):
        Census(path).take(NOW)
    assert path.exists() == (content is not None)
