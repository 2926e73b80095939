"""`claimsvc why`: why the last claim of a device failed, and what would make the next one succeed."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from claimsvc.cli.console import app
from claimsvc.cli.operators.connecting import Operator, command
from claimsvc.cli.operators.events import FAILURES, event_line
from claimsvc.cli.operators.options import Name
from claimsvc.cli.operators.screen import Column, Screen, lasting, table, when

REASONS = {
    "wrong_key": "the key matched no open window",
    "no_window": "no window was open: the device had not opened any, and there was no claimingData",
    "window_expired": "the window was over when the claim came",
    "not_permitted": "the user lacks a permission",
    "not_a_customer": "the user belongs to no customer",
}
"""What an event of a refused claim says, for a person."""
_CLAIMS = FAILURES | {"device_claimed"}

State = dict[str, Any]

_WINDOWS = {"device": "by the device", "server": "by claimingData"}
WINDOW_COLUMNS = (
    Column("Window", lambda item: _WINDOWS[item["source"]]),
    Column("Opened", lambda item: when(item["openedTime"])),
    Column("Until", lambda item: when(item["expirationTime"])),
    Column("", lambda item: Text("open", "green") if item["open"] else Text("over", "dim")),
    Column("Wrong keys", lambda item: item["attempts"]),
)


@command(app, "why")
async def explain(operator: Operator, name: Name) -> None:
    """Tell why the last claim of a device failed, and what decides about the next."""
    device_id = await operator.lane.device_id(name)
    state = await operator.lane.call("GET", f"/claimsvc/devices/{device_id}/claiming")
    if operator.screen.as_json:
        operator.screen.json({**state, "verdict": verdict(state)})
    else:
        show(operator.screen, state)


def show(screen: Screen, state: State) -> None:
    """Print the verdict, and what it stands on."""
    for sentence in verdict(state):
        screen.out.print(Text(sentence, "bold"))
    parts = (("windows", WINDOW_COLUMNS), ("attempts", attempt_columns(state["time"])))
    for member, columns in parts:
        if state[member]:
            screen.line("")
            screen.out.print(table(columns, state[member], wide=True))
    if state["events"]:
        screen.line("")
        for event in state["events"]:
            screen.line(event_line(event))


def attempt_columns(now_ms: int) -> tuple[Column, ...]:
    """Return the columns of a table of users who failed here."""

    def left(until_ms: int | None) -> str | None:
        return lasting(until_ms - now_ms) if until_ms else None

    return (
        Column("User", lambda item: item["principal"], whole=True),
        Column("Failures", lambda item: item["failures"]),
        Column("Last failure", lambda item: when(item["lastFailedTime"])),
        Column("Locked out for", lambda item: left(item["lockedUntil"])),
        Column("Everywhere for", lambda item: left(item["allDevicesLockedUntil"])),
    )


def verdict(state: State) -> list[str]:
    """Return, in sentences, why the last claim failed and what would happen to the next one."""
    return [_last_claim(state), *_next_claim(state), *_lockouts(state)]


def _last_claim(state: State) -> str:
    last = next((event for event in state["events"] if event["event"] in _CLAIMS), None)
    if last is None:
        return "No claim of this device has failed, as far back as the audit trail goes."
    if last["event"] not in FAILURES:
        return f"The last claim, {when(last['time'])} by {last['principal']}, succeeded."
    # A lockout is written behind the refusal that led to it, with the same reason.
    code, _, permission = str(last["detail"]).partition(": ")
    reason = REASONS.get(code, last["detail"])
    if permission and code in REASONS:
        reason = f"{reason}, {permission}: give the role `customer`, or another one that has it"
    locked = "; it was one too many, and locked the user out" if last["event"] == "claim_locked_out" else ""
    return (
        f"The last claim, {when(last['time'])} by {last['principal']}, failed: {reason} ({code}){locked}."
        f"{_replaced(state, last, code)}"
    )


def _replaced(state: State, last: dict[str, Any], code: str) -> str:
    """Return a sentence about a key that was replaced before a wrong one was tried; a label may still show it."""
    replaced = state.get("keyReplaced")
    if code != "wrong_key" or not replaced or replaced["time"] > last["time"]:
        return ""
    return (
        f" The claim key was replaced {when(replaced['time'])} by {replaced['principal']}: "
        "a label printed before that no longer works."
    )


def _next_claim(state: State) -> list[str]:
    device = state["device"]
    if device["customerId"]:
        since = when(device["claimedTime"])
        return [f"The device belongs to customer {device['customerId']} since {since}: claims are answered CLAIMED."]
    still_open = [window for window in state["windows"] if window["open"]]
    if still_open:
        left = lasting(max(window["expirationTime"] for window in still_open) - state["time"])
        return [f"A window is open for {left}: a claim with its key succeeds."]
    if not state["allowByDefault"] and state["claimingAllowed"] is not True:
        return ["No window is open, and the device may open none: see `claimsvc device allow`."]
    return ["No window is open: the device opens one, or `claimsvc device secret` does."]


def _lockouts(state: State) -> list[str]:
    sentences = []
    for row in state["attempts"]:
        if until := row["allDevicesLockedUntil"]:
            sentences.append(f"{row['principal']} is locked out of all devices for {lasting(until - state['time'])}.")
        elif until := row["lockedUntil"]:
            sentences.append(f"{row['principal']} is locked out here for {lasting(until - state['time'])}.")
    return sentences
