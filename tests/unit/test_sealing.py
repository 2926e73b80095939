from __future__ import annotations

import base64
import hashlib
import re
import uuid
from pathlib import Path

import pytest

from claimsvc.core.secrets import Secret, SecretKind
from claimsvc.sealing import (
    KEY_BYTES,
    KeyFileError,
    Sealing,
    client_id,
    load_key,
    new_id,
    password_hash,
    password_matches,
    random_password,
    random_token,
)

KEY = bytes(range(KEY_BYTES))
SEALING = Sealing(KEY, 50)
OTHER = Sealing(bytes(KEY_BYTES), 50)


def test_equal_texts_have_equal_keyed_hashes() -> None:
    """What is compared is the same under the same key, and different under another key or purpose."""
    assert SEALING.claim_key_hash("value") == Sealing(KEY, 1).claim_key_hash("value")
    hashes = {
        SEALING.claim_key_hash("value"),
        SEALING.claim_key_hash("Value"),
        SEALING.claim_key_hash(""),
        SEALING.access_token_hash("value"),
        SEALING.digest(b"value"),
        OTHER.claim_key_hash("value"),
        base64.b64encode(hashlib.sha256(b"value").digest()).decode(),
    }
    assert len(hashes) == 7


@pytest.mark.parametrize("content", [b"", b"secret", bytes(100_000)])
def test_what_was_sealed_is_opened(content: bytes) -> None:
    """Sealing twice gives two texts, neither shows the content, both open to it."""
    one, another = SEALING.seal(content, "p"), SEALING.seal(content, "p")
    assert one != another
    assert SEALING.open(one, "p") == SEALING.open(another, "p") == content
    assert b"secret" not in base64.b64decode(one)


def test_nothing_opens_with_another_key_or_purpose() -> None:
    """A sealed text cannot be moved to another place, opened by another key, or changed."""
    sealed = SEALING.seal(b"secret", "answer alice 1")
    spoilt = bytearray(base64.b64decode(sealed))
    spoilt[-1] ^= 1
    for sealing, text, purpose in (
        (OTHER, sealed, "answer alice 1"),
        (SEALING, sealed, "answer alice 2"),
        (SEALING, base64.b64encode(spoilt).decode(), "answer alice 1"),
    ):
        with pytest.raises(KeyFileError):
            sealing.open(text, purpose)


def test_fingerprint_tells_keys_apart_and_shows_none() -> None:
    """The fingerprint is stable, different per key, and no part of the key."""
    assert SEALING.fingerprint == Sealing(KEY, 1).fingerprint != OTHER.fingerprint
    assert SEALING.fingerprint not in KEY.hex()


# --- passwords


@pytest.mark.parametrize("password", ["password-1", "", "ä€😀", "x" * 256, "a$b:c"])
def test_password_hash_is_mosquittos(password: str) -> None:
    """$7$iterations$salt$hash: PBKDF2-SHA512, 12 bytes of salt and 64 of hash, as mosquitto_passwd makes."""
    stored = password_hash(password, 101)
    found = re.fullmatch(r"\$7\$101\$([A-Za-z0-9+/=]{16})\$([A-Za-z0-9+/=]{88})", stored)
    assert found
    raw = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(found[1]), 101)
    assert base64.b64decode(found[2]) == raw
    assert password_matches(password, stored)
    assert not password_matches(password + "x", stored)
    assert password_hash(password, 101) != stored


@pytest.mark.parametrize(("generated", "iterations"), [(True, "2"), (False, "50")])
def test_generated_passwords_are_stretched_less(*, generated: bool, iterations: str) -> None:
    """128 random bits need no stretching; a person's password gets what the operator set."""
    assert SEALING.password_hash("p", generated=generated).split("$")[2] == iterations


@pytest.mark.parametrize(
    ("secret", "iterations"),
    [
        (Secret(SecretKind.PASSWORD, None), "2"),
        (Secret(SecretKind.PASSWORD, ""), "2"),
        (Secret(SecretKind.PASSWORD, random_password(), is_generated=True), "2"),
        (Secret(SecretKind.PASSWORD, "chosen"), "50"),
    ],
    ids=["none given", "an empty one given", "generated before", "chosen by a person"],
)
def test_a9_a_password_is_hashed_by_its_origin(secret: Secret, iterations: str) -> None:
    """The plugin tells by the iterations whose login wrong passwords may lock."""
    SEALING.harden(secret)
    assert secret.hardened.split("$")[2] == iterations


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "x",
        "$7$2$c2FsdA==",
        "$7$x$c2FsdA==$aGFzaA==",
        "$7$0$c2FsdA==$aGFzaA==",
        "$7$-1$c2FsdA==$aGFzaA==",
        "$7$2$c2FsdA==$",
        "$7$2$c2FsdA==$!!!!",
        "$7$2$c2Fsd$aGFzaA==",
        "$7$2$c2FsdA==$aGFzaA==$more",
        f"$7${10**30}$c2FsdA==$aGFzaA==",
    ],
)
def test_damaged_hash_matches_nothing(stored: str) -> None:
    """A line an operator spoilt is no match, and no crash."""
    assert not password_matches("p", stored)


def test_other_schemes_match_nothing() -> None:
    """Mosquitto's older $6$ is not ours, even with our hash in it."""
    assert not password_matches("p", password_hash("p", 2).replace("$7$", "$6$"))


# --- names


@pytest.mark.parametrize(("make", "length"), [(random_password, 22), (random_token, 20)])
def test_random_names(make: object, length: int) -> None:
    """Letters and digits that no line, CSV cell or shell trips over, different every time."""
    assert callable(make)
    made = [make() for _ in range(200)]
    assert len(set(made)) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9]+", text) and len(text) == length for text in made)
    assert len(set("".join(made))) == 62


def test_ids_are_uuids_in_the_order_of_time() -> None:
    """Version 7, variant 1, all different; their first parts do not go back."""
    ids = [new_id() for _ in range(500)]
    assert len(set(ids)) == 500
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {(7, uuid.RFC_4122)}
    stamps = [each[:13] for each in ids]
    assert stamps == sorted(stamps)
    assert all(str(uuid.UUID(each)) == each for each in ids)


# --- files


def test_key_is_made_once(tmp_path: Path) -> None:
    """The first start makes a key of 256 bits that only its owner can read; later starts read it."""
    path = tmp_path / "new" / "service.key"
    key = load_key(path)
    assert len(key) == KEY_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path) == key
    assert load_key(tmp_path / "other.key") != key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """The text says how to close it, and shows no key."""
    path = tmp_path / "service.key"
    key = load_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600") as caught:
        load_key(path)
    assert key.hex() not in str(caught.value)


@pytest.mark.parametrize("content", ["", "zz", "00", "00" * 31, "00" * 33])
def test_damaged_key_is_refused(tmp_path: Path, content: str) -> None:
    """A key of another length or alphabet is never used."""
    path = tmp_path / "service.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        Sealing(load_key(path), 1)


def test_key_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A directory in its place is told by name."""
    with pytest.raises(KeyFileError, match=r"service\.key"):
        load_key(_directory(tmp_path / "service.key"))


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def test_key_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    """Bytes that are no text are a damaged key file, not a crash."""
    path = tmp_path / "service.key"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        load_key(path)


def test_client_id_is_made_once(tmp_path: Path) -> None:
    """128 random bits, kept like the key, the same at every start."""
    path = tmp_path / "client-id"
    made = client_id(path)
    assert re.fullmatch(r"claimsvc-[0-9a-f]{32}", made)
    assert path.stat().st_mode & 0o777 == 0o600
    assert client_id(path) == made != client_id(tmp_path / "other")
