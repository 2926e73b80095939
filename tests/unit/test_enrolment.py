from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claimsvc.core.decision import Decision, Found
from claimsvc.core.model import Credential, Device, DeviceRequest, Principal, RequestStatus, Row
from claimsvc.core.policy import SecurityTokenPolicy
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import CredentialsGiven, CredentialsNotice, DeleteRequest
from tests.support.factories import (
    LANE,
    MINUTE,
    NOW,
    accept_request,
    admin,
    create_request,
    credential,
    device,
    enrollment,
    events,
    facts,
    given,
    hashed,
    poll,
    refused,
    removed,
    request,
    result,
    security_token,
    user,
    written,
)
from tests.support.memory import decide

ACCEPTED, BLOCKED = RequestStatus.ACCEPTED, RequestStatus.BLOCKED
PRINCIPAL = "device_1234"
STRANGER = "c/bootstrap/stranger/"
REGISTERED: tuple[Row, ...] = (device("1234", principal=PRINCIPAL), credential(PRINCIPAL))
"""What an acceptance has made: a device and its login."""


def status_of(known: Any) -> RequestStatus | None:
    """Return where the request for 1234 stands."""
    row = known.get(DeviceRequest, "1234")
    return row.status if row else None


def told(decision: Decision) -> tuple[str, str | None]:
    """Return where a device is told its login, and the password."""
    (notice,) = decision.notices
    assert isinstance(notice, CredentialsNotice)
    return notice.lane, notice.issued.text if notice.issued else None


def given_password(decision: Decision) -> str | None:
    """Return what a poll gave: the sealed password, or the one just made."""
    outcome = decision.outcome
    assert isinstance(outcome, CredentialsGiven), outcome
    return outcome.credential.sealed if outcome.credential else outcome.secret.text if outcome.secret else None


# --- giving the login again


@pytest.mark.parametrize(
    ("rows", "at_ms", "expected"),
    [
        pytest.param([credential(PRINCIPAL)], NOW, CredentialsGiven, id="at once"),
        pytest.param([credential(PRINCIPAL)], NOW + 10 * MINUTE, CredentialsGiven, id="at the last millisecond"),
        pytest.param([credential(PRINCIPAL)], NOW + 10 * MINUTE + 1, Reason.CREDENTIALS_GIVEN, id="too late"),
        pytest.param([credential(PRINCIPAL, sealed=None)], NOW, Reason.CREDENTIALS_GIVEN, id="swept already"),
        pytest.param([credential(PRINCIPAL, revoked_at_ms=NOW)], NOW, Reason.CREDENTIALS_GIVEN, id="revoked"),
        pytest.param([credential(PRINCIPAL, created_at_ms=NOW + 1)], NOW, Reason.CREDENTIALS_GIVEN, id="a later one"),
        pytest.param([], NOW, Reason.CREDENTIALS_GIVEN, id="the device is gone"),
    ],
)
def test_the_login_is_given_again_for_a_while(rows: list[Row], at_ms: int, expected: object) -> None:
    """The same, within the reissue window; never one the request did not make."""
    known = facts(device("1234", principal=PRINCIPAL), request(ACCEPTED), *rows)
    decision = decide(poll(), known, given(at_ms))
    assert (result(decision), decision.changes) == (expected, ())


def test_a_device_that_is_registered_again_keeps_what_it_is() -> None:
    """The device and its owner stay, the password is new, and connections with the old one end."""
    claimed = device("1234", principal=PRINCIPAL, owner="c1")
    known = facts(admin(), claimed, credential(PRINCIPAL, created_at_ms=1), request(lane="c/bootstrap/new/"))
    decision = decide(accept_request(), known, given())
    assert (written(decision.changes, Device), written(decision.changes, Principal)) == ([], [])
    (login,) = written(decision.changes, Credential)
    assert (login.created_at_ms, login.secret_hash) == (NOW, "hash of password-1")
    assert told(decision) == ("c/bootstrap/new/", "password-1")
    assert decision.ended == (PRINCIPAL,)


def test_a_deleted_request_leaves_the_login() -> None:
    """Only the request is removed."""
    decision = decide(DeleteRequest("root", "1234"), facts(admin(), request(ACCEPTED), *REGISTERED), given())
    assert removed(decision.changes) == [(DeviceRequest, "1234")]
    assert decision.ended == ()


# --- one-time passwords


def test_a_one_time_password_is_acceptance() -> None:
    """The request is accepted from the start, until its time is over."""
    known = facts(admin())
    decision = decide(create_request(enrollment=security_token("one-time")), known, given())
    assert decision.outcome == Found(enrollment(), created=True)


def test_the_one_time_password_lets_in() -> None:
    """Its device has the login in the answer; from then on it is as one that was accepted where it asked."""
    known = facts(enrollment())
    decision = decide(poll("one-time"), known, given())
    assert given_password(decision) == "password-1"
    in_place: dict[str, Any] = {"lane": LANE, "token_hash": hashed("one-time"), "issued_at_ms": NOW}
    assert written(decision.changes, DeviceRequest) == [replace(enrollment(), enrollment_hash=None, **in_place)]
    assert events(decision.changes) == ["device_created", "request_accepted"]
    assert decision.notices == ()
    assert given_password(decide(poll(), known, given())) == "sealed password-1"


def test_who_comes_again_by_a_one_time_password_has_to_go() -> None:
    """Whoever is connected with the login of the registration before."""
    decision = decide(poll("one-time"), facts(enrollment(), *REGISTERED), given())
    assert (given_password(decision), decision.ended) == ("password-1", (PRINCIPAL,))


def test_a_one_time_password_is_good_once() -> None:
    """After the window nothing is given for it, from anywhere."""
    known = facts(enrollment())
    decide(poll("one-time"), known, given())
    late = given(NOW + 10 * MINUTE + 1)
    for lane in (LANE, STRANGER):
        refused(Reason.CREDENTIALS_GIVEN, known, poll("one-time", lane=lane), late)


@pytest.mark.parametrize(
    ("text", "at_ms", "expected"),
    [
        pytest.param("one-time", NOW + 60 * MINUTE, CredentialsGiven, id="at the last millisecond"),
        pytest.param("one-time", NOW + 60 * MINUTE + 1, Reason.NOT_ACCEPTED, id="too late"),
        pytest.param(None, NOW, Reason.NOT_ACCEPTED, id="none"),
    ],
)
def test_a_one_time_password_in_time(text: str | None, at_ms: int, expected: object) -> None:
    """Too late, or without one, a device hears what a pending one hears, and nothing is counted."""
    decision = decide(poll(text), facts(enrollment()), given(at_ms))
    assert result(decision) == expected
    assert bool(decision.changes) == (expected is CredentialsGiven)


def test_wrong_one_time_passwords_are_counted() -> None:
    """Each leaves an event; after the last the right one is no good either, and nobody is told why."""
    known, now = facts(enrollment()), given(max_token_failures=2)
    seen = [decide(poll("guess", lane=STRANGER), known, now) for _ in range(2)]
    assert [events(decision.changes) for decision in seen] == [["enrollment_failed"]] * 2
    assert status_of(known) is BLOCKED
    decision = decide(poll("one-time"), known, now)
    assert (result(decision), decision.changes) == (Reason.NOT_ACCEPTED, ())


@pytest.mark.parametrize("policy", SecurityTokenPolicy)
def test_a_one_time_password_counts_under_every_policy(policy: SecurityTokenPolicy) -> None:
    """It is no security token."""
    now = given(security_token_policy=policy)
    assert result(decide(poll("one-time"), facts(enrollment()), now)) is CredentialsGiven


def test_without_logins_of_ours_a_one_time_password_gives_none() -> None:
    """Device and principal are made; the login must exist."""
    decision = decide(poll("one-time"), facts(enrollment()), given(issue_logins=False))
    assert given_password(decision) is None
    assert len(written(decision.changes, Device)) == 1


def test_a_one_time_password_takes_no_name_over() -> None:
    """The request stays as it was, its password unused."""
    known = facts(enrollment(), user(PRINCIPAL))
    decision = decide(poll("one-time"), known, given())
    assert (result(decision), decision.changes) == (Reason.NAME_TAKEN, ())
    assert known.get(DeviceRequest, "1234") == enrollment()
