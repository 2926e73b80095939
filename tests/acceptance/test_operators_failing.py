"""What operators' commands do when something is wrong, and at a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess

import pytest

from claimsvc.founding import Account
from tests.acceptance.conftest import As
from tests.support.clients import Admin, fresh
from tests.support.commands import Commands, one_line
from tests.support.processes import World, free_port

# --- what goes wrong


def test_a_wrong_password(as_: As) -> None:
    """It is the login that is refused, and the password is not told."""
    commands = as_("admin")
    commands.password_file.write_text("wrong-password\n")
    done = commands.run("device", "list")
    one_line(done, 4, "refuses the login 'admin'")
    assert "wrong-password" not in done.err


def test_no_broker(as_: As) -> None:
    """The address is named."""
    commands = as_("admin")
    commands.port = free_port()
    one_line(commands.run("device", "list"), 3, f"127.0.0.1:{commands.port}")


TLS = ("device", "list", "--url", "mqtts://a@host")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["device", "list", "--url", ""], ["CLAIMSVC_OPERATOR_URL"], id="no URL"),
        pytest.param(["device", "list", "--url", "http://admin@host"], ["--url"], id="a URL of another kind"),
        pytest.param(["device", "list", "--url", "mqtt://host"], ["no username"], id="a URL of nobody"),
        pytest.param(["device", "list", "--url", "mqtt://a:b@host"], ["--password-file"], id="a password in sight"),
        pytest.param(["device", "list", "--url", "mqtt://a@host:x"], ["--url"], id="a port that is none"),
        pytest.param(["device", "list", "--password-file", "/none"], ["/none"], id="no password file"),
        pytest.param(["device", "list", "--ca", "/none"], ["mqtts"], id="a CA without TLS"),
        pytest.param([*TLS, "--ca", "/none"], ["--ca: /none: No such file"], id="no CA file"),
        pytest.param([*TLS, "--ca", __file__], ["--ca: ", __file__], id="a CA file without certificates"),
        pytest.param([*TLS, "--cert", "/none"], ["--cert: /none: No such file"], id="no certificate"),
        pytest.param([*TLS, "--cert", __file__, "--key", "/none"], ["--key: /none: No such file"], id="no key"),
        pytest.param([*TLS, "--cert", __file__], ["--cert, --key: ", __file__], id="a certificate that is none"),
        pytest.param(["device", "secret", "x", "--expires", "soon"], ["--expires", "12h"], id="no duration"),
        pytest.param(["import", "/none.csv"], ["/none.csv"], id="no file"),
        pytest.param(["claim", "x", "--key-file", "/none"], ["--key-file", "/none"], id="no key file"),
        pytest.param(["claim", "x"], ["--key-file"], id="nobody to ask for a key"),
    ],
)
def test_what_cannot_be_used(root: Commands, arguments: list[str], words: list[str]) -> None:
    """A bad option or file is named, before anything is done."""
    one_line(root.quick(*arguments), 2, *words)


def test_the_environment_says_where(root: Commands) -> None:
    """URL and password may come from variables, which the service does not take for settings."""
    line = root.line("device", "list")[:-4]
    environment = {
        **os.environ,
        "CLAIMSVC_OPERATOR_URL": root.url,
        "CLAIMSVC_OPERATOR_PASSWORD": str(root.account.password),
    }
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, ""), done


# --- at a terminal


def test_a_password_is_asked_for_without_showing_it(root: Commands) -> None:
    """On a terminal; Ctrl-C there ends the command with one line."""
    line = [*root.line("device", "list")[:-2], "--limit", "1"]
    code, said = at_terminal(line, ("Password of admin: ", f"{root.account.password}\n"))
    assert (code, str(root.account.password) in said) == (0, False)
    code, said = at_terminal(line, ("Password of admin: ", signal.SIGINT))
    assert (code, "claimsvc: interrupted" in said, "Traceback" in said) == (130, True, False)


def test_a_users_password_is_asked_for_twice(root: Commands, shared_world: World) -> None:
    """It is shown nowhere, and must be the same both times."""
    name, line = fresh("chooser"), root.line("user", "add", "NAME", "--ask-password", "--json")
    line = [name if part == "NAME" else part for part in line]
    asked = f"New password for {name}: "
    code, said = at_terminal(line, (asked, "chosen-by-me\n"), ("Repeat the password: ", "something-else\n"))
    assert (code, "the two passwords differ" in said) == (2, True)
    code, said = at_terminal(line, (asked, "chosen-by-me\n"), ("Repeat the password: ", "chosen-by-me\n"))
    assert (code, "chosen-by-me" in said) == (0, False)
    with Admin(shared_world.port, Account(name, "chosen-by-me")):
        pass


@pytest.mark.parametrize(("typed", "code", "is_left"), [("n\n", 1, True), ("y\n", 0, False)])
def test_a_terminal_is_asked_before_something_is_removed(
    root: Commands, typed: str, code: int, *, is_left: bool
) -> None:
    """And a no is a no."""
    name = fresh("asked")
    root.ask("device", "add", name)
    assert at_terminal(root.line("device", "delete", name), ("[y/N]: ", typed))[0] == code
    assert bool(root.ask("device", "list", "--prefix", name)["devices"]) == is_left


def test_a_security_token_is_asked_for(root: Commands, shared_world: World) -> None:
    """What the device shows is typed where nobody sees it, and must be the device's."""
    name = fresh("token")
    root.ask("request", "add", name)
    with Admin(shared_world.port, shared_world.accounts["bootstrap"], client_id=name) as device:
        device.subscribe(f"claimsvc/c/bootstrap/{name}/response/1")
        path = f"claimsvc/c/bootstrap/{name}/request/1/POST/devicecontrol/deviceCredentials"
        device.publish(path, json.dumps({"id": name, "securityToken": "shown-token"}))
        device.receive()
    line, asked = root.line("request", "accept", name, "--token"), f"Security token that {name} shows: "
    code, said = at_terminal(line, (asked, "other-token\n"))
    assert (code, "wrong_token" in said, "other-token" in said) == (1, True, False)
    assert at_terminal(line, (asked, "shown-token\n"))[0] == 0


def at_terminal(line: list[str], *dialogue: tuple[str, str | signal.Signals]) -> tuple[int, str]:
    """Run a command at a terminal, answer each of its questions, and return its code and all it said.

    A question is there when its last blank is: what is typed before that, the terminal throws away.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(line[0], line)
    said = b""
    for question, answer in dialogue:
        said += _until(terminal, question.encode())
        if isinstance(answer, signal.Signals):
            os.kill(pid, answer)
        else:
            os.write(terminal, answer.encode())
    said += _rest(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


def _until(terminal: int, words: bytes) -> bytes:
    said = b""
    while words not in said:
        said += os.read(terminal, 4096)
    return said


def _rest(terminal: int) -> bytes:
    said = b""
    try:
        while data := os.read(terminal, 4096):
            said += data
    except OSError:  # how Linux says that the other side is gone
        pass
    os.close(terminal)
    return said
