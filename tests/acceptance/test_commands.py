"""The console commands as people run them: `up`, `init`, `serve`, `--version`."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from claimsvc import __version__
from claimsvc.founding import Account
from claimsvc.sealing import password_matches
from tests.support.clients import Client
from tests.support.processes import PATIENCE_S, free_port


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "claimsvc", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd="/",  # no file of ours lies here: all that is read or written is named
        env={**os.environ, **environment},
    )


def assert_one_clear_line(done: subprocess.CompletedProcess[str], word: str) -> None:
    """A failure is one line that names its cause, exit code 2, and never a traceback."""
    assert done.returncode == 2, done
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("claimsvc: ")
    assert word in line


def test_ctrl_c_while_it_loads_is_no_traceback(tmp_path: Path) -> None:
    """Loading takes a second on a small machine, in which people change their minds."""
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    done = run("--version", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


PRINTED = "Press Ctrl-C to stop both"
"""The last line of what `up` tells its user."""


class Demo:
    """A running `claimsvc up`; what it prints is read as it comes."""

    def __init__(self, directory: Path, port: int, *more: str) -> None:
        self.directory = directory
        self.port = port
        self.text = ""
        self._lines: Queue[str] = Queue()
        command = [sys.executable, "-m", "claimsvc", "up", "--dir", str(directory), "--port", str(port), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as output:
            for line in output:
                self.text += line
                self._lines.put(line)

    def wait_for(self, pattern: str) -> str:
        """Return the next line that matches."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except Empty:
                raise AssertionError(f"no {pattern!r} in:\n{self.text}") from None
            if re.search(pattern, line):
                return line

    def wait_for_all(self, *patterns: str) -> None:
        """Wait until each has matched a line, in whatever order."""
        missing = set(patterns)
        while missing:
            line = self.wait_for("|".join(missing))
            missing -= {pattern for pattern in missing if re.search(pattern, line)}

    @property
    def accounts(self) -> dict[str, Account]:
        known = json.loads((self.directory / "accounts.json").read_text())
        return {name: Account(each["username"], each["password"]) for name, each in known.items()}

    def children(self) -> dict[str, int]:
        """Return the children's process ids by program."""
        found = {}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found["mosquitto" if b"mosquitto" in words[0] else "claimsvc"] = int(pid)
        return found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


Up = Callable[..., Demo]
HEARD = "heard.log"
"""What the line that listens prints, in the directory the lines are run in."""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Start the demo in a directory of its own; it ends with the test."""
    started: list[Demo] = []

    def up(directory: Path = tmp_path / "de mo", port: int | None = None, *more: str) -> Demo:
        demo = Demo(directory, port or free_port(), *more)
        started.append(demo)
        demo.wait_for_all(PRINTED, "broker_connected")
        return demo

    yield up
    for demo in started:
        demo.stop()


@pytest.mark.parametrize("choice", ["--plugin", "--no-plugin"])
def test_the_printed_lines_do_what_they_say(choice: str, plugin: Path, tmp_path: Path, up: Up) -> None:
    """Copied into a shell they open, claim, release and tell; with the plugin by a token, too."""
    demo = up(tmp_path / "de mo", None, choice)
    for account in demo.accounts.values():
        assert re.search(rf"{re.escape(account.username)} +{account.password}", demo.text)
    lines = [_listening(line) for line in demo.text.splitlines() if "mosquitto_" in line]
    script = "\n".join([*lines, "wait", f"grep '^{{' {HEARD}"])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["state"] for answer in answers if "state" in answer] == ["claimed", "released"]
    opened, claimed, released, events, *by_token = (answer for answer in answers if "state" not in answer)
    assert_a_round(opened, claimed, released)
    assert [event["event"] for event in events["body"]["events"]][:2] == ["device_released", "device_claimed"]
    if choice == "--plugin":
        assert_a_round(*by_token)
    else:
        assert not by_token
    assert done.stderr == ""


def _listening(line: str) -> str:
    """Have what runs in the background hear all that comes: the next line waits until it is subscribed."""
    if not line.endswith(" &"):
        return line
    subscribed = f"until grep -qs Subscribed {HEARD}; do :; done"
    return f"stdbuf -oL {line.removesuffix(' &')} -d > {HEARD} &\n{subscribed}"


def assert_a_round(opened: Any, claimed: Any, released: Any) -> None:
    """A window was opened, the device claimed and given back."""
    assert opened["status"] == "SUCCESS"
    assert claimed["body"]["response"] == "SUCCESS"
    assert released["body"] == {"result": {}, "setOrExpired": True}


def test_the_accounts_are_private_and_last(up: Up, tmp_path: Path) -> None:
    """Nobody else can read them, and a second start keeps passwords and what was done."""
    demo = up()
    accounts, port = demo.accounts, demo.port
    assert {
        "admin",
        "manager",
        "customer",
        "operator",
        "device",
        "gateway",
        "bootstrap",
        "provision",
    } <= accounts.keys()
    assert (demo.directory / "accounts.json").stat().st_mode & 0o777 == 0o600
    assert (demo.directory / "claimsvc.toml").stat().st_mode & 0o777 == 0o600
    with Client(port, accounts["device"]) as device:
        device.open_window({"secretKey": "value"})
    assert demo.stop() == 0
    again = up(demo.directory, port)
    assert again.accounts == accounts
    with Client(port, accounts["customer"]) as customer:
        assert customer.claim("device").body["response"] == "SUCCESS"


def test_what_is_printed_works_at_once(tmp_path: Path) -> None:
    """A script that reads the last line may begin: the service is there, and no request is lost."""
    demo = Demo(tmp_path, free_port())
    try:
        demo.wait_for(PRINTED)
        with Client(demo.port, demo.accounts["device"]) as device:
            assert device.open_window({})["status"] == "SUCCESS"
    finally:
        demo.stop()


@pytest.mark.parametrize("child", ["mosquitto", "claimsvc"])
def test_a_child_that_is_killed_is_started_again(child: str, up: Up) -> None:
    """At once, and everything works as before."""
    demo = up()
    before = demo.children()
    os.kill(before[child], signal.SIGKILL)
    demo.wait_for(f"{child} exited with -9")
    demo.wait_for("broker_connected")
    after = demo.children()
    assert {name for name in before if before[name] != after[name]} == {child}
    with Client(demo.port, demo.accounts["device"]) as device:
        assert device.open_window({})["status"] == "SUCCESS"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_the_end_of_the_demo_is_the_end_of_its_children(how: signal.Signals, up: Up) -> None:
    """Exit code 0, and nothing of it is left."""
    demo = up()
    children = demo.children()
    assert children.keys() == {"mosquitto", "claimsvc"}
    assert demo.stop(how) == 0
    assert not [pid for pid in children.values() if Path(f"/proc/{pid}").exists()]
    assert "Traceback" not in demo.text


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    """It names the port and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("up", "--dir", str(tmp_path), "--port", port)
    assert_one_clear_line(done, port)


def test_init_makes_what_is_missing(tmp_path: Path) -> None:
    """The first run shows the admin's password, the second changes nothing and shows none."""
    config = tmp_path / "claimsvc.toml"
    config.write_text(
        f'[store]\npath = "{tmp_path}/store/db"\n'
        f'[credentials]\nstore = "password_file"\npassword_file = "{tmp_path}/passwords"\n'
    )
    first = run("init", "-c", str(config), "--admin", "root")
    assert (first.returncode, first.stderr) == (0, "")
    password = re.search(r"password +(\w+)", first.stdout)
    assert password
    before = (tmp_path / "passwords").read_text()
    assert "root:$7$" in before
    second = run("init", "-c", str(config), "--admin", "root")
    assert second.returncode == 0
    assert "exists already" in second.stdout
    assert password[1] not in second.stdout
    assert (tmp_path / "passwords").read_text() == before


@pytest.mark.parametrize("name", ["bootstrap", "provision"])
def test_init_makes_a_login_that_devices_share(name: str, tmp_path: Path) -> None:
    """A stock broker admits nobody without a password; each time there is a new one, shown once."""
    config = tmp_path / "claimsvc.toml"
    config.write_text(
        f'[store]\npath = "{tmp_path}/store/db"\n'
        f'[credentials]\nstore = "password_file"\npassword_file = "{tmp_path}/passwords"\n'
    )
    for _ in range(2):
        done = run("init", "-c", str(config), f"--{name}")
        assert (done.returncode, done.stderr) == (0, "")
        shown = re.search(rf"devices +{name}\npassword +(\w+) +\(shown once\)", done.stdout)
        assert shown
        (stored,) = re.findall(rf"(?m)^{name}:(.+)$", (tmp_path / "passwords").read_text())
        assert password_matches(shown[1], stored)


CONFIGS = {
    "no TOML": ("[mqtt", "TOML"),
    "an unknown key": ("[mqtt]\nprot = 1883", "mqtt.prot"),
    "an unknown section": ("[mqt]\nport = 1883", "mqt"),
    "a port that is none": ("[mqtt]\nport = 99999", "mqtt.port"),
    "a text for a number": ('[claim]\nmax_attempts = "many"', "claim.max_attempts"),
    "a root with a wildcard": ('[mqtt]\nroot = "a/#"', "mqtt"),
    "a store below a file": ('[store]\npath = "/etc/hostname/db"', "/etc/hostname"),
    "a store that is a directory": ('[store]\npath = "{directory}"', "open"),
    "a store that is no database": ('[store]\npath = "{directory}/claimsvc.toml"', "database"),
    "a password that is not there": (
        '[store]\npath = "{directory}/db"\n[mqtt]\npassword_path = "/nowhere"',
        "/nowhere",
    ),
    "a broker's password file nobody can write": (
        '[store]\npath = "{directory}/db"\n[credentials]\nstore = "password_file"\npassword_file = "/proc/no/file"',
        "/proc/no",
    ),
    "a CA file that is not there": (
        '[store]\npath = "{directory}/db"\n[mqtt]\npassword = "x"\ntls = true\ntls_ca = "/nowhere"',
        "tls",
    ),
    "a metrics port that is taken": (
        '[store]\npath = "{directory}/db"\n[credentials]\nstore = "none"\n[metrics]\nport = {port}',
        "metrics",
    ),
}


@pytest.mark.parametrize(("text", "word"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_bad_configuration_is_one_clear_line(text: str, word: str, tmp_path: Path) -> None:
    """It names the setting or the file."""
    config = tmp_path / "claimsvc.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config.write_text(text.format(directory=tmp_path, port=taken.getsockname()[1]))
        assert_one_clear_line(run("serve", "-c", str(config)), word)


def test_a_configuration_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    """Also a misspelt variable of the environment."""
    assert_one_clear_line(run("serve", "-c", str(tmp_path / "none.toml")), "none.toml")
    assert_one_clear_line(run("serve", CLAIMSVC_MQTT_PORT="1"), "CLAIMSVC_MQTT_PORT")


def test_the_version_is_told() -> None:
    """On standard output, exit code 0."""
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"claimsvc {__version__}\n", "")
