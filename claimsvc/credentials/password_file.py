"""Mosquitto's password file: the service's logins between two marker lines; all other lines stay as they are.

The service writes the whole file from the store, in one step, and makes the broker load it with SIGHUP. When `reload`
returns, every login of the store works as soon as the broker reads its next packet.
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
"""Separates the login and the hash of a line."""

_NOBODY = f"$7$1${'A' * 16}${base64.b64encode(bytes(64)).decode()}"
"""A hash without a known password."""
_BEGIN, _END = f"claimsvc-begin:{_NOBODY}", f"claimsvc-end:{_NOBODY}"
"""The service rewrites the lines between these two. They are unusable logins instead of comments, because the tool
mosquitto_passwd destroys a file with comments."""
MARKERS = frozenset({"claimsvc-begin", "claimsvc-end"})
_FILE_MODE = 0o640
_RELOAD_S = 10.0


class BrokerReloadError(Exception):
    """The file is written, but the broker did not load it: new logins do not work yet."""


class PasswordFileError(Exception):
    """The file cannot be read or written: disk full, no permission."""


@immutable
class Written:
    """The result of a write: how many logins of the service the file has, and which it cannot contain."""

    logins: int
    left_out: tuple[str, ...]
    changed: bool


class PasswordFile:
    """A Mosquitto password file and the broker that loads it."""

    def __init__(self, path: Path, pid_file: Path | None, reload_command: Sequence[str]) -> None:
        self._path = path
        self._pid_file = pid_file
        self._reload_command = tuple(reload_command)
        self._seen: tuple[int, int, int] | None = None
        self._foreign: frozenset[str] = frozenset()

    async def write(self, logins: Iterable[tuple[str, str]]) -> Written:
        """Write `logins` (login, $7$ hash) between the markers, except those that other lines already have.

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
        """Remove the service's logins from the file. Return whether it had any. Raises PasswordFileError.

        Call it if the service no longer uses the file: a login in it would work even after it ended. The broker may
        still use the other lines.
        """
        if _BEGIN not in await asyncio.to_thread(self._read):
            return False
        return (await self.write([])).changed

    async def foreign(self) -> frozenset[str]:
        """Return the logins outside the markers. Raises PasswordFileError.

        The file is read only if it has changed, because an import calls this for each slice of its rows.
        """
        state = self._state()
        if state is None or state != self._seen:
            self._foreign = _names(foreign_lines(await asyncio.to_thread(self._read)))
            self._seen = state
        return self._foreign

    def _state(self) -> tuple[int, int, int] | None:
        """Return inode, size and time of the file, which change with it; None if there is no file."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def hash_of(self, login: str) -> str | None:
        """Return the hash of `login` in the file, or None. Raises PasswordFileError."""
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
            # It is unknown which lines belong to the service.
            raise PasswordFileError(f"{self._path} has lost its line claimsvc-begin or claimsvc-end: restore it")
        return text

    async def reload(self) -> None:
        """Make the broker load the file, if it is running. Raises BrokerReloadError."""
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
                return  # a leftover file: the broker is down and will load the logins when it starts
            os.kill(pid, signal.SIGHUP)
        except (FileNotFoundError, ProcessLookupError):
            return  # as above
        except (OSError, ValueError) as error:
            raise BrokerReloadError(f"cannot signal the broker of {pid_file}: {error}") from error


def _names(lines: Iterable[str]) -> frozenset[str]:
    return frozenset(line.partition(":")[0] for line in lines)


def _is_mosquitto(pid: int) -> bool:
    """Return whether the process is Mosquitto, because process ids are reused. Without /proc, assume so."""
    if pid <= 1:
        return False  # a signal to 0 or -1 would reach a group of processes, or all
    name = Path(f"/proc/{pid}/comm")
    if not Path("/proc/self/comm").exists():
        return True
    return name.exists() and name.read_text().startswith("mosquitto")


def fits(login: str) -> bool:
    """Return whether `login` fits into a line of the file, without starting another line or a comment."""
    return bool(login) and login.isprintable() and ":" not in login and login == login.strip() and login[0] != "#"


def foreign_lines(text: str) -> list[str]:
    """Return the lines of a password file outside the markers."""
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
