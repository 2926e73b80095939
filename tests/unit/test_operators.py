"""What operators' commands show, and how they read what was typed: no broker is needed for that."""

from __future__ import annotations

import json
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from claimsvc.cli.operators import devices, events, importing, labels, requests, watching, why
from claimsvc.cli.operators.connecting import UnusableError
from claimsvc.cli.operators.lane import CallRefusedError, level_of
from claimsvc.cli.operators.options import duration_ms
from claimsvc.cli.operators.screen import Column, Screen, lasting, table, when
from claimsvc.cli.operators.tables import cells_of, failed_records, new_file_beside, records, rows_of
from claimsvc.core.names import principal_name
from claimsvc.core.reasons import Reason
from tests.support.commands import local
from tests.support.factories import MINUTE, NOW, given


def printed(what: Any, width: int = 80) -> str:
    """Return what a terminal of this width would show, without colours."""
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def screen_of(width: int = 80) -> tuple[Screen, StringIO]:
    """Return a screen of this width, and what is printed on it."""
    out = StringIO()
    return Screen(as_json=False, out=Console(file=out, width=width, color_system=None)), out


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


def test_a_cell_cannot_command_the_terminal() -> None:
    """Names and texts are others'."""
    items = [{"name": "a\x1b[2Jb", "type": "[red]c", "id": None}]
    shown = printed(table(COLUMNS, items, wide=True))
    assert "\x1b" not in shown
    assert "a\\x1b[2Jb" in shown
    assert "[red]c" in shown


DEVICE: dict[str, Any] = {
    "name": "Lamp",
    "id": "7",
    "principal": "Lamp",
    "type": "default",
    "label": None,
    "tenantId": "default",
    "customerId": None,
    "gatewayId": None,
    "gateway": False,
    "createdTime": NOW,
    "claimedTime": None,
}


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
    line = printed(table(devices.COLUMNS, [{**DEVICE, **fields}], wide=False)).splitlines()[-1]
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


# --- why a claim failed


def state(**fields: Any) -> dict[str, Any]:
    """Return the state of a device nobody has tried to claim."""
    nothing: dict[str, Any] = {
        "device": DEVICE,
        "time": NOW,
        "allowByDefault": True,
        "claimingAllowed": None,
        "windows": [],
        "attempts": [],
        "events": [],
    }
    return {**nothing, **fields}


def told(event: str, detail: str | None = None) -> dict[str, Any]:
    """Return an audit event."""
    return {"time": NOW, "event": event, "device": "Lamp", "principal": "ann", "detail": detail}


def window(**fields: Any) -> dict[str, Any]:
    """Return an open window of a minute."""
    values = {"source": "device", "openedTime": NOW, "expirationTime": NOW + MINUTE, "open": True, "attempts": 0}
    return {**values, **fields}


def attempts(**fields: Any) -> dict[str, Any]:
    """Return a user who failed once and is not locked out."""
    values = {"principal": "ann", "failures": 1, "lockouts": 0, "lastFailedTime": NOW}
    return {**values, "lockedUntil": None, "allDevicesLockedUntil": None, **fields}


@pytest.mark.parametrize(
    ("given_state", "sentences"),
    [
        pytest.param(state(), ["No claim", "the device opens one"], id="nothing happened yet"),
        pytest.param(
            state(events=[told("claim_refused", "wrong_key")], windows=[window()]),
            ["by ann, failed: the key matched no open window (wrong_key)", "open for 1 min"],
            id="a wrong key at an open window",
        ),
        pytest.param(
            state(events=[told("claim_refused", "no_window")]), ["no window was open"], id="no window was open"
        ),
        pytest.param(
            state(events=[told("claim_refused", "window_expired")], windows=[window(open=False)]),
            ["was over when the claim came", "No window is open"],
            id="too late",
        ),
        pytest.param(
            state(events=[told("claim_refused", "a_new_reason")]), ["failed: a_new_reason"], id="a reason of later"
        ),
        pytest.param(
            state(
                events=[told("claim_locked_out", "wrong_key"), told("claim_refused", "wrong_key")],
                attempts=[attempts(lockedUntil=NOW + MINUTE)],
            ),
            ["it was one too many", "ann is locked out here for 1 min"],
            id="one too many",
        ),
        pytest.param(
            state(attempts=[attempts(allDevicesLockedUntil=NOW + MINUTE, lockedUntil=NOW + 1)]),
            ["ann is locked out of all devices for 1 min"],
            id="locked out everywhere",
        ),
        pytest.param(
            state(
                device={**DEVICE, "customerId": "c", "claimedTime": NOW},
                events=[told("device_claimed"), told("claim_refused", "wrong_key")],
            ),
            ["by ann, succeeded", "belongs to customer c"],
            id="claimed in the end",
        ),
        pytest.param(
            state(events=[told("claiming_data_set"), told("device_released")]),
            ["No claim"],
            id="events that are no claims",
        ),
        pytest.param(
            state(allowByDefault=False, claimingAllowed=False), ["may open none"], id="it may open no window"
        ),
        pytest.param(
            state(allowByDefault=False, claimingAllowed=True), ["the device opens one"], id="it may open one"
        ),
    ],
)
def test_why_a_claim_failed(given_state: dict[str, Any], sentences: list[str]) -> None:
    """The exact reason, what would happen next, and who is locked out."""
    text = "\n".join(why.verdict(given_state))
    for sentence in sentences:
        assert sentence in text


def test_every_refusal_of_a_claim_is_explained() -> None:
    """The words of the audit trail are the codes of the rules."""
    assert set(why.REASONS) == {Reason.WRONG_KEY, Reason.NO_WINDOW, Reason.WINDOW_EXPIRED}


def test_why_fits_a_narrow_screen() -> None:
    """Tables of windows and users, and the events as lines."""
    screen, out = screen_of()
    why.show(
        screen,
        state(
            windows=[window(), window(source="server", open=False)],
            attempts=[attempts(lockedUntil=NOW + MINUTE)],
            events=[told("claim_locked_out", "wrong_key")],
        ),
    )
    assert all(len(line) <= 80 for line in out.getvalue().splitlines())
    for word in ("by the device", "by claimingData", "over", "1 min", "claim_locked_out"):
        assert word in out.getvalue()


# --- events


def event(number: int) -> dict[str, Any]:
    """Return an event that differs from others by its detail."""
    return {**told("claim_refused"), "detail": str(number)}


@pytest.mark.parametrize(
    ("found", "known", "fresh"),
    [
        pytest.param([3, 2, 1], [], [3, 2, 1], id="nothing is known yet"),
        pytest.param([3, 2, 1], [2, 1], [3], id="one more"),
        pytest.param([2, 1], [2, 1], [], id="nothing new"),
        pytest.param([1, 1, 1, 2], [1, 1, 2], [1], id="one like the others, at the same time"),
        pytest.param([9, 8, 7], [2, 1], [9, 8, 7], id="more than a page came in between"),
        pytest.param([9, 8, 2], [2, 1], [9, 8], id="the known ones begin at the end of a page"),
    ],
)
def test_unseen_events(found: list[int], known: list[int], fresh: list[int]) -> None:
    """By the row of events known, since times may be equal and clocks may go back."""
    made = events.unseen([event(number) for number in found], [event(number) for number in known])
    assert made == [event(number) for number in fresh]


# --- requests


def request(**fields: Any) -> dict[str, Any]:
    """Return a request of a minute ago that waits to be accepted."""
    values = {"id": "1", "status": "PENDING_ACCEPTANCE", "creationTime": "2023-11-14T22:12:20.000Z", "owner": "op"}
    return {**values, "tenantId": "default", **fields}


@pytest.mark.parametrize(
    ("before", "after", "is_told"),
    [
        pytest.param(None, request(), True, id="a new one"),
        pytest.param(request(), request(), False, id="one as it was"),
        pytest.param(request(status="WAITING_FOR_CONNECTION"), request(), True, id="its device was heard of"),
        pytest.param(request(), request(contested=True), True, id="somebody else asked for it"),
        pytest.param(request(), request(creationTime="2023-11-14T22:13:00.000Z"), True, id="deleted and made anew"),
        pytest.param(request(), request(type="other"), False, id="what nobody waits for"),
    ],
)
def test_changes_of_requests(before: dict[str, Any] | None, after: dict[str, Any], *, is_told: bool) -> None:
    """A line for each change that matters to who accepts."""
    known = {"1": before} if before else {}
    assert bool(watching.changed(known, {"1": after})) == is_told


def test_the_live_view_is_for_eighty_columns() -> None:
    """The most urgent first, with how long each has waited, and what is contested."""
    items = [
        request(id="z", status="WAITING_FOR_CONNECTION"),
        request(id="a", contested=True, type="sensor"),
        request(id="b", status="BLOCKED"),
    ]
    lines = printed(watching.view(items, NOW, wide=False)).splitlines()
    assert "1 to accept · 1 blocked · 1 not heard of yet · 1 contested" in lines[0]
    assert [line.split()[0] for line in lines[3:6]] == ["a", "b", "z"]
    assert "contested" in lines[3]
    assert "1 min" in lines[3]
    assert all(len(line) <= 80 for line in lines)


def test_a_request_is_shown_with_what_there_is() -> None:
    """What is missing is left out; properties are printed so that a terminal obeys none of them."""
    screen, out = screen_of()
    screen.facts(requests.request_lines(request(customProperties={"a": "\x1b[2J"})))
    assert "Group" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


# --- CSV

TEXT = 'name;key\nA;1\n"B\nb";2\n\nC;3'


def test_records_know_their_lines() -> None:
    """A quoted field may hold several lines; the header is line 1."""
    found = [(record.first_line, record.last_line, record.fields) for record in records(TEXT)]
    assert found == [
        (1, 1, ("name", "key")),
        (2, 2, ("A", "1")),
        (3, 4, ("B\nb", "2")),
        (6, 6, ("C", "3")),
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([2], "name;key\nA;1\n", id="one row"),
        pytest.param([3], 'name;key\n"B\nb";2\n', id="a row of two lines, by its first"),
        pytest.param([4], 'name;key\n"B\nb";2\n', id="a row of two lines, by its last"),
        pytest.param([6, 2], "name;key\nA;1\nC;3\n", id="in the file's order, the last one ended"),
        pytest.param([99], "name;key\n", id="a line that is not there"),
    ],
)
def test_failed_rows_as_a_file(lines: list[int], expected: str) -> None:
    """With the header, and each row as it was written."""
    assert failed_records(TEXT.encode(), lines) == expected.encode()


def test_failed_rows_keep_the_ends_of_lines() -> None:
    """What came from a spreadsheet goes back to it."""
    assert failed_records(b"a,b\r\n1,2\r\n3,4", [3]) == b"a,b\r\n3,4\r\n"


def test_the_names_of_failed_rows() -> None:
    """By the line a record begins on; a file without that column has none."""
    assert cells_of(b"\xef\xbb\xbfNAME,key\nA,1\n\n,2\n", "name") == {2: "A", 4: ""}
    assert cells_of(b"ID;KEY\nA;1\n", "name") == {}
    assert cells_of(b"", "name") == {}


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa;b\n1;\xc3\xbc\n", b"a;b\n1;\x85\xfc\n"])
def test_failed_rows_keep_their_bytes(content: bytes) -> None:
    """Whatever the file's encoding is, and with its mark."""
    assert failed_records(content, [2]) == content


@pytest.mark.parametrize("text", ["name;secretKey\nA;k\n", "NAME,SecretKey\nA,k\n", " name \tsecretkey\nA\tk"])
def test_rows_by_their_header(text: str) -> None:
    """Whatever separates them, and however the header is written."""
    assert rows_of(text, "name") == [{"name": "A", "secretkey": "k"}]


@pytest.mark.parametrize("text", ["", "\n", "title\nA\n"])
def test_rows_without_a_name(text: str) -> None:
    """The missing column is named."""
    with pytest.raises(UnusableError, match="'name'"):
        rows_of(text, "name")


def test_a_file_beside_is_a_new_one(tmp_path: Path) -> None:
    """Nothing that was mended is written over."""
    made = [new_file_beside(tmp_path / "devices.csv", "failed") for _ in range(3)]
    assert [path.name for path, _ in made] == ["devices.failed.csv", "devices.failed-2.csv", "devices.failed-3.csv"]
    for _, descriptor in made:
        with open(descriptor, "wb"):  # noqa: PTH123 - a descriptor, to be closed
            pass


@pytest.mark.parametrize(
    ("dry_run", "words"),
    [(False, "3 rows: 2 done (1 new), 1 failed."), (True, "2 could be done, 1 would fail")],
)
def test_a_summary(words: str, *, dry_run: bool) -> None:
    """A dry run says that nothing was changed."""
    answer = {"numberOfAll": 3, "numberOfSuccessful": 2, "numberOfCreated": 1, "numberOfFailed": 1}
    text = importing.summary(answer, dry_run=dry_run)
    assert words in text
    assert ("Nothing was changed" in text) == dry_run


# --- labels


@pytest.mark.parametrize(
    ("key", "template", "content"),
    [
        pytest.param(None, None, '{"deviceName":"Flur ü"}', id="a name"),
        pytest.param("k&y", None, '{"deviceName":"Flur ü","secretKey":"k&y"}', id="a name and a key"),
        pytest.param("", None, '{"deviceName":"Flur ü","secretKey":""}', id="the empty key, which claims too"),
        pytest.param("k&y", "x:{deviceName}/{secretKey}", "x:Flur%20%C3%BC/k%26y", id="a URL"),
        pytest.param(None, "x:{deviceName}", "x:Flur%20%C3%BC", id="a URL without a key"),
    ],
)
def test_what_a_label_holds(key: str | None, template: str | None, content: str) -> None:
    """JSON of two members, or a URL with both encoded."""
    assert labels.content_of("Flur ü", key, template) == content


@pytest.mark.parametrize(("key", "template"), [(None, "https://x/"), ("k", "https://x/{deviceName}")])
def test_a_template_has_a_place_for_all(key: str | None, template: str) -> None:
    """A label that leaves out the name, or the key it should carry, helps nobody."""
    with pytest.raises(UnusableError, match="--claim-url"):
        labels.content_of("Lamp", key, template)


def test_a_name_of_two_in_one_template() -> None:
    """A name that looks like a place is not filled in again."""
    assert labels.content_of("{secretKey}", "k", "x:{deviceName}/{secretKey}") == "x:%7BsecretKey%7D/k"


def test_a_code_on_the_terminal_is_the_code() -> None:
    """Two modules a character, with the quiet margin a reader needs, black on white."""
    code = labels.code_of("Lamp")
    text = labels.on_screen(code)
    rows = [list(row) for row in code.matrix_iter(border=4)]
    lines = text.plain.splitlines()
    shown = [[each in upper for each in line] for line in lines for upper in ("▀█", "▄█")][: len(rows)]
    assert shown == [[bool(module) for module in row] for row in rows]
    assert text.style == "black on white"


def test_too_much_for_a_code() -> None:
    """It is refused, and no picture of half of it is made."""
    with pytest.raises(UnusableError, match="too long"):
        labels.code_of("x" * 3_000)


def test_a_sheet_of_labels(tmp_path: Path) -> None:
    """A figure for each row with its name, in which nothing of a name is HTML; nothing is written over."""
    file, out = tmp_path / "keys.csv", tmp_path / "sheet.html"
    file.write_text("name;secretKey\nLamp;PLANTED\n<b>Bulb</b>;\n")
    assert local("labels", str(file), str(out), "--columns", "2", "--size", "25").code == 0
    text = out.read_text()
    assert text.count("<figure><svg") == 2
    assert "&lt;b&gt;Bulb&lt;/b&gt;" in text
    assert "<b>" not in text
    assert "PLANTED" not in text  # but in the code
    assert "repeat(2, 1fr)" in text
    assert "25mm" in text
    again = local("labels", str(file), str(out))
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert out.read_text() == text


@pytest.mark.parametrize("text", ["name\n", "key\nx\n", "name;secretKey\n;k\n"])
def test_no_sheet_of_nothing(text: str, tmp_path: Path) -> None:
    """A file without devices is refused with one line, and leaves no sheet."""
    file = tmp_path / "keys.csv"
    file.write_text(text)
    done = local("labels", str(file), str(tmp_path / "sheet.html"))
    assert (done.code, done.err.startswith("claimsvc: ")) == (2, True)
    assert not (tmp_path / "sheet.html").exists()


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
