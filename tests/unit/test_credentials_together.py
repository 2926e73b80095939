"""Rotation, revocation, provisioning, registration and files at one device: what lets in afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claimsvc.core.bulk import Entry, NewDevice, RegisterDevices, RowsDone
from claimsvc.core.command import Command
from claimsvc.core.credentials import FoundCredential, RevokeCredentials, RotateCredentials
from claimsvc.core.decision import Done
from claimsvc.core.devices import DeleteAttributes, ReadCredentials
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import (
    Attribute,
    Credential,
    CredentialKind,
    Device,
    DeviceRequest,
    FormerCredential,
    RequestStatus,
    Strategy,
)
from claimsvc.core.provisioning import Provisioned
from claimsvc.core.reasons import Reason
from tests.support.factories import (
    MINUTE,
    NOW,
    accept_request,
    admin,
    credential,
    device,
    facts,
    given,
    hashed,
    password,
    refused,
    removed,
    request,
    result,
    written,
)
from tests.support.memory import decide
from tests.support.profiles import meter, profile, provision, provisioned

CHECK = profile(Strategy.CHECK)
KNOWN = meter(principal="Meter 1")
LOGIN = credential("Meter 1")
REGISTERED = device("1234", principal="device_1234")
TOKEN = credential(
    hashed("T"),
    principal="device_1234",
    kind=CredentialKind.ACCESS_TOKEN,
    secret_hash=hashed("T"),
    sealed="sealed(T)",
)


def row(entry: Entry = Entry.PASSWORD) -> RegisterDevices:
    """Return a file of one row, for device 1234."""
    secret = password("abcd1234") if entry is Entry.PASSWORD else None
    return RegisterDevices("root", (NewDevice("1234", entry, secret, None, None, None, (), ()),))


def lets_in(known: Facts, principal: str, now_ms: int) -> set[str]:
    """Return the hashes by which a principal gets in."""
    rows = [
        each for each in known.credentials(principal) if each.revoked_at_ms is None or each.revoked_at_ms > now_ms
    ]
    formers = [each for one in rows for each in known.former_credentials(one.login) if each.until_ms > now_ms]
    return {each.secret_hash for each in rows} | {each.secret_hash for each in formers}


@pytest.mark.parametrize(
    ("of", "why"),
    [
        pytest.param(device(principal=None), "sent a message yet", id="a list made it"),
        pytest.param(device(principal=None, gateway_id="device-Gateway"), "a gateway", id="a gateway made it"),
    ],
)
@pytest.mark.parametrize("order", ["rotate", "revoke"])
def test_whoever_has_no_login_is_told_why(of: Device, why: str, order: str) -> None:
    """A device that a list made is nobody's yet, and no gateway's."""
    command = RevokeCredentials("root", of.id) if order == "revoke" else RotateCredentials("root", of.id, None, None)
    assert why in refused(Reason.NO_LOGIN, facts(admin(), of), command).message


# --- registered again


@pytest.mark.parametrize("ends_ms", [None, NOW + MINUTE], ids=["a token", "a token that was rotated"])
@pytest.mark.parametrize(
    "again", [pytest.param(row(), id="by a file"), pytest.param(accept_request(), id="by acceptance")]
)
def test_a_device_that_is_registered_again_has_no_login_it_had_before(again: Command, ends_ms: int | None) -> None:
    """An access token as well, which is neither of the names a registration gives."""
    asked = request() if isinstance(again, type(accept_request())) else None
    token = replace(TOKEN, revoked_at_ms=ends_ms)
    known = facts(admin(), REGISTERED, token, *((asked,) if asked else ()))
    decision = decide(again, known, given(several_logins=True))
    assert (Credential, token.login) in removed(decision.changes)
    assert token.secret_hash not in lets_in(known, "device_1234", NOW)
    assert lets_in(known, "device_1234", NOW)


def test_a_file_that_says_a_login_is_kept_elsewhere_takes_none_away() -> None:
    """It says nothing of the logins here."""
    known = facts(admin(), REGISTERED, TOKEN)
    assert isinstance(decide(row(Entry.ELSEWHERE), known, given(several_logins=True)).outcome, RowsDone)
    assert lets_in(known, "device_1234", NOW) == {TOKEN.secret_hash}


def test_a_file_that_lets_a_device_in_elsewhere_ends_its_waiting_request() -> None:
    """Accepted later with all others, it would give whoever polled for it a password."""
    decision = decide(row(Entry.ELSEWHERE), facts(admin(), request(RequestStatus.PENDING_ACCEPTANCE)), given())
    assert (DeviceRequest, "1234") in removed(decision.changes)


@pytest.mark.parametrize(
    ("command", "is_wanted"),
    [
        pytest.param(row(), True, id="a file"),
        pytest.param(accept_request(), False, id="an acceptance, by its request"),
    ],
)
def test_a_registration_looks_at_the_logins_its_device_has(command: Command, is_wanted: bool) -> None:  # noqa: FBT001 - the table's column
    """Else it could not end them."""
    needs = Needs()
    command.needs(needs, facts(admin()), given().policy)
    assert needs.credentials is is_wanted


# --- provisioned after a rotation, and after a revocation


def test_a_password_that_is_not_good_yet_is_given_to_nobody() -> None:
    """Where the broker knows one password, the old one stays until its time: who is provisioned then gets another."""
    known = facts(admin(), CHECK, KNOWN, LOGIN)
    rotated = decide(RotateCredentials("root", KNOWN.id, 60 * MINUTE, None), known, given())
    assert written(rotated.changes, FormerCredential)
    outcome = decide(provision(), known, given(NOW + 1)).outcome
    assert isinstance(outcome, Provisioned)
    assert known.former_credentials("Meter 1") == []
    assert known.credentials("Meter 1") == [outcome.credential]
    assert outcome.secret is not None


def test_a_revoked_device_does_not_get_in_by_its_profiles_key() -> None:
    """All devices of a type show the same key: who was shut out has it, too. An admin opens again."""
    known = facts(admin(), CHECK, KNOWN, LOGIN)
    assert result(decide(RevokeCredentials("root", KNOWN.id), known, given())) is Done
    refused(Reason.ALREADY_PROVISIONED, known, provision(), given(NOW + 1))
    assert lets_in(known, "Meter 1", NOW + 1) == set()
    mark = known.get(Attribute, provisioned(KNOWN).key)
    assert mark is not None
    decide(DeleteAttributes("root", KNOWN.id, ("provisionState",)), known, given())
    assert result(decide(provision(), known, given(NOW + 2))) is Provisioned


def test_an_admin_is_told_the_name_that_every_broker_admits() -> None:
    """Of the names a registration gives at once: the principal, whatever order they are kept in."""
    names = [credential(name, principal="device_1234") for name in ("default/device_1234", "device_1234", "x")]
    found = decide(ReadCredentials("root", REGISTERED.id), facts(admin(), REGISTERED, *names), given()).outcome
    assert isinstance(found, FoundCredential)
    assert found.credential is not None
    assert found.credential.login == "device_1234"
