"""From what somebody told us in confidence to what may be kept: between decode and decide."""

from __future__ import annotations

from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.sealing import Sealing, random_password, random_token


def harden(secret: Secret, sealing: Sealing) -> None:
    """Give a secret its hash; a claim key loses its text, a login that was not given is made up and sealed.

    A person's password takes milliseconds: call this for passwords outside the event loop.
    """
    if secret.kind is SecretKind.CLAIM_KEY:
        secret.digest = sealing.claim_key_hash(secret.text or "")
        secret.text = None
        return
    if secret.kind is SecretKind.ISSUED_CLAIM_KEY:
        secret.text = secret.text or random_password()  # told once, in the answer
        secret.digest = sealing.claim_key_hash(secret.text)
        return
    if secret.kind is SecretKind.SECURITY_TOKEN:
        secret.digest = sealing.security_token_hash(secret.text or "")
        secret.text = None
        return
    if secret.kind is SecretKind.PROVISION_SECRET:
        secret.text = secret.text if secret.text is not None else random_token()
        secret.digest = sealing.provision_secret_hash(secret.text)
        return
    if secret.kind is SecretKind.ACCESS_TOKEN:
        secret.text = secret.text or random_token()
        secret.digest = sealing.access_token_hash(secret.text)
    else:
        secret.text = secret.text or random_password()
        secret.digest = sealing.password_hash(secret.text, generated=secret.is_generated)
    secret.sealed = sealing.seal(secret.text.encode(), secret.kind.value)
