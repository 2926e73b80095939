"""What a tenant admin does with device profiles (TB 4.4): make, change, read, list, remove."""

from __future__ import annotations

from dataclasses import replace

from claimsvc.core.commands.provisioning import DeleteProfile, ListProfiles, ReadProfile, SaveProfile
from claimsvc.core.facts import Facts
from claimsvc.core.model import DeviceProfile, Event, Strategy
from claimsvc.core.names import name_error
from claimsvc.core.outcomes import Append, Decision, Done, Found, ProfileListing, Put, Remove, refuse
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret


def save(command: SaveProfile, facts: Facts, given: Given) -> Decision:
    """Make a profile, or change the one with the id given."""
    if command.profile_id is None:
        return _create(command, facts, given)
    profile = _of_tenant(command.caller, command.profile_id, facts)
    if profile is None:
        return refuse(Reason.NOT_FOUND)
    if command.name != profile.name:
        return refuse(Reason.INVALID_VALUE, "a profile cannot be renamed: its name is the type of its devices")
    if _is_anothers(command.provision_key, profile.id, facts):
        return refuse(Reason.NAME_TAKEN)
    changed = replace(
        profile,
        strategy=command.strategy or profile.strategy,
        provision_key=command.provision_key or profile.provision_key,
        secret_hash=command.secret.hardened if command.secret else profile.secret_hash,
    )
    if changed == profile:
        return Decision(Found(profile, command.secret))
    return _saved("profile_updated", changed, command.caller, command.secret, given)


def _create(command: SaveProfile, facts: Facts, given: Given) -> Decision:
    tenant = facts.tenant_of(command.caller)
    if command.secret is None:
        raise ValueError("a new profile comes with a secret, given or to be made up")
    if error := name_error(command.name):
        return refuse(Reason.INVALID_NAME, error)
    if facts.profile_named(tenant, command.name):
        return refuse(Reason.ALREADY_EXISTS)
    if _is_anothers(command.provision_key, None, facts):
        return refuse(Reason.NAME_TAKEN)
    profile = DeviceProfile(
        given.new_id(),
        tenant,
        command.name,
        command.strategy or Strategy.DISABLED,
        command.provision_key or given.new_code(),
        command.secret.hardened,
        given.now_ms,
    )
    return _saved("profile_created", profile, command.caller, command.secret, given, created=True)


def read(command: ReadProfile, facts: Facts, given: Given) -> Decision:
    """Read a profile of the caller's tenant."""
    profile = _of_tenant(command.caller, command.profile_id, facts)
    return Decision(Found(profile)) if profile else refuse(Reason.NOT_FOUND)


def delete(command: DeleteProfile, facts: Facts, given: Given) -> Decision:
    """Remove a profile; devices that have its name as their type keep it."""
    profile = _of_tenant(command.caller, command.profile_id, facts)
    if profile is None:
        return refuse(Reason.NOT_FOUND)
    event = _event("profile_deleted", profile, command.caller, given)
    return Decision(Done(), (Remove(DeviceProfile, profile.id), event))


def list_profiles(command: ListProfiles, facts: Facts, given: Given) -> Decision:
    """Allow a page of the caller's tenant's profiles."""
    return Decision(ProfileListing(facts.tenant_of(command.caller), command.page, command.size))


def _saved(
    event: str, profile: DeviceProfile, caller: str, secret: Secret | None, given: Given, *, created: bool = False
) -> Decision:
    changes = (Put(profile), _event(event, profile, caller, given))
    return Decision(Found(profile, secret, created=created), changes)


def _is_anothers(provision_key: str | None, profile_id: str | None, facts: Facts) -> bool:
    known = facts.profile_of_key(provision_key) if provision_key is not None else None
    return known is not None and known.id != profile_id


def _of_tenant(caller: str, profile_id: str, facts: Facts) -> DeviceProfile | None:
    profile = facts.get(DeviceProfile, profile_id)
    return profile if profile and profile.tenant == facts.tenant_of(caller) else None


def _event(event: str, profile: DeviceProfile, caller: str, given: Given) -> Append:
    return Append(Event(profile.tenant, given.now_ms, event, caller, detail=profile.name))
