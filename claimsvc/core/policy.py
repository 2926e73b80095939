"""What the rules are told from outside: the operator's settings, the time, and fresh ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MANAGEMENT_TENANT = "management"
LANELESS = frozenset({"bootstrap", "provision"})
"""Logins for devices without credentials of their own: shared, so they never are somebody (design 3)."""
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The operator's choices that rules depend on. Durations are milliseconds."""

    allow_by_default: bool = True
    default_duration_ms: int = DAY_MS
    max_duration_ms: int = DAY_MS
    max_attempts: int = 5
    lockout_ms: int = 900_000
    max_failures_per_hour: int = 20
    auto_create: bool = True
    default_tenant: str = "default"
    reserved_names: frozenset[str] = frozenset()
    issue_logins: bool = True
    """Whether this service keeps the broker's logins (credentials.store other than none)."""
    login_excludes: str = ""
    """Characters that the credential store cannot hold in a login."""
    reissue_window_ms: int = 600_000


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments of one batch: rules read no clock and draw no randomness themselves."""

    policy: Policy
    now_ms: int
    new_id: Callable[[], str]
