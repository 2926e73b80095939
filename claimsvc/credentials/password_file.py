"""Mosquitto's password file: our logins between two marks, everybody else's lines left alone (design 6).

The store is the truth; the file is written from it whole, in one step, and the broker is told by SIGHUP. When
`write` returns, a login of the store works as soon as the broker reads its next packet.
"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from claimsvc.files import replace_file

EXCLUDED_FROM_LOGINS = ":"
"""Separates login and hash in a line."""

_NOBODY = "$".join(("", "7", "1", base64.b64encode(bytes(12)).decode(), base64.b64encode(bytes(64)).decode()))
"""A hash no password is known for."""
_BEGIN, _END = f"claimsvc-begin:{_NOBODY}", f"claimsvc-end:{_NOBODY}"
"""What lies between is rewritten, what lies outside is left alone. Logins nobody can use, and no comments, since
the tool mosquitto_passwd destroys a file that has comments."""
MARKERS = frozenset({"claimsvc-begin", "claimsvc-end"})
_FILE_MODE = 0o640


class BrokerReloadError(Exception):
    """The file is written, but the broker could not be told: new logins wait for its next reload."""


class PasswordFileError(Exception):
    """The file cannot be written: disk full, no permission."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: how many logins the file has of ours, and which could not be written as a line."""

    logins: int
    left_out: tuple[str, ...]
    changed: bool


class PasswordFile:
    """One Mosquitto password file and the broker that reads it."""

    def __init__(self, path: Path, pid_file: Path | None, reload_command: Sequence[str]) -> None:
        self._path = path
        self._pid_file = pid_file
        self._reload_command = tuple(reload_command)

    async def write(self, logins: Iterable[tuple[str, str]]) -> Written:
        """Bring the file to `logins` (login, $7$ hash) and tell the broker where that changed anything.

        Raises PasswordFileError, and BrokerReloadError after the file was written.
        """
        lines = dict(logins)
        left_out = tuple(login for login in lines if not fits(login))
        kept = {login: secret_hash for login, secret_hash in lines.items() if fits(login)}
        try:
            changed = await asyncio.to_thread(self._replace, kept)
        except (OSError, UnicodeDecodeError) as error:
            raise PasswordFileError(f"cannot write {self._path}: {error}") from error
        if changed:
            await self._reload()
        return Written(len(kept), left_out, changed)

    def _replace(self, logins: dict[str, str]) -> bool:
        before = self._path.read_text() if self._path.exists() else ""
        foreign = [line for line in foreign_lines(before) if line.partition(":")[0] not in logins]
        ours = [f"{login}:{secret_hash}" for login, secret_hash in logins.items()]
        text = "\n".join([*foreign, _BEGIN, *ours, _END]) + "\n"
        if text == before:
            return False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, text, _FILE_MODE)
        return True

    def hash_of(self, login: str) -> str | None:
        """Return the hash the file has for `login` now, or None."""
        if not self._path.exists():
            return None
        for line in self._path.read_text().splitlines():
            name, _, secret_hash = line.partition(":")
            if name == login:
                return secret_hash
        return None

    async def _reload(self) -> None:
        if self._reload_command:
            process = await asyncio.create_subprocess_exec(*self._reload_command)
            if code := await process.wait():
                raise BrokerReloadError(f"{self._reload_command[0]} ended with {code}")
        elif self._pid_file is not None:
            self._signal(self._pid_file)

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


def _is_mosquitto(pid: int) -> bool:
    """A process id is used again: never signal somebody else. Without /proc the file is believed."""
    name = Path(f"/proc/{pid}/comm")
    if not Path("/proc/self/comm").exists():
        return True
    return name.exists() and name.read_text().startswith("mosquitto")


def fits(login: str) -> bool:
    """Return whether `login` can stand in a line; nothing may begin a second one or a comment."""
    return (
        bool(login)
        and login.isprintable()
        and ":" not in login
        and login == login.strip()
        and login[0] != "#"
    )


def foreign_lines(text: str) -> list[str]:
    """Return the lines of a password file outside our block."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if line == _BEGIN:
            inside = True
        elif line == _END:
            inside = False
        elif not inside and line:
            lines.append(line)
    return lines
