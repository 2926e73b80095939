from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claimsvc.core.command import Command
from claimsvc.core.decision import Decision, Found
from claimsvc.core.model import (
    Credential,
    CredentialKind,
    Device,
    DeviceRequest,
    Principal,
    PrincipalKind,
    RequestStatus,
    Row,
)
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import AcceptedAll, CredentialsGiven, CredentialsNotice, DeviceLimit, ReadLimit
from tests.support.factories import (
    LANE,
    MINUTE,
    NOW,
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
    request,
    result,
    user,
    written,
)
from tests.support.memory import decide

WAITING, PENDING = RequestStatus.WAITING_FOR_CONNECTION, RequestStatus.PENDING_ACCEPTANCE
ACCEPTED, BLOCKED = RequestStatus.ACCEPTED, RequestStatus.BLOCKED
PRINCIPAL = "device_1234"
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


def results(decision: Decision) -> list[Reason | None]:
    """Return what became of each request that waited."""
    assert isinstance(decision.outcome, AcceptedAll), decision.outcome
    return [refusal.reason if refusal else None for _, refusal in decision.outcome.results]


def test_acceptance_makes_device_and_login() -> None:
    """Principal, device, login, an event each; the device is told where it asked."""
    known = facts(admin(), request(type="c8y_Sensor"))
    decision = decide(accept_request(), known, given())
    assert written(decision.changes, Principal) == [Principal(PRINCIPAL, PrincipalKind.DEVICE, "default")]
    (made,) = written(decision.changes, Device)
    assert (made.tenant, made.name, made.principal, made.type) == ("default", "1234", PRINCIPAL, "c8y_Sensor")
    (login,) = written(decision.changes, Credential)
    assert (login.login, login.principal, login.created_at_ms) == (PRINCIPAL, PRINCIPAL, NOW)
    assert login.sealed_until_ms == NOW + 10 * MINUTE
    assert written(decision.changes, DeviceRequest) == [request(ACCEPTED, type="c8y_Sensor")]
    assert events(decision.changes) == ["device_created", "request_accepted"]
    assert told(decision) == (LANE, "password-1")
    assert decision.ended == ()


@pytest.mark.parametrize(
    ("tenant", "logins"),
    [
        ("default", ["device_with%23hash", "device_with#hash", "default/device_with#hash"]),
        ("acme", ["acme%2Fdevice_with%23hash", "acme/device_with#hash"]),
    ],
)
def test_logins_where_a_device_may_have_several(tenant: str, logins: list[str]) -> None:
    """Its principal, and as Cumulocity writes it, all with the same password."""
    known = facts(admin(tenant=tenant), request(id="with#hash", tenant=tenant))
    decision = decide(accept_request(device_id="with#hash"), known, given(several_logins=True))
    found = written(decision.changes, Credential)
    assert [row.login for row in found] == logins
    assert {row.principal for row in found} == {logins[0]}
    assert len({row.secret_hash for row in found}) == 1


@pytest.mark.parametrize(
    ("tenant", "several", "username"),
    [
        pytest.param("default", True, "device_with#hash", id="as Cumulocity writes it"),
        pytest.param("acme", True, "device_with#hash", id="the tenant is told beside it"),
        pytest.param("default", False, "device_with%23hash", id="the principal where that is the only login"),
        pytest.param("acme", False, "acme%2Fdevice_with%23hash", id="and with its tenant"),
    ],
)
def test_a_device_is_told_a_username_that_works(tenant: str, username: str, *, several: bool) -> None:
    """Alone, or behind its tenant and a slash, it is a login; in notice and answer alike."""
    known = facts(admin(tenant=tenant), request(id="with#hash", tenant=tenant))
    now = given(several_logins=several)
    decision = decide(accept_request(device_id="with#hash"), known, now)
    (notice,) = decision.notices
    outcome = decide(poll(device_id="with#hash"), known, now).outcome
    assert isinstance(notice, CredentialsNotice)
    assert isinstance(outcome, CredentialsGiven)
    assert notice.username == outcome.username == username
    assert {username, f"{tenant}/{username}"} & {row.login for row in written(decision.changes, Credential)}


def test_without_logins_of_ours_there_is_no_password() -> None:
    """Somebody else keeps them: device and principal are made, the answer has no secret."""
    known = facts(admin(), request())
    decision = decide(accept_request(), known, given(issue_logins=False))
    assert written(decision.changes, Credential) == []
    assert told(decision) == (LANE, None)
    given_now = decide(poll(), known, given(issue_logins=False)).outcome
    assert isinstance(given_now, CredentialsGiven)
    assert (given_now.credential, given_now.secret) == (None, None)


def test_accepting_again_changes_nothing() -> None:
    """The login that was issued stays as it is."""
    decision = decide(accept_request("whatever"), facts(admin(), request(ACCEPTED), *REGISTERED), given())
    assert decision == Decision(Found(request(ACCEPTED)))


TAKEN: dict[str, list[Row]] = {
    "a device that logs in with its name": [device("1234")],
    "a device that only a gateway speaks for": [device("1234", principal=None, gateway_id="device-Gateway")],
    "another device that is called like the login": [device(PRINCIPAL)],
    "a user": [user(PRINCIPAL)],
    "a user of another tenant": [user(PRINCIPAL, tenant="acme")],
    "a device of another tenant": [device(PRINCIPAL, tenant="acme")],
    "a login of another principal": [credential(PRINCIPAL, principal="bob")],
    "an access token": [credential(PRINCIPAL, principal="bob", kind=CredentialKind.ACCESS_TOKEN)],
}


@pytest.mark.parametrize("rows", TAKEN.values(), ids=TAKEN.keys())
def test_a_name_is_never_taken_over_from(rows: list[Row]) -> None:
    """The request is refused and stays as it was; the login's owner does not change."""
    known = facts(admin(), request(), *rows)
    decision = decide(accept_request(), known, given())
    assert (result(decision), decision.changes, decision.notices) == (Reason.NAME_TAKEN, (), ())
    assert status_of(known) is PENDING
    (refusal,) = results(decide(accept_all(), known, given()))
    assert refusal is Reason.NAME_TAKEN


def test_a_login_of_the_operators_own_is_never_taken_over() -> None:
    """One that stands in the broker's password file outside of ours."""
    now = given()
    foreign = replace(now, foreign_logins=frozenset({PRINCIPAL}))
    refused(Reason.NAME_TAKEN, facts(admin(), request()), accept_request(), foreign)


def test_all_that_wait_are_accepted_oldest_first() -> None:
    """Each one gets its login; one that needs a token is refused, one that has not polled is not in the answer."""
    known = facts(
        admin(),
        request(id="young", created_at_ms=NOW + 2, lane="c/bootstrap/young/"),
        request(id="old", created_at_ms=NOW - 1, lane="c/bootstrap/old/"),
        request(id="token", created_at_ms=NOW, token_hash=hashed("abc12345")),
        request(id="contested", created_at_ms=NOW + 1, contested=True),
        request(WAITING, id="waiting"),
        request(BLOCKED, id="blocked"),
        request(id="foreign", tenant="acme"),
    )
    decision = decide(accept_all(), known, given())
    outcome = decision.outcome
    assert isinstance(outcome, AcceptedAll)
    assert [device_id for device_id, _ in outcome.results] == ["old", "token", "contested", "young"]
    assert results(decision) == [None, Reason.WRONG_TOKEN, Reason.CONTESTED, None]
    notices = [each for each in decision.notices if isinstance(each, CredentialsNotice)]
    assert [each.lane for each in notices] == ["c/bootstrap/old/", "c/bootstrap/young/"]
    assert {row.id for row in written(decision.changes, DeviceRequest)} == {"old", "young"}


def test_who_is_accepted_again_with_all_has_to_go() -> None:
    """Whoever is connected with the old password, as after a single acceptance."""
    decision = decide(accept_all(), facts(admin(), request(), *REGISTERED), given())
    assert (results(decision), decision.ended) == ([None], (PRINCIPAL,))


# --- the device limit


@pytest.mark.parametrize(("limit", "is_full"), [(0, False), (1, True), (2, True), (3, False)])
def test_a_full_tenant_registers_nobody(limit: int, *, is_full: bool) -> None:
    """No request is created or accepted beyond the limit, which can be read."""
    now = given(device_limit=limit)

    def ask(command: Command) -> Decision:
        known = facts(admin(), request())
        known.count_devices("default", 2)
        return decide(command, known, now)

    expected = Reason.DEVICE_LIMIT if is_full else Found
    assert result(ask(create_request("5678"))) == expected
    assert result(ask(accept_request())) == expected
    assert results(ask(accept_all())) == [Reason.DEVICE_LIMIT if is_full else None]
    assert ask(ReadLimit("root")).outcome == DeviceLimit(limit, 2, is_reached=is_full)


def test_the_limit_counts_within_a_batch() -> None:
    """Of two that wait and one place, the older gets it."""
    known = facts(admin(), request(id="a"), request(id="b"))
    known.count_devices("default", 1)
    assert results(decide(accept_all(), known, given(device_limit=2))) == [None, Reason.DEVICE_LIMIT]


def test_a_known_device_needs_no_place() -> None:
    """Registered again in a full tenant."""
    known = facts(admin(), *REGISTERED, request())
    known.count_devices("default", 1)
    assert result(decide(accept_request(), known, given(device_limit=1))) is Found
