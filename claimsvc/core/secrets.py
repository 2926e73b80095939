"""What somebody told us in confidence, on its way from the wire to a hash.

A dialect makes a `Secret` with its text; the pipeline hardens it before the rules run. The rules see hashes
only. No representation of a secret shows its text.
"""

from __future__ import annotations

from enum import StrEnum


class SecretKind(StrEnum):
    """What a secret is for decides how it is kept."""

    CLAIM_KEY = "claim_key"  # compared only: keyed hash, and the text is forgotten
    ISSUED_CLAIM_KEY = "issued_claim_key"  # made up where none is given; compared as a claim key, and told once
    ACCESS_TOKEN = "access_token"  # noqa: S105 - looked up by keyed hash; sealed while it may be given again
    SECURITY_TOKEN = "security_token"  # noqa: S105 - compared only, as a claim key
    PASSWORD = "password"  # noqa: S105 - $7$ hash as the broker checks it; sealed likewise
    PROVISION_SECRET = "provision_secret"  # noqa: S105 - compared only; one that was not given is made up


LOGIN_KINDS = frozenset({SecretKind.ACCESS_TOKEN, SecretKind.PASSWORD})
"""What somebody logs in with: costly to harden, so that is done only for those who may set one."""


class Secret:
    """One secret: `text` until it is hardened (None: make one up), then `digest` and perhaps `sealed`.

    `is_generated` says that `text` is a password which claimsvc generated, not one that a person chose: the broker
    compares it at every try, so its hash must be cheap.
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
        """Return the hash that stands for this secret. Raises RuntimeError before it was hardened."""
        if not self.digest:
            raise RuntimeError("a secret reached the rules in clear")
        return self.digest

    @property
    def is_hardened(self) -> bool:
        """Return whether there is a hash yet."""
        return bool(self.digest)

    def __repr__(self) -> str:
        return f"Secret({self.kind.value}, ***)"


def claim_key(text: str) -> Secret:
    """Return a claim key. The empty key is a key like any other."""
    return Secret(SecretKind.CLAIM_KEY, text)
