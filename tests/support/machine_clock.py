"""The clock of a machine that a test sets: the broker and the service see it, the test does not."""

from __future__ import annotations

import mmap
import struct
import subprocess
import time
from pathlib import Path

from tests.support.processes import World

_SOURCE = Path(__file__).with_name("shifted_clock.c")


class MachineClock:
    """A wall clock that the processes of a world read. It goes as the real one until it is set."""

    def __init__(self, directory: Path) -> None:
        library, file = directory / "shifted_clock.so", directory / "clock"
        flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
        subprocess.run(["gcc", *flags, "-o", str(library), str(_SOURCE)], check=True)
        file.write_bytes(bytes(16))
        with file.open("r+b") as opened:
            self._shifts = mmap.mmap(opened.fileno(), 16)
        self._environment = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(file)}
        self._wall_ms = self._steady_ms = 0

    def govern(self, world: World) -> None:
        """Have a world that is not started yet live by this clock."""
        world.service.environment |= self._environment
        world.broker.environment |= self._environment | {"SHIFTED_WALL_ONLY": "1"}

    def now_ms(self) -> int:
        """Return what the wall clock shows."""
        return time.time_ns() // 1_000_000 + self._wall_ms

    def set(self, by_ms: int) -> None:
        """Set the wall clock forward by so many milliseconds, or back."""
        self._wall_ms += by_ms
        self._write()

    def pass_time(self, ms: int) -> None:
        """Let the machine sleep for so long: both clocks go on."""
        self._wall_ms += ms
        self._steady_ms += ms
        self._write()

    def _write(self) -> None:
        self._shifts[:] = struct.pack("=qq", self._wall_ms, self._steady_ms)
