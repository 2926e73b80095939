"""Commands about device profiles, and the request of a device that shows a profile's key and secret (TB 4)."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest

from claimsvc.core.commands.base import Command
from claimsvc.core.facts import Facts, Needs
from claimsvc.core.model import DeviceProfile, Strategy
from claimsvc.core.names import principal_name
from claimsvc.core.policy import Policy
from claimsvc.core.secrets import Secret, SecretKind


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class OnProfile(Command):
    """A command about a profile, by its id."""

    profile_id: str

    def needs(self, needs: Needs, facts: Facts, policy: Policy) -> None:
        needs.profile_ids.add(self.profile_id)


@dataclass(frozen=True, slots=True)
class ReadProfile(OnProfile):
    """Read a profile; its secret is never shown again."""


@dataclass(frozen=True, slots=True)
class DeleteProfile(OnProfile):
    """Remove a profile; its devices stay, and no further one is provisioned."""


@dataclass(frozen=True, slots=True)
class ListProfiles(Command):
    """Read a page of the caller's tenant's profiles; pages count from 0."""

    page: int
    size: int


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
        if self.wish.secret.is_hardened:
            needs.logins.add(self.wish.secret.hardened)
        needs.credentials = needs.provision_state = True
        if policy.device_limit:
            needs.device_counts.add(profile.tenant)
