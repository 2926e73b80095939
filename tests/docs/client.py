"""Stands in front of Mosquitto's clients while examples are run: what a reader would fill in, it fills in.

The port of the demo where none is given; for `-P ...` the password that the login of `-u` was given, by the demo or
by an answer seen earlier. All else goes to the client of the same name as it is.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOGINS = Path(os.environ["EXAMPLES_LOGINS"])


def arguments(given: list[str]) -> list[str]:
    """Return the arguments for the real client."""
    filled = given if "-p" in given else ["-p", os.environ["EXAMPLES_PORT"], *given]
    if "-u" not in filled or "-P" not in filled:
        return filled
    username, at = filled[filled.index("-u") + 1], filled.index("-P") + 1
    known = json.loads(LOGINS.read_text())
    return [*filled[:at], known.get(username, filled[at]) if filled[at] == "..." else filled[at], *filled[at + 1 :]]


def logins(line: str) -> Iterator[tuple[str, str]]:
    """Return the logins that an answer gives."""
    if told := re.fullmatch(r"70,[^,]*,([^,]*),([^,]*)", line.strip()):
        yield told[1], told[2]
        yield f"default/{told[1]}", told[2]
    try:
        answer = json.loads(line)
    except ValueError:
        return
    yield from _in(answer)


def _in(answer: Any) -> Iterator[tuple[str, str]]:
    if isinstance(answer, dict):
        name = next((answer[each] for each in ("principal", "username", "userName", "name") if each in answer), None)
        if isinstance(answer.get("password"), str) and isinstance(name, str):
            yield name, answer["password"]
        for below in answer.values():
            # ThingsBoard gives some members as a text that holds JSON.
            yield from logins(below) if isinstance(below, str) and below.startswith("{") else _in(below)


def main() -> int:
    """Run the client and pass on what it prints, line by line."""
    real = os.environ["EXAMPLES_CLIENTS"] + "/" + Path(sys.argv[0]).name
    with subprocess.Popen([real, *arguments(sys.argv[1:])], stdout=subprocess.PIPE, text=True) as client:
        signal.signal(signal.SIGTERM, lambda *_: client.terminate())
        assert client.stdout
        for line in client.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if found := dict(logins(line)):
                LOGINS.write_text(json.dumps(json.loads(LOGINS.read_text()) | found))
    return client.returncode


if __name__ == "__main__":
    raise SystemExit(main())
