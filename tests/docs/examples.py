"""Reads the examples of the documents and runs them as a reader would: copied into one shell, block by block.

What a document may say of a block, in a comment on the line before it:

    <!-- not run: why -->                         it needs what a test does not have
    <!-- in a second terminal: PollCredentials -->  it waits; the next block follows when the service has handled this
    <!-- demo: --no-plugin -->                      (anywhere) the document is about a stock broker

A fence of `json` or `text` right behind a block is what it prints; `...` stands for anything, and white space does
not matter. Without one, no answer may be a refusal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from claimsvc.core.policy import BOOTSTRAP
from docs.generator.parts import ROOT
from tests.support.processes import World

PATIENCE_S = 60.0
PORT = "18830"
"""The demo's port, which documents name."""
_FENCE = re.compile(
    r"(?:^ *<!-- (?P<remark>[^>]*?) -->\n+)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_SHOWN = re.compile(r"\n+ *```(?:json|text)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(
    r"^ {4,}(?:[A-Z]+=\S+[; ]+)*(?:sudo |\$ )?"
    r"(?:mosquitto(?:_\w+)? |claimsvc \w+ (?!\[)|\S*bin/claimsvc|scripts/|docker |make |git |pip |systemctl |rr )",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Example:
    """One fenced block."""

    line: int
    language: str
    text: str
    remark: str
    shown: str | None
    """What the document says it prints."""

    @property
    def why_not_run(self) -> str | None:
        return self.remark.removeprefix("not run:").strip() if self.remark.startswith("not run:") else None

    @property
    def awaited(self) -> str | None:
        """The command that the service has handled when the next block may follow; None where this one ends."""
        start = "in a second terminal:"
        return self.remark.removeprefix(start).strip() if self.remark.startswith(start) else None


def examples(document: Path) -> list[Example]:
    """Return the blocks of a document in their order."""
    text = document.read_text()
    found = []
    for match in _FENCE.finditer(text):
        shown = _SHOWN.match(text, match.end())
        found.append(
            Example(
                text.count("\n", 0, match.start("language")) + 1,
                match["language"],
                re.sub(rf"(?m)^{match['indent']}", "", match["text"]),
                match["remark"] or "",
                shown["text"] if shown else None,
            )
        )
    return found


def unfenced_commands(document: Path) -> list[str]:
    """Return lines that look like commands and stand in no fence, where nobody runs them."""
    return [match[0].strip() for match in _COMMAND.finditer(_FENCE.sub("", document.read_text()))]


def wants_plugin(document: Path) -> bool:
    """Return whether the document's demo has the broker's plugin."""
    return "<!-- demo: --no-plugin -->" not in document.read_text()


class Reader:
    """A shell in a directory like a source tree, beside a demo in `demo/`."""

    def __init__(self, directory: Path, world: World) -> None:
        self._world = world
        self._directory = directory
        self._prepare()
        self._lines: Queue[str] = Queue()
        self._errors = directory / "stderr"
        with self._errors.open("w") as errors:
            self._shell = subprocess.Popen(
                ["bash", "-e", "-u", "-o", "pipefail"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=directory,
                env=self._environment(),
            )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _prepare(self) -> None:
        for name in (".venv", "plugin", "scripts", "tests", "docs"):
            (self._directory / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "config", self._directory / "config")
        shutil.copy(ROOT / "mosquitto.conf", self._directory)
        clients = self._directory / "clients"
        clients.mkdir()
        for name in ("mosquitto_rr", "mosquitto_pub", "mosquitto_sub"):
            (clients / name).write_text(f"#!{sys.executable}\n{(ROOT / 'tests/docs/client.py').read_text()}")
            (clients / name).chmod(0o755)
        known = {each.username: each.password for each in self._world.accounts.values()}
        known["management/devicebootstrap"] = known[BOOTSTRAP]
        (self._directory / "logins.json").write_text(json.dumps(known))

    def _environment(self) -> dict[str, str]:
        real = shutil.which("mosquitto_rr")
        assert real, "mosquitto_rr is not installed: scripts/setup installs it"
        path = [str(self._directory / "clients"), str(ROOT / ".venv/bin"), os.environ["PATH"], "/usr/sbin"]
        return {
            **os.environ,
            "PATH": ":".join(path),
            "EXAMPLES_CLIENTS": str(Path(real).parent),
            "EXAMPLES_PORT": str(self._world.port),
            "EXAMPLES_LOGINS": str(self._directory / "logins.json"),
            "CLAIMSVC_CONFIG": str(self._world.directory / "claimsvc.toml"),
        }

    def _read(self) -> None:
        assert self._shell.stdout
        with self._shell.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put("")

    def run(self, example: Example) -> None:
        """Run a block and hold what it prints against what the document says."""
        text = example.text.replace(PORT, str(self._world.port))
        if example.language == "python":
            text = f"{_python(text)} - <<'END_OF_PYTHON'\n{text}\nEND_OF_PYTHON\n"
        if example.awaited is None:
            self._check(example, self._printed(f"{{\n{text}\n}} </dev/null"))
            return
        self._printed(f"{{\n{text}\n}} </dev/null >waiting.{example.line} &")
        self._world.service.wait_for("handled", command=example.awaited)

    def finish(self, waiting: list[Example]) -> None:
        """Wait for the blocks that wait, and check what they printed."""
        try:
            self._printed("wait")
            for example in waiting:
                self._check(example, (self._directory / f"waiting.{example.line}").read_text())
        finally:
            self.close()

    def close(self) -> None:
        """End the shell and what it started."""
        self._shell.kill()
        self._shell.wait()
        assert self._shell.stdin
        self._shell.stdin.close()
        self._reading.join(PATIENCE_S)

    def _printed(self, text: str) -> str:
        end = f"@@ {threading.get_native_id()} done"
        assert self._shell.stdin
        self._shell.stdin.write(f"{text}\necho '{end}'\n")
        self._shell.stdin.flush()
        printed = ""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except Empty:
                raise AssertionError(f"it does not end:\n{text}\n{printed}{self._errors.read_text()}") from None
            if line.strip() == end:
                return printed
            assert line, f"it failed:\n{text}\n{printed}{self._errors.read_text()}"
            printed += line

    def _check(self, example: Example, printed: str) -> None:
        if example.shown is None:
            refused = [line for line in printed.splitlines() if _is_refusal(line)]
            assert refused == [], f"line {example.line}: {example.text}"
            return
        shown, seen = "".join(example.shown.split()), "".join(printed.split())
        pattern = ".*".join(map(re.escape, shown.split("...")))
        assert re.fullmatch(pattern, seen), f"line {example.line} prints\n{printed}and not\n{example.shown}"


def _python(text: str) -> str:
    """Return the interpreter for a block: ThingsBoard's client lives in a virtual environment of its own."""
    return ".venv/vendor/bin/python" if "tb_device_mqtt" in text or "tb_gateway_mqtt" in text else ".venv/bin/python"


def _is_refusal(line: str) -> bool:
    try:
        answer = json.loads(line)
    except ValueError:
        return False
    status = answer.get("status") if isinstance(answer, dict) else None
    return status == "FAILURE" or (isinstance(status, int) and status >= 400)
