"""What operators' commands tell of claims, events and requests."""

from __future__ import annotations

from typing import Any

import pytest

from claimsvc.cli.operators import events, request_commands, watching, why
from claimsvc.cli.operators.following import Patience
from claimsvc.cli.operators.screen import table, when
from claimsvc.core.reasons import Reason
from claimsvc.mqtt.caller import CannotConnectError
from tests.support.factories import MINUTE, NOW
from tests.support.screens import DEVICE, printed, screen_of

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
        pytest.param(state(), ["no failed claim", "open one on the device"], id="nothing happened yet"),
        pytest.param(
            state(events=[told("claim_refused", "wrong_key")], windows=[window()]),
            ["by ann, failed: the key matched no open window (wrong_key)", "open for another 1 min"],
            id="a wrong key at an open window",
        ),
        pytest.param(
            state(events=[told("claim_refused", "no_window")]), ["no window was open"], id="no window was open"
        ),
        pytest.param(
            state(events=[told("claim_refused", "window_expired")], windows=[window(open=False)]),
            ["came after the window had expired", "No window is open"],
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
            ["this failure locked the user out", "ann is locked out of this device for 1 min"],
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
            ["by ann, succeeded", "belonged to customer c"],
            id="claimed in the end",
        ),
        pytest.param(
            state(events=[told("claiming_data_set"), told("device_released")]),
            ["no failed claim"],
            id="events that are no claims",
        ),
        pytest.param(
            state(allowByDefault=False, claimingAllowed=False), ["may not open one"], id="it may open no window"
        ),
        pytest.param(
            state(allowByDefault=False, claimingAllowed=True), ["open one on the device"], id="it may open one"
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
    assert set(why.REASONS) == {
        Reason.WRONG_KEY,
        Reason.NO_WINDOW,
        Reason.WINDOW_EXPIRED,
        Reason.NOT_PERMITTED,
        Reason.NOT_A_CUSTOMER,
    }


REPLACED = {"time": NOW, "event": "claim_key_replaced", "device": "Lamp", "principal": "root", "detail": None}


@pytest.mark.parametrize(
    ("reason", "replaced", "is_said"),
    [
        pytest.param("wrong_key", REPLACED, True, id="a wrong key after it"),
        pytest.param("wrong_key", {**REPLACED, "time": NOW + 1}, False, id="a wrong key before it"),
        pytest.param("no_window", REPLACED, False, id="no window was open"),
        pytest.param("wrong_key", None, False, id="no key was replaced"),
    ],
)
def test_u17_why_tells_that_the_key_was_replaced(
    reason: str, replaced: dict[str, Any] | None, *, is_said: bool
) -> None:
    """When and by whom: somebody may hold the old label."""
    text = why.verdict(state(events=[told("claim_refused", reason)], keyReplaced=replaced))[0]
    assert (f"root replaced the claim key {when(NOW)}: labels printed before" in text) is is_said


@pytest.mark.parametrize(
    ("detail", "sentence"),
    [
        (
            "not_permitted: DEVICE:CLAIM_DEVICES",
            "the user lacks a permission, DEVICE:CLAIM_DEVICES: give the user the role",
        ),
        ("not_a_customer", "the user belongs to no customer (not_a_customer)"),
    ],
)
def test_u8_why_names_the_missing_permission(detail: str, sentence: str) -> None:
    """And what to do."""
    assert sentence in why.verdict(state(events=[told("claim_refused", detail)]))[0]


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
    for word in ("by the device", "by claimingData", "expired", "1 min", "claim_locked_out"):
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


@pytest.mark.parametrize("name", ["device_claimed", "device_group_created", "an_event_of_a_later_release"])
def test_an_event_as_a_line(name: str) -> None:
    """Time, event, device, who and what: in a column where the event is a known one."""
    line = events.event_line(told(name, "detail")).plain
    assert line.split() == [*str(when(NOW)).split(), name, "Lamp", "ann", "detail"]
    assert len(name) > 20 or line.index("Lamp") == 19 + 2 + 20 + 2


async def test_a_trouble_that_lasts_is_told_once() -> None:
    """Another one is told, and the same one again after all went well."""
    notes: list[str] = []
    patience = Patience(notes.append)
    for trouble in ("lost", "refused", "refused", None, "refused"):
        async with patience.trying():
            if trouble:
                raise CannotConnectError(trouble)
    assert notes == [f"{trouble}; retrying" for trouble in ("lost", "refused", "refused")]


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
    assert "1 to accept · 1 blocked · 1 not connected · 1 contested" in lines[0]
    assert [line.split()[0] for line in lines[3:6]] == ["a", "b", "z"]
    assert "contested" in lines[3]
    assert "1 min" in lines[3]
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("shown", ["list", "watch"])
def test_a_status_is_readable_beside_a_long_id(shown: str) -> None:
    """The id is folded at 80 columns, and neither status nor heading is cut or nameless."""
    item = request(id="c8y-agent-" * 5, status="WAITING_FOR_CONNECTION", type="c8y_Linux")
    made = request_commands.COLUMNS if shown == "list" else None
    text = printed(table(made, [item], wide=False) if made else watching.view([item], NOW, wide=False))
    assert "WAITING_FOR_CONNECTION" in text
    assert "c8y_Linux" in text
    assert str(when(request_commands.created_ms(item))) in text or shown == "watch"
    assert "…" not in text
    assert all(column.title for column in request_commands.COLUMNS)


def test_a_request_is_shown_with_what_there_is() -> None:
    """What is missing is left out; properties are printed so that a terminal obeys none of them."""
    screen, out = screen_of()
    screen.facts(request_commands.request_lines(request(customProperties={"a": "\x1b[2J"})))
    assert "Group" not in out.getvalue()
    assert "\x1b" not in out.getvalue()
