"""Operators' commands as people run them: a process with a password file, its output and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from urllib.parse import quote

from typer.testing import CliRunner

from claimsvc.cli import load
from claimsvc.cli.console import app
from claimsvc.founding import Account
from tests.support.processes import PATIENCE_S

LONG_S = 60.0
"""More than any command of a test takes on a busy machine."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return standard output, which must be one document of JSON and nothing else."""
        return json.loads(self.out)


class Commands:
    """Runs commands as one account of a world at a port."""

    def __init__(self, port: int, account: Account, directory: Path, *options: str) -> None:
        self.port = port
        self.account = account
        self.directory = directory
        self.password_file = directory / f"{quote(account.username, safe='')}.password"
        self.password_file.write_text(f"{account.password}\n")
        self.options = options

    @property
    def url(self) -> str:
        return f"mqtt://{quote(self.account.username, safe='')}@127.0.0.1:{self.port}"

    def line(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", "claimsvc", *self._arguments(*arguments)]

    def _arguments(self, *arguments: str) -> list[str]:
        """Return the arguments with the connection before the first option, so that a test's own win."""
        connection = ["--url", self.url, "--password-file", str(self.password_file), *self.options]
        at = next((place for place, each in enumerate(arguments) if each.startswith("-")), len(arguments))
        return [*arguments[:at], *connection, *arguments[at:]]

    def run(self, *arguments: str, typed: str = "", **environment: str) -> Done:
        """Run a command to its end; `typed` is its standard input, which is no terminal."""
        done = subprocess.run(
            self.line(*arguments),
            input=typed,
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=False,
            cwd=self.directory,
            env={**os.environ, **environment},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def quick(self, *arguments: str, typed: str = "") -> Done:
        """Run a command in this process, which saves the second it takes to start one."""
        return local(*self._arguments(*arguments), typed=typed)

    def ask(self, *arguments: str) -> Any:
        """Run a command that succeeds, and return its JSON."""
        done = self.quick(*arguments, "--json")
        assert done.code == 0, done
        return done.json

    def start(self, *arguments: str) -> Running:
        """Start a command that goes on until it is interrupted."""
        return Running(self.line(*arguments), self.directory)


def local(*arguments: str, typed: str = "") -> Done:
    """Run a command in this process with these arguments alone."""
    load(None)
    result = CliRunner().invoke(app, arguments, input=typed)
    assert result.exception is None or isinstance(result.exception, SystemExit), result
    return Done(result.exit_code, result.stdout, result.stderr)


class Running:
    """A command that runs; its lines are read as they come."""

    def __init__(self, line: list[str], directory: Path) -> None:
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=directory
        )
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)

    def wait_for(self, is_it: Callable[[str], bool]) -> str:
        """Return the next line that is the one; lines before it are passed over."""
        while True:
            try:
                line = self._lines.get(timeout=LONG_S)
            except Empty:
                raise AssertionError("the line does not come") from None
            if is_it(line):
                return line

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C and return the exit code, and what stands on standard error."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for the end and return the exit code, and what stands on standard error."""
        assert self.process.stdout
        assert self.process.stderr
        code = self.process.wait(PATIENCE_S)
        with self.process.stdout, self.process.stderr as stderr:
            return code, stderr.read()


def one_line(done: Done, code: int, *words: str) -> None:
    """A failure is one clear line that names its cause, an exit code, and never a traceback."""
    assert done.code == code, done
    (line,) = done.err.splitlines()
    assert line.startswith("claimsvc: ")
    for word in words:
        assert word in line
