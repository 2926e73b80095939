from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from claimsvc.tailing.entry import Level, Wanted, parse
from claimsvc.tailing.lines import follow
from claimsvc.tailing.page import Page

TIME = "2026-11-26T15:53:41.880922Z"
REFUSED = {
    "lane": "claimsvc/u/alice/",
    "principal": "alice",
    "command": "ClaimDevice",
    "outcome": "refused",
    "device": "Sensor 1",
    "ms": 5.2,
    "reason": "wrong_key",
    "event": "handled",
    "level": "info",
    "time": TIME,
}
GATEWAY = {**REFUSED, "device": "gw", "outcome": "done", "reason": None, "reasons": {"Sensor 2": "not_permitted"}}
LOST = {"error": "gone", "retry_in_s": 0.3, "event": "broker_lost", "level": "warning", "time": TIME}
AUDIT = {
    "time": 1_795_708_421_880,
    "event": "claim_refused",
    "tenantId": "default",
    "principal": "alice",
    "deviceId": "0199",
    "device": "Sensor 1",
    "detail": "wrong_key",
}

# --- what is looked for

WANTED: dict[str, tuple[dict[str, Any], Wanted, bool]] = {
    "nothing in particular": (REFUSED, Wanted(), True),
    "its device": (REFUSED, Wanted(device="Sensor 1"), True),
    "another device": (REFUSED, Wanted(device="Sensor"), False),
    "devices by a pattern": (REFUSED, Wanted(device="Sensor*"), True),
    "a device a gateway named": (GATEWAY, Wanted(device="Sensor 2"), True),
    "its principal": (REFUSED, Wanted(principal="alice"), True),
    "another principal": (REFUSED, Wanted(principal="bob"), False),
    "its outcome": (REFUSED, Wanted(outcome="refused"), True),
    "another outcome": (REFUSED, Wanted(outcome="done"), False),
    "its reason": (REFUSED, Wanted(reason="wrong_key"), True),
    "a reason in a gateway's message": (GATEWAY, Wanted(reason="not_permitted"), True),
    "a reason where there is none": (LOST, Wanted(reason="*"), False),
    "an audit event's reason": (AUDIT, Wanted(reason="wrong_key"), True),
    "an audit event's device": (AUDIT, Wanted(device="Sensor 1"), True),
    "its event": (LOST, Wanted(event="broker_*"), True),
    "another event": (LOST, Wanted(event="handled"), False),
    "its level": (LOST, Wanted(level=Level.WARNING), True),
    "a higher level": (LOST, Wanted(level=Level.ERROR), False),
    "a level above an audit event's": (AUDIT, Wanted(level=Level.WARNING), False),
    "two things of which one is not so": (REFUSED, Wanted(principal="alice", device="other"), False),
}


@pytest.mark.parametrize(("line", "wanted", "found"), WANTED.values(), ids=WANTED.keys())
def test_filter(line: dict[str, Any], wanted: Wanted, *, found: bool) -> None:
    """All that is given must match."""
    entry = parse(json.dumps(line))
    assert entry is not None
    assert wanted.matches(entry) is found


@pytest.mark.parametrize(
    "line", ["", "text", "{", "{}", "[1]", "5", '{"event": 5}', '{"a": "b"}', '{"event": "x"', "\ufffd\ufffd"]
)
def test_what_is_no_entry(line: str) -> None:
    """Another program's line, JSON or not."""
    assert parse(line) is None


@pytest.mark.parametrize("time", [None, "yesterday", 10**30, -(10**30), True, [], "2026-13-40T99:00:00Z"])
def test_an_entry_with_an_odd_time_is_an_entry(time: Any) -> None:
    """It is shown, without or with that time."""
    entry = parse(json.dumps({"event": "x", "time": time}))
    assert entry is not None
    assert "x" in shown(entry)


# --- how it is shown


def shown(*lines: Any, width: int = 80, terminal: bool = False) -> str:
    """Return what a page shows of entries, or of lines that are none."""
    out = StringIO()
    page = Page(
        Console(
            file=out,
            width=width,
            force_terminal=terminal,
            highlight=False,
            legacy_windows=False,
        )
    )
    for line in lines:
        if isinstance(line, str):
            page.pass_on(line)
        else:
            entry = parse(json.dumps(line)) if isinstance(line, dict) else line
            assert entry is not None
            page.show(entry)
    return out.getvalue()


def test_requests_line_up() -> None:
    """Time, command, what came of it, who and about which device, how long; the day stands above."""
    assert shown(REFUSED, {**REFUSED, "command": "ReleaseDevice", "outcome": "done", "reason": None}) == (
        "2026-11-26 UTC\n"
        "15:53:41.880 ClaimDevice       wrong_key          alice > Sensor 1 5.2 ms\n"
        "15:53:41.880 ReleaseDevice     done               alice > Sensor 1 5.2 ms\n"
    )


def test_a_device_that_speaks_for_itself_is_named_once() -> None:
    """Its principal says the same."""
    line = shown({**REFUSED, "principal": "gw", "device": "gw"}).splitlines()[1]
    assert line.endswith("wrong_key          gw 5.2 ms")


def test_other_events_tell_their_fields() -> None:
    """With the level where it is one to look at; an audit event as any other."""
    lines = shown(LOST, AUDIT).splitlines()[1:]
    assert lines[0] == "15:53:41.880 broker_lost       warning error=gone retry_in_s=0.3"
    assert lines[1] == "15:53:41.880 claim_refused     alice > Sensor 1 detail=wrong_key"


def test_a_terminal_gets_lines_of_its_width_and_a_file_whole_ones() -> None:
    """What has no room goes below, behind the time."""
    entry = {**LOST, "error": "one two three four five six seven eight nine ten eleven twelve thirteen"}
    wide, *more = re.sub(r"\x1b\[[0-9;]*m", "", shown(entry, width=60, terminal=True)).splitlines()[1:]
    assert more
    assert all(len(line) <= 60 for line in [wide, *more])
    assert all(line.startswith(" " * 13) for line in more)
    assert len(shown(entry, width=60).splitlines()) == 2


def test_a_traceback_is_shown_below() -> None:
    """Line by line."""
    text = shown({**LOST, "exception": "Traceback:\n  File x\nValueError"})
    assert text.endswith("             Traceback:\n               File x\n             ValueError\n")


def test_colours_are_for_terminals() -> None:
    """And for nothing else."""
    assert "\x1b[" in shown(REFUSED, terminal=True)
    assert "\x1b" not in shown(REFUSED)


def test_a_terminal_obeys_no_stranger() -> None:
    """Neither in a field nor in a line that is passed on; colours of other programs stay, and a file gets all."""
    evil = "a\x1b]0;title\x07b\x9b2Jc"
    for text in (shown({**LOST, "error": evil}, terminal=True), shown(evil, terminal=True)):
        assert not {"\x1b", "\x07", "\x9b"} & set(text.replace("\x1b[", ""))
        assert "\x1b]" not in text
    assert "red" in shown("\x1b[31mred\x1b[0m", terminal=True)


@pytest.mark.parametrize("terminal", [True, False], ids=["a terminal", "a file"])
@pytest.mark.parametrize("trick", ["\x1b[8m", "\x9b2J", "\u202e"], ids=["hidden", "cleared", "turned"])
def test_a_field_neither_hides_what_follows_nor_turns_it(trick: str, *, terminal: bool) -> None:
    """Colours are our own: those of a field would go on behind it. Of another program's line they are its own."""
    fields = {"device": f"meter{trick}x", "detail": f"a{trick} b", "exception": f"Error: {trick}oh"}
    for line in ({**REFUSED, **fields}, {**REFUSED, **fields, "event": f"odd{trick}"}):
        assert trick not in shown(line, terminal=terminal)
        assert re.search(r"meter\ufffd.*x", shown(line, terminal=terminal))
    assert shown("no [JSON] at all") == "no [JSON] at all\n"


# --- a file that grows


class Growing:
    """A log that changes each time its end is reached, by one step after the other."""

    def __init__(self, path: Path, *steps: Callable[[Path], object]) -> None:
        self.path = path
        self.steps = iter(steps)

    def lines(self) -> list[str]:
        """Return all lines that are read until there is no further step."""

        class Done(Exception):  # noqa: N818 - not an error
            """There is no further step."""

        def step() -> None:
            change = next(self.steps, None)
            if change is None:
                raise Done
            change(self.path)

        found: list[str] = []
        lines: Iterator[str | None] = follow(self.path, step)
        with suppress(Done):
            found.extend(line for line in lines if line is not None)
        return found


def append(text: str) -> Callable[[Path], object]:
    """Return what a program does that writes on."""

    def change(path: Path) -> None:
        with path.open("a") as file:
            file.write(text)

    return change


def rotate(first: str) -> Callable[[Path], object]:
    """Return what logrotate does by `create`, and the program that then writes on."""

    def change(path: Path) -> None:
        path.rename(path.with_suffix(".1"))
        path.write_text(first)

    return change


def late_rotate(last: str, first: str) -> Callable[[Path], object]:
    """Return the same where the program writes once more before it notices."""

    def change(path: Path) -> None:
        append(last)(path)
        rotate(first)(path)

    return change


GROWTHS: dict[str, tuple[list[Callable[[Path], object]], list[str]]] = {
    "it grows": ([append("two\n"), append("three\n")], ["one", "two", "three"]),
    "a line comes in two parts": ([append("tw"), append("o\n")], ["one", "two"]),
    "it is rotated": ([append("two\n"), rotate("three\n"), append("four\n")], ["one", "two", "three", "four"]),
    "it is rotated right after a line": ([late_rotate("two\n", "three\n")], ["one", "two", "three"]),
    "it is rotated in the middle of a line": ([late_rotate("tw", "three\n")], ["one", "tw", "three"]),
    "it is emptied": ([lambda path: path.write_text(""), append("two\n")], ["one", "two"]),
    "it is emptied and written at once": ([lambda path: path.write_text("2\n")], ["one", "2"]),
    "it is gone for a while": (
        [lambda path: path.rename(path.with_suffix(".1")), lambda path: path.write_text("two\n")],
        ["one", "two"],
    ),
    "it is gone for good": ([lambda path: path.unlink(), lambda _path: None], ["one"]),
}


@pytest.mark.parametrize(("steps", "expected"), GROWTHS.values(), ids=GROWTHS.keys())
def test_follow(steps: list[Callable[[Path], object]], expected: list[str], tmp_path: Path) -> None:
    """No line is lost, told twice, or told by halves."""
    path = tmp_path / "service.log"
    path.write_text("one\n")
    assert Growing(path, *steps).lines() == expected
