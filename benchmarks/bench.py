"""Compares claimsvc with the C echo and the naive service: one machine, one broker, interleaved runs, medians.

Starts its own broker. Compare ratios: absolute figures are valid for one machine on one day only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import comparison, fairness, growth, waiting
from benchmarks.rig import Figures, Rig, interpreter

SERVICES = ("echo", "naive", "claimsvc")
BUSY = 85.0
"""Percent of a core above which a process counts as the bottleneck."""
HARMS = ("lost", "twice", "failed")
_LABEL, _COLUMN = 20, 32


def main() -> None:
    """Measure and print. Exit with 1 if a message was lost, answered twice or refused."""
    arguments = _parser().parse_args()
    repeat = 1 if arguments.short else arguments.repeat
    print(interpreter())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if arguments.growth:
            harmed = show_growth(directory, arguments.devices, repeat, short=arguments.short)
        elif arguments.fairness:
            harmed = show_fairness(directory, repeat, short=arguments.short)
        elif arguments.waiting:
            harmed = show_waiting(directory, arguments.devices, repeat, short=arguments.short)
        else:
            services = arguments.services or SERVICES
            harmed = show_comparison(directory, services, arguments.workloads, repeat, short=arguments.short)
    if harmed:
        sys.exit("messages were lost, answered twice or refused: see above")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="smoke test; its figures are useless")
    parser.add_argument("--repeat", type=int, default=5, help="number of repetitions, 5 by default")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--growth", action="store_true", help="claimsvc with databases of different sizes")
    what.add_argument("--fairness", action="store_true", help="effect of a flooding client on another client")
    what.add_argument("--waiting", action="store_true", help="cost of new devices that wait and poll")
    parser.add_argument("--devices", type=int, nargs="+", help="numbers of devices for --growth and --waiting")
    parser.add_argument("--services", nargs="+", help="compare only these services")
    parser.add_argument("--workloads", nargs="+", choices=comparison.WORKLOADS, default=comparison.WORKLOADS)
    return parser


def show_comparison(
    directory: Path, services: Sequence[str], workloads: Sequence[str], repeat: int, *, short: bool
) -> bool:
    """Compare and print. Return True if a message was lost, answered twice or refused."""
    rig, harmed = Rig(directory), False
    sizes = comparison.SHORT if short else comparison.FULL
    for workload in workloads:
        runs = comparison.compare(rig, services, workload, sizes, repeat)
        harmed |= _show(f"workload {workload}", runs)
        _row("the limit", [_limit(runs[name]) for name in services])
        ours = [run["per_second"] for run in runs.get("claimsvc", ())]
        for other in services if ours else ():
            if other != "claimsvc":
                theirs = [run["per_second"] for run in runs[other]]
                print(f"  claimsvc / {other}: {_spread([a / b for a, b in zip(ours, theirs, strict=True)], 2)}")
    fixed = [workload for workload in workloads if workload in comparison.FIXED_RATES]
    if fixed and "claimsvc" in services:
        named = {f"{comparison.FIXED_RATES[each]:,} {each}s/s": each for each in fixed}
        runs = {
            name: [comparison.measure_fixed(rig, each, sizes) for _ in range(repeat)] for name, each in named.items()
        }
        harmed |= _show("claimsvc at a fixed rate", runs)
    figures = [comparison.measure_gateways(rig) for _ in range(repeat)]
    return _show("gateway messages of 1 000 devices", {"claimsvc": figures}) or harmed


def show_growth(directory: Path, devices: Sequence[int] | None, repeat: int, *, short: bool) -> bool:
    """Measure with different sizes and print. Return True if a message was lost, answered twice or refused."""
    sizes = devices or (growth.TINY if short else growth.DEFAULT)
    runs = growth.grow(directory, sizes, growth.SHORT if short else growth.FULL, repeat)
    harmed = _show("growth of claimsvc", {f"{size:,} devices": runs[size] for size in sizes})
    for figure in ("windows_per_second", "claims_per_second"):
        base = [run[figure] for run in runs[sizes[0]]]
        ratios = [[run[figure] / of for run, of in zip(runs[size], base, strict=True)] for size in sizes]
        _row(figure.removesuffix("_per_second") + " relative", [_spread(each, 2) for each in ratios])
    return harmed


def show_fairness(directory: Path, repeat: int, *, short: bool) -> bool:
    """Measure with and without a flood and print. Return True if a message was lost, answered twice or refused."""
    runs = fairness.fairness(Rig(directory), fairness.SHORT if short else fairness.FULL, repeat)
    named = {f"{limit:,} requests a minute" if limit else "no limit": runs[limit] for limit in runs}
    return _show("fairness of claimsvc: a client with a request every 20 ms, alone and beside a flood", named)


def show_waiting(directory: Path, devices: Sequence[int] | None, repeat: int, *, short: bool) -> bool:
    """Measure with waiting devices and print. Return True if a message was lost, answered twice or refused."""
    numbers = devices or (waiting.TINY if short else waiting.DEFAULT)
    sizes = waiting.SHORT if short else waiting.FULL
    runs = waiting.waiting(Rig(directory), numbers, sizes, repeat)
    named = {f"{number:,} devices wait": runs[number] for number in numbers}
    title = f"windows at half of saturation, alone and beside devices that poll every {sizes.poll_every_s} s"
    return _show(title, named)


def _show(title: str, runs: Mapping[str, Sequence[Figures]]) -> bool:
    """Print a table with a column for each name. Return True if a message was lost, answered twice or refused."""
    print(f"\n{title}")
    _row("", list(runs))
    columns = list(runs.values())
    for figure in columns[0][0]:
        _row(figure, [_spread([run[figure] for run in column]) for column in columns])
    sys.stdout.flush()
    return any(run[harm] for column in columns for run in column for harm in HARMS)


def _row(label: str, cells: Sequence[str]) -> None:
    print(f"  {label:{_LABEL}}{''.join(f'{cell:>{_COLUMN}}' for cell in cells)}".rstrip())


def _limit(runs: Sequence[Figures]) -> str:
    """Return the process with the highest use of a core, and the percentage. Below BUSY none is the bottleneck."""
    cpu = {name: statistics.median(run[f"{name}_cpu"] for run in runs) for name in comparison.PROCESSES}
    most = max(cpu, key=cpu.__getitem__)
    return f"{most} ({cpu[most]:.0f} %)" if cpu[most] > BUSY else f"none ({most} {cpu[most]:.0f} %)"


def _spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median with its range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} [{low:,.{digits}f}-{high:,.{digits}f}]"


if __name__ == "__main__":
    main()
