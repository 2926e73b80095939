"""`claimsvc why`: explain why the last claim of a device failed, and what the next claim needs."""

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
    "window_expired": "the claim came after the window had expired",
    "not_permitted": "the user lacks a permission",
    "not_a_customer": "the user belongs to no customer",
}
"""Explanations of the reasons in events of refused claims."""
_CLAIMS = FAILURES | {"device_claimed"}

State = dict[str, Any]

_WINDOWS = {"device": "by the device", "server": "by claimingData"}
WINDOW_COLUMNS = (
    Column("Window", lambda item: _WINDOWS[item["source"]]),
    Column("Opened", lambda item: when(item["openedTime"])),
    Column("Until", lambda item: when(item["expirationTime"])),
    Column("", lambda item: Text("open", "green") if item["open"] else Text("expired", "dim")),
    Column("Wrong keys", lambda item: item["attempts"]),
)


@command(app, "why")
async def explain(operator: Operator, name: Name) -> None:
    """Explain why the last claim of a device failed, and what the next claim needs."""
    device_id = await operator.lane.device_id(name)
    state = await operator.lane.call("GET", f"/claimsvc/devices/{device_id}/claiming")
    if operator.screen.as_json:
        operator.screen.json({**state, "verdict": verdict(state)})
    else:
        show(operator.screen, state)


def show(screen: Screen, state: State) -> None:
    """Print the verdict and the data it is based on."""
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
    """Return the columns of the table of failed attempts, one row for each user."""

    def left(until_ms: int | None) -> str | None:
        return lasting(until_ms - now_ms) if until_ms else None

    return (
        Column("User", lambda item: item["principal"], whole=True),
        Column("Failures", lambda item: item["failures"]),
        Column("Last failure", lambda item: when(item["lastFailedTime"])),
        Column("Locked out for", lambda item: left(item["lockedUntil"])),
        Column("Locked out of all devices for", lambda item: left(item["allDevicesLockedUntil"])),
    )


def verdict(state: State) -> list[str]:
    """Return sentences that explain the result of the last claim and of the next one."""
    return [_last_claim(state), *_next_claim(state), *_lockouts(state)]


def _last_claim(state: State) -> str:
    last = next((event for event in state["events"] if event["event"] in _CLAIMS), None)
    if last is None:
        return "The audit trail contains no failed claim of this device."
    if last["event"] not in FAILURES:
        return f"The last claim, {when(last['time'])} by {last['principal']}, succeeded."
    # A lockout event follows the refusal that caused it, with the same reason.
    code, _, permission = str(last["detail"]).partition(": ")
    reason = REASONS.get(code, last["detail"])
    if permission and code in REASONS:
        reason = f"{reason}, {permission}: give the user the role `customer`, or another role with this permission"
    locked = "; this failure locked the user out" if last["event"] == "claim_locked_out" else ""
    return (
        f"The last claim, {when(last['time'])} by {last['principal']}, failed: {reason} ({code}){locked}."
        f"{_replaced(state, last, code)}"
    )


def _replaced(state: State, last: dict[str, Any], code: str) -> str:
    """Return a sentence about a key that was replaced before the wrong key was used: a label may show the old one."""
    replaced = state.get("keyReplaced")
    if code != "wrong_key" or not replaced or replaced["time"] > last["time"]:
        return ""
    return (
        f" {replaced['principal']} replaced the claim key {when(replaced['time'])}: "
        "labels printed before that no longer work."
    )


def _next_claim(state: State) -> list[str]:
    device = state["device"]
    if device["customerId"]:
        since = when(device["claimedTime"])
        return [f"The device has belonged to customer {device['customerId']} since {since}: a claim gets CLAIMED."]
    still_open = [window for window in state["windows"] if window["open"]]
    if still_open:
        left = lasting(max(window["expirationTime"] for window in still_open) - state["time"])
        return [f"A window is open for another {left}: a claim with its key succeeds."]
    if not state["allowByDefault"] and state["claimingAllowed"] is not True:
        return ["No window is open, and the device may not open one: allow it with `claimsvc device allow`."]
    return ["No window is open: open one on the device or with `claimsvc device secret`."]


def _lockouts(state: State) -> list[str]:
    sentences = []
    for row in state["attempts"]:
        if until := row["allDevicesLockedUntil"]:
            sentences.append(f"{row['principal']} is locked out of all devices for {lasting(until - state['time'])}.")
        elif until := row["lockedUntil"]:
            sentences.append(f"{row['principal']} is locked out of this device for {lasting(until - state['time'])}.")
    return sentences
