"""Mosquitto's password file: the service's logins between two marks; all other lines stay as they are.

The store is the truth; the file is written from it whole, in one step, and the broker is told by SIGHUP. When
`reload` returns, a login of the store works as soon as the broker reads its next packet.
"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from claimsvc.files import replace_file
from claimsvc.immutable import immutable

EXCLUDED_FROM_LOGINS = ":"
"""Separates login and hash in a line."""

_NOBODY = f"$7$1${'A' * 16}${base64.b64encode(bytes(64)).decode()}"
"""A hash no password is known for."""
_BEGIN, _END = f"claimsvc-begin:{_NOBODY}", f"claimsvc-end:{_NOBODY}"
"""What lies between is rewritten, what lies outside is left alone. Logins nobody can use, and no comments, since
the tool mosquitto_passwd destroys a file that has comments."""
MARKERS = frozenset({"claimsvc-begin", "claimsvc-end"})
_FILE_MODE = 0o640
_RELOAD_S = 10.0


class BrokerReloadError(Exception):
    """The file is written, but the broker could not be told: new logins wait for its next reload."""


class PasswordFileError(Exception):
    """The file cannot be read or written: disk full, no permission."""


@immutable
class Written:
    """What a write did: how many logins the file has of ours, and which of ours it cannot have."""

    logins: int
    left_out: tuple[str, ...]
    changed: bool


class PasswordFile:
    """One Mosquitto password file and the broker that reads it."""

    def __init__(self, path: Path, pid_file: Path | None, reload_command: Sequence[str]) -> None:
        self._path = path
        self._pid_file = pid_file
        self._reload_command = tuple(reload_command)
        self._seen: tuple[int, int, int] | None = None
        self._foreign: frozenset[str] = frozenset()

    async def write(self, logins: Iterable[tuple[str, str]]) -> Written:
        """Bring our block to `logins` (login, $7$ hash). A login that stands outside of it stays somebody else's.

        Raises PasswordFileError.
        """
        try:
            return await asyncio.to_thread(self._write, dict(logins))
        except OSError as error:
            raise PasswordFileError(f"cannot write {self._path}: {error}") from error

    def _write(self, logins: dict[str, str]) -> Written:
        before = self._read()
        foreign = foreign_lines(before)
        taken = _names(foreign)
        ours = {login: text for login, text in logins.items() if fits(login) and login not in taken}
        lines = [*foreign, _BEGIN, *(f"{login}:{text}" for login, text in ours.items()), _END]
        text = "\n".join(lines) + "\n"
        if text != before:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, text, _FILE_MODE)
        left_out = tuple(login for login in logins if login not in ours)
        return Written(len(ours), left_out, changed=text != before)

    async def retire(self) -> bool:
        """Take our logins out of the file, where there are any; returns whether there were. Raises PasswordFileError.

        Somebody's own lines in it may still be wanted by the broker, but a login of ours that ended would live on.
        """
        if _BEGIN not in await asyncio.to_thread(self._read):
            return False
        return (await self.write([])).changed

    async def foreign(self) -> frozenset[str]:
        """Return the logins outside our block. Raises PasswordFileError.

        Read again only when the file has changed: a file of devices asks for each slice of its rows.
        """
        state = self._state()
        if state is None or state != self._seen:
            self._foreign = _names(foreign_lines(await asyncio.to_thread(self._read)))
            self._seen = state
        return self._foreign

    def _state(self) -> tuple[int, int, int] | None:
        """Return what changes whenever the file does; None where there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def hash_of(self, login: str) -> str | None:
        """Return the hash the file has for `login` now, or None. Raises PasswordFileError."""
        for line in self._read().split("\n"):
            name, _, secret_hash = line.partition(":")
            if name == login:
                return secret_hash
        return None

    def _read(self) -> str:
        try:
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise PasswordFileError(f"cannot read {self._path}: {error}") from error
        if (_BEGIN in text) != (_END in text):
            # Where our block ends is unknown, and with it whose lines are whose.
            raise PasswordFileError(f"{self._path} has lost its line claimsvc-begin or claimsvc-end: put it back")
        return text

    async def reload(self) -> None:
        """Tell the broker to read the file. Raises BrokerReloadError; a broker that is down needs no telling."""
        if self._reload_command:
            await self._run()
        elif self._pid_file is not None:
            self._signal(self._pid_file)

    async def _run(self) -> None:
        program, quiet = self._reload_command[0], asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(*self._reload_command, stdin=quiet, stdout=quiet)
        except OSError as error:
            raise BrokerReloadError(f"cannot run {program}: {error.strerror}") from error
        try:
            async with asyncio.timeout(_RELOAD_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise BrokerReloadError(f"{program} did not end within {_RELOAD_S:.0f} seconds") from None
        if code:
            raise BrokerReloadError(f"{program} ended with {code}")

    def _signal(self, pid_file: Path) -> None:
        try:
            pid = int(pid_file.read_text())
            if not _is_mosquitto(pid):
                return  # a file left behind: the broker is down and reads its logins when it starts
            os.kill(pid, signal.SIGHUP)
        except (FileNotFoundError, ProcessLookupError):
            return  # as above
        except (OSError, ValueError) as error:
            raise BrokerReloadError(f"cannot signal the broker of {pid_file}: {error}") from error


def _names(lines: Iterable[str]) -> frozenset[str]:
    return frozenset(line.partition(":")[0] for line in lines)


def _is_mosquitto(pid: int) -> bool:
    """A process id is used again: never signal somebody else. Without /proc the file is believed."""
    if pid <= 1:
        return False  # to signal 0 or -1 would reach a group of processes, or all
    name = Path(f"/proc/{pid}/comm")
    if not Path("/proc/self/comm").exists():
        return True
    return name.exists() and name.read_text().startswith("mosquitto")


def fits(login: str) -> bool:
    """Return whether `login` can stand in a line; nothing may begin a second one or a comment."""
    return bool(login) and login.isprintable() and ":" not in login and login == login.strip() and login[0] != "#"


def foreign_lines(text: str) -> list[str]:
    """Return the lines of a password file outside our block."""
    lines: list[str] = []
    inside = False
    for line in text.split("\n"):
        if line == _BEGIN:
            inside = True
        elif line == _END:
            inside = False
        elif not inside and line:
            lines.append(line)
    return lines
