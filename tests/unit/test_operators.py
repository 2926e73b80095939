"""What operators' commands show, and how they read what was typed: no broker is needed for that."""

from __future__ import annotations

import json
import time
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from claimsvc.cli.operators import device_commands
from claimsvc.cli.operators.failing import UnusableError
from claimsvc.cli.operators.lane import CallRefusedError, level_of
from claimsvc.cli.operators.options import duration_ms
from claimsvc.cli.operators.screen import Column, Screen, lasting, table, when
from claimsvc.core.names import principal_name
from tests.support.factories import NOW, given
from tests.support.screens import DEVICE, printed

# --- what was typed


@pytest.mark.parametrize(
    ("text", "ms"),
    [("90s", 90_000), ("15min", 900_000), ("15m", 900_000), ("1 h", 3_600_000), ("30d", 2_592_000_000), ("0s", 0)],
)
def test_durations(text: str, ms: int) -> None:
    """A number and a unit."""
    assert duration_ms(text, "--expires") == ms


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1.5h", "1h30m", "1y", "9" * 10 + "d"])
def test_no_durations(text: str) -> None:
    """Anything else is refused, and the option is named."""
    with pytest.raises(UnusableError, match="--expires"):
        duration_ms(text, "--expires")


@pytest.mark.parametrize(
    ("username", "level"),
    [
        pytest.param("admin", "admin", id="a plain name"),
        pytest.param("acme%2Fann", "acme%2Fann", id="a principal as it is told"),
        pytest.param("acme/ann", "acme%2Fann", id="a login as Cumulocity writes it"),
        pytest.param("a+b#c", "a%2Bb%23c", id="what no level can hold"),
        pytest.param("100%/x", "100%25%2Fx", id="a percent sign beside such"),
    ],
)
def test_the_lane_of_a_login(username: str, level: str) -> None:
    """It is the level the service gives the principal."""
    assert level_of(username) == level


@pytest.mark.parametrize("name", ["ann", "a/b", "a+b", "a#b", "100%/x", "a\tb"])
def test_the_lane_is_the_service_s(name: str) -> None:
    """A login of the default tenant has the lane that its principal names, a percent sign alone apart."""
    assert level_of(name) == principal_name("default", name, given().policy)


# --- times


def test_times_are_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a clock on the wall shows them."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-2")
        time.tzset()
        assert when(1_700_000_000_000) == "2023-11-15 00:13:20"
    time.tzset()
    assert when(None) is None


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "less than a second"),
        (-5, "less than a second"),
        (1_000, "1 s"),
        (61_000, "1 min 1 s"),
        (3_600_000, "1 h"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_how_long(ms: int, text: str) -> None:
    """In the two largest units."""
    assert lasting(ms) == text


# --- tables

COLUMNS = (
    Column("Name", lambda item: item["name"], whole=True),
    Column("Type", lambda item: item["type"]),
    Column("Id", lambda item: item["id"], wide=True),
)


def test_a_narrow_table_leaves_out_what_it_can() -> None:
    """And never cuts a name, which somebody may want to copy."""
    items = [{"name": "N" * 30, "type": "T" * 30, "id": "an id"}]
    narrow = printed(table(COLUMNS, items, wide=False), 40)
    assert "an id" not in narrow
    assert narrow.count("N") == 30 + 1  # and the heading's
    assert "…" in narrow
    assert "an id" in printed(table(COLUMNS, items, wide=True), 120)


def test_a_cell_of_members_is_json() -> None:
    """As they were sent, and not as Python has them."""
    shown = printed(table(COLUMNS, [{"name": {"a": True, "b": None}, "type": "t", "id": "i"}], wide=True))
    assert '{"a":true,"b":null}' in shown


def test_a_cell_cannot_command_the_terminal() -> None:
    """Names and texts are others'."""
    items = [{"name": "a\x1b[2Jb", "type": "[red]c", "id": None}]
    shown = printed(table(COLUMNS, items, wide=True))
    assert "\x1b" not in shown
    assert "a\\x1b[2Jb" in shown
    assert "[red]c" in shown


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({}, ["Lamp", "default", "-", "-", "its name"], id="a device as most are"),
        pytest.param({"principal": None}, ["Lamp", "default", "-", "-", "-"], id="one without a login"),
        pytest.param({"principal": "device_1"}, ["device_1"], id="one that logs in with another name"),
        pytest.param({"gateway": True}, ["is one"], id="a gateway"),
        pytest.param({"gatewayId": "8"}, ["behind one"], id="a device of a gateway"),
        pytest.param({"customerId": "c", "claimedTime": NOW}, ["2023-11-1"], id="a claimed device"),
    ],
)
def test_a_device_in_a_list(fields: dict[str, Any], words: list[str]) -> None:
    """What is usual is short, and what is not stands out."""
    line = printed(table(device_commands.COLUMNS, [{**DEVICE, **fields}], wide=False)).splitlines()[-1]
    assert all(word in line for word in words), line


# --- refusals


@pytest.mark.parametrize(
    ("body", "text", "code"),
    [
        pytest.param({"error": "in_use", "message": "Used"}, "Used (in_use)", "in_use", id="in our shape"),
        pytest.param(
            {"status": 404, "message": "Gone", "errorCode": 32, "error": "not_found"},
            "Gone (not_found)",
            "not_found",
            id="in ThingsBoard's",
        ),
        pytest.param(
            {"error": "devicecontrol/Not Found", "message": "None", "code": "no_request"},
            "None (no_request)",
            "no_request",
            id="in Cumulocity's",
        ),
        pytest.param("FAILURE", "FAILURE", "", id="a word"),
    ],
)
def test_refusals_of_all_shapes(body: object, text: str, code: str) -> None:
    """Three systems' errors come to one line each, with the one code."""
    refused = CallRefusedError(400, body)
    assert (str(refused), refused.code) == (text, code)


# --- JSON


def test_json_is_alone_on_standard_output() -> None:
    """Words for a person go elsewhere."""
    out, err = StringIO(), StringIO()
    screen = Screen(as_json=True, out=Console(file=out), err=Console(file=err, color_system=None))
    screen.say("words")
    screen.note("more words")
    screen.done({"a": "ü"}, "done")
    assert json.loads(out.getvalue()) == {"a": "ü"}
    assert err.getvalue() == "words\nmore words\n"
