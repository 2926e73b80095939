"""Provisioning: device profiles, and devices that get a login by showing a profile's key and secret.

command         | who may                                  | what it does
SaveProfile     | TENANT_ADMIN                             | creates or changes a profile
ReadProfile     | TENANT_ADMIN                             | reads a profile, without its secret
DeleteProfile   | TENANT_ADMIN                             | deletes a profile; its devices stay
ListProfiles    | TENANT_ADMIN                             | lists a page of profiles
ProvisionDevice | any client with a profile's key + secret | gives a device its login
"""

from __future__ import annotations

from dataclasses import replace
from hmac import compare_digest

from claimsvc.core.admission import is_full
from claimsvc.core.command import Command, Rule
from claimsvc.core.credentials import credential_row, forget_formers, is_anothers, newest
from claimsvc.core.decision import (
    Change,
    Decision,
    Done,
    Found,
    Outcome,
    Put,
    Query,
    Refused,
    Remove,
    device_event,
    refuse,
    tenant_event,
)
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import (
    PROVISION_STATE,
    PROVISIONED,
    Attribute,
    Credential,
    CredentialKind,
    Device,
    DeviceProfile,
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
    """Create a profile, or change the one with `profile_id`. None: generate the value, or leave it as it is."""

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
    """Read a profile. Its secret is not shown again."""


@immutable
class DeleteProfile(OnProfile):
    """Delete a profile. Its devices stay."""


@immutable
class ListProfiles(Command):
    """List a page of the tenant's profiles. Pages count from 0."""

    page: int
    size: int


@immutable
class Wish:
    """The login that a device requests: an access token, or a username and password. Missing parts are generated."""

    username: str | None
    secret: Secret
    is_secret_given: bool

    @property
    def is_open(self) -> bool:
        """Return whether the device accepts any login."""
        return self.username is None and not self.is_secret_given

    @property
    def name(self) -> str | None:
        """Return the requested username or access token; None if the device requests neither."""
        if self.secret.kind is SecretKind.ACCESS_TOKEN:
            return self.secret.text if self.is_secret_given else None
        return self.username


@immutable
class ProvisionDevice(Command):
    """Give a device its login. It shows the key and secret of its profile; `caller` is "".

    `lane` is the lane of the request. Without a `name` a new device gets a generated one.
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
        """Return the profile of this key and secret, or None if it does not exist or is disabled."""
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
        """Add the needs that only a device with the right secret may cause."""
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
    """The login of a provisioned device: a new one with its `secret`, or one whose secret the service opens."""

    device: Device
    credential: Credential
    secret: Secret | None = None
    is_name_made_up: bool = False


@immutable
class ProfileListing(Query):
    """A numbered page of device profiles, in order of their names. Pages count from 0."""

    tenant: str
    page: int
    size: int


@immutable
class ProfilePage(Outcome):
    """A filled page of device profiles. `total` is the number of all profiles."""

    listing: ProfileListing
    items: tuple[DeviceProfile, ...]
    total: int


def save_profile(command: SaveProfile, facts: Facts, given: Given) -> Decision:
    """Create a profile, or change an existing one."""
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


def read_profile(command: ReadProfile, facts: Facts, given: Given) -> Decision:
    """Read a profile of the caller's tenant."""
    profile = _own_profile(command.caller, command.profile_id, facts)
    return Decision(Found(profile)) if profile else refuse(Reason.NOT_FOUND)


def delete_profile(command: DeleteProfile, facts: Facts, given: Given) -> Decision:
    """Delete a profile. Devices that have its name as their type keep it."""
    profile = _own_profile(command.caller, command.profile_id, facts)
    if profile is None:
        return refuse(Reason.NOT_FOUND)
    event = tenant_event(profile.tenant, "profile_deleted", command.caller, given, profile.name)
    return Decision(Done(), (Remove(DeviceProfile, profile.id), event))


def list_profiles(command: ListProfiles, facts: Facts, given: Given) -> Decision:
    """Allow a page of the caller's tenant's profiles."""
    return Decision(ProfileListing(facts.tenant_of(command.caller), command.page, command.size))


def provision_device(command: ProvisionDevice, facts: Facts, given: Given) -> Decision:
    """Give a device the login that it requests, if its profile's strategy allows that."""
    profile = command.profile(facts)
    # A profile that this batch created does not count: the rows that the device needs were not loaded.
    if profile is None or not command.wish.secret.is_hardened:
        return refuse(Reason.UNKNOWN_KEY)
    if not given.policy.issue_logins:
        return refuse(Reason.UNSUPPORTED_CREDENTIALS, "the service keeps no logins")
    if profile.strategy is Strategy.CREATE:
        return _create(command, profile, facts, given)
    return _check(command, profile, facts, given)


def _create_profile(command: SaveProfile, facts: Facts, given: Given) -> Decision:
    tenant = facts.tenant_of(command.caller)
    if command.secret is None:
        raise ValueError("a new profile needs a secret, given or to generate")
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


def _saved_profile(
    event: str, profile: DeviceProfile, caller: str, secret: Secret | None, given: Given, *, created: bool = False
) -> Decision:
    changes = (Put(profile), tenant_event(profile.tenant, event, caller, given, profile.name))
    return Decision(Found(profile, secret, created=created), changes)


def _is_key_taken(provision_key: str | None, profile_id: str | None, facts: Facts) -> bool:
    known = facts.profile_of_key(provision_key) if provision_key is not None else None
    return known is not None and known.id != profile_id


def _own_profile(caller: str, profile_id: str, facts: Facts) -> DeviceProfile | None:
    profile = facts.get(DeviceProfile, profile_id)
    return profile if profile and profile.tenant == facts.tenant_of(caller) else None


def _create(command: ProvisionDevice, profile: DeviceProfile, facts: Facts, given: Given) -> Decision:
    """Create a device, if its name is free."""
    known = facts.device_named(profile.tenant, command.name) if command.name is not None else None
    if known is not None:
        return _again(command, profile, known, facts, given)
    name = command.name if command.name is not None else given.new_code()
    if error := name_error(name):
        return refuse(Reason.INVALID_NAME, error)
    if is_full(profile.tenant, facts, given):
        return refuse(Reason.DEVICE_LIMIT)
    device = Device(given.new_id(), profile.tenant, name, None, given.now_ms, type=profile.name)
    return _let_in(command, device, facts, given, is_new=True)


def _check(command: ProvisionDevice, profile: DeviceProfile, facts: Facts, given: Given) -> Decision:
    """Give an existing device of the profile its login, once. It can be repeated after its mark is deleted."""
    device = facts.device_named(profile.tenant, command.name) if command.name is not None else None
    if device is None or device.type != profile.name:
        return refuse(Reason.NOT_OF_PROFILE)
    if facts.get(Attribute, (device.id, PROVISION_STATE)):
        return _again(command, profile, device, facts, given)
    return _let_in(command, device, facts, given, is_new=False)


def _again(command: ProvisionDevice, profile: DeviceProfile, device: Device, facts: Facts, given: Given) -> Decision:
    """Give a repeated request the first login again. Refused if it asks for another login or comes too late."""
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
    """Return whether the stored login is the requested one."""
    wish = command.wish
    if wish.is_open and profile.strategy is Strategy.CHECK:
        return True
    if CredentialKind(wish.secret.kind.value) is not stored.kind:
        return False
    if wish.username is not None and wish.username != stored.login:
        return False
    return not wish.is_secret_given or (stored.sealed is not None and given.holds(stored.sealed, wish.secret))


def _let_in(command: ProvisionDevice, device: Device, facts: Facts, given: Given, *, is_new: bool) -> Decision:
    """Replace the device's logins with a new one, and mark the device as provisioned."""
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
    changes += [device_event(made, name, command.lane, given, made.type) for name in names]
    outcome = Provisioned(made, login.row, login.secret, is_name_made_up=command.name is None)
    return Decision(outcome, tuple(changes), ended=(principal,) if old else ())


@immutable
class _Login:
    """The login of a device. `secret` is None if the device had it before."""

    row: Credential
    secret: Secret | None


def _login(
    command: ProvisionDevice, principal: str, stored: Credential | None, facts: Facts, given: Given
) -> _Login | Refused:
    """Return the login it had if it accepts any, otherwise the requested one, or the refusal."""
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
    """Return the refusal if the broker cannot admit a login of this kind and name, or None."""
    policy = given.policy
    if kind is CredentialKind.ACCESS_TOKEN:
        detail = "this broker does not support access tokens; request a username and password"
        return None if policy.access_tokens else Refused(Reason.UNSUPPORTED_CREDENTIALS, detail)
    if username is None:
        return Refused(Reason.UNSUPPORTED_CREDENTIALS, "a username is required")
    if error := login_error(username, policy):
        return Refused(Reason.INVALID_NAME, f"username: {error}")
    if not policy.several_logins and username != principal:
        detail = f"this broker admits a device by one name only; request the username {principal}"
        return Refused(Reason.UNSUPPORTED_CREDENTIALS, detail)
    return None


def _unusable(principal: str, facts: Facts, given: Given) -> Refused | None:
    """Return the refusal if a device cannot become this principal, or None."""
    if error := login_error(principal, given.policy):
        return Refused(Reason.INVALID_NAME, error)
    is_taken = facts.get(Principal, principal) is not None or is_anothers(principal, principal, facts, given)
    return Refused(Reason.NAME_TAKEN) if is_taken else None


def _can_be_given(stored: Credential, given: Given) -> bool:
    return stored.sealed is not None and given.now_ms <= stored.sealed_until_ms


def _is_in_effect(stored: Credential, facts: Facts, given: Given) -> bool:
    """Return whether a login works now. A broker that knows one password keeps the former one until its end."""
    formers = facts.former_credentials(stored.login)
    return given.policy.overlapping_logins or all(former.until_ms <= given.now_ms for former in formers)


RULES: dict[type[Command], Rule] = {
    SaveProfile: Rule(save_profile, frozenset({TENANT_ADMIN})),
    ReadProfile: Rule(read_profile, frozenset({TENANT_ADMIN})),
    DeleteProfile: Rule(delete_profile, frozenset({TENANT_ADMIN})),
    ListProfiles: Rule(list_profiles, frozenset({TENANT_ADMIN})),
    ProvisionDevice: Rule(provision_device),
}
