"""Shows the path of a message: the files whose functions run, and the classes of claimsvc that are instantiated.

Runs a broker and, in this process, the service. Sends a device claim and a customer claim, each twice, and records
the second one from the reading of its packet to the writing of its answer.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import claimsvc
from benchmarks.rig import Rig
from claimsvc.app import _session_options, door_of, open_service
from claimsvc.core import model
from claimsvc.core.decision import Append, Put, Remove
from claimsvc.core.secrets import Secret
from claimsvc.log import open_log
from claimsvc.mqtt.client import Client
from claimsvc.mqtt.session import Session

ROOT = Path(claimsvc.__file__).parent
LONG = 500
"""A file with more lines counts twice."""
CONTENT = (Put, Remove, Append, Secret)
"""Classes that, like the rows of the model, are the content of a command or decision. The others carry a message."""
DEVICE = "claimsvc/u/device-{0}/v1/devices/me/claim"
CUSTOMER = "claimsvc/u/user0/request/{0}/POST/api/customer/device/device-{0}/claim"
KEY = '{"secretKey":"value"}'


class Recording:
    """Counts calls by file and instances by class, between `begin` and `end`."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.classes: Counter[type] = Counter()
        self.is_armed = False
        self.ended = asyncio.Event()

    def watch(self) -> None:
        """Record from the next read of the service's client to the write that follows."""
        read, flush = Client._read, Client._flush  # noqa: SLF001

        def begin(client: Client, sock: Any) -> bool:
            if self.is_armed:
                sys.setprofile(self._event)
            return read(client, sock)

        def end(client: Client) -> None:
            flush(client)
            if self.is_armed and any(name.startswith("core/") for name in self.files):
                sys.setprofile(None)
                self.is_armed = False
                self.ended.set()

        Client._read, Client._flush = begin, end  # type: ignore[method-assign, assignment]  # noqa: SLF001

    def _event(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call":
            return
        name = frame.f_code.co_filename
        if name.startswith(str(ROOT)):
            self.files[str(Path(name).relative_to(ROOT))] += 1
        if frame.f_code.co_name == "__init__" and "self" in frame.f_locals:
            kind = type(frame.f_locals["self"])
            if kind.__module__.startswith("claimsvc."):
                self.classes[kind] += 1

    def show(self, title: str) -> None:
        """Print the files, sorted by name, and the classes."""
        lines = {name: len((ROOT / name).read_text().splitlines()) for name in self.files}
        counted = sum(2 if count > LONG else 1 for count in lines.values())
        rows = {kind for kind in self.classes if kind.__module__ == model.__name__ or kind in CONTENT}
        carriers = sorted(kind.__name__ for kind in self.classes if kind not in rows)
        print(f"\n{title}: {len(lines)} files, counted {counted}; {len(carriers)} classes that carry it on")
        for name in sorted(lines):
            print(f"  {name:42}{lines[name]:5} lines {self.files[name]:6} calls")
        print("  classes:", ", ".join(carriers))
        print("  content:", ", ".join(sorted(kind.__name__ for kind in rows)))


class _Reported:
    """Takes the session's reports, and notes the one that it is connected."""

    def __init__(self, connected: asyncio.Event) -> None:
        self._connected = connected

    def __call__(self, level: str, event: str, **fields: object) -> None:
        if event == "broker_connected":
            self._connected.set()


async def _trace(rig: Rig) -> None:
    log = open_log("info", "json", (rig.directory / "service.log").open("w"))
    async with open_service(rig.settings, log) as service:
        door = door_of(rig.settings, service, log)
        connected = asyncio.Event()
        session = Session(_session_options(rig.settings), _Reported(connected))
        tasks = [asyncio.create_task(session.run()), asyncio.create_task(door.run(session))]
        await connected.wait()
        recording: Recording | None = None
        for title, topic in (("device claim", DEVICE), ("customer claim", CUSTOMER)):
            for number in (1, 2):
                await _publish(rig, DEVICE.format(number))
            await _publish(rig, topic.format(1))
            recording = Recording()
            recording.watch()
            recording.is_armed = True
            await _publish(rig, topic.format(2))
            await asyncio.wait_for(recording.ended.wait(), 10)
            recording.show(title)
        door.stop()
        session.stop_reading()
        await tasks[1]
        await session.close()
        tasks[0].cancel()


async def _publish(rig: Rig, topic: str) -> None:
    command = [
        "mosquitto_pub",
        "-p",
        str(rig.port),
        "-u",
        "loadtest",
        "-P",
        "loadtest",
        "-q",
        "1",
        "-t",
        topic,
        "-m",
        KEY,
    ]
    await asyncio.to_thread(subprocess.run, command, check=True)
    await asyncio.sleep(0.5)  # the first message of each kind must be finished before the second is recorded


def main() -> None:
    """Trace and print."""
    with tempfile.TemporaryDirectory() as name:
        rig = Rig(Path(name))
        with rig.broker():
            asyncio.run(_trace(rig))


if __name__ == "__main__":
    main()
