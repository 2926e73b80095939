"""Issuing and ending logins. A login never takes over a name of another kind, tenant or device (design 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from claimsvc.core.facts import Facts
from claimsvc.core.model import Credential, CredentialKind, EndedPrincipal, FormerCredential, Principal, PrincipalKind
from claimsvc.core.names import login_error, principal_name
from claimsvc.core.outcomes import Change, Put, Refused, Remove
from claimsvc.core.policy import Given
from claimsvc.core.reasons import Reason
from claimsvc.core.secrets import Secret, SecretKind


@dataclass(frozen=True, slots=True)
class Login:
    """A principal that was free, and the changes that make it; the first is the principal itself."""

    principal: str
    changes: tuple[Change, ...]
    issued: bool
    """False when the broker's logins are kept by somebody else: then the login must exist there."""


def issue(tenant: str, name: str, kind: PrincipalKind, secret: Secret, facts: Facts, given: Given) -> Login | Refused:
    """Make the principal of `name` with its login, or say why that cannot be."""
    principal = principal_name(tenant, name, given.policy)
    if error := login_error(principal, given.policy):
        return Refused(Reason.INVALID_NAME, error)
    login = secret.hardened if secret.kind is SecretKind.ACCESS_TOKEN else principal
    if principal in given.foreign_logins or facts.get(Principal, principal) or facts.get(Credential, login):
        return Refused(Reason.NAME_TAKEN)
    row = Put(Principal(principal, kind, tenant))
    if not given.policy.issue_logins:
        return Login(principal, (row,), issued=False)
    return Login(principal, (row, Put(credential(login, principal, secret, given))), issued=True)


def is_anothers(login: str, principal: str, facts: Facts, given: Given) -> bool:
    """Return whether a login, or the name it would stand for, belongs to anybody but `principal`."""
    known = facts.get(Credential, login)
    if login in given.foreign_logins or (known is not None and known.principal != principal):
        return True
    return login != principal and facts.get(Principal, login) is not None


def credential(login: str, principal: str, secret: Secret, given: Given) -> Credential:
    """Return the row that lets `principal` log in with `secret`."""
    return Credential(
        login,
        principal,
        CredentialKind(secret.kind.value),
        secret.hardened,
        secret.sealed,
        given.now_ms + given.policy.reissue_window_ms,
        given.now_ms,
    )


def revoke(principal: str, facts: Facts, given: Given) -> tuple[Change, ...]:
    """End every login of a principal and free its name."""
    rows = facts.credentials(principal)
    formers = (change for row in rows for change in forget_formers(row.login, facts))
    logins = (Remove(Credential, row.key) for row in rows)
    ended = (Put(EndedPrincipal(principal, given.now_ms)),) if rows else ()
    return (*formers, *logins, Remove(Principal, principal), *ended)


def is_ended(principal: str, facts: Facts, given: Given) -> bool:
    """Return whether this service ended all logins of a principal, and nobody else admits the name.

    The broker may still publish a will in its name, long after. A new login for the name makes it valid again.
    """
    is_kept = given.policy.issue_logins and principal not in given.foreign_logins
    return is_kept and facts.get(EndedPrincipal, principal) is not None


def forget_formers(login: str, facts: Facts) -> Iterator[Change]:
    """End every password that a login had before its own."""
    return (Remove(FormerCredential, row.key) for row in facts.former_credentials(login))
