from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claimsvc.app import policy_of
from claimsvc.core.names import login_error
from claimsvc.credentials.password_file import (
    MARKERS,
    BrokerReloadError,
    PasswordFile,
    PasswordFileError,
    Written,
    fits,
    foreign_lines,
)
from claimsvc.settings import Settings

HASH = "$7$2$c2FsdA==$aGFzaA=="


def _file(path: Path, pid_file: Path | None = None, *command: str) -> PasswordFile:
    return PasswordFile(path, pid_file, command)


def _write(file: PasswordFile, logins: list[tuple[str, str]]) -> Written:
    return asyncio.run(file.write(logins))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the password file is to be; its directory is not there yet."""
    return tmp_path / "data" / "mosquitto.passwd"


def test_logins_stand_in_the_file(path: Path) -> None:
    """Each login is a line; only owner and group read it."""
    file = _file(path)
    assert _write(file, [("alice", HASH), ("Test Device", HASH)]) == Written(2, (), changed=True)
    assert f"\nalice:{HASH}\nTest Device:{HASH}\n" in path.read_text()
    assert path.stat().st_mode & 0o007 == 0
    assert file.hash_of("alice") == HASH


def test_same_logins_change_nothing(path: Path) -> None:
    """A file that is right already is not written again."""
    file = _file(path)
    _write(file, [("alice", HASH)])
    before = path.stat().st_ino
    assert _write(file, [("alice", HASH)]) == Written(1, (), changed=False)
    assert path.stat().st_ino == before


def test_revoked_logins_go(path: Path) -> None:
    """The block is written whole from the store: what is not in it any more cannot log in."""
    file = _file(path)
    _write(file, [("alice", HASH), ("bob", HASH)])
    _write(file, [("bob", HASH)])
    assert (file.hash_of("alice"), file.hash_of("bob")) == (None, HASH)


def test_other_peoples_lines_are_kept(path: Path) -> None:
    """Lines before and after our block, comments too, stay in their order through every write."""
    path.parent.mkdir()
    path.write_text("# operator\nold:$6$x$y\n")
    file = _file(path)
    _write(file, [("alice", HASH)])
    path.write_text(path.read_text() + "later:$7$x\n")
    _write(file, [("bob", HASH)])
    assert foreign_lines(path.read_text()) == ["# operator", "old:$6$x$y", "later:$7$x"]
    assert file.hash_of("old") == "$6$x$y"


def test_login_outside_our_block_stays_somebody_elses(path: Path) -> None:
    """A name the operator has a line for is left out of our block, told, and keeps the operator's hash."""
    path.parent.mkdir()
    path.write_text("alice:$6$old\n")
    file = _file(path)
    assert _write(file, [("alice", HASH), ("alicette", HASH)]) == Written(1, ("alice",), changed=True)
    assert (file.hash_of("alice"), file.hash_of("alicette")) == ("$6$old", HASH)
    assert path.read_text().count("alice:") == 1
    assert asyncio.run(file.foreign()) == {"alice"}


@pytest.mark.parametrize(
    "login",
    ["", "a:b", "a\nroot:x", "a\rb", "a\0b", "#a", " a", "a ", "\ta", "a\x85b", "a\u2028b", "a\x1cb"],
)
def test_no_login_begins_another_line(path: Path, login: str) -> None:
    """A name that could be a second line, a comment or another login is left out, and told."""
    assert not fits(login)
    written = _write(_file(path), [(login, HASH), ("alice", HASH)])
    assert (written.logins, written.left_out) == (1, (login,))
    begin, *ours, end = path.read_text().splitlines()
    assert ours == [f"alice:{HASH}"]
    assert {begin.partition(":")[0], end.partition(":")[0]} == MARKERS


@pytest.mark.parametrize("login", ["alice", "Test Device", "acme%2Fx", "a#b", "ä€", "a$b", "."])
def test_logins_that_fit(login: str) -> None:
    """Blanks and signs inside a name do no harm."""
    assert fits(login)


def test_marks_are_nobodys_logins() -> None:
    """The lines that mark our block have names no device or user can get."""
    policy = policy_of(Settings.model_validate({"credentials": {"store": "password_file"}}))
    assert all(login_error(mark, policy) for mark in MARKERS)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660])
def test_mode_is_the_operators(path: Path, mode: int) -> None:
    """A file that exists keeps its mode; it is replaced in one step, with no draft left."""
    path.parent.mkdir()
    path.write_text("old:x\n")
    path.chmod(mode)
    _write(_file(path), [("alice", HASH)])
    assert path.stat().st_mode & 0o777 == mode
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A directory that is a file is told, as is a file that is no text."""
    (tmp_path / "data").write_text("")
    with pytest.raises(PasswordFileError):
        _write(_file(tmp_path / "data" / "passwd"), [("alice", HASH)])
    (tmp_path / "binary").write_bytes(b"\xff:x\n")
    with pytest.raises(PasswordFileError):
        _write(_file(tmp_path / "binary"), [("alice", HASH)])
    assert (tmp_path / "binary").read_bytes() == b"\xff:x\n"


def test_hash_of_a_file_that_is_no_text_is_an_error_for_the_operator(tmp_path: Path) -> None:
    """Reading fails with an error the composition root expects, as writing does."""
    (tmp_path / "binary").write_bytes(b"\xff:x\n")
    with pytest.raises((PasswordFileError, OSError)):
        _file(tmp_path / "binary").hash_of("alice")
    with pytest.raises(PasswordFileError):
        asyncio.run(_file(tmp_path / "binary").foreign())


def test_missing_file_has_no_hash(path: Path) -> None:
    """Before the first write nobody has a line."""
    assert _file(path).hash_of("alice") is None


# --- telling the broker


def _reload(file: PasswordFile) -> None:
    asyncio.run(file.write([("alice", HASH)]))
    asyncio.run(file.reload())


def test_reload_command_runs_after_the_write(path: Path, tmp_path: Path) -> None:
    """The command sees the new file; it runs instead of a signal."""
    seen = tmp_path / "seen"
    copy = f"import shutil; shutil.copy({str(path)!r}, {str(seen)!r})"
    pid_file = tmp_path / "no.pid"
    _reload(_file(path, pid_file, sys.executable, "-c", copy))
    assert seen.read_text() == path.read_text()


def test_failing_reload_command_is_told(path: Path) -> None:
    """The file is written, and who asked learns that the broker does not know yet."""
    with pytest.raises(BrokerReloadError, match="false ended with 1"):
        _reload(_file(path, None, "false"))
    assert f"alice:{HASH}" in path.read_text()


def test_missing_reload_command_is_told(path: Path) -> None:
    """A command that is not there is no crash: it is told like one that fails."""
    with pytest.raises(BrokerReloadError):
        _reload(_file(path, None, "/no/such/command"))


def _stand_in(tmp_path: Path, name: str) -> subprocess.Popen[bytes]:
    """Start `cat` under another name, which is what /proc says of it. It ends with its input, or by HUP."""
    program = tmp_path / name
    program.write_bytes(Path("/bin/cat").read_bytes())
    program.chmod(0o700)
    child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin
    assert child.stdout
    child.stdin.write(b"up\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"up\n"
    return child


def _end(child: subprocess.Popen[bytes]) -> int:
    """End the input of a child that still lives, and return how it ended."""
    child.communicate(b"still here\n")
    return child.wait()


def test_mosquitto_gets_a_hangup(path: Path, tmp_path: Path) -> None:
    """SIGHUP goes to the process of the pid file when it is Mosquitto."""
    child = _stand_in(tmp_path, "mosquitto")
    pid_file = tmp_path / "mosquitto.pid"
    pid_file.write_text(f"{child.pid}\n")
    _reload(_file(path, pid_file))
    with child:
        assert child.wait(10) == -signal.SIGHUP


def test_stale_pid_file_signals_nobody_else(path: Path, tmp_path: Path) -> None:
    """A process id is used again: a process that is not Mosquitto lives on."""
    child = _stand_in(tmp_path, "innocent")
    pid_file = tmp_path / "mosquitto.pid"
    pid_file.write_text(str(child.pid))
    _reload(_file(path, pid_file))
    assert _end(child) == 0


def test_broker_that_is_down_needs_no_telling(path: Path, tmp_path: Path) -> None:
    """Without a pid file, or with one of a process that is gone, the broker reads its logins at its start."""
    _reload(_file(path, tmp_path / "none.pid"))
    child = _stand_in(tmp_path, "mosquitto")
    _end(child)
    (tmp_path / "old.pid").write_text(str(child.pid))
    _reload(_file(path, tmp_path / "old.pid"))


@pytest.mark.parametrize("content", ["", "x", "12 34"])
def test_damaged_pid_file_is_told(path: Path, tmp_path: Path, content: str) -> None:
    """Who wrote the file learns that nobody could be told."""
    pid_file = tmp_path / "mosquitto.pid"
    pid_file.write_text(content)
    with pytest.raises(BrokerReloadError):
        _reload(_file(path, pid_file))


async def test_reload_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt nobody answers must not stop the service for good."""
    monkeypatch.setattr("claimsvc.credentials.password_file._RELOAD_S", 0.1)
    with pytest.raises(BrokerReloadError, match="did not end"):
        await PasswordFile(tmp_path / "passwords", None, ["sleep", "600"]).reload()
