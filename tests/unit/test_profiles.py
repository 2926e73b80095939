from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claimsvc.core.command import Command
from claimsvc.core.decision import Done, Found
from claimsvc.core.model import DeviceProfile, Row, Strategy
from claimsvc.core.provisioning import DeleteProfile, ListProfiles, ProfileListing, ReadProfile, SaveProfile
from claimsvc.core.reasons import Reason
from tests.support.factories import (
    NOW,
    admin,
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
from tests.support.profiles import profile, provision, provision_secret, save_profile

ALL: list[Command] = [
    save_profile(),
    save_profile(profile_id="profile-1", strategy=Strategy.CHECK),
    ReadProfile("root", "profile-1"),
    DeleteProfile("root", "profile-1"),
    ListProfiles("root", 0, 10),
]
OTHER = profile(id="profile-2", name="valve", provision_key="key-2")
ACME = admin("acme%2Froot", tenant="acme", username="root")


@pytest.mark.parametrize("command", ALL, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize(
    "caller", [user("root"), device("root"), None], ids=["a customer's user", "a device", "whom nobody knows"]
)
def test_profiles_are_the_admins(command: Command, caller: Row | None) -> None:
    """Nobody but an admin makes, reads or changes a profile."""
    decision = decide(command, facts(profile(), *([caller] if caller else [])), given())
    assert (result(decision), decision.changes) == (Reason.NOT_PERMITTED, ())


@pytest.mark.parametrize(
    "command",
    [replace(each, caller=ACME.principal) for each in ALL if isinstance(each, SaveProfile) and each.profile_id]
    + [ReadProfile(ACME.principal, "profile-1"), DeleteProfile(ACME.principal, "profile-1")],
    ids=lambda command: type(command).__name__,
)
def test_another_tenants_profile_does_not_exist(command: Command) -> None:
    """Nor does one that was never made."""
    refused(Reason.NOT_FOUND, facts(ACME, profile()), command)
    refused(Reason.NOT_FOUND, facts(ACME), command)


def test_a_profile_is_made_as_it_was_ordered() -> None:
    """The answer to this call, and to no later one, has the secret."""
    decision = decide(save_profile(), facts(admin()), given())
    assert written(decision.changes, DeviceProfile) == [profile(id="id-1")]
    assert isinstance(decision.outcome, Found)
    assert (decision.outcome.secret is not None, decision.outcome.created) == (True, True)
    assert events(decision.changes) == ["profile_created"]


def test_a_profile_that_names_little_is_disabled_and_has_a_key() -> None:
    """As in ThingsBoard nothing is provisioned unless somebody says so."""
    decision = decide(save_profile(strategy=None, provision_key=None), facts(admin()), given())
    (made,) = written(decision.changes, DeviceProfile)
    assert (made.strategy, made.provision_key) == (Strategy.DISABLED, "code-2")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param(save_profile(provision_key="new"), Reason.ALREADY_EXISTS, id="a name that is taken"),
        pytest.param(save_profile(name="valve"), Reason.NAME_TAKEN, id="a key that is taken"),
        pytest.param(save_profile(name="a\nb"), Reason.INVALID_NAME, id="a name no topic can carry"),
        pytest.param(
            save_profile(profile_id="profile-1", name="valve"), Reason.INVALID_VALUE, id="a change of the name"
        ),
    ],
)
def test_what_cannot_be_saved(command: SaveProfile, reason: Reason) -> None:
    """A key leads to one profile over all tenants, a name within one."""
    refused(reason, facts(admin(), profile()), command)


def test_a_key_is_taken_over_all_tenants() -> None:
    """A device names no tenant, so its key must."""
    theirs = profile(id="profile-9", tenant="acme", provision_key="key-9")
    known = facts(admin(), profile(), theirs)
    refused(Reason.NAME_TAKEN, known, save_profile(name="valve", provision_key="key-9"))
    refused(Reason.NAME_TAKEN, known, save_profile(profile_id="profile-1", provision_key="key-9"))


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        pytest.param({"strategy": Strategy.CHECK}, {"strategy": Strategy.CHECK}, id="the strategy"),
        pytest.param({"provision_key": "new"}, {"provision_key": "new"}, id="the key"),
        pytest.param({"secret": provision_secret("new")}, {"secret_hash": hashed("new")}, id="the secret"),
    ],
)
def test_what_a_change_does_not_name_stays(change: dict[str, object], changed: dict[str, Any]) -> None:
    """And only a new secret is shown."""
    fields: dict[str, object] = {"strategy": None, "provision_key": None, "secret": None} | change
    decision = decide(save_profile(profile_id="profile-1", **fields), facts(admin(), profile()), given())
    assert written(decision.changes, DeviceProfile) == [replace(profile(), **changed)]
    assert isinstance(decision.outcome, Found)
    assert (decision.outcome.secret, decision.outcome.created) == (change.get("secret"), False)
    assert events(decision.changes) == ["profile_updated"]


def test_a_change_of_nothing_writes_nothing() -> None:
    """Nor is it in the audit trail."""
    command = save_profile(profile_id="profile-1", strategy=None, provision_key=None, secret=None)
    assert decide(command, facts(admin(), profile()), given()).changes == ()


def test_the_old_key_ends_with_the_change() -> None:
    """Within the same batch, too, and it is free for another profile."""
    known = facts(admin(), profile())
    decide(save_profile(profile_id="profile-1", provision_key="new"), known, given())
    refused(Reason.UNKNOWN_KEY, known, provision())
    assert result(decide(save_profile(name="valve"), known, given())) is Found
    assert result(decide(provision(), known, given(NOW))) is not Reason.UNKNOWN_KEY


def test_a_profile_that_is_removed_provisions_nothing() -> None:
    """Its devices stay."""
    known = facts(admin(), profile(), device(type="meter"))
    decision = decide(DeleteProfile("root", "profile-1"), known, given())
    assert (decision.outcome, removed(decision.changes)) == (Done(), [(DeviceProfile, "profile-1")])
    assert events(decision.changes) == ["profile_deleted"]
    refused(Reason.UNKNOWN_KEY, known, provision())
    assert known.device_named("default", "Thermostat") is not None


def test_reading() -> None:
    """One, or the tenant's."""
    known = facts(admin(), profile())
    assert decide(ReadProfile("root", "profile-1"), known, given()).outcome == Found(profile())
    assert decide(ListProfiles("root", 2, 10), known, given()).outcome == ProfileListing("default", 2, 10)
