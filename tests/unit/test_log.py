from __future__ import annotations

import asyncio
import io
import json
from io import StringIO

import pytest

from claimsvc.app import lanes_of
from claimsvc.core.decision import Decision, Refused
from claimsvc.core.reasons import Reason
from claimsvc.log import Logger, now_iso, open_log
from claimsvc.mqtt.journal import record
from claimsvc.settings import Settings
from tests.support.factories import inbound

PLANTED = "hunter2-hunter2"


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _open(style: str = "json", level: str = "info") -> tuple[Logger, io.StringIO]:
    stream = io.StringIO()
    return open_log(level, style, stream), stream


@pytest.mark.parametrize("style", ["json", "auto"])
def test_lines_are_json_where_nobody_looks(style: str) -> None:
    """One object per line, with level and time, whatever stands in the values."""
    log, stream = _open(style)
    log.info("handled", principal='a"b\nc', device="ä", ms=1.5, none=None)
    (line,) = _lines(stream)
    time = str(line.pop("time"))
    assert time.endswith("Z")
    fields = {"principal": 'a"b\\nc', "device": "ä", "ms": 1.5, "none": None}
    assert line == {"event": "handled", "level": "info", **fields}


@pytest.mark.parametrize(("level", "kept"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_level_leaves_out_what_is_below(level: str, kept: int) -> None:
    """The operator chooses how much is said."""
    log, stream = _open(level=level)
    for say in (log.debug, log.info, log.warning, log.error):
        say("x")
    assert len(_lines(stream)) == kept


def test_long_values_are_cut() -> None:
    """A principal may be 64 KiB long; a log line may not."""
    log, stream = _open()
    log.info("handled", principal="x" * 65_000, fine="y" * 300)
    (line,) = _lines(stream)
    assert line["principal"] == "x" * 300 + "…"
    assert line["fine"] == "y" * 300


def test_text_for_people() -> None:
    """Text is no JSON, and without a terminal has no colours."""
    log, stream = _open("text")
    log.info("handled", device="A")
    assert "handled" in stream.getvalue()
    assert "device=A" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


async def test_lines_of_one_turn_are_written_at_once() -> None:
    """Inside the event loop lines are collected and written in order at the end of the turn."""
    log, stream = _open()
    for number in range(3):
        log.info("handled", number=number)
    assert stream.getvalue() == ""
    written = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(written.set_result, None)
    await written
    assert [line["number"] for line in _lines(stream)] == [0, 1, 2]


def _broken(payload: bytes) -> None:
    secret = payload.decode()
    raise RuntimeError(f"broken at {len(secret)}")


def _raise(log: Logger) -> None:
    try:
        _broken(PLANTED.encode())
    except RuntimeError:
        log.exception("internal_error", topic="t")


@pytest.mark.parametrize("style", ["json", "text"])
def test_exception_shows_where_and_no_payload(style: str) -> None:
    """A traceback names functions and the error; it never shows the values of variables."""
    log, stream = _open(style)
    _raise(log)
    said = stream.getvalue()
    assert "broken at 15" in said
    assert "_broken" in said
    assert PLANTED not in said


@pytest.mark.parametrize(
    ("tail", "shape"),
    [
        ("v1/devices/me/claim", '{{"secretKey":"{0}"}}'),
        ("v1/devices/me/claim", '{{"secretKey":"{0}"'),
        ("v1/devices/me/claim", '{{"durationMs":"{0}"}}'),
        ("v1/gateway/claim", '{{"A":{{"secretKey":["{0}"]}}}}'),
        ("v1/gateway/claim", '"{0}"'),
        ("v1/devices/me/rpc/request/1", '{{"method":"{0}"}}'),
        ("request/1/POST/api/customer/device/A/claim", '{{"secretKey":"{0}"}}'),
        ("request/1/POST/claimsvc/users", '{{"username":"a","password":["{0}"]}}'),
        ("request/1/POST/claimsvc/users", '{{"username":"a","password":"{0}",}}'),
        ("request/1/POST/api/plugins/telemetry/7/SERVER_SCOPE", '{{"claimingData":"{0}"}}'),
    ],
)
def test_handled_message_is_one_line_without_its_payload(tail: str, shape: str) -> None:
    """The line has lane, principal, command, outcome and milliseconds; never a secret, understood or not."""
    log, stream = _open()
    message = inbound(tail, shape.format(PLANTED))
    request = lanes_of(Settings()).read(message)
    assert request is not None
    command = request.asked
    outcome = command if isinstance(command, Refused) else Refused(Reason.INTERNAL)
    request.decision = Decision(outcome)
    record(request, log, now_iso(), answered=True)
    (line,) = _lines(stream)
    assert (line["event"], line["principal"], line["lane"]) == ("handled", "alice", "claimsvc/u/alice/")
    assert {"command", "outcome", "reason", "device", "ms"} <= set(line)
    assert PLANTED not in stream.getvalue()


@pytest.mark.parametrize("style", ["json", "text"])
def test_no_line_holds_what_a_terminal_would_obey(style: str) -> None:
    """A stranger's device name with escape sequences is shown, not obeyed."""
    stream = StringIO()
    open_log("info", style, stream).info("handled", device="\x1b[31mX\x1b]0;pwn\x07")
    assert "\x1b" not in stream.getvalue().replace("\x1b[0m", "")
    assert "pwn" in stream.getvalue()
