"""Secrets on their way from the wire to a hash.

A dialect creates a `Secret` from its text. The service hardens it (hashes and seals it) before the rules run, so the
rules see only hashes. `repr` never shows the text.
"""

from __future__ import annotations

from enum import StrEnum


class SecretKind(StrEnum):
    """The use of a secret. It decides how the secret is stored."""

    CLAIM_KEY = "claim_key"  # only compared: stored as a keyed hash
    ISSUED_CLAIM_KEY = "issued_claim_key"  # as a claim key; generated if absent; shown once
    ACCESS_TOKEN = "access_token"  # noqa: S105 - looked up by keyed hash; sealed while it may be shown again
    SECURITY_TOKEN = "security_token"  # noqa: S105 - only compared, as a claim key
    PASSWORD = "password"  # noqa: S105 - $7$ hash, which the broker checks; sealed likewise
    PROVISION_SECRET = "provision_secret"  # noqa: S105 - only compared; generated if absent


LOGIN_KINDS = frozenset({SecretKind.ACCESS_TOKEN, SecretKind.PASSWORD})
"""Secrets of logins. Hardening them is costly, so the service checks the permission first."""


class Secret:
    """One secret: `text` until it is hardened (None: generate one), then `digest` and, for a login, `sealed`.

    `is_generated` is True if claimsvc generated the password. Such a password has enough random bits for a cheap
    hash, which saves the broker time at every login.
    """

    __slots__ = ("digest", "is_generated", "kind", "sealed", "text")

    def __init__(self, kind: SecretKind, text: str | None, *, is_generated: bool = False) -> None:
        self.kind = kind
        self.text = text
        self.is_generated = is_generated or not text
        self.digest = ""
        self.sealed = ""

    @property
    def hardened(self) -> str:
        """Return the hash of this secret. Raises RuntimeError if it is not hardened yet."""
        if not self.digest:
            raise RuntimeError("a secret reached the rules in clear")
        return self.digest

    @property
    def is_hardened(self) -> bool:
        """Return whether this secret has its hash."""
        return bool(self.digest)

    def __repr__(self) -> str:
        return f"Secret({self.kind.value}, ***)"


def claim_key(text: str) -> Secret:
    """Return a claim key. The empty text is a valid key."""
    return Secret(SecretKind.CLAIM_KEY, text)
