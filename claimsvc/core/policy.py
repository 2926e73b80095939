"""What the rules are told from outside: the operator's settings, the time, and fresh ids."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.immutable import immutable

MANAGEMENT_TENANT = "management"
BOOTSTRAP = "bootstrap"
BOOTSTRAP_ALIAS = "management/devicebootstrap"
"""What Cumulocity's agents log in as before they have credentials."""
PROVISION = "provision"
"""The shared login of devices that are provisioned by key."""
LANELESS = frozenset({BOOTSTRAP, PROVISION})
"""Shared logins of devices without credentials of their own; they never identify a device."""
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class SecurityTokenPolicy(StrEnum):
    """What a new device's security token is worth. Facts: docs/original-systems.md#security-tokens."""

    IGNORED = "IGNORED"
    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


@immutable(kw_only=True)
class Policy:
    """The operator's choices that rules depend on. Durations are milliseconds."""

    allow_by_default: bool
    default_duration_ms: int
    max_duration_ms: int
    server_duration_ms: int
    """How long a key of a list opens a device whose row names no end."""
    max_attempts: int
    lockout_ms: int
    max_failures_per_hour: int
    auto_create: bool
    default_tenant: str
    reserved_names: frozenset[str]
    issue_logins: bool
    """Whether this service keeps the broker's logins (credentials.store other than none)."""
    login_excludes: str
    """Characters that the credential store cannot hold in a login."""
    reissue_window_ms: int
    several_logins: bool
    """Whether a principal may have logins beside its name."""
    access_tokens: bool
    """Whether the broker can admit an access token, which has no password."""
    overlap_ms: int
    """How long what is rotated stays valid; a device may ask for less."""
    overlapping_logins: bool
    """Whether the broker admits a login by its new and its former password at the same time."""
    rotate_on_release: bool
    security_token_policy: SecurityTokenPolicy
    max_token_failures: int
    enrollment_ms: int
    """How long a one-time password is good for."""
    device_limit: int
    """Devices a tenant may have; 0 is no limit."""


@immutable
class Given:
    """The arguments of one batch: rules read no clock and draw no randomness themselves."""

    policy: Policy
    now_ms: int
    new_id: Callable[[], str]
    new_login: Callable[[SecretKind], Secret]
    """Makes a password or an access token up, hashed and sealed."""
    new_code: Callable[[], str]
    """Makes up 20 letters and digits: a name or key that nobody else has."""
    holds: Callable[[str, Secret], bool]
    """Returns whether a sealed login holds this secret, without the costly hash of a password."""
    foreign_logins: frozenset[str] = frozenset()
    """Logins the broker admits that are not ours; known where a batch may issue logins."""
