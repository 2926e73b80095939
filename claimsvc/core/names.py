"""Rules for names, and the principal of a name.

They ensure that a name, which may come from a stranger, cannot break a topic, a file or a statement that contains it.
"""

from __future__ import annotations

import re
import unicodedata

from claimsvc.core.policy import Policy

NAME_MAX = 255  # ThingsBoard's column width
DEVICE_ID_MAX = 1000  # Cumulocity's
_NOT_IN_DEVICE_IDS = "\\/+$: "
_TENANT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TO_ENCODE = re.compile(r"[%/+#\x00-\x1f\x7f-\x9f]")
_NONCHARACTER_LOW, _NONCHARACTER_HIGH = 0xFDD0, 0xFDEF


def name_error(name: str) -> str | None:
    """Return the error of a name for a device, user, group or role, or None if it is valid.

    A broker disconnects a client that publishes to a topic with a control character or a Unicode noncharacter. So the
    service never stores such a name.
    """
    if not name:
        return "the name is empty"
    if len(name) > NAME_MAX:
        return f"the name is longer than {NAME_MAX} characters"
    if name.isascii() and name.isprintable():
        return None
    for character in name:
        if _is_unspeakable(character):
            return f"the name contains U+{ord(character):04X}, which is not allowed in a topic"
    return None


def _is_unspeakable(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"} or _is_noncharacter(character)


def _is_noncharacter(character: str) -> bool:
    code = ord(character)
    return _NONCHARACTER_LOW <= code <= _NONCHARACTER_HIGH or code & 0xFFFE == 0xFFFE  # noqa: PLR2004 - Unicode 23.7


def login_error(name: str, policy: Policy) -> str | None:
    """Return the reason why a login of this name cannot be issued, or None."""
    if error := name_error(name):
        return error
    if not name.isprintable() or name != name.strip():
        return "a login must not contain invisible characters, or begin or end with a blank"
    if name in policy.reserved_names:
        return "the name is reserved"
    for character in policy.login_excludes:
        if character in name:
            return f"the credential store does not allow {character!r} in a login"
    return None


def request_username(device_id: str) -> str:
    """Return Cumulocity's username of a device that is registered by its id."""
    return f"device_{device_id}"


def device_id_error(device_id: str) -> str | None:
    """Return the character that makes a device id unusable, "" for a bad length, or None for a good id."""
    if not device_id or len(device_id) > DEVICE_ID_MAX:
        return ""
    if device_id in {".", ".."}:
        return device_id
    for character in device_id:
        # Invisible characters are not allowed in the login either. Refuse them now, not when the device is accepted.
        if character in _NOT_IN_DEVICE_IDS or not character.isprintable():
            return character
    return None


def tenant_error(tenant: str) -> str | None:
    """Return the error of a tenant id, or None if it is valid."""
    if _TENANT_ID.fullmatch(tenant):
        return None
    return "a tenant id has 1 to 64 characters of A-Z a-z 0-9 . _ - and begins with a letter or digit"


def principal_name(tenant: str, name: str, policy: Policy) -> str:
    """Return the principal of `name` in `tenant`: one topic level.

    A name with a slash in the default tenant can have the same principal as a name in another tenant. The first one
    gets it: `issue_login` refuses the second.
    """
    level = _TO_ENCODE.sub(_percent, name)
    return level if tenant == policy.default_tenant else f"{tenant}%2F{level}"


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
