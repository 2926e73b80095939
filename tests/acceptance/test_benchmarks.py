"""The benchmark's short form: it runs in every mode. Nothing is said about time."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HARMS = ("lost", "twice", "failed")


@pytest.mark.parametrize(
    ("mode", "columns", "figures"),
    [
        pytest.param((), ("echo", "naive", "claimsvc"), ("per_second", "p99_ms", "the limit"), id="beside others"),
        pytest.param(
            ("--growth", "--devices", "200", "1000"),
            ("200 devices", "1,000 devices"),
            ("connected_s", "memory_end_mb", "windows_per_second", "claims_per_second", "claims relative"),
            id="at databases of two sizes",
        ),
        pytest.param(
            ("--fairness",),
            ("6,000 requests a minute", "no limit"),
            ("alone_p99_ms", "beside_p99_ms", "flood_per_second"),
            id="beside a client that floods",
        ),
        pytest.param(
            ("--waiting", "--devices", "100"),
            ("100 devices wait",),
            ("alone_p99_ms", "beside_p99_ms", "polls_service_cpu", "later_polls_commits"),
            id="beside devices that wait",
        ),
    ],
)
def test_no_message_is_lost_or_answered_twice(
    mode: tuple[str, ...], columns: tuple[str, ...], figures: tuple[str, ...]
) -> None:
    """Every mode prints each figure for whoever it measures, and every message gets one answer."""
    command = [sys.executable, "-m", "benchmarks.bench", "--short", *mode]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [re.split(r" {2,}", line.strip()) for line in run.stdout.splitlines()]
    assert list(columns) in rows
    for figure in figures:
        printed = [row[1:] for row in rows if row[0] == figure]
        assert printed, f"no {figure}"
        assert all(len(cells) == len(columns) for cells in printed)
    for harm in HARMS:
        printed = [row[1:] for row in rows if row[0] == harm]
        assert printed, f"nothing about {harm}"
        assert {"0.0 [0.0-0.0]"} == {cell for cells in printed for cell in cells}


def test_files_of_devices_lose_no_row(plugin: Path) -> None:
    """Each kind of file, whole and row by row; no row is lost or done twice."""
    command = [sys.executable, "-m", "benchmarks.imports", "--short"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 0, run.stdout + run.stderr
    measured = [tuple(re.split(r" {2,}", line.strip())[:3]) for line in run.stdout.splitlines()]
    for kind in ("with passwords", "without", "claim keys"):
        assert {(kind, "row by row", "25"), (kind, "one file", "500")} <= set(measured)
    assert json.loads(run.stdout.splitlines()[-1]) == dict.fromkeys(HARMS, 0)
