from __future__ import annotations

from typing import Any

import pytest

from claimsvc.core.decision import Decision, Done, Found
from claimsvc.core.model import DeviceRequest, RequestStatus, Row
from claimsvc.core.policy import SecurityTokenPolicy
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import AcceptedAll, CredentialsGiven, DeleteRequest, RequestRefused
from tests.support.factories import (
    accept_all,
    accept_request,
    admin,
    create_request,
    credential,
    device,
    events,
    facts,
    given,
    hashed,
    poll,
    refused,
    removed,
    request,
    result,
    written,
)
from tests.support.memory import decide

WAITING, PENDING = RequestStatus.WAITING_FOR_CONNECTION, RequestStatus.PENDING_ACCEPTANCE
ACCEPTED, BLOCKED = RequestStatus.ACCEPTED, RequestStatus.BLOCKED
IGNORED, OPTIONAL = SecurityTokenPolicy.IGNORED, SecurityTokenPolicy.OPTIONAL
REQUIRED = SecurityTokenPolicy.REQUIRED
PRINCIPAL = "device_1234"
STRANGER = "c/bootstrap/stranger/"
REGISTERED: tuple[Row, ...] = (device("1234", principal=PRINCIPAL), credential(PRINCIPAL))
"""What an acceptance has made: a device and its login."""


def status_of(known: Any) -> RequestStatus | None:
    """Return where the request for 1234 stands."""
    row = known.get(DeviceRequest, "1234")
    return row.status if row else None


def results(decision: Decision) -> list[Reason | None]:
    """Return what became of each request that waited."""
    assert isinstance(decision.outcome, AcceptedAll), decision.outcome
    return [refusal.reason if refusal else None for _, refusal in decision.outcome.results]


def given_password(decision: Decision) -> str | None:
    """Return what a poll gave: the sealed password, or the one just made."""
    outcome = decision.outcome
    assert isinstance(outcome, CredentialsGiven), outcome
    return outcome.credential.sealed if outcome.credential else outcome.secret.text if outcome.secret else None


# --- the security token: docs/original-systems.md#security-tokens

MATCHES, TOKEN = "abc12345", hashed("abc12345")
ACCEPTANCES: dict[tuple[SecurityTokenPolicy, bool, str | None], object] = {
    # (policy, whether the device sent a token, what the operator types)
    (IGNORED, False, None): Found,
    (IGNORED, False, "wrong"): Found,
    (IGNORED, True, None): Found,
    (IGNORED, True, "wrong"): Found,
    (IGNORED, True, MATCHES): Found,
    (OPTIONAL, False, None): Found,
    (OPTIONAL, False, "wrong"): Found,
    (OPTIONAL, True, None): Reason.WRONG_TOKEN,
    (OPTIONAL, True, "wrong"): Reason.WRONG_TOKEN,
    (OPTIONAL, True, MATCHES): Found,
    (REQUIRED, False, None): Reason.WRONG_TOKEN,
    (REQUIRED, False, "wrong"): Reason.WRONG_TOKEN,
    (REQUIRED, True, None): Reason.WRONG_TOKEN,
    (REQUIRED, True, "wrong"): Reason.WRONG_TOKEN,
    (REQUIRED, True, MATCHES): Found,
}


@pytest.mark.parametrize(("policy", "sends", "typed"), ACCEPTANCES)
def test_what_a_token_is_worth(policy: SecurityTokenPolicy, typed: str | None, *, sends: bool) -> None:
    """From the device's first poll to the operator's acceptance, under each policy."""
    known, now = facts(admin(), request(WAITING)), given(security_token_policy=policy)
    decide(poll(MATCHES if sends else None), known, now)
    assert result(decide(accept_request(typed), known, now)) == ACCEPTANCES[policy, sends, typed]
    assert status_of(known) is (ACCEPTED if ACCEPTANCES[policy, sends, typed] is Found else PENDING)


def test_an_ignored_token_is_not_kept() -> None:
    """Under IGNORED nothing of it is stored, and it opens nothing from elsewhere."""
    now = given(security_token_policy=IGNORED)
    decision = decide(poll(MATCHES), facts(request(WAITING)), now)
    assert written(decision.changes, DeviceRequest) == [request()]
    assert events(decide(poll(MATCHES, lane=STRANGER), facts(request()), now).changes) == ["request_contested"]


def test_wrong_tokens_are_counted_until_the_request_is_blocked() -> None:
    """The last one says so. After it the right token is refused, too, until the request is deleted."""
    known, now = facts(admin(), request(token_hash=TOKEN)), given(max_token_failures=3)
    seen = [decide(accept_request("wrong"), known, now) for _ in range(3)]
    assert [result(decision) for decision in seen] == [Reason.WRONG_TOKEN, Reason.WRONG_TOKEN, Reason.BLOCKED]
    assert [events(decision.changes) for decision in seen] == [
        ["token_refused"],
        ["token_refused"],
        ["request_blocked"],
    ]
    refusal = refused(Reason.NOT_PENDING, known, accept_request(MATCHES), now)
    assert isinstance(refusal, RequestRefused)
    assert refusal.status is BLOCKED
    commands = (DeleteRequest("root", "1234"), create_request(), poll(MATCHES), accept_request(MATCHES))
    afresh = [result(decide(command, known, now)) for command in commands]
    assert afresh == [Done, Found, Reason.NOT_ACCEPTED, Found]


def test_no_token_is_no_wrong_token() -> None:
    """An operator who types no token uses up no attempt."""
    decision = decide(accept_request(), facts(admin(), request(token_hash=TOKEN)), given())
    assert (result(decision), decision.changes) == (Reason.WRONG_TOKEN, ())


# --- contested requests


@pytest.mark.parametrize("status", [PENDING, ACCEPTED, BLOCKED])
@pytest.mark.parametrize("text", [None, "guess"], ids=["without a token", "with a wrong one"])
def test_a_stranger_hears_what_a_pending_device_hears(text: str | None, status: RequestStatus) -> None:
    """For ever, in whatever state; only its first poll is written, and an event tells the operator."""
    known = facts(request(status, token_hash=TOKEN), *REGISTERED)
    decision = decide(poll(text, lane=STRANGER), known, given())
    assert written(decision.changes, DeviceRequest) == [request(status, token_hash=TOKEN, contested=True)]
    assert events(decision.changes) == ["request_contested"]
    again = decide(poll(text, lane=STRANGER), known, given())
    assert again.changes == ()
    for each in (decision, again):
        assert isinstance(each.outcome, RequestRefused)
        assert (each.outcome.reason, each.outcome.status) == (Reason.NOT_ACCEPTED, PENDING)


@pytest.mark.parametrize("contested", [False, True])
def test_the_token_makes_another_lane_rightful(*, contested: bool) -> None:
    """The device itself came by another way: nothing is contested, and it gets its login."""
    known = facts(request(ACCEPTED, token_hash=TOKEN, contested=contested), *REGISTERED)
    decision = decide(poll(MATCHES, lane=STRANGER), known, given())
    assert (given_password(decision), decision.changes) == (f"sealed({PRINCIPAL})", ())


def test_the_first_place_gets_its_login_though_a_stranger_asked_too() -> None:
    """Once accepted, a stranger takes nothing away."""
    known = facts(request(ACCEPTED, contested=True), *REGISTERED)
    assert given_password(decide(poll(), known, given())) == f"sealed({PRINCIPAL})"


CONTESTED: dict[str, tuple[str | None, SecurityTokenPolicy, str | None, object]] = {
    # the device's token, policy, what the operator types
    "no token there is": (None, OPTIONAL, None, Reason.CONTESTED),
    "a token where there is none": (None, OPTIONAL, "wrong", Reason.CONTESTED),
    "without the token": (MATCHES, OPTIONAL, None, Reason.CONTESTED),
    "with a wrong token": (MATCHES, OPTIONAL, "wrong", Reason.WRONG_TOKEN),
    "with the token": (MATCHES, OPTIONAL, MATCHES, Found),
    "though tokens are ignored": (None, IGNORED, None, Reason.CONTESTED),
    "where tokens are required": (MATCHES, REQUIRED, MATCHES, Found),
}


@pytest.mark.parametrize(("sent", "policy", "typed", "expected"), CONTESTED.values(), ids=CONTESTED.keys())
def test_a_contested_request_is_accepted_by_its_token_only(
    sent: str | None, policy: SecurityTokenPolicy, typed: str | None, expected: object
) -> None:
    """Whatever the policy; and never with all the others."""
    row = request(contested=True, token_hash=hashed(sent) if sent else None)
    now = given(security_token_policy=policy)
    assert results(decide(accept_all(), facts(admin(), row), now)) == [Reason.CONTESTED]
    assert result(decide(accept_request(typed), facts(admin(), row), now)) == expected


def test_deleting_a_contested_request_starts_afresh() -> None:
    """The next request knows nothing of the stranger."""
    known = facts(admin(), request(contested=True))
    decision = decide(DeleteRequest("root", "1234"), known, given())
    assert removed(decision.changes) == [(DeviceRequest, "1234")]
    decide(create_request(), known, given())
    decide(poll(), known, given())
    assert result(decide(accept_request(), known, given())) is Found
