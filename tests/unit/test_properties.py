from __future__ import annotations

import json
from typing import Any

from hypothesis import given as examples
from hypothesis import settings as effort
from hypothesis import strategies as some

from claimsvc.app import lanes_of
from claimsvc.core.claiming import Claimed, Released, WindowOpened
from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Refused
from claimsvc.core.devices import ServerWindow, SetAttributes
from claimsvc.core.reasons import Reason
from claimsvc.dialects.message import Inbound
from claimsvc.settings import Settings
from tests.support.factories import (
    MINUTE,
    NOW,
    admin,
    claim_device,
    customer,
    device,
    facts,
    given,
    key,
    open_window,
    release_device,
    user,
)
from tests.support.memory import Memory, decide

USERS = {"alice": "c1", "bob": "c2", "carol": "c2"}
DEVICES = ["A", "B"]
KEYS = ["", "k1"]


def _claiming_data(name: str, text: str, lasts_ms: int, *, replaces: bool) -> Command:
    """Return an admin's claimingData, which opens a window of an owned device too."""
    return SetAttributes("root", device(name).id, (), ServerWindow(key(text), NOW + lasts_ms, replaces))


def _steps() -> some.SearchStrategy[list[tuple[int, Command]]]:
    names, keys = some.sampled_from(DEVICES), some.sampled_from(KEYS)
    users, waits = some.sampled_from(sorted(USERS)), some.integers(0, MINUTE // 3)
    durations = some.one_of(some.none(), some.integers(-1, 3 * MINUTE))
    opening = some.builds(lambda name, key, ms: open_window(name, key, duration_ms=ms), names, keys, durations)
    claiming = some.builds(lambda name, key, by: claim_device(name, key, by=by), names, keys, users)
    releasing = some.builds(lambda name, by: release_device(name, by=by), names, users)
    attribute = some.builds(_claiming_data, names, keys, some.integers(0, 60 * MINUTE), replaces=some.booleans())
    kinds = [opening, attribute, claiming, releasing]
    commands = some.sampled_from([0, 1, 1, 2, 2, 2, 2, 3]).flatmap(lambda kind: kinds[kind])
    return some.lists(some.tuples(waits, commands), min_size=25, max_size=60)


def _world() -> Memory:
    people = [user(name, customer_id=id_) for name, id_ in USERS.items()]
    return facts(admin(), customer(), customer("c2"), *people, *map(device, DEVICES))


def _owners(known: Memory) -> dict[str, str | None]:
    found = [known.device_named("default", name) for name in DEVICES]
    return {row.name: row.owner for row in found if row}


@effort(max_examples=120, deadline=None)
@examples(_steps())
def test_never_two_owners(steps: list[tuple[int, Command]]) -> None:
    """An owner changes by a claim of nobody's device or a release by the owner, and by nothing else."""
    known, now_ms = _world(), NOW
    for waited_ms, command in steps:
        now_ms += waited_ms
        before = _owners(known)
        outcome = decide(command, known, given(now_ms)).outcome
        changed = {name for name, owner in _owners(known).items() if owner != before[name]}
        if isinstance(outcome, Claimed):
            name = outcome.device.name
            assert before[name] is None
            assert outcome.device.owner == USERS[command.caller] == _owners(known)[name]
            assert changed == {name}
        elif isinstance(outcome, Released) and outcome.was_owned:
            assert before[outcome.device.name] == USERS[command.caller]
            assert changed == {outcome.device.name}
        else:
            assert changed == set()


class _Model:
    """What claiming promises, said again in the plainest way: the newest window, and failures in a row."""

    def __init__(self) -> None:
        self.windows: dict[tuple[str, str], tuple[str, int]] = {}

    def follow(self, command: Any, outcome: object, now_ms: int) -> None:
        """Hold an outcome against the promise."""
        if isinstance(outcome, WindowOpened):
            self.windows[outcome.device, "device"] = (command.key.hardened, outcome.expires_at_ms)
        elif isinstance(outcome, Done) and command.server_window is not None:
            window = command.server_window
            name = command.device_id.removeprefix("device-")
            self.windows[name, "server"] = (window.key.hardened, window.expires_at_ms)
        elif isinstance(outcome, Claimed):
            fitting = [end for key_hash, end in self._end(outcome) if key_hash == command.key.hardened]
            assert any(now_ms <= end for end in fitting)
        elif isinstance(outcome, Released) and outcome.was_owned:
            self._end(outcome)

    def _end(self, outcome: Claimed | Released) -> list[tuple[str, int]]:
        """Return the device's windows, which are over now."""
        keys = [(outcome.device.name, source) for source in ("device", "server")]
        return [self.windows.pop(each) for each in keys if each in self.windows]


@effort(max_examples=120, deadline=None)
@examples(_steps())
def test_no_claim_succeeds_late_or_with_a_wrong_key(steps: list[tuple[int, Command]]) -> None:
    """A claim succeeds with the newest window's key before its end only."""
    known, now_ms, model = _world(), NOW, _Model()
    for waited_ms, command in steps:
        now_ms += waited_ms
        model.follow(command, decide(command, known, given(now_ms)).outcome, now_ms)


FAILURES = {Reason.WRONG_KEY, Reason.NO_WINDOW, Reason.WINDOW_EXPIRED}


@effort(max_examples=100, deadline=None)
@examples(some.lists(some.tuples(some.booleans(), some.integers(0, 9_000)), min_size=8, max_size=30))
def test_no_claim_succeeds_past_the_attempt_limit(tries: list[tuple[bool, int]]) -> None:
    """After the fifth failure nothing but a lockout is answered until fifteen minutes are over."""
    known, now_ms, failures = _world(), NOW, 0
    decide(open_window("A", "k1", duration_ms=20 * MINUTE), known, given(now_ms))
    for right, waited_ms in tries:
        now_ms += waited_ms
        outcome = decide(claim_device("A", "k1" if right else "k2"), known, given(now_ms)).outcome
        if failures >= 5:
            assert isinstance(outcome, Refused)
            assert outcome.reason is Reason.LOCKED_OUT
        elif right:
            assert isinstance(outcome, Claimed)
            return
        failures += isinstance(outcome, Refused) and outcome.reason in FAILURES


def _state(known: Memory) -> tuple[object, ...]:
    rows = [known.device_named("default", name) for name in DEVICES]
    return (*rows, *(tuple(known.windows(row.id)) for row in rows if row))


@effort(max_examples=120, deadline=None)
@examples(_steps())
def test_what_was_done_is_not_done_twice(steps: list[tuple[int, Command]]) -> None:
    """A claim, release or window that comes again at once changes no device and no window."""
    known, now_ms = _world(), NOW
    for waited_ms, command in steps:
        now_ms += waited_ms
        first = decide(command, known, given(now_ms))
        if isinstance(first.outcome, Refused):
            continue
        after = _state(known)
        again = decide(command, known, given(now_ms))
        assert _state(known) == after
        if isinstance(first.outcome, Claimed | Released):
            assert again.changes == ()
            assert again.notices == ()


# --- bytes

PLANTED = "hunter2-hunter2"
DIALECTS = lanes_of(Settings())
_HEADS = [
    *("v1/devices/me/claim", "v2/c", "v2/c/j", "v1/gateway/claim", "v1/devices/me/rpc/request/1"),
    "request/1/POST/api/customer/device/A/claim",
    "request/1/POST/api/device",
    "request/1/POST/api/plugins/telemetry/DEVICE/1/attributes/SERVER_SCOPE",
    "request/1/POST/api/deviceProfile",
    "request/1/POST/claimsvc/users",
    "request/1/PUT/claimsvc/users/bob",
    "request/1/POST/claimsvc/gateways",
    "request/1/PUT/claimsvc/gateways/g/devices",
]
_LEVEL = some.text("ab%2F?&=.+#é\0", max_size=6)
_TAILS = some.one_of(
    some.sampled_from(_HEADS),
    some.builds(lambda head, more: f"{head}/{more}", some.sampled_from(_HEADS), _LEVEL),
    some.builds(lambda head, more: f"{head}?{more}", some.sampled_from(_HEADS), _LEVEL),
    some.builds(lambda *levels: "request/" + "/".join(levels), _LEVEL, _LEVEL, _LEVEL, _LEVEL),
)
_VALUES = some.recursive(
    some.one_of(
        some.none(),
        some.booleans(),
        some.integers(-(2**70), 2**70),
        some.floats(),
        some.just(PLANTED),
        some.text(max_size=4),
    ),
    lambda inner: some.one_of(
        some.lists(inner, max_size=3),
        some.dictionaries(
            some.sampled_from(
                [
                    "secretKey",
                    "durationMs",
                    "name",
                    "username",
                    "password",
                    "claimingData",
                    "id",
                    "method",
                    "provisionDeviceKey",
                    "provisionDeviceSecret",
                    "credentialsType",
                    "token",
                    "profileData",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@some.composite
def _payloads(draw: some.DrawFn) -> bytes:
    """Return bytes of any kind, or JSON with the secret in it that may be cut short or spoilt."""
    if draw(some.integers(0, 4)) == 0:
        return draw(some.binary(max_size=40))
    text = json.dumps(draw(_VALUES)).encode()
    kept = draw(some.integers(0, len(text))) if draw(some.booleans()) else len(text)
    return text[:kept] + draw(some.sampled_from([b"", b"", b"}", b",", b"\xff", PLANTED.encode()]))


_TOPICS = some.one_of(
    some.builds(lambda caller, tail: f"claimsvc/u/{caller}/{tail}", some.sampled_from(["alice", "ä", ""]), _TAILS),
    some.just("claimsvc/c/provision/x//provision/request"),
    some.text("claimsvc/u+#\0", max_size=20),
)
_RESPONSES = some.one_of(
    some.none(), some.text(max_size=8), some.builds(lambda tail: f"claimsvc/u/alice/response/{tail}", _LEVEL)
)


@effort(max_examples=1000, deadline=None)
@examples(_TOPICS, _payloads(), _RESPONSES)
def test_any_bytes_are_a_command_or_a_refusal(topic: str, payload: bytes, response: str | None) -> None:
    """Decoding never raises; a refusal is answered in the asker's lane, and never quotes the secret."""
    inbound = Inbound(topic, payload, 1, 1, 1, 0.0, response_topic=response, correlation=b"c")
    request = DIALECTS.read(inbound)
    if not request.lane:
        return
    assert isinstance(request.asked, Command | Refused)
    assert request.answer_topic.startswith(request.lane)
    assert topic.startswith(request.lane)
    if isinstance(request.asked, Refused):
        (answer,) = request.answer(request.asked, NOW)
        json.loads(answer.payload)
        assert PLANTED.encode() not in answer.payload
        assert PLANTED not in repr(request.asked)
    else:
        assert request.asked.caller == inbound.caller
        assert PLANTED not in "".join(map(repr, request.asked.secrets))
    (internal,) = request.answer(Refused(Reason.INTERNAL), NOW)
    assert PLANTED.encode() not in internal.payload
    assert (internal.correlation, internal.qos, internal.retain) == (b"c", 1, False)
