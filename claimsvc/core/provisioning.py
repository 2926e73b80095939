"""Commands about device profiles, and the request of a device that shows a profile's key and secret."""

from __future__ import annotations

from dataclasses import replace
from hmac import compare_digest

from claimsvc.core.command import Command, Rule
from claimsvc.core.credentials import credential_row, forget_formers, is_anothers, newest
from claimsvc.core.decision import Append, Change, Decision, Done, Found, Outcome, Put, Query, Refused, Remove, refuse
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import (
    PROVISION_STATE,
    PROVISIONED,
    Attribute,
    Credential,
    CredentialKind,
    Device,
    DeviceProfile,
    Event,
    Principal,
    PrincipalKind,
    Strategy,
)
from claimsvc.core.names import login_error, name_error, principal_name
from claimsvc.core.permissions import TENANT_ADMIN
from claimsvc.core.policy import Given, Policy
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.immutable import immutable


@immutable
class SaveProfile(Command):
    """Make a profile, or with its id change one; of a change what is None stays, of a new one it is made up."""

    profile_id: str | None
    name: str
    strategy: Strategy | None
    provision_key: str | None
    secret: Secret | None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret,) if self.secret else ()

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.profile_names.add((facts.tenant_of(self.caller), self.name))
        if self.profile_id is not None:
            needs.profile_ids.add(self.profile_id)
        if self.provision_key is not None:
            needs.profile_keys.add(self.provision_key)


@immutable
class OnProfile(Command):
    """A command about a profile, by its id."""

    profile_id: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.profile_ids.add(self.profile_id)


@immutable
class ReadProfile(OnProfile):
    """Read a profile; its secret is never shown again."""


@immutable
class DeleteProfile(OnProfile):
    """Remove a profile; its devices stay, and no further one is provisioned."""


@immutable
class ListProfiles(Command):
    """Read a page of the caller's tenant's profiles; pages count from 0."""

    page: int
    size: int


@immutable
class Wish:
    """The login a device wishes for: an access token, or username and password. What it leaves out is made up."""

    username: str | None
    secret: Secret
    is_secret_given: bool

    @property
    def is_open(self) -> bool:
        """Return whether any login will do."""
        return self.username is None and not self.is_secret_given

    @property
    def name(self) -> str | None:
        """Return what the device wants to log in as, where it says so. A token stands in the username's place."""
        if self.secret.kind is SecretKind.ACCESS_TOKEN:
            return self.secret.text if self.is_secret_given else None
        return self.username


@immutable
class ProvisionDevice(Command):
    """A device wants its login and shows the key and secret of its profile. The caller is nobody: "".

    `lane` is where it asks; without a name it gets one where devices are made.
    """

    lane: str
    provision_key: str
    secret: Secret
    name: str | None
    wish: Wish
    is_gateway: bool

    @property
    def device(self) -> str | None:
        return self.name

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return (self.secret, self.wish.secret)

    def profile(self, facts: Facts) -> DeviceProfile | None:
        """Return the profile whose key and secret were shown, where it provisions at all."""
        profile = facts.profile_of_key(self.provision_key)
        if profile is None or profile.strategy is Strategy.DISABLED:
            return None
        return profile if compare_digest(profile.secret_hash, self.secret.hardened) else None

    def is_authentic(self, facts: Facts) -> bool:
        return self.profile(facts) is not None

    def issues_logins(self, facts: Facts) -> bool:
        return self.is_authentic(facts)

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.profile_keys.add(self.provision_key)
        needs.once_profiles_are_known.append(lambda: self._needs_of_device(needs, facts, policy))

    def _needs_of_device(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        """Add what only a device that shows the right secret may cost."""
        profile = self.profile(facts)
        if profile is None:
            return
        if self.name is not None:
            principal = principal_name(profile.tenant, self.name, policy)
            needs.device_names.add((profile.tenant, self.name))
            needs.principals.add(principal)
            needs.logins.add(principal)
        if self.wish.name is not None:
            needs.principals.add(self.wish.name)
            needs.logins.add(self.wish.name)
        if self.wish.secret.kind is SecretKind.ACCESS_TOKEN and self.wish.secret.is_hardened:
            needs.principals.add(self.wish.secret.hardened)
            needs.logins.add(self.wish.secret.hardened)
        needs.credentials = needs.provision_state = True
        if policy.device_limit:
            needs.device_counts.add(profile.tenant)


@immutable
class Provisioned(Outcome):
    """The login of a provisioned device: fresh with its `secret`, or one whose secret the pipeline opens."""

    device: Device
    credential: Credential
    secret: Secret | None = None
    is_name_made_up: bool = False


@immutable
class ProfileListing(Query):
    """A numbered page of device profiles in order of their names; pages count from 0."""

    tenant: str
    page: int
    size: int


@immutable
class ProfilePage(Outcome):
    """A filled page of device profiles, with the number of all of them."""

    listing: ProfileListing
    items: tuple[DeviceProfile, ...]
    total: int


def save_profile(command: SaveProfile, facts: Facts, given: Given) -> Decision:
    """Make a profile, or change the one with the id given."""
    if command.profile_id is None:
        return _create_profile(command, facts, given)
    profile = _own_profile(command.caller, command.profile_id, facts)
    if profile is None:
        return refuse(Reason.NOT_FOUND)
    if command.name != profile.name:
        return refuse(Reason.INVALID_VALUE, "a profile cannot be renamed: its name is the type of its devices")
    if _is_key_taken(command.provision_key, profile.id, facts):
        return refuse(Reason.NAME_TAKEN)
    changed = replace(
        profile,
        strategy=command.strategy or profile.strategy,
        provision_key=command.provision_key or profile.provision_key,
        secret_hash=command.secret.hardened if command.secret else profile.secret_hash,
    )
    if changed == profile:
        return Decision(Found(profile, command.secret))
    return _saved_profile("profile_updated", changed, command.caller, command.secret, given)


def _create_profile(command: SaveProfile, facts: Facts, given: Given) -> Decision:
    tenant = facts.tenant_of(command.caller)
    if command.secret is None:
        raise ValueError("a new profile comes with a secret, given or to be made up")
    if error := name_error(command.name):
        return refuse(Reason.INVALID_NAME, error)
    if facts.profile_named(tenant, command.name):
        return refuse(Reason.ALREADY_EXISTS)
    if _is_key_taken(command.provision_key, None, facts):
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
    return _saved_profile("profile_created", profile, command.caller, command.secret, given, created=True)


def read_profile(command: ReadProfile, facts: Facts, given: Given) -> Decision:
    """Read a profile of the caller's tenant."""
    profile = _own_profile(command.caller, command.profile_id, facts)
    return Decision(Found(profile)) if profile else refuse(Reason.NOT_FOUND)


def delete_profile(command: DeleteProfile, facts: Facts, given: Given) -> Decision:
    """Remove a profile; devices that have its name as their type keep it."""
    profile = _own_profile(command.caller, command.profile_id, facts)
    if profile is None:
        return refuse(Reason.NOT_FOUND)
    event = _profile_event("profile_deleted", profile, command.caller, given)
    return Decision(Done(), (Remove(DeviceProfile, profile.id), event))


def list_profiles(command: ListProfiles, facts: Facts, given: Given) -> Decision:
    """Allow a page of the caller's tenant's profiles."""
    return Decision(ProfileListing(facts.tenant_of(command.caller), command.page, command.size))


def _saved_profile(
    event: str, profile: DeviceProfile, caller: str, secret: Secret | None, given: Given, *, created: bool = False
) -> Decision:
    changes = (Put(profile), _profile_event(event, profile, caller, given))
    return Decision(Found(profile, secret, created=created), changes)


def _is_key_taken(provision_key: str | None, profile_id: str | None, facts: Facts) -> bool:
    known = facts.profile_of_key(provision_key) if provision_key is not None else None
    return known is not None and known.id != profile_id


def _own_profile(caller: str, profile_id: str, facts: Facts) -> DeviceProfile | None:
    profile = facts.get(DeviceProfile, profile_id)
    return profile if profile and profile.tenant == facts.tenant_of(caller) else None


def _profile_event(event: str, profile: DeviceProfile, caller: str, given: Given) -> Append:
    return Append(Event(profile.tenant, given.now_ms, event, caller, detail=profile.name))


def provision_device(command: ProvisionDevice, facts: Facts, given: Given) -> Decision:
    """Give a device the login it wishes for, as its profile's strategy allows."""
    profile = command.profile(facts)
    # A profile of this very batch is not known yet: what the device needs was not loaded for it.
    if profile is None or not command.wish.secret.is_hardened:
        return refuse(Reason.UNKNOWN_KEY)
    if not given.policy.issue_logins:
        return refuse(Reason.UNSUPPORTED_CREDENTIALS, "this service keeps no logins")
    if profile.strategy is Strategy.CREATE:
        return _create(command, profile, facts, given)
    return _check(command, profile, facts, given)


def _create(command: ProvisionDevice, profile: DeviceProfile, facts: Facts, given: Given) -> Decision:
    """Make a device of a name that is free."""
    known = facts.device_named(profile.tenant, command.name) if command.name is not None else None
    if known is not None:
        return _again(command, profile, known, facts, given)
    name = command.name if command.name is not None else given.new_code()
    if error := name_error(name):
        return refuse(Reason.INVALID_NAME, error)
    limit = given.policy.device_limit
    if limit and facts.device_count(profile.tenant) >= limit:
        return refuse(Reason.DEVICE_LIMIT)
    device = Device(given.new_id(), profile.tenant, name, None, given.now_ms, type=profile.name)
    return _let_in(command, device, facts, given, is_new=True)


def _check(command: ProvisionDevice, profile: DeviceProfile, facts: Facts, given: Given) -> Decision:
    """Let a device in that was made for this: once, until its mark is taken away."""
    device = facts.device_named(profile.tenant, command.name) if command.name is not None else None
    if device is None or device.type != profile.name:
        return refuse(Reason.NOT_OF_PROFILE)
    if facts.get(Attribute, (device.id, PROVISION_STATE)):
        return _again(command, profile, device, facts, given)
    return _let_in(command, device, facts, given, is_new=False)


def _again(command: ProvisionDevice, profile: DeviceProfile, device: Device, facts: Facts, given: Given) -> Decision:
    """Give a repeat the first answer; whoever asks for anything else, or later, comes too late."""
    state = facts.get(Attribute, (device.id, PROVISION_STATE))
    if state is None or device.type != profile.name:
        return refuse(Reason.ALREADY_EXISTS)
    stored = newest(device.principal, facts)
    is_given_then = stored is not None and stored.created_at_ms <= state.updated_at_ms
    if stored is None or not is_given_then or not _can_be_given(stored, given):
        return refuse(Reason.ALREADY_PROVISIONED)
    if not _asks_for(command, stored, profile, given) or (command.is_gateway and not device.is_gateway):
        return refuse(Reason.ALREADY_PROVISIONED)
    return Decision(Provisioned(device, stored))


def _asks_for(command: ProvisionDevice, stored: Credential, profile: DeviceProfile, given: Given) -> bool:
    """Return whether the login that was given is what is asked for now."""
    wish = command.wish
    if wish.is_open and profile.strategy is Strategy.CHECK:
        return True
    if CredentialKind(wish.secret.kind.value) is not stored.kind:
        return False
    if wish.username is not None and wish.username != stored.login:
        return False
    return not wish.is_secret_given or (stored.sealed is not None and given.holds(stored.sealed, wish.secret))


def _let_in(command: ProvisionDevice, device: Device, facts: Facts, given: Given, *, is_new: bool) -> Decision:
    """Give the device its login, in the place of those it had, and mark it as provisioned."""
    principal = device.principal or principal_name(device.tenant, device.name, given.policy)
    if command.name is None:
        facts.know_free(principal)
    if device.principal is None and (refused := _unusable(principal, facts, given)):
        return Decision(refused)
    stored = newest(device.principal, facts)
    login = _login(command, principal, stored, facts, given)
    if isinstance(login, Refused):
        return Decision(login)
    made = replace(device, principal=principal, is_gateway=device.is_gateway or command.is_gateway)
    changes: list[Change] = []
    if device.principal is None:
        changes.append(Put(Principal(principal, PrincipalKind.DEVICE, device.tenant)))
    if made != device:
        changes.append(Put(made))
    old = [] if login.row is stored else facts.credentials(principal)
    changes += [change for row in old for change in forget_formers(row.login, facts)]
    changes += [Remove(Credential, row.key) for row in old if row.key != login.row.key]
    if login.row is not stored:
        changes.append(Put(login.row))
    changes.append(Put(Attribute(made.id, PROVISION_STATE, PROVISIONED, given.now_ms)))
    names = ("device_created", "device_provisioned") if is_new else ("device_provisioned",)
    changes += [_event(name, made, command, given) for name in names]
    outcome = Provisioned(made, login.row, login.secret, is_name_made_up=command.name is None)
    return Decision(outcome, tuple(changes), ended=(principal,) if old else ())


@immutable
class _Login:
    """The row a device logs in by; `secret` is None where it is the row it had."""

    row: Credential
    secret: Secret | None


def _login(
    command: ProvisionDevice, principal: str, stored: Credential | None, facts: Facts, given: Given
) -> _Login | Refused:
    """Return the login a device had where any will do, else the one it wishes for, or why it cannot have that."""
    wish = command.wish
    kind = CredentialKind(wish.secret.kind.value)
    if wish.is_open and stored is not None:
        if refused := _unsupported(stored.kind, stored.login, principal, given):
            return refused
        if _can_be_given(stored, given) and _is_in_effect(stored, facts, given):
            return _Login(stored, None)
        if stored.kind is CredentialKind.PASSWORD:
            secret = given.new_login(SecretKind.PASSWORD)
            return _Login(credential_row(stored.login, principal, secret, given), secret)
    if refused := _unsupported(kind, wish.username, principal, given):
        return refused
    login = wish.secret.hardened if kind is CredentialKind.ACCESS_TOKEN else wish.username or ""
    names = {login, wish.name or login}
    if wish.name in given.policy.reserved_names or any(is_anothers(name, principal, facts, given) for name in names):
        return Refused(Reason.NAME_TAKEN)
    return _Login(credential_row(login, principal, wish.secret, given), wish.secret)


def _unsupported(kind: CredentialKind, username: str | None, principal: str, given: Given) -> Refused | None:
    """Return why the broker could not admit a login of this kind and name, or None."""
    policy = given.policy
    if kind is CredentialKind.ACCESS_TOKEN:
        detail = "this broker cannot admit access tokens; ask for a username and password"
        return None if policy.access_tokens else Refused(Reason.UNSUPPORTED_CREDENTIALS, detail)
    if username is None:
        return Refused(Reason.UNSUPPORTED_CREDENTIALS, "a username is needed")
    if error := login_error(username, policy):
        return Refused(Reason.INVALID_NAME, f"username: {error}")
    if not policy.several_logins and username != principal:
        detail = f"this broker knows a device by one name; ask for the username {principal}"
        return Refused(Reason.UNSUPPORTED_CREDENTIALS, detail)
    return None


def _unusable(principal: str, facts: Facts, given: Given) -> Refused | None:
    """Return why a device cannot become this principal, or None."""
    if error := login_error(principal, given.policy):
        return Refused(Reason.INVALID_NAME, error)
    is_taken = facts.get(Principal, principal) is not None or is_anothers(principal, principal, facts, given)
    return Refused(Reason.NAME_TAKEN) if is_taken else None


def _can_be_given(stored: Credential, given: Given) -> bool:
    return stored.sealed is not None and given.now_ms <= stored.sealed_until_ms


def _is_in_effect(stored: Credential, facts: Facts, given: Given) -> bool:
    """Return whether a login lets in now: where the broker knows one password, a former one comes first."""
    formers = facts.former_credentials(stored.login)
    return given.policy.overlapping_logins or all(former.until_ms <= given.now_ms for former in formers)


def _event(name: str, device: Device, command: ProvisionDevice, given: Given) -> Append:
    return Append(Event(device.tenant, given.now_ms, name, command.lane, device.id, device.name, device.type))


RULES: dict[type[Command], Rule] = {
    SaveProfile: Rule(save_profile, frozenset({TENANT_ADMIN})),
    ReadProfile: Rule(read_profile, frozenset({TENANT_ADMIN})),
    DeleteProfile: Rule(delete_profile, frozenset({TENANT_ADMIN})),
    ListProfiles: Rule(list_profiles, frozenset({TENANT_ADMIN})),
    ProvisionDevice: Rule(provision_device),
}
