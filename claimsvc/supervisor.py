"""`claimsvc up`: a private Mosquitto and the service as child processes, restarted when they die."""

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
"""A child that died this often within this time is restarted after a pause only."""
STOP_S = 20.0
_READY_S = 15.0


class SupervisorError(Exception):
    """The demo cannot run."""


@dataclass(slots=True)
class Child:
    """A process to keep alive."""

    name: str
    command: tuple[str, ...]
    process: asyncio.subprocess.Process | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))

    async def start(self, **environment: str) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        self.process = await asyncio.create_subprocess_exec(
            *self.command, start_new_session=True, env={**os.environ, **environment}
        )

    async def keep(self, console: Console) -> None:
        """Restart it whenever it dies: at once, and with a pause when it does nothing but die."""
        while True:
            if self.process is None:
                await self.start()
                continue
            code = await self.process.wait()
            self.deaths.append(time.monotonic())
            console.print(f"{self.name} ended with {code}; starting it again", style="yellow")
            if len(self.deaths) == DEATHS and self.deaths[-1] - self.deaths[0] < WITHIN_S:
                await asyncio.sleep(PAUSE_S)
            await self.start()

    async def stop(self) -> None:
        """End it the polite way, and after a while the other one."""
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
    """Return the broker's plugin where it is built: in this source tree, or installed beside Mosquitto's own."""
    tree = Path(__file__).resolve().parent.parent / "plugin" / "build" / "claimsvc.so"
    return next((path for path in (tree, INSTALLED_PLUGIN) if path.exists()), None)


async def up(directory: Path, port: int, plugin: Path | None, console: Console) -> None:
    """Run the demo until SIGTERM or Ctrl-C. Raises SupervisorError and what founding raises.

    Without the plugin, logins go to Mosquitto's password file.
    """
    mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        raise SupervisorError("there is no mosquitto on this machine: scripts/setup installs it")
    if _is_taken(port):
        raise SupervisorError(f"port {port} of 127.0.0.1 is taken: choose another with --port")
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
        # The service first: it hands its answers over and says goodbye while the broker still listens.
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
    """Wait until the broker accepts connections. Raises SupervisorError when it ends or never does."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if broker.process is not None and broker.process.returncode is not None:
            raise SupervisorError("mosquitto ended at its start; it says why above")
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
    """Start the service and wait until it hears requests; it says so as to systemd. Raises SupervisorError."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = f"{folder}/ready"
        listener.bind(address)
        listener.setblocking(False)
        await service.start(NOTIFY_SOCKET=address)
        try:
            async with asyncio.timeout(_READY_S):
                await asyncio.get_running_loop().sock_recv(listener, 64)
        except TimeoutError:
            raise SupervisorError("the service did not reach the broker; it says why above") from None


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
# The demo's admin and operator may follow the audit events of their tenant.
user admin
topic read claimsvc/events/default/+

user operator
topic read claimsvc/events/default/+
"""


def broker_conf(directory: Path, port: int, plugin: Path | None) -> str:
    """Return the shipped mosquitto.conf with this demo's paths and port in place of the shipped ones."""
    text = _shipped("mosquitto.conf")
    if plugin is not None:
        # The shipped file has the two ways of keeping logins one below the other, and the plugin's commented out.
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
            raise RuntimeError(f"the shipped mosquitto.conf has not one line {name}")
        text = line.sub(f"{name} {value}".replace("\\", r"\\"), text)
    # Started by root, Mosquitto would become another user, who cannot read this directory.
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
    """Return what `up` prints: the accounts, and lines to copy and try."""
    width = max(len(each.username) for each in accounts.values())
    table = "\n".join(f"  {name:9} {each.username:{width}}  {each.password}" for name, each in accounts.items())

    def ask(name: str, topic: str, answer: str, message: str) -> str:
        who = accounts[name]
        lane = f"claimsvc/u/{who.username}"
        login = f"-p {port} -u {who.username} -P {who.password}"
        # A repeated request id gives the first answer again, so each try gets an id of its own.
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
claimsvc and its own Mosquitto run on 127.0.0.1:{port}; everything lies in {directory}
{_WITHOUT_PLUGIN if plugin is None else f"Mosquitto looks logins up by the plugin {plugin}."}

  account   {"username":{width}}  password
{table}

Copy and try: a device opens a claim window and then listens, a customer claims it,
gives it back, and an admin reads what happened.

{tries}
{"" if plugin is None else _PLAIN.format(plain)}
Ctrl-C ends both.
"""


_WITHOUT_PLUGIN = """\
Without the plugin (make -C plugin builds it): logins are in Mosquitto's password file, and only those
with a password work."""

_PLAIN = f"""
The same with a device as ThingsBoard knows it, "{SEED_DEVICE}": an access token, plain topics, no lane.

{{}}
"""
