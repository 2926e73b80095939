"""The inputs of rules from outside the store: the operator's settings, the time, and new ids and secrets."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.immutable import immutable

MANAGEMENT_TENANT = "management"
BOOTSTRAP = "bootstrap"
BOOTSTRAP_ALIAS = "management/devicebootstrap"
"""The username of Cumulocity's agents before they have credentials."""
PROVISION = "provision"
"""The shared login of devices that want to be provisioned."""
LANELESS = frozenset({BOOTSTRAP, PROVISION})
"""Shared logins of devices without credentials of their own; they never identify a device."""
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class SecurityTokenPolicy(StrEnum):
    """The use of a new device's security token. Facts: docs/original-systems.md#security-tokens."""

    IGNORED = "IGNORED"
    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


@immutable(kw_only=True)
class Policy:
    """The settings that rules depend on. Durations are milliseconds."""

    allow_by_default: bool
    default_duration_ms: int
    max_duration_ms: int
    server_duration_ms: int
    """The validity of a server-side claim key without an end of its own."""
    max_attempts: int
    lockout_ms: int
    max_failures_per_hour: int
    auto_create: bool
    default_tenant: str
    reserved_names: frozenset[str]
    issue_logins: bool
    """True if the service keeps the broker's logins (credentials.store other than none)."""
    login_excludes: str
    """Characters that the credential store does not allow in a login."""
    reissue_window_ms: int
    several_logins: bool
    """True if a principal may have several logins, not only its name."""
    access_tokens: bool
    """True if the broker supports access tokens, which have no password."""
    overlap_ms: int
    """The time for which rotated credentials stay valid. A device may request less."""
    overlapping_logins: bool
    """True if the broker admits a login with its new and its former password at the same time."""
    rotate_on_release: bool
    security_token_policy: SecurityTokenPolicy
    max_token_failures: int
    enrollment_ms: int
    """The validity of a one-time password."""
    device_limit: int
    """The number of devices that a tenant may have; 0 means no limit."""


@immutable
class Given:
    """The inputs of one batch. Rules read no clock and create no random values themselves."""

    policy: Policy
    now_ms: int
    new_id: Callable[[], str]
    new_login: Callable[[SecretKind], Secret]
    """Returns a generated password or access token, hardened."""
    new_code: Callable[[], str]
    """Returns a generated name or key: 20 letters and digits."""
    holds: Callable[[str, Secret], bool]
    """Returns whether a sealed login holds this secret, without the costly hash of a password."""
    foreign_logins: frozenset[str] = frozenset()
    """Logins that the broker admits and the service did not issue. Known only if a batch may issue logins."""
