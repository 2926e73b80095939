from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from claimsvc.core.decision import Append, Decision
from claimsvc.core.devices import DeleteAttributes
from claimsvc.core.facts import Needs
from claimsvc.core.model import (
    Attribute,
    Credential,
    CredentialKind,
    Device,
    Principal,
    PrincipalKind,
    Row,
    Strategy,
)
from claimsvc.core.provisioning import ProvisionDevice, Provisioned, Wish
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from tests.support.factories import (
    MINUTE,
    NOW,
    admin,
    credential,
    device,
    events,
    facts,
    given,
    hashed,
    refused,
    removed,
    result,
    user,
    written,
)
from tests.support.memory import decide
from tests.support.profiles import (
    PLACE,
    any_login,
    meter,
    profile,
    provision,
    provision_secret,
    provisioned,
    this_login,
    this_token,
)

CREATE, CHECK = profile(), profile(Strategy.CHECK)
PLUGIN = {"several_logins": True}
FILE = {"access_tokens": False}
KNOWN = meter(principal="Meter 1")
TOKEN = credential(
    hashed("T"), principal="Meter 1", kind=CredentialKind.ACCESS_TOKEN, secret_hash=hashed("T"), sealed="sealed(T)"
)


def answer(decision: Decision) -> Provisioned:
    """Return the answer of a success."""
    assert isinstance(decision.outcome, Provisioned), decision.outcome
    return decision.outcome


def text_of(decision: Decision) -> str | None:
    """Return what is given for a secret: fresh, or what the sealed copy holds."""
    given_now = answer(decision)
    if given_now.secret is not None:
        return given_now.secret.text
    return (given_now.credential.sealed or "").removeprefix("sealed(").removesuffix(")")


# --- who may ask


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        pytest.param([], provision(), id="there is no profile"),
        pytest.param([CREATE], provision(provision_key="key-2"), id="the key is another"),
        pytest.param([CREATE], provision(secret=provision_secret("guess")), id="the secret is wrong"),
        pytest.param([CREATE], provision(secret=provision_secret("")), id="the secret is empty"),
        pytest.param([profile(Strategy.DISABLED)], provision(), id="the profile is disabled"),
    ],
)
def test_who_shows_nothing_right_learns_nothing(known: list[Row], asked: ProvisionDevice) -> None:
    """One answer for all of it, whether or not the device exists; and nothing is written."""
    for there in ([], [meter()], [KNOWN, TOKEN, provisioned(KNOWN)]):
        decision = decide(asked, facts(*known, *there), given())
        assert (result(decision), decision.changes) == (Reason.UNKNOWN_KEY, ())


@pytest.mark.parametrize(
    ("key", "is_right"), [("key-1", True), ("key-2", False)], ids=["the right key", "another key"]
)
def test_only_the_right_key_and_secret_cost_more_than_a_look_at_the_profile(key: str, is_right: bool) -> None:  # noqa: FBT001 - the table's column
    """What the device wants is not looked up before, nor is it worth hashing."""
    asked, known, needs = provision(wish=this_login(), provision_key=key), facts(CREATE), Needs()
    asked.needs(needs, known, given().policy)
    assert (needs.profile_keys, needs.device_names, needs.logins) == ({key}, set(), set())
    for add_needs in needs.once_profiles_are_known:
        add_needs()
    assert (bool(needs.device_names), bool(needs.logins), needs.credentials) == (is_right,) * 3
    assert (asked.is_authentic(known), asked.issues_logins(known)) == (is_right, is_right)


def test_a_wish_that_was_not_hardened_is_an_unknown_key() -> None:
    """It belongs to a profile of the same batch: what it needs is not there, so nothing may be decided on it."""
    wish = Wish(None, Secret(SecretKind.ACCESS_TOKEN, "T"), is_secret_given=True)
    refused(Reason.UNKNOWN_KEY, facts(CREATE), provision(wish=wish))


@pytest.mark.parametrize("where", [CREATE, CHECK], ids=["made", "made beforehand"])
def test_without_logins_of_ours_nothing_is_provisioned(where: Row) -> None:
    """Whoever keeps the broker's logins has to make them."""
    outcome = refused(
        Reason.UNSUPPORTED_CREDENTIALS, facts(where, meter()), provision("Meter 1"), given(issue_logins=False)
    )
    assert "keeps no logins" in outcome.message


# --- devices that are made


@pytest.mark.parametrize(
    ("wish", "login", "kind"),
    [
        pytest.param(any_login(), hashed("made-up"), CredentialKind.ACCESS_TOKEN, id="any login: a token"),
        pytest.param(this_token(), hashed("token-1"), CredentialKind.ACCESS_TOKEN, id="this token"),
        pytest.param(this_login("u"), "u", CredentialKind.PASSWORD, id="username and password"),
        pytest.param(this_login("u", None), "u", CredentialKind.PASSWORD, id="a username"),
        pytest.param(this_login("Meter 1"), "Meter 1", CredentialKind.PASSWORD, id="its own name as username"),
    ],
)
def test_a_device_of_a_new_name_is_made(wish: Wish, login: str, kind: CredentialKind) -> None:
    """Of the profile's type, with the login it wishes for, the mark, and a line in the audit trail."""
    decision = decide(provision(wish=wish), facts(CREATE), given(**PLUGIN))
    (made,) = written(decision.changes, Device)
    assert made == Device("id-1", "default", "Meter 1", "Meter 1", NOW, type="meter")
    assert written(decision.changes, Principal) == [Principal("Meter 1", PrincipalKind.DEVICE, "default")]
    (stored,) = written(decision.changes, Credential)
    assert (stored.login, stored.principal, stored.kind) == (login, "Meter 1", kind)
    assert (stored.sealed_until_ms, stored.revoked_at_ms) == (NOW + 10 * MINUTE, None)
    assert written(decision.changes, Attribute) == [Attribute("id-1", "provisionState", '"provisioned"', NOW)]
    assert events(decision.changes) == ["device_created", "device_provisioned"]
    assert answer(decision) == Provisioned(made, stored, wish.secret)
    assert decision.ended == ()


def test_the_audit_trail_tells_where_it_was_asked() -> None:
    """There is no principal yet: the lane stands in its place, and the profile is the detail."""
    decision = decide(provision(), facts(CREATE), given())
    told = [change.event for change in decision.changes if isinstance(change, Append)]
    assert {(each.principal, each.device, each.detail) for each in told} == {(PLACE, "Meter 1", "meter")}


def test_a_device_without_a_name_gets_one_and_is_told() -> None:
    """Two of them are two devices."""
    known, now = facts(CREATE), given()
    first, second = (
        answer(decide(provision(None, any_login(text)), known, now)) for text in ("made-up-1", "made-up-2")
    )
    assert first.is_name_made_up
    assert first.device.name.startswith("code-")
    assert first.device.name != second.device.name


def test_a_gateway_is_marked_as_one() -> None:
    """The mark is never taken away by a device that does not ask for it."""
    assert answer(decide(provision(is_gateway=True), facts(CREATE), given())).device.is_gateway
    marked = meter(is_gateway=True)
    assert answer(decide(provision(), facts(CHECK, marked), given())).device.is_gateway


def test_devices_are_made_in_the_profiles_tenant() -> None:
    """Named so, and those of another tenant are not in the way."""
    theirs = profile(tenant="acme")
    decision = decide(provision(), facts(theirs, meter()), given())
    (made,) = written(decision.changes, Device)
    assert (made.tenant, made.principal) == ("acme", "acme%2FMeter 1")


@pytest.mark.parametrize(
    ("known", "asked", "reason"),
    [
        pytest.param([meter()], provision(), Reason.ALREADY_EXISTS, id="a device of that name"),
        pytest.param([meter(type="other")], provision(), Reason.ALREADY_EXISTS, id="of another type"),
        pytest.param([user("Meter 1")], provision(), Reason.NAME_TAKEN, id="a user of that name"),
        pytest.param([], provision("provision"), Reason.INVALID_NAME, id="a reserved name"),
        pytest.param([], provision("a\0b"), Reason.INVALID_NAME, id="a name no topic can carry"),
        pytest.param([], provision(wish=this_login("bootstrap")), Reason.INVALID_NAME, id="a reserved username"),
        pytest.param([], provision(wish=this_login(" u")), Reason.INVALID_NAME, id="an odd username"),
        pytest.param([], provision(wish=this_token("provision")), Reason.NAME_TAKEN, id="a reserved token"),
        pytest.param([user("u")], provision(wish=this_login("u")), Reason.NAME_TAKEN, id="a user's username"),
        pytest.param([device("u")], provision(wish=this_login("u")), Reason.NAME_TAKEN, id="a device's username"),
        pytest.param([device("u")], provision(wish=this_token("u")), Reason.NAME_TAKEN, id="a name for a token"),
        pytest.param(
            [replace(TOKEN, principal="x")], provision(wish=this_token("T")), Reason.NAME_TAKEN, id="another's token"
        ),
        pytest.param(
            [credential("u", principal="x")], provision(wish=this_login("u")), Reason.NAME_TAKEN, id="another's login"
        ),
        pytest.param(
            [credential("Meter 1", principal="x")], provision(), Reason.NAME_TAKEN, id="its name is another's login"
        ),
        pytest.param([], provision(wish=this_login(None, None)), Reason.UNSUPPORTED_CREDENTIALS, id="no username"),
    ],
)
def test_nothing_is_taken_over(known: list[Row], asked: ProvisionDevice, reason: Reason) -> None:
    """A name is one of its kind for good: whoever wants it besides is refused, and nothing is written."""
    decision = decide(asked, facts(CREATE, *known), given(**PLUGIN))
    assert (result(decision), decision.changes) == (reason, ())


@pytest.mark.parametrize("wish", [this_login("theirs"), this_token("theirs")], ids=["username", "token"])
def test_the_operators_own_logins_are_not_taken(wish: Wish) -> None:
    """They stand in the broker's password file."""
    now = replace(given(**PLUGIN), foreign_logins=frozenset({"theirs"}))
    refused(Reason.NAME_TAKEN, facts(CREATE), provision(wish=wish), now)
    refused(Reason.NAME_TAKEN, facts(CREATE), provision("theirs"), now)


def test_a_full_tenant_gets_no_more_devices() -> None:
    """The limit is the one of registration."""
    known = facts(CREATE)
    known.count_devices("default", 1)
    assert result(decide(provision(), known, given(device_limit=2))) is Provisioned
    refused(Reason.DEVICE_LIMIT, known, provision("Meter 2", any_login("other")), given(device_limit=2))


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (any_login(), "does not support access tokens; request a username and password"),
        (this_token(), "does not support access tokens; request a username and password"),
        (this_login("u"), "request the username Meter 1"),
    ],
    ids=["any login", "a token", "another username"],
)
def test_what_a_password_file_cannot_hold_is_refused(wish: Wish, told: str) -> None:
    """With a text that says what to ask for."""
    for where in (CREATE, CHECK):
        there = [meter()] if where is CHECK else []
        outcome = refused(Reason.UNSUPPORTED_CREDENTIALS, facts(where, *there), provision(wish=wish), given(**FILE))
        assert told in outcome.message
    assert result(decide(provision(wish=this_login()), facts(CREATE), given(**FILE))) is Provisioned


# --- devices that were made beforehand


@pytest.mark.parametrize(
    ("known", "name"),
    [([], "Meter 1"), ([meter(type="other")], "Meter 1"), ([meter()], None)],
    ids=["no such device", "one of another type", "no name"],
)
def test_only_devices_of_the_profile_are_let_in(known: list[Row], name: str | None) -> None:
    """Nothing is made by this strategy."""
    refused(Reason.NOT_OF_PROFILE, facts(CHECK, *known), provision(name))


@pytest.mark.parametrize("wish", [any_login(), this_token(), this_login()], ids=["any login", "a token", "a login"])
def test_a_device_without_a_login_gets_principal_and_login_now(wish: Wish) -> None:
    """One that a list or a gateway made."""
    decision = decide(provision(wish=wish), facts(CHECK, meter()), given(**PLUGIN))
    (made,) = written(decision.changes, Device)
    assert made == meter(principal="Meter 1")
    assert written(decision.changes, Principal) == [Principal("Meter 1", PrincipalKind.DEVICE, "default")]
    assert text_of(decision) == wish.secret.text
    assert (events(decision.changes), decision.ended) == (["device_provisioned"], ())


def test_the_login_a_device_has_is_given_while_it_can_be_opened() -> None:
    """Nothing but the mark is written."""
    decision = decide(provision(), facts(CHECK, KNOWN, TOKEN), given())
    assert answer(decision) == Provisioned(KNOWN, TOKEN)
    assert written(decision.changes, Attribute) == [provisioned(KNOWN)]
    assert (written(decision.changes, Credential), removed(decision.changes), decision.ended) == ([], [], ())


@pytest.mark.parametrize("gone", [{"sealed": None}, {"sealed_until_ms": NOW - 1}], ids=["swept", "over"])
@pytest.mark.parametrize(
    ("stored", "login", "text"),
    [(TOKEN, hashed("made-up"), "made-up"), (credential("Meter 1"), "Meter 1", "password-1")],
    ids=["a token", "a password"],
)
def test_a_login_that_cannot_be_opened_is_replaced_by_one_of_its_kind(
    stored: Credential, login: str, text: str, gone: dict[str, Any]
) -> None:
    """The old one ends, and with it whoever is connected by it."""
    decision = decide(provision(), facts(CHECK, KNOWN, replace(stored, **gone)), given())
    (fresh,) = written(decision.changes, Credential)
    assert (fresh.login, fresh.kind, fresh.created_at_ms) == (login, stored.kind, NOW)
    assert text_of(decision) == text
    expected = [(Credential, stored.login)] if login != stored.login else []
    assert (removed(decision.changes), decision.ended) == (expected, ("Meter 1",))


def test_a_wish_takes_the_place_of_all_logins_a_device_has() -> None:
    """Also of the ways Cumulocity writes one."""
    alias = credential("default/Meter 1", principal="Meter 1")
    decision = decide(provision(wish=this_login("Meter 1", "p")), facts(CHECK, KNOWN, TOKEN, alias), given(**PLUGIN))
    assert set(removed(decision.changes)) == {(Credential, TOKEN.login), (Credential, alias.login)}
    assert text_of(decision) == "p"
    assert decision.ended == ("Meter 1",)


def test_of_several_logins_the_newest_valid_one_is_given() -> None:
    """Of those that came together the principal's own."""
    old = credential("old", principal="Meter 1", created_at_ms=NOW - 1)
    revoked = credential("revoked", principal="Meter 1", created_at_ms=NOW + 1, revoked_at_ms=NOW)
    logins = [old, credential("Meter 1"), credential("default/Meter 1", principal="Meter 1"), revoked]
    decision = decide(provision(), facts(CHECK, KNOWN, *logins), given(**PLUGIN))
    assert answer(decision).credential.login == "Meter 1"


def test_a_login_the_broker_cannot_admit_is_not_given() -> None:
    """A token that was made while the plugin was in use."""
    refused(Reason.UNSUPPORTED_CREDENTIALS, facts(CHECK, KNOWN, TOKEN), provision(), given(**FILE))


# --- repeats


@pytest.mark.parametrize("known", [[CREATE], [CHECK, meter()]], ids=["made", "made beforehand"])
@pytest.mark.parametrize(
    ("first", "again"),
    [
        pytest.param(any_login("T1"), any_login("T2"), id="any login"),
        pytest.param(this_token(), this_token(), id="the same token"),
        pytest.param(this_token(), any_login("T2"), id="a token, then none named"),
        pytest.param(this_login("u", "p"), this_login("u", "p"), id="the same login"),
        pytest.param(this_login("u", None), this_login("u", None), id="the same username"),
    ],
)
def test_a_repeat_gets_the_same_answer_and_writes_nothing(known: list[Row], first: Wish, again: Wish) -> None:
    """Until the reissue window is over; then it has been provisioned."""
    facts_ = facts(*known)
    made = decide(provision(wish=first), facts_, given(**PLUGIN))
    repeat = provision(wish=again, lane="c/provision/another/")
    for later_ms in (0, 10 * MINUTE):
        decision = decide(repeat, facts_, given(NOW + later_ms, **PLUGIN))
        assert text_of(decision) == text_of(made)
        assert (decision.changes, decision.ended) == ((), ())
    refused(Reason.ALREADY_PROVISIONED, facts_, repeat, given(NOW + 10 * MINUTE + 1, **PLUGIN))


@pytest.mark.parametrize("known", [[CREATE], [CHECK, meter()]], ids=["made", "made beforehand"])
@pytest.mark.parametrize(
    ("first", "again"),
    [
        pytest.param(this_token(), this_token("other"), id="another token"),
        pytest.param(this_token(), this_login("u"), id="another kind"),
        pytest.param(this_login("u"), this_login("v"), id="another username"),
        pytest.param(this_login("u", "p"), this_login("u", "q"), id="another password"),
    ],
)
def test_who_asks_for_something_else_comes_too_late(known: list[Row], first: Wish, again: Wish) -> None:
    """Also within the window: the device has its login."""
    facts_ = facts(*known)
    decide(provision(wish=first), facts_, given(**PLUGIN))
    refused(Reason.ALREADY_PROVISIONED, facts_, provision(wish=again), given(**PLUGIN))


def test_a_login_of_another_kind_is_no_answer_where_devices_are_made() -> None:
    """Who names nothing asks for a token there."""
    known = facts(CREATE)
    decide(provision(wish=this_login("u")), known, given(**PLUGIN))
    refused(Reason.ALREADY_PROVISIONED, known, provision(), given(**PLUGIN))


def test_a_device_that_wants_to_be_a_gateway_now_comes_too_late() -> None:
    """The mark was not asked for when it was provisioned."""
    known = facts(CREATE)
    decide(provision(), known, given())
    refused(Reason.ALREADY_PROVISIONED, known, provision(is_gateway=True))


@pytest.mark.parametrize("where", [CREATE, CHECK], ids=["made", "made beforehand"])
def test_a_login_that_was_changed_since_is_not_given(where: Row) -> None:
    """What provisioning did not give is not provisioning's to give again."""
    changed = replace(TOKEN, created_at_ms=NOW + 1)
    known = facts(where, KNOWN, changed, provisioned(KNOWN))
    refused(Reason.ALREADY_PROVISIONED, known, provision(), given(NOW + 2))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ((TOKEN,), Reason.ALREADY_EXISTS),
        ((replace(TOKEN, revoked_at_ms=NOW), provisioned(KNOWN)), Reason.ALREADY_PROVISIONED),
        ((provisioned(KNOWN),), Reason.ALREADY_PROVISIONED),
    ],
    ids=["a device an admin made", "one whose login has ended", "one without a login"],
)
def test_only_what_was_provisioned_is_given_again(rows: Sequence[Row], reason: Reason) -> None:
    """A name that exists is no way to its login."""
    refused(reason, facts(CREATE, KNOWN, *rows), provision())


def test_another_profiles_device_is_not_given_again() -> None:
    """Its key and secret are others."""
    other = profile(id="profile-2", name="valve", provision_key="key-2", secret_hash=hashed("secret-2"))
    known = facts(CREATE, other)
    decide(provision(), known, given())
    asked = provision(provision_key="key-2", secret=provision_secret("secret-2"))
    refused(Reason.ALREADY_EXISTS, known, asked)


def test_who_takes_the_mark_away_lets_a_device_be_provisioned_again() -> None:
    """As in ThingsBoard, where the attribute is all there is."""
    known = facts(admin(), CHECK, KNOWN, TOKEN)
    assert text_of(decide(provision(wish=this_token("first")), known, given())) == "first"
    refused(Reason.ALREADY_PROVISIONED, known, provision(wish=this_token("second")))
    decide(DeleteAttributes("root", KNOWN.id, ("provisionState",)), known, given())
    assert text_of(decide(provision(wish=this_token("second")), known, given())) == "second"
