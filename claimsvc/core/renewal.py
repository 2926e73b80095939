"""A login's secret replaced by another: which rows let in from then on, and which only until a time.

Nothing here says who may have that done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from claimsvc.core.facts import Facts
from claimsvc.core.logins import credential, forget_formers
from claimsvc.core.model import AT_ONCE_MS, Credential, CredentialKind, FormerCredential
from claimsvc.core.outcomes import Change, Put
from claimsvc.core.policy import Given
from claimsvc.core.secrets import Secret, SecretKind


def renew(
    rows: Sequence[Credential], principal: str, kind: SecretKind, until_ms: int, facts: Facts, given: Given
) -> tuple[Secret, list[Change]]:
    """Return a new secret with what puts it in the place of those of `rows`, which are good until `until_ms`."""
    secret = given.new_login(kind)
    changes: list[Change] = []
    for row in rows:
        if row.kind is CredentialKind.PASSWORD:
            changes += _replaced(row, secret, until_ms, facts, given)
        else:
            end_ms = until_ms if until_ms > given.now_ms else AT_ONCE_MS
            ends_ms = end_ms if row.revoked_at_ms is None else min(row.revoked_at_ms, end_ms)
            changes.append(Put(replace(row, sealed=None, revoked_at_ms=ends_ms)))
    if kind is SecretKind.ACCESS_TOKEN:
        changes.append(Put(credential(secret.hardened, principal, secret, given)))
    elif not rows:
        changes.append(Put(credential(principal, principal, secret, given)))
    return secret, changes


def _replaced(row: Credential, secret: Secret, until_ms: int, facts: Facts, given: Given) -> Iterator[Change]:
    yield Put(credential(row.login, row.principal, secret, given))
    if until_ms <= given.now_ms:
        yield from forget_formers(row.login, facts)
        return
    is_overlapping = given.policy.overlapping_logins
    valid = [former for former in facts.former_credentials(row.login) if former.until_ms > given.now_ms]
    for former in valid:
        yield Put(replace(former, until_ms=min(former.until_ms, until_ms) if is_overlapping else until_ms))
    if is_overlapping or not valid:
        yield Put(FormerCredential(row.login, row.secret_hash, until_ms))


def ends_of(rows: Sequence[Credential], facts: Facts, now_ms: int) -> list[int]:
    """Return when each former secret is over that is still good, epoch milliseconds; logins share their secrets."""
    passwords = {
        former.secret_hash: former.until_ms for row in rows for former in facts.former_credentials(row.login)
    }
    tokens = {row.secret_hash: row.revoked_at_ms for row in rows if row.revoked_at_ms is not None}
    return [until_ms for until_ms in (passwords | tokens).values() if until_ms > now_ms]


def standing(principal: str, facts: Facts) -> list[Credential]:
    """Return the logins of a principal that have no end."""
    return [row for row in facts.credentials(principal) if row.revoked_at_ms is None]


def newest(principal: str | None, facts: Facts) -> Credential | None:
    """Return the login a device has: the last that was made; of several made together the one every broker admits."""
    rows = standing(principal, facts) if principal is not None else []
    return max(rows, key=lambda row: (row.created_at_ms, row.login == row.principal), default=None)


def living(rows: Sequence[Credential], now_ms: int) -> list[Credential]:
    """Return the logins that still let in."""
    return [row for row in rows if row.revoked_at_ms is None or row.revoked_at_ms > now_ms]


def kind_of(rows: Sequence[Credential]) -> SecretKind:
    """Return what a rotation of these logins makes: a password where there is one."""
    has_password = any(row.kind is CredentialKind.PASSWORD for row in rows)
    return SecretKind.PASSWORD if has_password else SecretKind.ACCESS_TOKEN


def username_of(rows: Sequence[Credential], principal: str, kind: SecretKind) -> str | None:
    """Return a name to log in as: of several, the principal, which works at every broker."""
    if kind is SecretKind.ACCESS_TOKEN:
        return None
    names = [row.login for row in rows if row.kind is CredentialKind.PASSWORD]
    return principal if principal in names or not names else min(names)
