"""Keyed hashes, sealing, password hashes and random values: everything that needs the service's key or randomness.

The first start creates the key file: 256 random bits, mode 0600. Each purpose has its own key, derived from it. This
module logs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import string
import time
from binascii import b2a_base64
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.files import write_private

KEY_BYTES = 32
GENERATED_ITERATIONS = 2
"""Few, because a generated password has 128 random bits, and the broker computes hashes in its only thread."""

_ALPHANUMERIC = string.ascii_letters + string.digits
_PASSWORD_LENGTH = 22  # 62**22 > 2**128
_TOKEN_LENGTH = 20  # as ThingsBoard's; 62**20 > 2**119
_SALT_BYTES = 12
_HASH_BYTES = 64
_NONCE_BYTES = 12


class KeyFileError(Exception):
    """The key file cannot be read, is damaged, or is the wrong one."""


class Sealing:
    """The functions that use the service's key."""

    def __init__(self, key: bytes, password_iterations: int) -> None:
        if len(key) != KEY_BYTES:
            raise KeyFileError(f"the key has {len(key)} bytes, not {KEY_BYTES}")
        self._claim_key = _derive(key, "claim key")
        self.token_key = _derive(key, "access token")
        """The broker's plugin gets this key too, to look up access tokens."""
        self._security_token_key = _derive(key, "security token")
        self._provision_key = _derive(key, "provision secret")
        self._digest_key = _derive(key, "request digest")
        self._cipher = AESGCM(_derive(key, "seal"))
        self._password_iterations = password_iterations
        self.fingerprint = _derive(key, "fingerprint").hex()[:16]

    def claim_key_hash(self, text: str) -> str:
        """Return the keyed hash of a claim key."""
        return _keyed(self._claim_key, text)

    def access_token_hash(self, text: str) -> str:
        """Return the keyed hash of an access token."""
        return _keyed(self.token_key, text)

    def security_token_hash(self, text: str) -> str:
        """Return the keyed hash of a new device's security token or one-time password."""
        return _keyed(self._security_token_key, text)

    def provision_secret_hash(self, text: str) -> str:
        """Return the keyed hash of a device profile's secret."""
        return _keyed(self._provision_key, text)

    def password_hash(self, text: str, *, generated: bool) -> str:
        """Return the $7$ hash of a password. Unless `generated` it takes milliseconds: call it in a thread."""
        return password_hash(text, GENERATED_ITERATIONS if generated else self._password_iterations)

    def harden(self, secret: Secret) -> None:
        """Give a secret its hash. A secret that is only compared loses its text. A login is also sealed.

        A missing login, provision secret or issued claim key is generated. A password that a human chose takes
        milliseconds: call this in a thread.
        """
        text = secret.text
        if secret.kind is SecretKind.CLAIM_KEY:
            secret.digest, secret.text = self.claim_key_hash(text or ""), None
        elif secret.kind is SecretKind.SECURITY_TOKEN:
            secret.digest, secret.text = self.security_token_hash(text or ""), None
        elif secret.kind is SecretKind.ISSUED_CLAIM_KEY:
            secret.text = text or random_password()  # shown once, in the answer
            secret.digest = self.claim_key_hash(secret.text)
        elif secret.kind is SecretKind.PROVISION_SECRET:
            secret.text = text if text is not None else random_token()
            secret.digest = self.provision_secret_hash(secret.text)
        elif secret.kind is SecretKind.ACCESS_TOKEN:
            secret.text = text or random_token()
            secret.digest = self.access_token_hash(secret.text)
            secret.sealed = self.seal(secret.text.encode(), secret.kind.value)
        else:
            secret.text = text or random_password()
            secret.digest = self.password_hash(secret.text, generated=secret.is_generated)
            secret.sealed = self.seal(secret.text.encode(), secret.kind.value)

    def digest(self, content: bytes) -> str:
        """Return the keyed hash of a request's content, which may contain secrets."""
        return _text(hmac.digest(self._digest_key, content, "sha256"))

    def seal(self, content: bytes, purpose: str) -> str:
        """Return `content` encrypted for `purpose`, as text."""
        nonce = os.urandom(_NONCE_BYTES)
        return _text(nonce + self._cipher.encrypt(nonce, content, purpose.encode()))

    def open(self, sealed: str, purpose: str) -> bytes:
        """Return the content of `sealed`. Raises KeyFileError if its key or purpose was another one."""
        raw = base64.b64decode(sealed)
        try:
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose.encode())
        except InvalidTag:
            raise KeyFileError("a secret was sealed with another key: restore the right key file") from None


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"claimsvc {purpose}".encode()).derive(key)


def _text(raw: bytes) -> str:
    """Return bytes as base64; the function of the module base64 takes twice as long."""
    return b2a_base64(raw, newline=False).decode()


def _keyed(key: bytes, text: str) -> str:
    return _text(hmac.digest(key, text.encode(), "sha256"))


def password_hash(password: str, iterations: int) -> str:
    """Return the hash of a password as Mosquitto stores it: $7$iterations$salt$hash, PBKDF2-SHA512."""
    salt = os.urandom(_SALT_BYTES)
    raw = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, _HASH_BYTES)
    return f"$7${iterations}${_text(salt)}${_text(raw)}"


def password_matches(password: str, stored: str) -> bool:
    """Return whether `stored`, a $7$ hash, is the hash of `password`."""
    try:
        _, scheme, iterations, salt, expected = stored.split("$")
        raw = base64.b64decode(expected, validate=True)
        made = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), int(iterations), len(raw))
    except (ValueError, OverflowError):
        return False
    return scheme == "7" and hmac.compare_digest(raw, made)


def random_password() -> str:
    """Return a password of at least 128 random bits: letters and digits, safe in CSV files and shells."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(_PASSWORD_LENGTH))


def random_token() -> str:
    """Return 20 random letters and digits, as ThingsBoard generates tokens, keys and names."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(_TOKEN_LENGTH))


def new_id() -> str:
    """Return a UUID of version 7. Such ids sort by time, so new rows come last in an index."""
    stamp = time.time_ns() // 1_000_000
    chance = int.from_bytes(os.urandom(10))
    raw = (stamp << 80) | (0x7 << 76) | ((chance >> 62 & 0xFFF) << 64) | (0b10 << 62) | (chance & (1 << 62) - 1)
    text = f"{raw:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def load_key(path: Path) -> bytes:
    """Return the key at `path`. Create the file if it is missing. Raises KeyFileError."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return _make(path)
    except UnicodeDecodeError:
        raise KeyFileError(f"the key file {path} is damaged: restore it from a backup") from None
    except OSError as error:
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from None
    if path.stat().st_mode & 0o077:
        raise KeyFileError(f"other users can read the key file {path}: run chmod 600 {path}")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise KeyFileError(f"the key file {path} is damaged: restore it from a backup") from None


def _make(path: Path) -> bytes:
    key = os.urandom(KEY_BYTES)
    write_private(path, key.hex() + "\n")
    return key


def client_id(path: Path) -> str:
    """Return the service's MQTT client id with 128 random bits. Create the file if it is missing.

    A client that knows the id and can log in could take over the session, so the id is kept like the key.
    """
    if not path.exists():
        write_private(path, f"claimsvc-{secrets.token_hex(16)}\n")
    return path.read_text().strip()
