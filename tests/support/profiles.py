"""Device profiles and their commands with every field defaulted, for tests of the rules."""

from __future__ import annotations

from claimsvc.core.model import PROVISION_STATE, PROVISIONED, Attribute, Device, DeviceProfile, Strategy
from claimsvc.core.provisioning import ProvisionDevice, SaveProfile, Wish
from claimsvc.core.secrets import Secret, SecretKind
from tests.support.factories import NOW, hashed, password, token

PLACE = "c/provision/applicant/"
"""Where devices ask."""


def provision_secret(text: str = "secret-1") -> Secret:
    """Return a profile's secret as the rules see it."""
    secret = Secret(SecretKind.PROVISION_SECRET, text)
    secret.digest = hashed(text)
    return secret


def profile(strategy: Strategy = Strategy.CREATE, **fields: object) -> DeviceProfile:
    """Return the profile `meter` of the default tenant, with key-1 and secret-1."""
    values: dict[str, object] = {
        "id": "profile-1",
        "tenant": "default",
        "name": "meter",
        "strategy": strategy,
        "provision_key": "key-1",
        "secret_hash": hashed("secret-1"),
        "created_at_ms": NOW,
    }
    return DeviceProfile(**(values | fields))  # type: ignore[arg-type]


def save_profile(**fields: object) -> SaveProfile:
    """Return an admin's order for such a profile."""
    values: dict[str, object] = {
        "caller": "root",
        "profile_id": None,
        "name": "meter",
        "strategy": Strategy.CREATE,
        "provision_key": "key-1",
        "secret": provision_secret(),
    }
    return SaveProfile(**(values | fields))  # type: ignore[arg-type]


def any_login(text: str = "made-up") -> Wish:
    """Return the wish of a device that leaves all to the service."""
    return Wish(None, token(text), is_secret_given=False)


def this_token(text: str = "token-1") -> Wish:
    """Return the wish for an access token."""
    return Wish(None, token(text), is_secret_given=True)


def this_login(username: str | None = "Meter 1", text: str | None = "password-1") -> Wish:
    """Return the wish for username and password; without a text one that is made up."""
    return Wish(username, password(text or "made-up"), is_secret_given=text is not None)


def provision(name: str | None = "Meter 1", wish: Wish | None = None, **fields: object) -> ProvisionDevice:
    """Return a device's request with the profile's key and secret."""
    values: dict[str, object] = {
        "caller": "",
        "lane": PLACE,
        "provision_key": "key-1",
        "secret": provision_secret(),
        "is_gateway": False,
    }
    return ProvisionDevice(name=name, wish=wish or any_login(), **(values | fields))  # type: ignore[arg-type]


def meter(name: str = "Meter 1", **fields: object) -> Device:
    """Return a device of the profile that was made beforehand and has no login."""
    values: dict[str, object] = {
        "id": f"device-{name}",
        "tenant": "default",
        "name": name,
        "principal": None,
        "created_at_ms": NOW,
        "type": "meter",
    }
    return Device(**(values | fields))  # type: ignore[arg-type]


def provisioned(of: Device, at_ms: int = NOW) -> Attribute:
    """Return the mark of a device that was provisioned."""
    return Attribute(of.id, PROVISION_STATE, PROVISIONED, at_ms)
