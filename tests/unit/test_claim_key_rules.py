"""Rules of lists of claim keys: a key for each device, made where it is missing; an owner keeps what is owned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from claimsvc.core.bulk import KeyedDevice, RowDone, RowField, RowRefused, RowsDone, RowStatus, SetClaimKeys
from claimsvc.core.decision import Decision
from claimsvc.core.model import (
    ClaimWindow,
    Device,
    Tenant,
    WindowSource,
)
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from tests.support.factories import (
    DAY,
    NOW,
    admin,
    customer,
    device,
    events,
    facts,
    given,
    hashed,
    server_window,
    window,
    written,
)
from tests.support.memory import Memory, decide


def known(*rows: object) -> Memory:
    """Return facts with an admin and these rows."""
    return facts(admin(), *rows)  # type: ignore[arg-type]


def keyed(name: str = "Box 1", text: str = "value", **fields: object) -> KeyedDevice:
    """Return a row that gives a device a key, until the default time is over."""
    secret = Secret(SecretKind.ISSUED_CLAIM_KEY, text)
    secret.digest = hashed(text)
    values: dict[str, object] = {"expires_at_ms": None, "type": None, "label": None}
    return KeyedDevice(name, secret, **(values | fields))  # type: ignore[arg-type]


def set_keys(
    *rows: KeyedDevice | RowRefused,
    among: Memory | None = None,
    at: Given | None = None,
    may_replace: bool = False,
) -> tuple[Sequence[RowDone | RowRefused], Decision]:
    """Decide a slice of a list."""
    decision = decide(SetClaimKeys("root", rows, may_replace), among or known(), at or given())
    assert isinstance(decision.outcome, RowsDone), decision.outcome
    return decision.outcome.results, decision


def test_a_device_is_made_with_its_key() -> None:
    """Nobody speaks for it yet; its server window is open a year, or as long as the row says."""
    at = given(server_duration_ms=9 * DAY)
    results, decision = set_keys(keyed(type="box", label="A box"), keyed("Box 2", expires_at_ms=NOW + 1), at=at)
    assert list(results) == [
        RowDone(RowStatus.CREATED, NOW + 9 * DAY),
        RowDone(RowStatus.CREATED, NOW + 1),
    ]
    first, _ = written(decision.changes, Device)
    assert first == Device(first.id, "default", "Box 1", None, NOW, type="box", label="A box")
    assert first.is_loginless
    opened, _ = written(decision.changes, ClaimWindow)
    assert opened == ClaimWindow(first.id, WindowSource.SERVER, hashed("value"), NOW, NOW + 9 * DAY)
    assert events(decision.changes) == ["device_created", "claiming_data_set"] * 2


def test_a_known_device_gets_a_new_key() -> None:
    """In the place of one that has expired; its own window, login and name stay."""
    known_device = device("Box 1", label="Old")
    over = server_window(known_device, expires_at_ms=NOW - 1)
    among = known(known_device, window(known_device), over)
    results, decision = set_keys(keyed(text="new", label="New"), among=among)
    assert list(results) == [RowDone(RowStatus.UPDATED, NOW + 365 * DAY)]
    assert written(decision.changes, Device) == [replace(known_device, label="New")]
    assert [each.key_hash for each in among.windows(known_device.id)] == [hashed("value"), hashed("new")]


KEY_REFUSALS: dict[str, tuple[KeyedDevice, Reason, RowField]] = {
    "no name": (keyed(""), Reason.INVALID_NAME, RowField.DEVICE_ID),
    "a name no topic can carry": (keyed("a\x07"), Reason.INVALID_NAME, RowField.DEVICE_ID),
    "a time that is over": (keyed(expires_at_ms=NOW), Reason.INVALID_VALUE, RowField.EXPIRES_AT),
    "a device with an owner": (keyed("Owned"), Reason.ALREADY_CLAIMED, RowField.DEVICE_ID),
}


@pytest.mark.parametrize(("bad", "reason", "field"), KEY_REFUSALS.values(), ids=KEY_REFUSALS.keys())
def test_a_key_that_cannot_be_given(bad: KeyedDevice, reason: Reason, field: RowField) -> None:
    """Is refused by itself; the others are given."""
    among = known(customer(), device("Owned", owner="c1"))
    results, decision = set_keys(bad, keyed("fine"), among=among)
    first, second = results
    assert isinstance(first, RowRefused)
    assert (first.refused.reason, first.column) == (reason, field)
    assert isinstance(second, RowDone)
    assert [each.name for each in written(decision.changes, Device)] == ["fine"]


def test_a_key_opens_its_device_and_no_other() -> None:
    """Another tenant's device of the same name is another."""
    among = known(Tenant("acme", "Acme", NOW), device("Box 1", tenant="acme", principal=None))
    results, decision = set_keys(keyed(), among=among)
    assert [each.status for each in results if isinstance(each, RowDone)] == [RowStatus.CREATED]
    assert {each.tenant for each in written(decision.changes, Device)} == {"default"}


def test_a_key_reaches_no_rule_in_clear() -> None:
    """A row whose key was not hashed breaks instead."""
    with pytest.raises(RuntimeError, match="in clear"):
        set_keys(replace(keyed(), key=Secret(SecretKind.ISSUED_CLAIM_KEY, "value")))
