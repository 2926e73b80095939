"""`claimsvc up`: run a private Mosquitto and the service as child processes, and restart them when they die."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from rich.console import Console

from claimsvc.files import write_private
from claimsvc.founding import SEED_DEVICE, SEED_TOKEN, Account, found_demo
from claimsvc.settings import Settings, load

INSTALLED_PLUGIN = Path("/usr/lib/claimsvc/claimsvc.so")
DEATHS, WITHIN_S, PAUSE_S = 5, 10.0, 5.0
"""A child that died DEATHS times within WITHIN_S seconds is restarted after a pause."""
STOP_S = 20.0
_READY_S = 15.0


class SupervisorError(Exception):
    """The demo cannot start."""


@dataclass(slots=True)
class Child:
    """A process to keep alive."""

    name: str
    command: tuple[str, ...]
    process: asyncio.subprocess.Process | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))

    async def start(self, **environment: str) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches only the supervisor."""
        self.process = await asyncio.create_subprocess_exec(
            *self.command, start_new_session=True, env={**os.environ, **environment}
        )

    async def keep(self, console: Console) -> None:
        """Restart the process whenever it dies: at once, or after a pause if it dies again and again."""
        while True:
            if self.process is None:
                await self.start()
                continue
            code = await self.process.wait()
            self.deaths.append(time.monotonic())
            console.print(f"{self.name} exited with {code}; restarting it", style="yellow")
            if len(self.deaths) == DEATHS and self.deaths[-1] - self.deaths[0] < WITHIN_S:
                await asyncio.sleep(PAUSE_S)
            await self.start()

    async def stop(self) -> None:
        """Terminate the process with SIGTERM, and with SIGKILL after STOP_S seconds."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def find_plugin() -> Path | None:
    """Return the path of the broker's plugin, built in this source tree or installed; None if there is none."""
    tree = Path(__file__).resolve().parent.parent / "plugin" / "build" / "claimsvc.so"
    return next((path for path in (tree, INSTALLED_PLUGIN) if path.exists()), None)


async def up(directory: Path, port: int, plugin: Path | None, console: Console) -> None:
    """Run the demo until SIGTERM or Ctrl-C. Raises SupervisorError, and as `found_demo`.

    Without the plugin, logins are in Mosquitto's password file.
    """
    mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        raise SupervisorError("mosquitto is not installed: run scripts/setup")
    if _is_taken(port):
        raise SupervisorError(f"port {port} of 127.0.0.1 is in use: choose another one with --port")
    settings = write_files(directory, port, plugin)
    accounts = await found_demo(settings, directory / "accounts.json")
    broker = Child("mosquitto", (mosquitto, "-c", str(directory / "mosquitto.conf")))
    service = Child("claimsvc", (sys.executable, "-m", "claimsvc", "serve", "-c", str(directory / "claimsvc.toml")))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await broker.start()
        await _listening(port, broker)
        await _ready(service)
        console.print(instructions(port, directory, accounts, plugin), markup=False)
        async with asyncio.TaskGroup() as tasks:
            keeping = [tasks.create_task(each.keep(console), name=each.name) for each in (broker, service)]
            await stop.wait()
            for task in keeping:
                task.cancel()
    finally:
        # The service first: it still needs the broker for its answers and its offline status.
        await service.stop()
        await broker.stop()


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


async def _listening(port: int, broker: Child) -> None:
    """Wait until the broker accepts connections. Raises SupervisorError if it exits or does not listen in time."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if broker.process is not None and broker.process.returncode is not None:
            raise SupervisorError("mosquitto exited at its start; see its message above")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise SupervisorError(f"mosquitto does not listen on port {port}")


async def _ready(service: Child) -> None:
    """Start the service and wait until it receives requests (it sends sd_notify). Raises SupervisorError."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = f"{folder}/ready"
        listener.bind(address)
        listener.setblocking(False)
        await service.start(NOTIFY_SOCKET=address)
        try:
            async with asyncio.timeout(_READY_S):
                await asyncio.get_running_loop().sock_recv(listener, 64)
        except TimeoutError:
            raise SupervisorError("the service did not connect to the broker; see its message above") from None


def write_files(directory: Path, port: int, plugin: Path | None) -> Settings:
    """Write the broker's and the service's files and return the settings. Raises SupervisorError."""
    try:
        (directory / "broker").mkdir(parents=True, exist_ok=True)
        (directory / "acl").write_text(_shipped("acl") + _DEMO_ACL)
        (directory / "acl").chmod(0o640)
        (directory / "mosquitto.conf").write_text(broker_conf(directory, port, plugin))
        toml = directory / "claimsvc.toml"
        write_private(toml, _service_toml(directory, port, plugin))
    except OSError as error:
        raise SupervisorError(f"cannot write to {directory}: {error.strerror}") from None
    return load(toml)


def _shipped(name: str) -> str:
    return resources.files("claimsvc.shipped").joinpath(name).read_text()


_DEMO_ACL = """
# The demo's admin and operator may read the audit events of their tenant.
user admin
topic read claimsvc/events/default/+

user operator
topic read claimsvc/events/default/+
"""


def broker_conf(directory: Path, port: int, plugin: Path | None) -> str:
    """Return the shipped mosquitto.conf with the demo's paths and port."""
    text = _shipped("mosquitto.conf")
    if plugin is not None:
        # The shipped file has lines for both stores of logins; those for the plugin are commented out.
        text = re.sub(r"(?m)^password_file ", "#password_file ", text)
        text = re.sub(r"(?m)^#(plugin|plugin_opt_store|plugin_opt_open_logins) ", r"\1 ", text)
        logins = {"plugin": str(plugin), "plugin_opt_store": str(directory / "claimsvc.db")}
    else:
        logins = {"password_file": str(directory / "mosquitto.passwd")}
    values = {
        "listener": f"{port} 127.0.0.1",
        **logins,
        "acl_file": str(directory / "acl"),
        "pid_file": str(directory / "mosquitto.pid"),
        "persistence_location": f"{directory / 'broker'}/",
    }
    for name, value in values.items():
        line = re.compile(rf"(?m)^{name} .*$")
        if len(line.findall(text)) != 1:
            raise RuntimeError(f"the shipped mosquitto.conf must have exactly one line {name}")
        text = line.sub(f"{name} {value}".replace("\\", r"\\"), text)
    # If root starts Mosquitto, it would switch to a user that cannot read this directory.
    return f"{text}\nuser {pwd.getpwuid(os.geteuid()).pw_name}\n"


def _service_toml(directory: Path, port: int, plugin: Path | None) -> str:
    def quoted(path: Path) -> str:
        return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'

    return f"""# Written by `claimsvc up` at every start.
[mqtt]
port = {port}

[store]
path = {quoted(directory / "claimsvc.db")}

[credentials]
store = "{"plugin" if plugin else "password_file"}"
password_file = {quoted(directory / "mosquitto.passwd")}
broker_pid_file = {quoted(directory / "mosquitto.pid")}
"""


def instructions(port: int, directory: Path, accounts: dict[str, Account], plugin: Path | None) -> str:
    """Return the text that `up` prints: the accounts, and commands to copy and try."""
    width = max(len(each.username) for each in accounts.values())
    table = "\n".join(f"  {name:9} {each.username:{width}}  {each.password}" for name, each in accounts.items())

    def ask(name: str, topic: str, answer: str, message: str) -> str:
        who = accounts[name]
        lane = f"claimsvc/u/{who.username}"
        login = f"-p {port} -u {who.username} -P {who.password}"
        # A repeated request id returns the first answer again, so each try gets a new id.
        fresh = "R=$RANDOM; " if "$R" in topic else ""
        return f'{fresh}mosquitto_rr {login} -t "{lane}/{topic}" -e "{lane}/{answer}" {message}'

    def claim_and_release(name: str) -> tuple[str, str]:
        path = f"api/customer/device/{quote(name, safe='')}/claim"
        return (
            ask("customer", f"request/$R/POST/{path}", "response/$R", """-m '{"secretKey":"value"}'"""),
            ask("customer", f"request/$R/DELETE/{path}", "response/$R", "-n"),
        )

    device = accounts["device"]
    login = f"-p {port} -u {device.username} -P {device.password}"
    claim = "v1/devices/me/claim"
    window = """-m '{"secretKey":"value","durationMs":60000}'"""
    tries = "\n".join(
        (
            ask("device", claim, f"{claim}/response", window),
            f"mosquitto_sub {login} -t claimsvc/u/{device.username}/{claim}/state -C 2 -W 60 &",
            *claim_and_release("device"),
            ask("admin", "request/$R/GET/claimsvc/events?device=device", "response/$R", "-n"),
        )
    )
    token = f"mosquitto_rr -V 311 -p {port} -u {SEED_TOKEN} -t {claim} -e {claim}/response {window}"
    plain = "\n".join((token, *claim_and_release(SEED_DEVICE)))
    return f"""
claimsvc and its own Mosquitto run on 127.0.0.1:{port}; all files are in {directory}
{_WITHOUT_PLUGIN if plugin is None else f"Mosquitto checks logins with the plugin {plugin}."}

  account   {"username":{width}}  password
{table}

Copy and try: a device opens a claim window and then listens, a customer claims and
releases it, and an admin reads the audit events.

{tries}
{"" if plugin is None else _PLAIN.format(plain)}
Press Ctrl-C to stop both.
"""


_WITHOUT_PLUGIN = """\
The plugin is not built (make -C plugin builds it). Logins are in Mosquitto's password file; access tokens
do not work."""

_PLAIN = f"""
The same with an unmodified ThingsBoard device, "{SEED_DEVICE}": access token and plain topics.

{{}}
"""
