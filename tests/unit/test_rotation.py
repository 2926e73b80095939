"""Which credentials let a device in while they are rotated, and that none do once they are revoked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import settings as effort
from hypothesis import strategies as some

from claimsvc.core import credentials as commands
from claimsvc.core.claiming import Released
from claimsvc.core.command import Command
from claimsvc.core.credentials import (
    MOST_FORMERS,
    OWN_PAUSE_MS,
    TIME_TO_READ_MS,
    NewCredentials,
    RevokeCredentials,
    RotateCredentials,
    RotateOwnCredentials,
)
from claimsvc.core.decision import Append, Done
from claimsvc.core.devices import DeleteDevice
from claimsvc.core.model import (
    AT_ONCE_MS,
    PROVISION_STATE,
    Attribute,
    Credential,
    CredentialKind,
    Event,
    FormerCredential,
    Principal,
    RequestStatus,
    Row,
    Strategy,
)
from claimsvc.core.policy import Given
from claimsvc.core.provisioning import Provisioned
from claimsvc.core.reasons import Reason
from claimsvc.core.registration import CredentialsGiven
from claimsvc.core.secrets import SecretKind
from tests.support.factories import (
    MINUTE,
    NOW,
    accept_request,
    admin,
    credential,
    customer,
    device,
    events,
    facts,
    given,
    poll,
    refused,
    release_device,
    removed,
    request,
    result,
    user,
    written,
)
from tests.support.memory import Memory, decide
from tests.support.profiles import any_login, meter, profile, provision

DEVICE = device()
NAME = DEVICE.name
LOGIN = credential(NAME)
TOKEN = credential("hash(t)", principal=NAME, kind=CredentialKind.ACCESS_TOKEN, secret_hash="hash(t)")
HOUR = 60 * MINUTE
brokers = pytest.mark.parametrize("overlapping", [True, False], ids=["plugin", "password file"])


def rotate(overlap_ms: int | None = None, kind: SecretKind | None = None) -> RotateCredentials:
    """Return an admin's order."""
    return RotateCredentials("root", DEVICE.id, overlap_ms, kind)


def rotate_own(overlap_ms: int | None = None) -> RotateOwnCredentials:
    """Return a device's own wish."""
    return RotateOwnCredentials(NAME, overlap_ms)


REVOKE = RevokeCredentials("root", DEVICE.id)


def made(command: Command, known: Memory, at: Given) -> NewCredentials:
    """Return the new credentials that a command must make."""
    outcome = decide(command, known, at).outcome
    assert isinstance(outcome, NewCredentials), outcome
    return outcome


def admitted(known: Memory, login: str, now_ms: int, *, overlapping: bool) -> set[str]:
    """Return the hashes by which a broker admits a password login: all that are good, or the one of the file."""
    row = known.get(Credential, login)
    if row is None or (row.revoked_at_ms is not None and row.revoked_at_ms <= now_ms):
        return set()
    former = {each.secret_hash for each in known.former_credentials(login) if each.until_ms > now_ms}
    if overlapping:
        return {row.secret_hash, *former}
    assert len(former) <= 1, "the file has room for one"
    return former or {row.secret_hash}


# --- who may


def test_every_command_is_among_the_samples() -> None:
    """The tables below cover every command about credentials."""
    named = {kind for kind in vars(commands).values() if isinstance(kind, type) and issubclass(kind, Command)}
    ours = {kind for kind in named if kind.__module__ == commands.__name__}
    assert ours == {type(command) for command in (rotate(), rotate_own(), REVOKE)}


@pytest.mark.parametrize("command", [rotate(), REVOKE], ids=lambda command: type(command).__name__)
@pytest.mark.parametrize("rows", [[], [device(tenant="acme"), LOGIN]], ids=["no such device", "another tenant's"])
def test_what_is_not_there_looks_like_what_is_another_tenants(command: Command, rows: list[Row]) -> None:
    """A tenant never changes another tenant's credentials, nor learns of them."""
    decision = decide(command, facts(admin(), *rows), given())
    assert (result(decision), decision.changes) == (Reason.NOT_FOUND, ())


@pytest.mark.parametrize("command", [rotate(), REVOKE], ids=lambda command: type(command).__name__)
@pytest.mark.parametrize(
    "caller",
    [user("root"), user("root", roles=("operator",)), device("root")],
    ids=["customer", "operator", "device"],
)
def test_the_credentials_of_others_are_the_admins(command: Command, caller: Row) -> None:
    """Nobody else changes them by a device's id, not even that device."""
    decision = decide(command, facts(DEVICE, LOGIN, caller), given())
    assert (result(decision), decision.changes) == (Reason.NOT_PERMITTED, ())


@pytest.mark.parametrize("caller", [user(), admin("alice"), None], ids=["a user", "an admin", "whom nobody knows"])
def test_only_a_device_rotates_its_own(caller: Row | None) -> None:
    """A user's password is changed elsewhere."""
    known = facts(credential("alice"), *([caller] if caller else []))
    refused(Reason.NOT_A_DEVICE, known, RotateOwnCredentials("alice", None))


@pytest.mark.parametrize("command", [rotate(), rotate_own(), REVOKE], ids=lambda command: type(command).__name__)
def test_logins_somebody_else_keeps_are_not_ours_to_change(command: Command) -> None:
    """The refusal says so."""
    outcome = refused(Reason.NO_LOGIN, facts(admin(), DEVICE, LOGIN), command, given(issue_logins=False))
    assert "credentials.store is none" in outcome.message


@pytest.mark.parametrize("command", [rotate(), REVOKE], ids=lambda command: type(command).__name__)
def test_a_device_behind_a_gateway_has_no_login(command: Command) -> None:
    """There is nothing to rotate, and none is made."""
    outcome = refused(Reason.NO_LOGIN, facts(admin(), device(principal=None, gateway_id="device-Gateway")), command)
    assert "a gateway speaks for it" in outcome.message


@pytest.mark.parametrize(
    "rows", [[], [replace(LOGIN, revoked_at_ms=NOW)]], ids=["a login of the operator's own", "revoked credentials"]
)
def test_a_device_makes_itself_no_login(rows: list[Row]) -> None:
    """What a revoked device said before it was cut off, and what came late, opens no way back."""
    refused(Reason.NO_LOGIN, facts(DEVICE, *rows), rotate_own())


# --- a rotation


def test_with_the_plugin_both_passwords_are_good_until_the_old_one_is_over() -> None:
    """The new one at once; the last millisecond of the old one is the one before its end."""
    known = facts(admin(), DEVICE, LOGIN)
    new = made(rotate(HOUR), known, given(overlapping_logins=True))
    hashes = {LOGIN.secret_hash, new.secret.hardened}
    assert (new.username, new.valid_from_ms, new.old_valid_until_ms) == (NAME, NOW, NOW + HOUR)
    assert admitted(known, NAME, NOW, overlapping=True) == hashes
    assert admitted(known, NAME, NOW + HOUR - 1, overlapping=True) == hashes
    assert admitted(known, NAME, NOW + HOUR, overlapping=True) == {new.secret.hardened}


def test_with_the_password_file_the_new_password_follows_the_old_one() -> None:
    """The answer says from when; there is no moment between them."""
    known = facts(admin(), DEVICE, LOGIN)
    new = made(rotate(HOUR), known, given())
    assert (new.valid_from_ms, new.old_valid_until_ms) == (NOW + HOUR, NOW + HOUR)
    assert admitted(known, NAME, NOW + HOUR - 1, overlapping=False) == {LOGIN.secret_hash}
    assert admitted(known, NAME, NOW + HOUR, overlapping=False) == {new.secret.hardened}


@brokers
def test_without_an_overlap_the_old_credentials_are_over_at_once(overlapping: bool) -> None:  # noqa: FBT001 - a parameter
    """Also those that were still good from an earlier rotation; whoever is connected has to go."""
    former = FormerCredential(NAME, "former", NOW + HOUR)
    known = facts(admin(), DEVICE, LOGIN, former)
    decision = decide(rotate(0), known, given(overlapping_logins=overlapping))
    assert isinstance(decision.outcome, NewCredentials)
    assert (decision.outcome.valid_from_ms, decision.outcome.old_valid_until_ms) == (NOW, NOW)
    assert admitted(known, NAME, NOW, overlapping=overlapping) == {decision.outcome.secret.hardened}
    assert decision.ended == (NAME,)
    assert removed(decision.changes) == [(FormerCredential, former.key)]


def test_an_overlap_ends_nobodys_session() -> None:
    """And every step is in the audit trail, without a secret."""
    decision = decide(rotate(HOUR), facts(admin(), DEVICE, LOGIN), given())
    (event,) = [change.event for change in decision.changes if isinstance(change, Append)]
    assert decision.ended == ()
    assert event == Event(
        "default", NOW, "credentials_rotated", "root", DEVICE.id, NAME, f"old ones until {NOW + HOUR}"
    )


def test_every_name_of_a_device_gets_the_new_password() -> None:
    """A Cumulocity device logs in by any of them; the answer names the one that works everywhere."""
    logins = [credential(name, principal=NAME, secret_hash="old") for name in (f"Acme/{NAME}", NAME)]
    known = facts(admin(), DEVICE, *logins)
    decision = decide(rotate(HOUR), known, given(overlapping_logins=True, several_logins=True))
    assert isinstance(decision.outcome, NewCredentials)
    new = decision.outcome.secret.hardened
    assert decision.outcome.username == NAME
    for login in logins:
        assert admitted(known, login.login, NOW, overlapping=True) == {"old", new}
    assert {row.sealed for row in written(decision.changes, Credential)} == {decision.outcome.secret.sealed}


def test_an_access_token_gets_another_one_beside_it() -> None:
    """The old one has an end, and is never shown again."""
    known = facts(admin(), DEVICE, TOKEN)
    decision = decide(rotate(HOUR), known, given())
    assert isinstance(decision.outcome, NewCredentials)
    new = decision.outcome
    assert (new.username, new.secret.kind, new.valid_from_ms) == (None, SecretKind.ACCESS_TOKEN, NOW)
    assert written(decision.changes, Credential) == [
        replace(TOKEN, sealed=None, revoked_at_ms=NOW + HOUR),
        credential(
            new.secret.hardened,
            principal=NAME,
            kind=CredentialKind.ACCESS_TOKEN,
            secret_hash=new.secret.hardened,
            sealed=new.secret.sealed,
        ),
    ]


@pytest.mark.parametrize(
    ("wish_ms", "overlapping", "expected_ms"),
    [
        pytest.param(None, True, HOUR, id="nothing: the setting"),
        pytest.param(MINUTE, True, MINUTE, id="less: what it wants"),
        pytest.param(0, True, 0, id="none: what it wants"),
        pytest.param(2 * HOUR, True, HOUR, id="more: cut to the setting"),
        pytest.param(0, False, TIME_TO_READ_MS, id="none, with a password file: time to read the answer"),
        pytest.param(MINUTE, False, MINUTE, id="less, with a password file: what it wants"),
    ],
)
def test_how_long_a_device_may_have_it(wish_ms: int | None, overlapping: bool, expected_ms: int) -> None:  # noqa: FBT001 - a parameter
    """A device that was taken over cannot keep what it was taken over with for longer than the operator says."""
    new = made(rotate_own(wish_ms), facts(DEVICE, LOGIN), given(overlapping_logins=overlapping))
    assert new.old_valid_until_ms == NOW + expected_ms


def test_a_setting_of_nothing_still_lets_a_device_read_its_answer() -> None:
    """With a password file the broker cuts it off with the old password."""
    new = made(rotate_own(), facts(DEVICE, LOGIN), given(overlap_ms=0))
    assert new.valid_from_ms == NOW + TIME_TO_READ_MS


def test_a_rotation_keeps_the_kind() -> None:
    """The same kind may be named, another one wants a revocation first."""
    known = facts(admin(), DEVICE, LOGIN)
    assert made(rotate(kind=SecretKind.PASSWORD), known, given()).username == NAME
    refused(Reason.INVALID_VALUE, known, rotate(kind=SecretKind.ACCESS_TOKEN))


# --- again and again


def test_with_the_plugin_a_fourth_rotation_waits_until_the_first_is_over() -> None:
    """Each former password is one more for the broker to try; the refusal says how long, and 0 is always possible."""
    known, now = facts(admin(), DEVICE, LOGIN), given(overlapping_logins=True)
    for number in range(MOST_FORMERS):
        made(rotate(HOUR), known, replace(now, now_ms=NOW + number * MINUTE))
    later = replace(now, now_ms=NOW + 5 * MINUTE)
    outcome = refused(Reason.RATE_LIMITED, known, rotate(HOUR), later)
    assert outcome.retry_after_ms == HOUR - 5 * MINUTE
    assert len(admitted(known, NAME, later.now_ms, overlapping=True)) == 1 + MOST_FORMERS
    made(rotate(HOUR), known, replace(now, now_ms=NOW + HOUR))
    made(rotate(0), known, replace(now, now_ms=NOW + HOUR))
    assert len(admitted(known, NAME, NOW + HOUR, overlapping=True)) == 1


def test_former_access_tokens_count_too() -> None:
    """As many as passwords."""
    known, now = facts(admin(), DEVICE, TOKEN), given(overlapping_logins=True)
    for _ in range(MOST_FORMERS):
        made(rotate(HOUR), known, now)
    assert refused(Reason.RATE_LIMITED, known, rotate(HOUR), now).retry_after_ms == HOUR
    made(rotate(0), known, now)
    assert [row.revoked_at_ms for row in known.credentials(NAME)] == [AT_ONCE_MS] * (1 + MOST_FORMERS) + [None]


def test_an_end_never_moves_away() -> None:
    """A token that has a minute left keeps its minute when the next one gets an hour."""
    known, now = facts(admin(), DEVICE, TOKEN), given(overlapping_logins=True)
    made(rotate(MINUTE), known, now)
    made(rotate(HOUR), known, now)
    assert [row.revoked_at_ms for row in known.credentials(NAME)] == [NOW + MINUTE, NOW + HOUR, None]


def test_what_is_over_stays_over() -> None:
    """A rotation makes neither a revoked name nor an old token good again."""
    over = [replace(LOGIN, revoked_at_ms=NOW - 1), replace(TOKEN, login="t0", revoked_at_ms=NOW - 1)]
    known = facts(admin(), DEVICE, TOKEN, *over)
    made(rotate(HOUR), known, given())
    assert [known.get(Credential, row.login) for row in over] == over


def test_with_the_password_file_a_further_rotation_replaces_what_is_not_in_effect_yet() -> None:
    """The device has the old one still: it stays until its time, which does not move away."""
    known, now = facts(admin(), DEVICE, LOGIN), given()
    first = made(rotate(HOUR), known, now)
    for number in range(1, 6):
        again = made(rotate(HOUR), known, replace(now, now_ms=NOW + number * MINUTE))
        assert again.valid_from_ms == first.valid_from_ms
    assert admitted(known, NAME, NOW + HOUR - 1, overlapping=False) == {LOGIN.secret_hash}
    assert admitted(known, NAME, NOW + HOUR, overlapping=False) == {again.secret.hardened}


def test_with_the_password_file_a_device_waits_between_its_rotations() -> None:
    """Each has the service look through all logins. Its first one is done whenever it asks, an admin's always."""
    known, now = facts(admin(), DEVICE, LOGIN), given()
    made(rotate_own(), known, now)
    soon = replace(now, now_ms=NOW + OWN_PAUSE_MS - 1)
    assert refused(Reason.RATE_LIMITED, known, rotate_own(), soon).retry_after_ms == 1
    made(rotate_own(), known, replace(now, now_ms=NOW + OWN_PAUSE_MS))
    made(rotate(), known, replace(now, now_ms=NOW + OWN_PAUSE_MS))


@pytest.mark.parametrize("back_ms", [MINUTE, HOUR, 48 * HOUR])
def test_a5_a_device_rotates_after_the_clock_was_set_back(back_ms: int) -> None:
    """It does not wait until the clock shows again what it showed at the rotation before."""
    known, now = facts(admin(), DEVICE, LOGIN), given()
    made(rotate_own(), known, now)
    made(rotate_own(), known, replace(now, now_ms=NOW - back_ms))


@pytest.mark.parametrize("end", [REVOKE, rotate(0)], ids=["revoked", "rotated without overlap"])
@pytest.mark.parametrize("row", [LOGIN, TOKEN], ids=["a password", "an access token"])
def test_a5_what_was_ended_at_once_does_not_come_back_when_the_clock_is_set_back(
    row: Credential, end: Command
) -> None:
    """The broker compares with its clock: no time at which it let in must be left in the row."""
    known, now = facts(admin(), DEVICE, row), given(overlapping_logins=True)
    decide(end, known, now)
    for back_ms in (0, 1_000, HOUR, 48 * HOUR):
        assert row.secret_hash not in admitted(known, row.login, NOW - back_ms, overlapping=True)


def test_who_loses_every_answer_can_ask_until_one_comes() -> None:
    """With a password file, as soon as it may and never too late: what it has lets in until then."""
    known, now = facts(DEVICE, LOGIN), given()
    for number in range(20):
        at_ms = NOW + number * OWN_PAUSE_MS
        assert admitted(known, NAME, at_ms, overlapping=False) == {LOGIN.secret_hash}
        made(rotate_own(0), known, replace(now, now_ms=at_ms))


@pytest.mark.parametrize(
    ("command", "left_ms"),
    [(rotate(HOUR), TIME_TO_READ_MS), (rotate_own(), TIME_TO_READ_MS), (rotate(500), 500)],
    ids=["an admin", "the device", "who wants it sooner"],
)
def test_what_replaces_a_password_at_the_last_moment_leaves_time_to_read_it(command: Command, left_ms: int) -> None:
    """Else a device would be cut off with neither the password it was promised nor the one that took its place."""
    known, now = facts(admin(), DEVICE, LOGIN), given()
    made(rotate(HOUR), known, now)
    at_ms = NOW + HOUR - 1_000
    new = made(command, known, replace(now, now_ms=at_ms))
    assert new.valid_from_ms == at_ms + left_ms
    assert admitted(known, NAME, at_ms + left_ms - 1, overlapping=False) == {LOGIN.secret_hash}
    assert admitted(known, NAME, at_ms + left_ms, overlapping=False) == {new.secret.hardened}


@brokers
def test_a_shorter_overlap_shortens_an_earlier_one(overlapping: bool) -> None:  # noqa: FBT001 - a parameter
    """What an answer says is the end of the old ones is the end of all of them."""
    known, now = facts(admin(), DEVICE, LOGIN), given(overlapping_logins=overlapping)
    made(rotate(HOUR), known, now)
    new = made(rotate(MINUTE), known, now)
    assert new.old_valid_until_ms == NOW + MINUTE
    assert admitted(known, NAME, NOW + MINUTE - 1, overlapping=overlapping) >= {LOGIN.secret_hash}
    assert admitted(known, NAME, NOW + MINUTE, overlapping=overlapping) == {new.secret.hardened}


STEPS = some.lists(
    some.tuples(some.integers(0, 40 * MINUTE), some.one_of(some.none(), some.integers(1, 2 * HOUR)), some.booleans()),
    min_size=1,
    max_size=12,
)


@effort(max_examples=150, deadline=None)
@examples(STEPS, some.booleans())
def test_a_device_is_never_locked_out(steps: list[tuple[int, int | None, bool]], overlapping: bool) -> None:  # noqa: FBT001
    """What is in force at a rotation lets in until the time the answer says; what is new, from the time it says.

    A later answer may only bring that end nearer. So there is no moment without a password that lets in.
    """
    known, now = facts(admin(), DEVICE, LOGIN), given(overlapping_logins=overlapping)
    promised_until_ms: dict[str, int] = {}
    last, now_ms = None, NOW
    for waited_ms, overlap_ms, is_own in steps:
        now_ms += waited_ms
        before = admitted(known, NAME, now_ms, overlapping=overlapping)
        assert before >= {text for text, until_ms in promised_until_ms.items() if until_ms > now_ms}
        assert last is None or last.valid_from_ms > now_ms or last.secret.hardened in before
        (newest,) = known.credentials(NAME)
        in_force = newest.secret_hash if overlapping else min(before)
        command = rotate_own(overlap_ms) if is_own else rotate(overlap_ms)
        outcome = decide(command, known, replace(now, now_ms=now_ms)).outcome
        if not isinstance(outcome, NewCredentials):
            assert overlapping or is_own  # refused for a while, and nothing has changed
            continue
        last, until_ms = outcome, outcome.old_valid_until_ms or 0
        promised_until_ms = {text: min(until_ms, ms) for text, ms in promised_until_ms.items()}
        promised_until_ms.setdefault(in_force, until_ms)
        for at_ms in (now_ms, until_ms - 1, until_ms, outcome.valid_from_ms):
            assert admitted(known, NAME, at_ms, overlapping=overlapping)


# --- revoking, and what comes after


@brokers
def test_what_is_revoked_lets_nobody_in(overlapping: bool) -> None:  # noqa: FBT001 - a parameter
    """Neither the credentials nor former ones; sessions end; the device and its name stay."""
    known, now = facts(admin(), DEVICE, LOGIN), given(overlapping_logins=overlapping)
    made(rotate(HOUR), known, now)
    decision = decide(REVOKE, known, now)
    assert (decision.outcome, decision.ended, events(decision.changes)) == (Done(), (NAME,), ["credentials_revoked"])
    assert admitted(known, NAME, NOW, overlapping=overlapping) == set()
    assert known.former_credentials(NAME) == []
    assert known.get(Principal, NAME)
    assert {row.sealed for row in known.credentials(NAME)} == {None}


def test_access_tokens_are_revoked_with_those_that_are_ending() -> None:
    """At this moment, whatever time they had left."""
    known = facts(admin(), DEVICE, TOKEN)
    made(rotate(HOUR), known, given())
    decide(REVOKE, known, given())
    assert [row.revoked_at_ms for row in known.credentials(NAME)] == [AT_ONCE_MS] * 2


def test_revoking_again_changes_nothing_but_ends_sessions_again() -> None:
    """Whoever asks again has what was asked for."""
    known = facts(admin(), DEVICE, replace(LOGIN, revoked_at_ms=NOW - 1))
    decision = decide(REVOKE, known, given())
    assert (decision.outcome, decision.changes, decision.ended) == (Done(), (), (NAME,))


def test_a_login_that_is_not_ours_cannot_be_revoked() -> None:
    """To say it was would be a lie: the broker goes on admitting it."""
    refused(Reason.NO_LOGIN, facts(admin(), DEVICE), REVOKE)


@pytest.mark.parametrize(
    ("rows", "kind", "logins"),
    [
        pytest.param([], None, [NAME], id="a password by its name"),
        pytest.param([], SecretKind.ACCESS_TOKEN, ["access_token"], id="an access token when asked for"),
        pytest.param([replace(LOGIN, revoked_at_ms=1)], None, [NAME], id="a password again"),
        pytest.param(
            [
                replace(LOGIN, revoked_at_ms=1),
                credential(f"default/{NAME}", principal=NAME, revoked_at_ms=1),
                replace(TOKEN, revoked_at_ms=1),
            ],
            SecretKind.PASSWORD,
            [NAME, f"default/{NAME}"],
            id="by all its names again",
        ),
        pytest.param(
            [replace(LOGIN, revoked_at_ms=1)], SecretKind.ACCESS_TOKEN, ["access_token"], id="of another kind"
        ),
    ],
)
def test_a_device_without_credentials_gets_some(rows: list[Row], kind: SecretKind | None, logins: list[str]) -> None:
    """At once, with no former ones; what was revoked stays so."""
    known = facts(admin(), DEVICE, *rows)
    decision = decide(rotate(HOUR, kind), known, given())
    new = decision.outcome
    assert isinstance(new, NewCredentials)
    assert (new.valid_from_ms, new.old_valid_until_ms, decision.ended) == (NOW, None, ())
    assert events(decision.changes) == ["credentials_made"]
    standing = [row for row in known.credentials(NAME) if row.revoked_at_ms is None]
    assert [row.login.removeprefix("hash of ").rstrip("-1") for row in standing] == logins
    assert {row.secret_hash for row in standing} == {new.secret.hardened}
    assert written(decision.changes, FormerCredential) == []


@pytest.mark.parametrize(
    ("rows", "at", "reason"),
    [
        ([], replace(given(), foreign_logins=frozenset({NAME})), Reason.NAME_TAKEN),
        ([credential(NAME, principal="other")], given(), Reason.NAME_TAKEN),
        ([], given(login_excludes="T"), Reason.INVALID_NAME),
    ],
    ids=["the password file's", "another principal's", "what the store cannot hold"],
)
def test_a_name_that_cannot_be_a_login_is_not_taken_over(rows: list[Row], at: Given, reason: Reason) -> None:
    """The device stays without one."""
    refused(reason, facts(admin(), DEVICE, *rows), rotate(), at)


def test_a_deleted_device_leaves_no_former_password() -> None:
    """To whoever gets its name."""
    former = FormerCredential(NAME, "former", NOW + HOUR)
    decision = decide(DeleteDevice("root", DEVICE.id), facts(admin(), DEVICE, LOGIN, former), given())
    assert (FormerCredential, former.key) in removed(decision.changes)


def test_a_device_that_is_registered_again_has_no_former_password() -> None:
    """Its login is made anew, and what was still good from a rotation is over."""
    login = "device_1234"
    former = FormerCredential(login, "former", NOW + HOUR)
    rows: tuple[Any, ...] = (device("1234", principal=login), credential(login), former)
    decision = decide(accept_request(), facts(admin(), request(), *rows), given())
    assert (FormerCredential, former.key) in removed(decision.changes)


def test_a_device_that_is_provisioned_anew_has_no_former_password() -> None:
    """Nor does the login that takes the place of another."""
    name = "Meter 1"
    former = FormerCredential(name, "former", NOW + HOUR)
    known = facts(profile(Strategy.CHECK), meter(principal=name), credential(name, sealed=None), former)
    decision = decide(provision(wish=any_login()), known, given())
    assert isinstance(decision.outcome, Provisioned)
    assert removed(decision.changes) == [(FormerCredential, former.key)]


def test_a_token_the_broker_cannot_admit_is_not_made() -> None:
    """As for provisioning."""
    command = rotate(kind=SecretKind.ACCESS_TOKEN)
    refused(Reason.UNSUPPORTED_CREDENTIALS, facts(admin(), DEVICE), command, given(access_tokens=False))


# --- releasing


def _released(*rows: Row, rotate_on_release: bool = True) -> Any:
    owned = replace(DEVICE, owner="c1")
    known = facts(user(), customer(), owned, *rows)
    return known, decide(release_device(), known, given(overlapping_logins=True, rotate_on_release=rotate_on_release))


def test_a_released_device_gets_credentials_its_former_owner_does_not_know() -> None:
    """At once, without a word of them to anybody; an admin reads them. Sessions end behind the notice."""
    former = FormerCredential(NAME, "former", NOW + HOUR)
    known, decision = _released(LOGIN, former)
    assert isinstance(decision.outcome, Released)
    assert events(decision.changes) == ["device_released", "credentials_rotated"]
    assert decision.ended == (NAME,)
    assert len(decision.notices) == 1
    (row,) = known.credentials(NAME)
    assert admitted(known, NAME, NOW, overlapping=True) == {row.secret_hash} != {LOGIN.secret_hash}
    assert (row.sealed is not None, row.sealed_until_ms) == (True, NOW + 10 * MINUTE)


def test_a_released_device_is_not_given_its_new_password_where_it_registered() -> None:
    """Whoever registered it may be who owned it; an operator lets it in again."""
    login = "device_1234"
    owned = device("1234", principal=login, owner="c1")
    known = facts(user(), customer(), owned, credential(login), request(RequestStatus.ACCEPTED))
    assert result(decide(poll(), known, given())) is CredentialsGiven
    decide(release_device("1234"), known, given(NOW + 1, rotate_on_release=True))
    assert result(decide(poll(), known, given(NOW + 2))) is Reason.CREDENTIALS_GIVEN


def test_a_released_device_may_be_provisioned_again() -> None:
    """The mark of its provisioning goes; other attributes stay."""
    state, other = (Attribute(DEVICE.id, name, '"provisioned"', NOW) for name in (PROVISION_STATE, "other"))
    known, _ = _released(LOGIN, state, other)
    assert known.attributes(DEVICE.id) == [other]


@pytest.mark.parametrize(
    ("rows", "rotates"),
    [([LOGIN], False), ([], True), ([replace(LOGIN, revoked_at_ms=NOW)], True)],
    ids=["by the default setting", "a login of the operator's own", "revoked credentials"],
)
def test_a_release_that_changes_no_login(rows: list[Row], rotates: bool) -> None:  # noqa: FBT001 - a parameter
    """Nothing is made, nobody is cut off."""
    known, decision = _released(*rows, rotate_on_release=rotates)
    assert (events(decision.changes), decision.ended) == (["device_released"], ())
    assert known.credentials(NAME) == rows
