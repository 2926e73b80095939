"""Rules of server-side claim keys: an open one may be on a label, so it is replaced only when the caller says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from claimsvc.core.bulk import KeyedDevice, RowDone, RowRefused, RowsDone, SetClaimKeys
from claimsvc.core.decision import Decision, Done, Refused
from claimsvc.core.devices import ServerWindow, SetAttributes
from claimsvc.core.facts import Needs
from claimsvc.core.model import Attribute, ClaimWindow, Device, Row, WindowSource
from claimsvc.core.reasons import Reason
from claimsvc.core.rules import decide
from claimsvc.core.secrets import Secret, SecretKind
from tests.support.factories import (
    DAY,
    MINUTE,
    NOW,
    admin,
    claim_device,
    customer,
    device,
    events,
    facts,
    given,
    hashed,
    key,
    result,
    server_window,
    user,
    window,
    written,
)

BOX = device("Box")
OPEN = server_window(BOX, "printed", opened_at_ms=NOW - DAY, expires_at_ms=NOW + DAY, attempts=2)


def by_attribute(text: str, until_ms: int, *rows: Row, may_replace: bool = False) -> Decision:
    """Decide a `claimingData` attribute."""
    command = SetAttributes("root", BOX.id, (("a", "1"),), ServerWindow(key(text), until_ms, may_replace))
    return decide(command, facts(admin(), customer(), *(rows or (BOX, OPEN))), given())


def by_file(text: str, until_ms: int | None, *rows: Row, may_replace: bool = False) -> Decision:
    """Decide a row of a list of claim keys."""
    secret = Secret(SecretKind.ISSUED_CLAIM_KEY, text)
    secret.digest = hashed(text)
    command = SetClaimKeys("root", (KeyedDevice("Box", secret, until_ms, None, None),), may_replace)
    return decide(command, facts(admin(), customer(), *(rows or (BOX, OPEN))), given())


def refusal(decision: Decision) -> Refused | None:
    """Return why a key was not set, by either way."""
    outcome = decision.outcome
    if isinstance(outcome, RowsDone):
        (row,) = outcome.results
        return row.refused if isinstance(row, RowRefused) else None
    return outcome if isinstance(outcome, Refused) else None


Way = Callable[..., Decision]
WAYS = pytest.mark.parametrize("way", [by_attribute, by_file], ids=["claimingData", "a file"])


@WAYS
def test_u17_an_open_key_is_not_replaced_silently(way: Way) -> None:
    """Nothing is changed, no attribute either; the refusal says how to replace it."""
    decision = way("new", NOW + 9 * DAY)
    refused = refusal(decision)
    assert refused is not None
    assert refused.reason is Reason.KEY_EXISTS
    assert "replace=true" in refused.message
    assert decision.changes == ()


@WAYS
def test_u17_an_open_key_is_replaced_when_the_caller_says_so(way: Way) -> None:
    """The new key works from now on, and the audit trail says that another one stopped."""
    decision = way("new", NOW + 9 * DAY, may_replace=True)
    assert refusal(decision) is None
    opened = ClaimWindow(BOX.id, WindowSource.SERVER, hashed("new"), NOW, NOW + 9 * DAY)
    assert written(decision.changes, ClaimWindow) == [opened]
    assert events(decision.changes) == ["claiming_data_set", "claim_key_replaced"]
    if isinstance(decision.outcome, RowsDone):
        assert [row.is_replaced for row in decision.outcome.results if isinstance(row, RowDone)] == [True]


NOT_OPEN: dict[str, tuple[Row, ...]] = {
    "there is none": (BOX,),
    "it has expired": (BOX, replace(OPEN, expires_at_ms=NOW - 1)),
    "the device opened its own window": (BOX, window(BOX)),
}


@WAYS
@pytest.mark.parametrize("rows", NOT_OPEN.values(), ids=NOT_OPEN.keys())
def test_u17_a_key_that_is_not_open_stands_in_nobodys_way(way: Way, rows: tuple[Row, ...]) -> None:
    """It is set without a word about replacing, and nothing counts as replaced."""
    decision = way("new", NOW + DAY, *rows)
    assert refusal(decision) is None
    assert [row.key_hash for row in written(decision.changes, ClaimWindow)] == [hashed("new")]
    assert events(decision.changes) == ["claiming_data_set"]


def test_u17_the_key_of_a_claimed_device_is_not_open() -> None:
    """It claims nothing any more."""
    decision = by_attribute("new", NOW + DAY, replace(BOX, owner="c1"), OPEN)
    assert (result(decision), events(decision.changes)) == (Done, ["claiming_data_set"])


def test_u17_a_key_is_open_to_its_last_millisecond() -> None:
    """As for a claim."""
    for left_ms, expected in ((0, Reason.KEY_EXISTS), (-1, Done)):
        rows = (BOX, replace(OPEN, expires_at_ms=NOW + left_ms))
        assert result(by_attribute("new", NOW + DAY, *rows)) is expected


@WAYS
def test_u17_the_same_key_again_changes_nothing(way: Way) -> None:
    """Neither the window, nor its wrong keys, nor the trail: it is no replacement."""
    decision = way("printed", NOW + DAY)
    assert refusal(decision) is None
    assert written(decision.changes, ClaimWindow) == []
    assert events(decision.changes) == []


@WAYS
def test_u17_the_same_key_for_longer_is_extended(way: Way) -> None:
    """Its label goes on working, and nothing was replaced."""
    decision = way("printed", NOW + 2 * DAY)
    assert refusal(decision) is None
    assert written(decision.changes, ClaimWindow) == [replace(OPEN, expires_at_ms=NOW + 2 * DAY)]
    assert events(decision.changes) == ["claiming_data_set"]


@WAYS
def test_u17_the_same_key_for_shorter_must_be_asked_for(way: Way) -> None:
    """Otherwise a label would stop working earlier than its maker knows."""
    refused = refusal(way("printed", NOW + MINUTE))
    assert refused is not None
    assert (refused.reason, "longer" in refused.message) == (Reason.KEY_EXISTS, True)
    decision = way("printed", NOW + MINUTE, may_replace=True)
    assert written(decision.changes, ClaimWindow) == [replace(OPEN, expires_at_ms=NOW + MINUTE)]
    assert events(decision.changes) == ["claiming_data_set"]


@pytest.mark.parametrize(
    ("present_ms", "expected_ms"),
    [pytest.param(DAY, 365 * DAY, id="a shorter one"), pytest.param(999 * DAY, 999 * DAY, id="a longer one")],
)
def test_u17_a_row_without_an_end_shortens_nothing(present_ms: int, expected_ms: int) -> None:
    """The default end counts only where it is later; the answer has the real one."""
    decision = by_file("printed", None, BOX, replace(OPEN, expires_at_ms=NOW + present_ms))
    assert isinstance(decision.outcome, RowsDone)
    assert [row.until_ms for row in decision.outcome.results if isinstance(row, RowDone)] == [NOW + expected_ms]


def test_u17_a_refused_row_stops_no_other() -> None:
    """Five rows added to a file of fifty: the five are done, the fifty keep their keys."""
    old = [device(f"old {number}") for number in range(50)]
    known = facts(admin(), *old, *(server_window(each, f"printed {each.name}") for each in old))
    rows = []
    for name in [*(each.name for each in old), *(f"new {number}" for number in range(5))]:
        secret = Secret(SecretKind.ISSUED_CLAIM_KEY, None)
        secret.digest = hashed(f"made for {name}")
        rows.append(KeyedDevice(name, secret, None, "relabelled", None))
    decision = decide(SetClaimKeys("root", tuple(rows), may_replace=False), known, given())
    assert isinstance(decision.outcome, RowsDone)
    refused = [row for row in decision.outcome.results if isinstance(row, RowRefused)]
    assert {row.refused.reason for row in refused} == {Reason.KEY_EXISTS}
    assert len(refused) == 50
    assert [each.name for each in written(decision.changes, Device)] == [f"new {number}" for number in range(5)]
    assert known.windows(old[0].id) == [server_window(old[0], "printed old 0")]


def test_u17_a_refused_attribute_writes_none_of_the_others() -> None:
    """All of a call or nothing."""
    assert written(by_attribute("new", NOW + DAY).changes, Attribute) == []


def test_u17_what_a_rule_reads_is_asked_for() -> None:
    """A window that was not loaded would look like none, and be replaced."""
    known, policy = facts(admin(), BOX), given().policy
    for command, expected in (
        (SetAttributes("root", BOX.id, (), ServerWindow(key(), NOW, may_replace=False)), True),
        (SetAttributes("root", BOX.id, (("a", "1"),), None), False),
        (SetClaimKeys("root", (), may_replace=False), True),
    ):
        needs = Needs()
        command.needs(needs, known, policy)
        assert needs.windows is expected


def test_u17_the_printed_key_claims_after_a_refusal() -> None:
    """That is what it is for."""
    known = facts(admin(), customer(), user(), BOX, OPEN)
    command = SetAttributes("root", BOX.id, (), ServerWindow(key("new"), NOW + DAY, may_replace=False))
    decide(command, known, given())
    assert result(decide(claim_device("Box", "new"), known, given())) is Reason.WRONG_KEY
    claimed = decide(claim_device("Box", "printed"), known, given())
    assert not isinstance(claimed.outcome, Refused)
