"""Sums the raw stacks of a sampling profiler by the processing steps of a message.

py-spy record --format raw --rate 200 --duration 8 --output FILE --pid PID
python -m benchmarks.where FILE MICROSECONDS   MICROSECONDS: processor time per message, from the benchmark's figures
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

GROUPS = (
    # The first match counts, so the more specific groups stand first.
    ("log line", ("record (claimsvc/mqtt/journal", "claimsvc/log.py", "structlog/")),
    ("loading", ("load (claimsvc/store/mapping",)),
    ("deciding", ("decide (claimsvc/core/rules",)),
    ("answering: encode, seal", ("_decide (claimsvc/service/execution",)),
    ("writing, committing", ("claimsvc/store/",)),
    ("reading packets", ("_readable (claimsvc/mqtt/client",)),
    ("decoding, hashing the key", ("read (claimsvc/mqtt/door", "_read (claimsvc/mqtt/door")),
    ("answering: write", ("_send (claimsvc/mqtt/door", "_flush (claimsvc/mqtt/client", "_writable (")),
)
WAITING = ("_worker (concurrent/futures/",)
"""A stack that ends here is an idle thread, which the profiler reports as busy."""


def main(path: Path, microseconds: float) -> None:
    """Print each group's share, in percent and in microseconds per message."""
    sums: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack.rpartition(";")[2].startswith(WAITING):
            sums[_group(stack)] += int(count)
    total = sums.total()
    for name, samples in sums.most_common():
        print(f"  {name:42}{100 * samples / total:6.1f} %{microseconds * samples / total:8.1f} us")


def _group(stack: str) -> str:
    for name, marks in GROUPS:
        if any(mark in stack for mark in marks):
            return name
    return "other"


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
