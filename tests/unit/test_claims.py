from __future__ import annotations

from typing import Any

import pytest

from claimsvc.core.claiming import Claimed, ClaimNotice, Released
from claimsvc.core.decision import Append
from claimsvc.core.model import Attribute, ClaimWindow, Device, Event, Row, WindowSource
from claimsvc.core.reasons import Reason
from tests.support.factories import (
    MINUTE,
    NOW,
    admin,
    allowed,
    attempts,
    claim_device,
    customer,
    device,
    events,
    facts,
    given,
    hashed,
    password,
    release_device,
    removed,
    result,
    server_window,
    user,
    window,
    written,
)
from tests.support.memory import decide

FREE = device()
OURS = device(owner="c1", claimed_at_ms=NOW)
THEIRS = device(owner="c2", claimed_at_ms=NOW)
OVER: dict[str, Any] = {"opened_at_ms": NOW - 2 * MINUTE, "expires_at_ms": NOW - 1}


@pytest.mark.parametrize(
    ("rows", "key", "expected"),
    [
        pytest.param([FREE, window(FREE)], "value", Claimed, id="the right key claims"),
        pytest.param([FREE, window(FREE)], "Value", Reason.WRONG_KEY, id="the wrong key does not"),
        pytest.param([FREE, window(FREE)], "", Reason.WRONG_KEY, id="no key does not"),
        pytest.param([FREE, window(FREE, "")], "", Claimed, id="both empty match"),
        pytest.param([FREE, window(FREE, "")], "value", Reason.WRONG_KEY, id="a key where none was set"),
        pytest.param([FREE], "value", Reason.NO_WINDOW, id="no window"),
        pytest.param([FREE, allowed(FREE)], "", Reason.NO_WINDOW, id="claimingAllowed alone is no window"),
        pytest.param([FREE, window(FREE, **OVER)], "value", Reason.WINDOW_EXPIRED, id="the right key too late"),
        pytest.param([FREE, window(FREE, expires_at_ms=NOW)], "value", Claimed, id="the last millisecond counts"),
        pytest.param([FREE, server_window(FREE)], "server", Claimed, id="the key of claimingData"),
        pytest.param([FREE, window(FREE), server_window(FREE)], "server", Claimed, id="server key beside device's"),
        pytest.param([FREE, window(FREE), server_window(FREE)], "value", Claimed, id="device key beside server's"),
        pytest.param(
            [FREE, window(FREE, **OVER), server_window(FREE)],
            "value",
            Reason.WRONG_KEY,
            id="an expired window's key beside an open window",
        ),
        pytest.param(
            [FREE, window(FREE, **OVER), server_window(FREE, **OVER)],
            "server",
            Reason.WINDOW_EXPIRED,
            id="both windows over",
        ),
        pytest.param([OURS], "value", Reason.ALREADY_CLAIMED, id="owned by us"),
        pytest.param([THEIRS], "value", Reason.ALREADY_CLAIMED, id="owned by others"),
        pytest.param([THEIRS, server_window(THEIRS)], "x", Reason.WRONG_KEY, id="owned, and a wrong key"),
        pytest.param(
            [THEIRS, server_window(THEIRS)], "server", Reason.ALREADY_CLAIMED, id="owned, and the right key"
        ),
        pytest.param([], "value", Reason.NOT_FOUND, id="no such device"),
        pytest.param([device(tenant="acme")], "value", Reason.NOT_FOUND, id="another tenant's device"),
    ],
)
def test_claim_has_one_definite_outcome(rows: list[Row], key: str, expected: object) -> None:
    """Each state of a device and each key have one outcome: docs/original-systems.md#claim-outcomes."""
    known = facts(customer(), user(), *rows)
    assert expected == result(decide(claim_device(text=key), known, given()))


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        pytest.param(user(), Claimed, id="a customer's user"),
        pytest.param(user(roles=()), Reason.NOT_PERMITTED, id="a user without the permission"),
        pytest.param(user(roles=("viewer",)), Reason.NOT_PERMITTED, id="a viewer"),
        pytest.param(user(customer_id=None), Reason.NOT_A_CUSTOMER, id="a user of no customer"),
        pytest.param(admin("alice"), Reason.NOT_A_CUSTOMER, id="a tenant admin"),
        pytest.param(user(tenant="acme"), Reason.NOT_FOUND, id="a user of another tenant"),
        pytest.param(device("alice"), Reason.NOT_PERMITTED, id="a device"),
        pytest.param(None, Reason.NOT_PERMITTED, id="whom nobody knows"),
    ],
)
def test_only_customers_users_claim(caller: Row | None, expected: object) -> None:
    """Only a user of a customer with the permission can claim, and within the own tenant only."""
    known = facts(customer(), FREE, window(FREE), *([caller] if caller else []))
    assert expected == result(decide(claim_device(), known, given()))


def test_success_sets_owner_and_takes_every_way_in_away() -> None:
    """Success sets owner and time, removes all windows, claimingAllowed and the user's failures there."""
    spent: list[Row] = [window(FREE), server_window(FREE), allowed(FREE), attempts(FREE, count=4)]
    known = facts(customer(), user(), FREE, *spent)
    decision = decide(claim_device(), known, given())
    assert [device(owner="c1", claimed_at_ms=NOW, claimed_with=hashed("value"))] == written(decision.changes, Device)
    assert {row.key for row in spent} == {key for _, key in removed(decision.changes)}
    assert events(decision.changes) == ["device_claimed"]
    assert (ClaimNotice("Thermostat", claimed=True, at_ms=NOW),) == decision.notices
    assert known.windows(FREE.id) == []
    assert (known.get(Device, FREE.id) or FREE).owner == "c1"


def test_device_without_login_is_told_nothing() -> None:
    """A device only a gateway speaks for has no lane, so there is no notice."""
    child = device(principal=None, gateway_id="g")
    decision = decide(claim_device(), facts(customer(), user(), child, window(child)), given())
    assert Claimed is type(decision.outcome)
    assert decision.notices == ()


def test_claimed_takes_windows_that_lead_nowhere_away() -> None:
    """CLAIMED removes windows and claimingAllowed of the owned device, and keeps the owner."""
    known = facts(customer(), user(), THEIRS, server_window(THEIRS), allowed(THEIRS))
    decision = decide(claim_device(text="server"), known, given())
    assert {(ClaimWindow, (THEIRS.id, WindowSource.SERVER)), (Attribute, allowed(THEIRS).key)} == set(
        removed(decision.changes)
    )
    assert written(decision.changes, Device) == []


@pytest.mark.parametrize("rows", [[FREE], [FREE, window(FREE)], [FREE, window(FREE, **OVER)]])
def test_failure_is_written_down(rows: list[Row]) -> None:
    """Every FAILURE leaves an audit event with its exact cause, and no window changes but its count."""
    known = facts(customer(), user(), *rows)
    decision = decide(claim_device(text="wrong"), known, given())
    assert events(decision.changes) == ["claim_refused"]
    assert decision.notices == ()
    assert written(decision.changes, Device) == []
    assert [gone for gone in removed(decision.changes) if gone[0] is ClaimWindow] == []


def test_wrong_key_leaves_every_window_as_it_was() -> None:
    """A wrong key counts at each open window and changes neither key nor end."""
    both = [window(FREE), server_window(FREE)]
    known = facts(customer(), user(), FREE, *both)
    changes = decide(claim_device(text="wrong"), known, given()).changes
    counted = [window(FREE, attempts=1), server_window(FREE, attempts=1)]
    assert counted == written(changes, ClaimWindow) == known.windows(FREE.id)


ADMIN_OF_ACME = [admin(tenant="acme")]


@pytest.mark.parametrize(
    ("rows", "by", "expected"),
    [
        pytest.param([user(), OURS], "alice", Released, id="the owner's user"),
        pytest.param([user("bob"), OURS], "bob", Released, id="another user of the owner"),
        pytest.param([admin(), OURS], "root", Released, id="a tenant admin"),
        pytest.param([user(), THEIRS], "alice", Reason.NOT_THE_OWNER, id="another customer's user"),
        pytest.param([user(), FREE], "alice", Released, id="nobody's device"),
        pytest.param([user(), device()], "alice", Released, id="a device without windows"),
        pytest.param([user()], "alice", Reason.NOT_FOUND, id="no such device"),
        pytest.param([*ADMIN_OF_ACME, OURS], "root", Reason.NOT_FOUND, id="another tenant's admin"),
        pytest.param([user(roles=()), OURS], "alice", Reason.NOT_PERMITTED, id="without the permission"),
        pytest.param([OURS], "Thermostat", Reason.NOT_PERMITTED, id="the device itself"),
        pytest.param([OURS], "nobody", Reason.NOT_PERMITTED, id="whom nobody knows"),
    ],
)
def test_owner_or_admin_releases(rows: list[Row], by: str, expected: object) -> None:
    """The owning customer or a tenant admin releases; ThingsBoard lets anybody, we do not."""
    assert expected == result(decide(release_device(by=by), facts(customer(), *rows), given()))


@pytest.mark.parametrize("allow_by_default", [True, False])
def test_release_undoes_a_claim(*, allow_by_default: bool) -> None:
    """A release removes owner, time and windows; claimingAllowed comes back if it is needed."""
    known = facts(customer(), user(), OURS, window(OURS), server_window(OURS))
    freed = device()
    decision = decide(release_device(), known, given(allow_by_default=allow_by_default))
    assert Released(freed, was_owned=True) == decision.outcome
    assert written(decision.changes, Device) == [freed]
    assert known.windows(OURS.id) == []
    assert ([] if allow_by_default else [allowed(OURS)]) == written(decision.changes, Attribute)
    assert events(decision.changes) == ["device_released"]
    assert (ClaimNotice("Thermostat", claimed=False, at_ms=NOW),) == decision.notices


def test_release_of_what_nobody_owns_changes_nothing() -> None:
    """Nobody's device stays nobody's, and its window stays open."""
    known = facts(customer(), user(), FREE, window(FREE))
    decision = decide(release_device(), known, given())
    assert Released(FREE, was_owned=False) == decision.outcome
    assert (decision.changes, decision.notices) == ((), ())


def test_released_device_is_claimed_by_another_customer() -> None:
    """After a release and a new window, another customer's claim is as good as the first."""
    known = facts(customer(), customer("c2"), user(), user("bob", customer_id="c2"), OURS)
    decide(release_device(), known, given())
    known.put(window(FREE))
    assert Claimed is result(decide(claim_device(by="bob"), known, given()))


def test_second_claim_of_a_batch_sees_the_first() -> None:
    """Two claims with the right key in one batch: one owner, one CLAIMED."""
    known = facts(customer(), customer("c2"), user(), user("bob", customer_id="c2"), FREE, window(FREE))
    outcomes = [result(decide(claim_device(by=by), known, given())) for by in ("bob", "alice")]
    assert [Claimed, Reason.ALREADY_CLAIMED] == outcomes


def test_secret_in_clear_never_reaches_a_rule() -> None:
    """A key that was not hardened is our mistake, not a wrong key."""
    command = claim_device()
    command.key.digest = ""
    with pytest.raises(RuntimeError):
        decide(command, facts(customer(), user(), FREE, window(FREE)), given())
    assert "password-1" not in repr(password())


@pytest.mark.parametrize(
    ("caller", "detail"),
    [
        pytest.param(user(roles=()), "not_permitted: DEVICE:CLAIM_DEVICES", id="without the permission"),
        pytest.param(user(customer_id=None), "not_a_customer", id="of no customer"),
    ],
)
def test_u8_a_user_who_may_not_claim_leaves_an_event(caller: Row, detail: str) -> None:
    """An operator who looks for the reason finds it; nobody is locked out by it."""
    decision = decide(claim_device(), facts(customer(), caller, FREE, window(FREE)), given())
    assert decision.changes == (
        Append(Event("default", NOW, "claim_refused", "alice", FREE.id, "Thermostat", detail)),
    )


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([device("alice"), FREE], id="a device"),
        pytest.param([FREE], id="whom nobody knows"),
        pytest.param([user(roles=())], id="a user, of a device that is not there"),
        pytest.param([user(roles=(), tenant="acme"), FREE], id="a user of another tenant"),
    ],
)
def test_u8_others_leave_no_event(rows: list[Row]) -> None:
    """The trail of a tenant is not for strangers to fill."""
    assert decide(claim_device(), facts(*rows), given()).changes == ()
